"""The formulas of the measures, each against the paper's own written out slowly."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from fluoroscope.inversion.measures import distances
from fluoroscope.inversion.measures.bench import common_counts, halves, some_of_each
from fluoroscope.inversion.measures.choice import Shown, two_alternatives
from fluoroscope.inversion.measures.distances import nearest
from fluoroscope.inversion.measures.distributions import frechet, mean_cosine, overlap, vendi
from fluoroscope.inversion.measures.layer_path import AtLayer, at_layer, mean_place
from fluoroscope.inversion.measures.measure import mean, median, share
from fluoroscope.inversion.measures.nearest import in_space, in_structure, ratios
from fluoroscope.inversion.measures.of_answers import divergence
from fluoroscope.inversion.measures.pictures import (
    as_jpeg,
    rounded,
    shifted,
    spectrum,
    spectrum_distance,
    spread,
)


def drawn(count: int, features: int, seed: int = 0) -> Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def slow_overlap(made: np.ndarray, real: np.ndarray, k: int) -> dict[str, float]:
    """Precision and recall after Kynkäänniemi et al., density and coverage after Naeem et al."""

    def radius(points: np.ndarray) -> np.ndarray:
        return np.sort(pairwise_distances(points), 1)[:, k]

    around_real, around_made = radius(real), radius(made)
    away = pairwise_distances(made, real)
    return {
        "precision": np.mean([any(row <= around_real) for row in away]),
        "recall": np.mean([any(column <= around_made) for column in away.T]),
        "density": np.sum(away <= around_real[None]) / (k * len(made)),
        "coverage": np.mean(away.min(0) <= around_real),
    }


@pytest.mark.parametrize(("made", "real", "k"), [(40, 40, 5), (25, 60, 3), (60, 25, 1)])
def test_precision_recall_density_and_coverage_are_the_papers(
    made: int, real: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "_AT_ONCE", 200)  # several blocks
    first, second = drawn(made, 3) * 0.8 + 0.3, drawn(real, 3, seed=1)
    found = overlap(first, second, k)
    for name, wanted in slow_overlap(first.double().numpy(), second.double().numpy(), k).items():
        assert float(getattr(found, name).double().mean()) == pytest.approx(wanted), name


def test_nearest_others_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_AT_ONCE", 100)
    monkeypatch.setattr(distances, "_VALUES", 52)  # 13 others at a time
    points, others = drawn(30, 4), drawn(50, 4, seed=1)
    away, numbers = nearest(points, others, 3)
    wanted = NearestNeighbors(n_neighbors=3).fit(others.numpy()).kneighbors(points.numpy())
    assert np.allclose(away, wanted[0], atol=1e-5)
    assert np.array_equal(numbers, wanted[1])


def test_a_copy_is_at_a_distance_of_zero_however_far_out() -> None:
    points = 1000 + drawn(20, 300)
    assert nearest(points, points)[0].tolist() == [[0.0]] * 20


@given(count=st.integers(3, 30), features=st.integers(1, 8), seed=st.integers(0, 99))
def test_sets_that_are_the_same_cover_each_other(count: int, features: int, seed: int) -> None:
    rows = drawn(count, features, seed)
    found = overlap(rows, rows[torch.randperm(count)], min(5, count - 1))
    assert found.recall.all()
    assert found.precision.all()
    assert found.coverage.all()
    far = overlap(rows, rows + 1000, min(5, count - 1))
    assert not far.recall.any()
    assert not far.precision.any()
    assert not far.coverage.any()
    assert not far.density.any()


@pytest.mark.parametrize(("made", "real", "features"), [(60, 80, 5), (9, 12, 30), (9, 80, 30)])
def test_the_frechet_distance_is_that_of_the_formula(made: int, real: int, features: int) -> None:
    first = (drawn(made, features) @ drawn(features, features, 2)).double() + 0.5
    second = drawn(real, features, 1).double()
    one, two = (np.cov(rows.numpy(), rowvar=False) for rows in (first, second))
    root = scipy.linalg.sqrtm(one @ two + 1e-9 * np.eye(features))
    means = float((first.mean(0) - second.mean(0)).square().sum())
    wanted = means + np.trace(one + two - 2 * np.real(root))
    assert frechet(first, second) == pytest.approx(wanted, rel=1e-3)
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("count", "features"), [(12, 5), (5, 12)])
def test_the_vendi_score_is_the_exponential_of_the_entropy(count: int, features: int) -> None:
    rows = drawn(count, features).double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(rows @ rows.T / count)
    values = values[values > 1e-12]
    wanted = math.exp(-np.sum(values * np.log(values)))
    assert vendi(torch.from_numpy(rows) * 7) == pytest.approx(wanted)


@given(count=st.integers(2, 12), seed=st.integers(0, 99))
def test_the_vendi_score_counts_different_pictures(count: int, seed: int) -> None:
    one = drawn(1, 15, seed)
    assert vendi(one.expand(count, 15)) == pytest.approx(1)
    assert vendi(torch.eye(15)[:count]) == pytest.approx(count)
    assert vendi(torch.eye(15)[:count].repeat(3, 1)) == pytest.approx(count)
    assert vendi(torch.zeros(count, 15)) == pytest.approx(1)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    rows = drawn(7, 4).double()
    pairs = [
        float(torch.cosine_similarity(rows[a], rows[b], dim=0))
        for a in range(7)
        for b in range(7)
        if a != b
    ]
    assert mean_cosine(rows) == pytest.approx(sum(pairs) / len(pairs))


def test_the_divergence_is_from_the_code_to_the_answer() -> None:
    codes = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, math.log(8.0)]])
    assert divergence(codes, logits).tolist() == pytest.approx([math.log(1.5), math.log(1.25)])


def test_ratios_are_to_the_test_sets_own_of_the_class() -> None:
    train = torch.tensor([[0.0], [100.0]])
    test = torch.tensor([[2.0]] * 5 + [[104.0]] * 5)
    labels = torch.tensor([0] * 5 + [1] * 5)
    made = torch.tensor([[1.0], [101.0], [0.0], [97.0]])
    classes = torch.tensor([0, 1, 0, 7])
    own = in_space(test, train)
    # The last is of a class without test pictures: the median of all is 3.
    found = ratios(in_space(made, train), classes, own, labels)
    assert found.tolist() == pytest.approx([0.5, 0.25, 0, 1])
    assert ratios(own, labels, own, labels).tolist() == pytest.approx([1] * 10)


def test_in_structure_a_brighter_copy_is_nearly_one() -> None:
    train = torch.rand(12, 1, 16, 16)
    made = torch.cat([train[:2], (train[2:4] * 0.9), torch.rand(2, 1, 16, 16)])
    found = in_structure(made, train)
    assert found[:2].abs().max() < 1e-6
    assert found[2:4].max() < 0.1
    assert found[4:].min() > 0.7


def test_a_spectrum_is_one_wave_where_a_picture_is_one() -> None:
    across = torch.arange(32) / 32 * 2 * math.pi
    wave = (0.5 + 0.4 * torch.sin(4 * across)).expand(1, 1, 32, 32)
    assert int(spectrum(wave).argmax()) == 3  # the fourth band has four waves a picture
    assert len(spectrum(wave)) == 16
    noisy = torch.rand(20, 3, 9, 14)
    assert spectrum_distance(noisy, noisy.flip(0)) == pytest.approx(0, abs=1e-12)
    assert spectrum_distance(noisy, noisy / 2) == pytest.approx(math.log10(2))


def test_spread_shift_and_rounding() -> None:
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    assert spread(images) == pytest.approx(0.5**0.5)
    picture = torch.arange(9.0).view(1, 1, 3, 3) / 9
    moved = shifted(picture, 1, -1)
    assert (moved[0, 0] * 9).tolist() == [[1, 2, 2], [1, 2, 2], [4, 5, 5]]
    assert float((rounded(picture) * 255).frac().abs().max()) == pytest.approx(0, abs=1e-4)
    colours = torch.rand(2, 3, 8, 8) * 0.1 + 0.5
    assert as_jpeg(colours).shape == colours.shape
    assert (as_jpeg(colours) - colours).abs().max() < 0.1
    assert as_jpeg(picture).shape == picture.shape


def test_the_way_puts_a_class_at_one_and_others_at_zero() -> None:
    real = torch.cat([drawn(40, 6) * 0.3 + 2, drawn(40, 6, 1) * 0.3 - 2])
    labels = torch.tensor([0] * 40 + [1] * 40)
    own = at_layer("a", drawn(10, 6, 2) * 0.3 + 2, torch.zeros(10).long(), real, labels)
    other = at_layer("a", drawn(10, 6, 2) * 0.3 - 2, torch.zeros(10).long(), real, labels)
    assert own is not None
    assert other is not None
    assert own.place == pytest.approx(1, abs=0.05)
    assert other.place == pytest.approx(0, abs=0.05)
    pairs = torch.nn.functional.normalize(real.double() - real.double().mean(0), dim=1)
    products = pairs @ pairs.T
    same = products[:40, :40][~torch.eye(40, dtype=torch.bool)].mean()
    assert at_layer("a", real[:3], labels[:3], real, labels).same == pytest.approx(float(same))  # type: ignore[union-attr]
    assert own.others == pytest.approx(float(products[:40, 40:].mean()))
    nothing = AtLayer("b", 0.5, 0.5, 0.48)
    assert nothing.place is None
    assert mean_place((AtLayer("c", 3.0, 1.0, 0.0), other, nothing)) == pytest.approx(0.5, abs=0.05)


def test_the_choice_is_of_what_is_like_the_references() -> None:
    real = torch.cat([drawn(60, 5) + 3 * torch.eye(5)[which] for which in range(3)])
    logits = torch.zeros(180, 3)
    for which in range(3):
        logits[which * 60 : which * 60 + 60, which] = 5 + torch.rand(60)
    classes = torch.tensor([0, 1, 2]).repeat_interleave(9)
    good = Shown(3 * torch.eye(5)[classes], classes)
    bad = Shown(-3 * torch.eye(5)[classes], classes)
    found = two_alternatives(good, bad, real, logits)
    assert found is not None
    assert found.made.mean() > 0.85
    assert found.natural.mean() > 0.85
    assert found.noise.mean() < 0.15
    assert sorted(found.classes.unique().tolist()) == [0, 1, 2]
    flat = two_alternatives(Shown(torch.zeros(1, 5), torch.tensor([0])), bad, real * 0, logits)
    assert flat is not None
    assert set(flat.made.tolist()) == {0.5}  # nothing is more like than the other


def test_natural_references_are_never_asked_about() -> None:
    # Only strong pictures of the class differ, each in a direction of its own: a reference that
    # were asked about would be like itself.
    real = torch.eye(40)
    logits = torch.arange(40.0, 0, -1)[:, None]
    found = two_alternatives(
        Shown(torch.eye(40)[:2], torch.tensor([0, 0])), Shown(torch.eye(40)[:1], torch.tensor([0])),
        real, logits,
    )  # fmt: skip
    assert found is not None
    assert found.natural.max() <= 0.5


def test_sets_are_cut_to_as_many_of_each_class() -> None:
    one, two = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 0, 0, 1, 1])
    counts = common_counts(one, two)
    assert counts == {0: 2, 1: 2}
    assert one[some_of_each(one, counts)].tolist() == [0, 0, 1, 1]
    assert some_of_each(torch.zeros(9).long(), {0: 3}).tolist() == [0, 3, 6]
    first, second = halves(one)
    assert one[first].tolist() == [0, 0, 1, 2]
    assert one[second].tolist() == [0, 1]


def test_ten_of_ten_are_not_certain() -> None:
    assert share(torch.ones(10)).interval == pytest.approx((0.722, 1), abs=1e-3)
    assert mean(torch.tensor([1.0])).interval is None
    found = median(torch.arange(101.0))
    assert found.value == 50
    assert found.interval is not None
    assert 30 < found.interval[0] < 50 < found.interval[1] < 70
