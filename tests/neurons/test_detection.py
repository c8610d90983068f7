"""Detecting adversarial pictures: each score beside scikit-learn's, and who passes whom."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.detection.controls import apart, compressed, noisy
from fluoroscope.neurons.detection.evading import Evading
from fluoroscope.neurons.detection.reference import SCORES, Reference
from fluoroscope.neurons.detection.result import Detected, Detection, _curve
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.units import Units


def activations(seed: int, many: int = 90, units: int = 6, classes: int = 4) -> Activations:
    """Of ``classes`` clouds of unequal spread; some are predicted as another class."""
    numbers = np.random.default_rng(seed)
    labels = np.arange(many) % classes
    middles = np.random.default_rng(0).normal(size=(classes, units)) * 2
    values = (middles[labels] + numbers.normal(size=(many, units))) * np.arange(1, units + 1)
    wrong = numbers.random(many) < 0.3
    predicted = np.where(wrong, (labels + 1) % classes, labels)
    return Activations.of(
        values, Units("x", None, (units,), units, 1, None),
        {"label": labels, "predicted": predicted, "confidence": numbers.random(many)},
        classes=tuple("abcd"[:classes]),
    )  # fmt: skip


def test_scores_beside_scikit_learn() -> None:
    real, asked = activations(1), activations(2)
    rows = real.predicted == real.labels
    found = Reference.of(real, rows, 7).scores(asked)
    spread = real.values[rows].astype(np.float64).std(0)
    learnt, values = real.values[rows] / spread, asked.values / spread
    centroids = NearestCentroid().fit(learnt, real.labels[rows])
    assert np.array_equal(found["mean"] > 0, centroids.predict(values) != asked.predicted)
    apart_ = np.linalg.norm(values[:, None] - centroids.centroids_[None], axis=2)
    for row, own in enumerate(asked.predicted):
        others = np.delete(apart_[row], own)
        expected = np.log(apart_[row, own] / others.min())
        assert found["mean"][row] == pytest.approx(expected, abs=1e-5)
    near = KNeighborsClassifier(7).fit(learnt, real.labels[rows]).predict_proba(values)
    own = near[np.arange(len(values)), asked.predicted]
    np.testing.assert_allclose(found["neighbours"], 1 - own, atol=1e-9)
    np.testing.assert_allclose(found["confidence"], 1 - asked.confidence.astype(np.float64))


def test_nothing_is_said_of_a_class_without_real_pictures() -> None:
    real, asked = activations(1), activations(2)
    rows = (real.predicted == real.labels) & (real.labels != 2)
    reference = Reference.of(real, rows, 3)
    found = reference.scores(asked)
    for values in found.values():
        assert np.array_equal(np.isnan(values), asked.predicted == 2)
    apart_ = reference.distances(torch.from_numpy(asked.values.copy()).double())
    others = [0, 1, 3]
    expected = np.linalg.norm(
        (asked.values / reference.spread)[:, None] - reference.means[None, others], axis=2
    )
    np.testing.assert_allclose(apart_[:, others].numpy(), expected, atol=1e-6)
    assert (apart_[:, 2] > 1e20).all()
    with pytest.raises(InvalidParameterError, match="expected 3 or more of 2 classes"):
        Reference.of(real, rows & (real.labels == 0), 3)


def test_a_curve_has_the_area_that_is_told() -> None:
    numbers = np.random.default_rng(4)
    clean, strange = numbers.normal(size=60).round(1), numbers.normal(1, 1, 50).round(1)
    alarms, hits = _curve(clean, strange)
    area = float(np.trapezoid(hits, alarms))
    truth = np.r_[np.zeros(60), np.ones(50)]
    assert area == pytest.approx(roc_auc_score(truth, np.r_[clean, strange]))


def test_pictures_of_one_score_are_drawn_as_a_slope() -> None:
    """The drawn area is the AUROC beside it, also where most pictures tie."""
    some = scored(3)
    tied = {"mean": np.r_[np.zeros(30), np.ones(10)]}
    clean = {"mean": np.r_[np.zeros(38), np.ones(2)]}
    for name, values in (("adversarial", tied), ("clean", clean)):
        every = dict.fromkeys(SCORES, values["mean"])
        some.groups[name] = Detected(every, 40, 0.02)
    told = some.told("mean", "adversarial")
    assert told is not None
    line = some.figure().axes[0].lines[0]
    assert line.get_drawstyle() == "default"
    area = float(np.trapezoid(line.get_ydata(), line.get_xdata()))
    assert area == pytest.approx(told.auroc)
    low, high = told.interval
    assert f"at AUROC {told.auroc:.3g} ({low:.3g} to {high:.3g})" in some.headline


def test_controls_are_as_far_as_the_attack() -> None:
    drawn = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(4, 3, 6, 6, generator=drawn), (24, 24), mode="bilinear"
    )
    images = (smooth * 255).round() / 255
    far = torch.tensor([0.01, 0.02, 0.04, 0.08]).double()
    made = noisy(images, far, torch.arange(4), seed=0)
    assert (apart(made, images) / far - 1).abs().max() < 0.05
    assert torch.equal((made * 255).round() / 255, made)
    assert torch.equal(noisy(images[2:], far[2:], torch.tensor([2, 3]), seed=0), made[2:])
    packed = compressed(images, torch.full((4,), 0.02).double())
    assert (apart(packed, images) - 0.02).abs().max() < 0.01
    coarse = compressed(images, torch.full((4,), 0.05).double())
    assert (apart(coarse, images) > apart(packed, images)).all()


@pytest.fixture(scope="module")
def planted() -> tuple[fs.Classifier, fs.ImageSet]:
    """A network whose decision is read from one pixel, while its layer also reads the picture.

    The first four units of its layer see the four quarters, one of which is bright in each class;
    the last four a pixel each, which decide. So what changes these alone is seen in the others.
    """
    quarters = torch.zeros(8, 1, 8, 8)
    for number, (y, x) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        quarters[number, 0, y : y + 4, x : x + 4] = 1 / 16
        quarters[4 + number, 0, y, x] = 1
    first = nn.Linear(64, 8, bias=False)
    first.weight.data = quarters.flatten(1)
    last = nn.Linear(8, 4, bias=False)
    last.weight.data = torch.cat([0.5 * torch.eye(4), 12 * torch.eye(4)], 1)
    module = nn.Sequential(nn.Flatten(), first, last)
    model = fs.Classifier(module, labels=tuple("abcd"), channels=1, input_size=8, name="planted")
    drawn = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    bright = torch.einsum("nk,kchw->nchw", nn.functional.one_hot(labels, 4).float(), quarters[:4])
    images = (0.2 + 0.4 * 16 * bright + 0.1 * torch.rand(200, 1, 8, 8, generator=drawn)).clamp(0, 1)
    odd = torch.rand(200, generator=drawn) < 0.1  # mistakes: the pixel of another class
    for row in odd.nonzero().flatten().tolist():
        y, x = ((0, 0), (0, 4), (4, 0), (4, 4))[(int(labels[row]) + 1) % 4]
        images[row, 0, y, x] = 1
    return model, fs.load_images((images * 255).round() / 255, labels=labels)


@pytest.fixture(scope="module")
def found(
    planted: tuple[fs.Classifier, fs.ImageSet], tmp_path_factory: pytest.TempPathFactory
) -> Detection:
    model, data = planted
    attack = fs.attack("pgd", eps=0.9, norm="l2", steps=20)  # follows the steepest pixels alone
    led = fs.neurons.adversarial_set(
        model, data.take(40, first=True), out=tmp_path_factory.mktemp("led"), targets=2,
        attack=attack,
    )  # fmt: skip
    return fs.neurons.detect(model, data, led, "1", neighbours=5)


def test_half_of_each_class_is_learnt_from_where_it_is_classified_correctly(
    planted: tuple[fs.Classifier, fs.ImageSet], found: Detection
) -> None:
    model, data = planted
    images = torch.stack([one.image for one in data])
    right = model(images).argmax(1) == torch.arange(200) % 4
    learnt = (torch.arange(200) >= 40) & (torch.arange(200) // 4 % 2 == 0)
    assert found.record["learnt_from"] == int((learnt & right).sum()) < int(learnt.sum())
    assert len(found.groups["clean"]) == int((~learnt & right).sum())
    assert len(found.groups["misclassified"]) == int((~learnt & ~right).sum())


def test_what_disagrees_is_detected_and_mistakes_with_it(found: Detection) -> None:
    told, mistakes = (found.told("mean", group) for group in ("adversarial", "misclassified"))
    assert told is not None
    assert told.auroc > 0.95
    assert mistakes is not None
    assert mistakes.auroc > 0.9
    assert len(found.groups["adversarial"]) > 60
    assert len(found.groups["clean"]) == found.groups["clean"].asked  # all classes were learnt from
    harmless = found.told("neighbours", "jpeg")
    assert harmless is not None
    assert harmless.auroc < 0.7
    # A mistake is read from the other class's pixel at its full brightness, an attack from less.
    assert all(row[1] == "0" for row in found.mistake_rows)
    assert any("ordinary mistakes lie farther off" in words for words in found.conclusions)
    assert not any("hardly told from an ordinary" in words for words in found.conclusions)


def test_each_number_is_scikit_learns(found: Detection) -> None:
    for score in SCORES:
        for group, one in found.groups.items():
            if group == "clean":
                continue
            told = found.told(score, group)
            clean = found.groups["clean"].scores[score]
            truth = np.r_[np.zeros(len(clean)), np.ones(len(one))]
            every = np.r_[clean, one.scores[score]]
            assert told is not None
            assert told.auroc == pytest.approx(roc_auc_score(truth, every))


def test_who_knows_of_it_moves_the_representation_too(found: Detection) -> None:
    aware, plain = (found.told("mean", group) for group in ("adaptive", "adversarial"))
    assert aware is not None
    assert plain is not None
    assert aware.auroc < plain.auroc - 0.2
    assert len(found.groups["adaptive"]) > 0.9 * found.groups["adaptive"].asked
    assert any("knows of the class means is not detected" in words for words in found.conclusions)


def test_the_attack_lowers_what_it_says(planted: tuple[fs.Classifier, fs.ImageSet]) -> None:
    model, data = planted
    real = fs.neurons.read(model, data, "1")
    reference = Reference.of(real, real.predicted == real.labels, 5)
    images = torch.stack([data[row].image for row in range(12)])
    targets = (torch.arange(12) + 2) % 4

    def sums(made: Tensor, evasion: float, margin: float) -> Tensor:
        """The formula, slowly."""
        values = model.module[1](made.flatten(1)) / torch.from_numpy(reference.spread)
        apart_ = (values[:, None] - torch.from_numpy(reference.means)[None]).norm(dim=2)
        own = apart_.gather(1, targets[:, None]).squeeze(1).log()
        other = apart_.scatter(1, targets[:, None], torch.inf).amin(1).log()
        far = (made - images).flatten(1).square().mean(1).sqrt()
        loss = nn.functional.cross_entropy(model(made), targets, reduction="none")
        return 10 * far + loss + evasion * (margin + own - other).clamp(min=0)

    lost = {}
    for evasion in (0.0, 5.0):
        attack = Evading(
            reference=reference, units=real.units, reduction=real.reduction, steps=60,
            step_size=0.01, evasion=evasion, margin=0.5,
        )  # fmt: skip
        made = attack(model, images, targets, targeted=True, keep="last").images
        lost[evasion] = sums(made, 5.0, 0.5)
    assert (lost[5.0] < lost[0.0]).all()
    assert lost[5.0].mean() < 0.5 * sums(images, 5.0, 0.5).mean()
    with pytest.raises(InvalidParameterError, match="expected targeted=True"):
        attack(model, images, torch.arange(12) % 4)


def test_sets_that_do_not_belong_together_are_refused(
    planted: tuple[fs.Classifier, fs.ImageSet], tmp_path: Path
) -> None:
    model, data = planted
    with pytest.raises(InvalidParameterError, match="does not say what its pictures were led to"):
        fs.neurons.detect(model, data, data, "1")
    attack = fs.attack("pgd", eps=0.9, norm="l2", steps=20)
    led = fs.neurons.adversarial_set(
        model, data.take(20, first=True), out=tmp_path, targets=1, attack=attack
    )
    with pytest.raises(InvalidParameterError, match="has none of the pictures that those of"):
        fs.neurons.detect(model, data.select(range(50, 200)), led, "1")
    images = torch.stack([data[199 - row].image for row in range(200)])
    labels = torch.tensor([data[199 - row].label for row in range(200)])
    with pytest.raises(InvalidParameterError, match="expected the data set they were made of"):
        fs.neurons.detect(model, fs.load_images(images, labels=labels), led, "1")
    few = fs.neurons.detect(model, data.take(20, first=True), led, "1", neighbours=2, steps=0)
    assert any("are learnt from, too" in note for note in few.notes)


def test_it_is_kept_and_told(found: Detection, tmp_path: Path) -> None:
    file = found.save(tmp_path / "detection.json")
    assert file.is_file()
    told = found.describe()
    assert told["groups"]["adversarial"]["from_clean"]["mean"]["auroc"] > 0.95
    assert "told from clean ones" in found.headline
    assert found.figure().axes
    assert "nearest class mean" in found._repr_html_()


def scored(mean: float, mistakes: int = 40, adaptive: float = 0.02) -> Detection:
    """Adversarial pictures far from clean ones, and mistakes ``mean`` off by each score."""
    drawn = np.random.default_rng(0)

    def group(many: int, at: float, distance: float = 0.0) -> Detected:
        values = {score: drawn.normal(at, 1, many) for score in SCORES}
        return Detected(values, many, distance)

    groups = {
        "clean": group(60, 0), "misclassified": group(mistakes, mean),
        "adversarial": group(60, 3, 0.02), "adaptive": group(60, 0, adaptive),
    }  # fmt: skip
    return Detection(groups=groups, record={"steps": 7})


def test_which_lies_farther_off_is_said_the_right_way_round() -> None:
    further, alike, nearer = (" ".join(scored(at).conclusions) for at in (6, 3, 2))
    assert "by the nearest class mean ordinary mistakes lie farther off than an attack" in further
    assert "doubt, wherever it comes from" not in further
    assert "hardly told from an ordinary mistake: what is detected is doubt" in alike
    assert "a little farther off than an ordinary mistake" in nearer
    assert "hardly told" not in nearer
    assert "ordinary mistake" not in " ".join(scored(-3).conclusions)
    assert "few stand behind" not in further
    few = " ".join(scored(6, mistakes=5).conclusions)
    assert "few stand behind it (misclassified real pictures: 5)" in few


def test_an_attack_that_moves_farther_is_said_to() -> None:
    as_far, farther = scored(3), scored(3, adaptive=0.05)
    assert any("attack of 7 steps that knows" in words for words in as_far.conclusions)
    assert not any("farther than the plain one" in words for words in as_far.conclusions)
    words = "but it moves pictures farther than the plain one (0.05 and 0.02)"
    assert any(words in one for one in farther.conclusions)
    assert words in farther.headline
    moved = {row[0]: row[2] for row in farther.grid}
    assert moved["adversarial pictures"] == "0.02"
    assert moved["those whose attack knows of it"] == "0.05"
    assert moved["misclassified real pictures"] == "–"
    assert "moved" in farther._repr_html_()
    assert farther.describe()["groups"]["adaptive"]["distance"] == 0.05
