"""Paired comparisons against published and slowly found numbers, and runs that do not belong."""

from collections.abc import Callable
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from short_plans import plan

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.runs.compare import fair_coin, paired, paired_interval

Run = Callable[..., fs.Verdict]
COUNTS = st.tuples(*[st.integers(0, 60)] * 4).filter(any)


def flags(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    one = [True] * both + [True] * first + [False] * second + [False] * neither
    other = [True] * both + [False] * first + [True] * second + [False] * neither
    return np.array(one), np.array(other)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Newcombe 1998, table of worked examples, method 10.
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        # Bentur et al. 2009 as in Fagerland, Lydersen and Laake 2017, chapter 8.
        ((1, 1, 7, 12), (-0.5069, -0.0256)),
    ],
)
def test_published_intervals(counts: tuple[int, ...], expected: tuple[float, float]) -> None:
    # Published for the first share less the second.
    low, high = paired_interval(*counts)
    assert (-high, -low) == pytest.approx(expected, abs=5e-5)


def slow_interval(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """Newcombe's method 10 written out, Wilson's limits included."""
    z, n = 1.959963984540054, both + first + second + neither

    def limits(yes: int) -> tuple[float, float, float]:
        share = yes / n
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return share, centre - half, centre + half

    p1, l1, u1 = limits(both + second)
    p2, l2, u2 = limits(both + first)
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    phi = 0.0
    if product:
        top = both * neither - first * second
        top = top - n / 2 if top > n / 2 else 0 if top >= 0 else top
        phi = top / sqrt(product)
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return p1 - p2 - sqrt(max(below, 0)), p1 - p2 + sqrt(max(above, 0))


@given(COUNTS)
def test_intervals_as_written_out(counts: tuple[int, int, int, int]) -> None:
    low, high = paired_interval(*counts)
    assert (low, high) == pytest.approx(slow_interval(*counts), abs=1e-6)
    assert -1 - 1e-9 <= low <= paired(*flags(*counts)).difference <= high <= 1 + 1e-9
    both, first, second, neither = counts
    turned = paired_interval(both, second, first, neither)
    assert (-turned[1], -turned[0]) == pytest.approx((low, high), abs=1e-9)


@given(COUNTS)
def test_mcnemars_test_is_a_fair_coin(counts: tuple[int, int, int, int]) -> None:
    found = paired(*flags(*counts))
    assert (found.both, found.first, found.second, found.neither) == counts
    _, first, second, _ = counts
    tosses = first + second
    tail = sum(comb(tosses, heads) for heads in range(min(first, second) + 1)) / 2**tosses
    assert found.p_value == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


@pytest.mark.parametrize("trials", [1, 2, 7, 64, 1001, 20_000])
def test_shares_and_coins_are_scipys(trials: int) -> None:
    for successes in sorted({0, 1, trials // 3, trials // 2, trials - 1, trials}):
        peer = binomtest(successes, trials)
        # By way of logarithms scipy loses some digits where the numbers are large.
        assert fair_coin(successes, trials) == pytest.approx(peer.pvalue, rel=1e-9, abs=1e-300)
        limits = peer.proportion_ci(0.95, method="wilson")
        assert wilson(successes, trials) == pytest.approx(tuple(limits), abs=1e-14)


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.12, 0.06, 0.32])
    truth = shares[2] - shares[1]
    inside = [
        low <= truth <= high
        for counts in rng.multinomial(100, shares, size=400)
        for low, high in [paired_interval(*map(int, counts))]
    ]
    assert 0.92 <= np.mean(inside) <= 0.99


def test_two_runs_sample_by_sample(run: Run, tmp_path: Path, few: fs.ImageSet) -> None:
    run("a")
    stronger = Plan("long", plan(0.03, steps=5).stages)
    run("b", plan=stronger, threat="linf:0.03", part=20)
    found = fs.compare_runs(tmp_path / "a", tmp_path / "b")
    batch = next(iter(few.batches(60)))
    assert batch.labels is not None
    surviving = []
    for stages in (plan().stages, stronger.stages):
        model = fs.load_model("digits-linear")
        left = fs.predict(model, batch.images).winners == batch.labels
        for stage in stages:
            left &= ~stage.attack(model, batch.images, batch.labels).success
        surviving.append(left)
    first, second = surviving
    assert found.fooled_in_first_only == tuple((second & ~first).nonzero()[:, 0].tolist())
    assert found.fooled_in_second_only == tuple((first & ~second).nonzero()[:, 0].tolist())
    assert found.robust.both == int((first & second).sum())
    assert found.clean.first == found.clean.second == 0
    assert found.clean.p_value == 1
    lost = sum(each.fooled_in_second_only for each in found.classes)
    assert lost == len(found.fooled_in_second_only) > 3
    assert found.apart == {"threat": ("linf:0.02", "linf:0.03"), "plan": ("short", "long")}
    assert found.notes == ("the threats differ: each run is judged within its own bound",)


def test_only_samples_of_both_count(run: Run, few: fs.ImageSet, tmp_path: Path) -> None:
    run("a")
    run("b", images=few.take(40))
    found = fs.compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.count == 40
    assert "of 60 and 40 samples only the 40 in both" in found.notes[0]
    assert found.robust.first == found.robust.second == 0
    assert found.apart == {}


def test_a_network_that_numbers_its_classes_otherwise(run: Run, tmp_path: Path) -> None:
    small = fs.load_model("digits-linear")
    turned = torch.nn.Sequential(small.module, Turned())
    labels = [str((number + 1) % 10) for number in range(10)]
    model = fs.Classifier(turned, channels=1, input_size=28, labels=labels)
    run("a")
    run("b", model=model)
    found = fs.compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.clean.first == found.clean.second == 0
    assert set(found.apart) == {"network", "weights"}


class Turned(torch.nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.roll(-1, 1)


def test_runs_on_other_data_are_refused(run: Run, few: fs.ImageSet, tmp_path: Path) -> None:
    run("a")
    batch = next(iter(few.batches(60)))
    assert batch.labels is not None

    def other(name: str, images: torch.Tensor, labels: torch.Tensor) -> None:
        source = fs.data.sources.ArraySource(images, name, labels)
        run(name, images=fs.ImageSet(source, name, channels=1))

    other("else/elsewhere", batch.images * 0.8, batch.labels)
    with pytest.raises(InvalidParameterError, match="digits and else/elsewhere"):
        fs.compare_runs(tmp_path / "a", tmp_path / "else/elsewhere")
    other("x/digits", batch.images * 0.9, batch.labels)
    with pytest.raises(InvalidParameterError, match="their pictures differ"):
        fs.compare_runs(tmp_path / "a", tmp_path / "x/digits")
    # The same bytes by another name are the same data.
    other("copied", batch.images.clone(), batch.labels)
    assert fs.compare_runs(tmp_path / "a", tmp_path / "copied").count == 60
    run("x/far", images=few.select(range(20)))
    run("x/near", images=few.select(range(20, 40)))
    with pytest.raises(InvalidParameterError, match="no sample in common"):
        fs.compare_runs(tmp_path / "x/far", tmp_path / "x/near")


def test_labels_hold_networks_of_other_sizes_together(
    run: Run, few: fs.ImageSet, tmp_path: Path
) -> None:
    module = torch.nn.Sequential(torch.nn.Upsample(28), fs.load_model("digits-linear").module)
    half = fs.Classifier(module, channels=1, input_size=14, labels=list("0123456789"))
    run("a")
    run("b", model=half)
    assert fs.compare_runs(tmp_path / "a", tmp_path / "b").count == 60
    batch = next(iter(few.batches(60)))
    assert batch.labels is not None
    labels = torch.cat([batch.labels[:50], (batch.labels[50:] + 1) % 10])
    source = fs.data.sources.ArraySource(batch.images, "digits", labels)
    run("c", model=half, images=fs.ImageSet(source, "digits", channels=1))
    with pytest.raises(InvalidParameterError, match="sample 50 and 9 more have other labels"):
        fs.compare_runs(tmp_path / "a", tmp_path / "c")
