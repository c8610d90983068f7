"""Networks in which one knows what each unit reads: the measures take the values they must.

A picture has a row with a mark of its class, and below a faint row that an attack writes into. Of
one network's layer each unit reads the mark of a class, of another's what the attack wrote.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import FluoroscopeError
from fluoroscope.neurons.meaning.definitions import DEFINITIONS
from fluoroscope.pictures.write import to_pil

CLASSES, NEAR, FAR = 4, 0.1, 0.5
"""Two pictures of a class have a mark of FAR times 1 + NEAR and 1 - NEAR."""
STRONG = 1.5
"""What an attack writes is so much stronger than what stands there in real pictures."""


class Planted(nn.Module):
    """The row ``mark``, or what lies below, as units; the decision goes by the lower row."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row, self.units = row, nn.Identity()
        self.head = nn.Linear(CLASSES, CLASSES, bias=False)
        self.head.weight.data = torch.eye(CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        rows = images[:, 0]
        read: Tensor = self.units(rows[:, self.row])
        head: Tensor = self.head(rows[:, 0] + 10 * rows[:, 1])
        return head + 0 * read.sum(1, keepdim=True)


def pictures() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Real ones with their classes; adversarial ones with classes, targets and sources."""
    real, labels = [], []
    for label in range(CLASSES):
        for size in (1 + NEAR, 1 - NEAR):
            image = torch.zeros(1, 2, CLASSES)
            image[0, :, label] = FAR * size
            real.append(image)
            labels.append(label)
    made, own, targets, sources = [], [], [], []
    for source, image in enumerate(real):
        for target in range(CLASSES):
            if target != labels[source]:
                changed = image.clone()
                changed[0, 1] = 0
                changed[0, 1, target] = FAR * STRONG
                made.append(changed)
                own.append(labels[source])
                targets.append(target)
                sources.append(source)
    return (torch.stack(real), torch.tensor(labels), torch.stack(made), torch.tensor(own),
            torch.tensor(targets), torch.tensor(sources))  # fmt: skip


def readings(row: int) -> tuple[fs.Classifier, fs.neurons.Activations, fs.neurons.Activations]:
    real, labels, made, own, targets, sources = pictures()
    model = fs.Classifier(Planted(row), input_size=(2, CLASSES), channels=1)
    led = {"target": targets.tolist(), "source": sources.tolist()}
    data = fs.load_images(made, labels=own.tolist(), channels=1, columns=led)
    adversarial = fs.neurons.read(model, data, "units")
    return model, fs.neurons.read(model, (real, labels), "units"), adversarial


def test_units_that_read_the_picture() -> None:
    model, real, adversarial = readings(0)
    found = fs.neurons.consistency(
        real, adversarial, model=model, top=2, active=0.25, noisy=real, draws=10
    )
    units = found.units
    np.testing.assert_allclose(units["level"], 1)
    np.testing.assert_allclose(units["level_adversarial"], 1)
    np.testing.assert_allclose(units["cs1"], 1)
    np.testing.assert_allclose(units["cs2"], 0)
    # Classes and targets are spread evenly; two of 24 are drawn.
    chance = 0.25 / math.sqrt(0.25 + 0.75 / 2 * 22 / 23)
    np.testing.assert_allclose(units["cs1_chance"], chance)
    np.testing.assert_allclose(units["cs2_chance"], chance)
    assert units["label_real"].tolist() == units["label_adversarial"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(units["sensitivity"], 0)
    np.testing.assert_allclose(found.pictures["r2"], 0)
    # A picture lies 2 NEAR from the other of its class, which is the class's mean without it.
    for size, r1 in zip((1 + NEAR, 1 - NEAR), found.pictures["r1"][[0, 3]], strict=True):
        assert r1 == pytest.approx(2 * NEAR / math.hypot(size, 1), rel=1e-5)
    np.testing.assert_allclose(found.pictures["r1"], found.pictures["r1_real"], rtol=1e-6)
    layer = found.layer
    assert layer["flips_noise"].value == layer["flips_attack"].value == 0
    assert layer["r1_below_1"].value == layer["r2_below_1"].value == 1
    # All of what was made of eight pictures: binomially 0.631 to 1, not 1 to 1.
    ends = binomtest(8, 8).proportion_ci(0.95, "exact")
    assert layer["r1_below_1"].interval == pytest.approx((ends.low, ends.high))
    # What pictures led to a class use are the units of other classes.
    assert layer["shared"].value == 0
    assert "go with what a picture shows" in found.headline


def test_units_that_read_the_attacked_label() -> None:
    model, real, adversarial = readings(1)
    found = fs.neurons.consistency(real, adversarial, model=model, top=2, active=0.25, draws=10)
    units = found.units
    np.testing.assert_allclose(units["level"], 1)
    np.testing.assert_allclose(units["cs1"], 0)
    np.testing.assert_allclose(units["cs2"], 1)
    # Its favourites are of all three other classes, evenly: pᵀAp with the cosine of the weights,
    # which are -1/3 between classes once their mean is taken off.
    np.testing.assert_allclose(units["level_adversarial"], 3 * (1 / 9) + 6 * (1 / 9) * (-1 / 3))
    assert units["label_adversarial"].tolist() == [-1] * CLASSES
    assert found.layer["flips_attack"].value == 1
    assert units["flips_attack"].tolist() == [1] * CLASSES
    assert "flips_noise" not in found.layer
    # Of 24 pairs six end at a unit and six begin there.
    expected = FAR * (6 * STRONG + 3 * (1 + NEAR) + 3 * (1 - NEAR)) / 24
    np.testing.assert_allclose(units["sensitivity"], expected, rtol=1e-6)
    spread = FAR * math.sqrt((2 + 2 * NEAR**2) / 8 - 1 / 16)
    np.testing.assert_allclose(units["relative_sensitivity"], expected / spread, rtol=1e-5)
    assert found.layer["relative_sensitivity"].value == pytest.approx(expected / spread, rel=1e-5)
    for at, size in ((0, 1 + NEAR), (3, 1 - NEAR)):
        other = 2 - size
        r1 = math.hypot(STRONG, other) / (STRONG - 1)
        r2 = math.hypot(STRONG, size) / (STRONG - 1 - NEAR)
        assert found.pictures["r1"][at] == pytest.approx(r1, rel=1e-5)
        assert found.pictures["r2"][at] == pytest.approx(r2, rel=1e-5)
    assert found.layer["r1_below_1"].value == found.layer["r2_below_1"].value == 0
    ends = binomtest(0, 8).proportion_ci(0.95, "exact")
    assert found.layer["r2_below_1"].interval == pytest.approx((ends.low, ends.high))
    assert found.layer["shared"].value == 1
    assert units["shared"].tolist() == [1] * CLASSES
    assert "the class a picture was aimed at" in found.headline


def test_a_unit_that_noise_renames() -> None:
    model, real, adversarial = readings(0)
    # Each unit now answers to the next class.
    other = replace(real, values=np.roll(real.values, 2, axis=0))
    found = fs.neurons.consistency(real, adversarial, model=model, top=2, noisy=other, draws=5)
    assert found.layer["flips_noise"].value == 1
    assert found.layer["flips_noise"].interval is not None
    assert found.layer["flips_noise"].interval[1] == 1
    quiet = fs.neurons.consistency(real, adversarial, model=model, top=2, noisy=real, draws=5)
    assert quiet.layer["flips_noise"].interval == (0, 0)
    assert found.units["label_noisy"].tolist() == [1, 2, 3, 0]
    # By names that two classes share, a unit of one keeps its name, and others lose theirs.
    named = ["even", "even", "even", "even", "odd", "odd", "odd", "odd"]
    again = fs.neurons.consistency(
        real, adversarial, model=model, top=2, noisy=other, concepts=named, draws=30
    )
    assert again.concepts == ("even", "odd")
    assert [again.named(one) for one in again.units["label_real"]] == ["even", "even", "odd", "odd"]
    assert again.layer["flips_noise"].value == 0.5
    assert again.layer["flips_noise"].interval is not None
    low, high = again.layer["flips_noise"].interval
    assert 0 <= low < 0.5 < high <= 1
    assert again.layer["flips_attack"].value == 0


@pytest.mark.parametrize("held", [True, False])
def test_noise_is_that_of_the_picture_however_it_is_read(held: bool) -> None:
    grey = torch.full((30, 1, 8, 8), 0.5)
    bright = torch.ones(1, 1, 8, 8)
    data = fs.load_images(torch.cat([grey, bright]), channels=1) if held else fs.load_images(
        [to_pil(one) for one in [*grey, *bright]], channels=1
    )  # fmt: skip
    model = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), channels=1, input_size=8)
    noisy = fs.neurons.with_noise(model, data, 0.02, seed=3)
    plain = torch.cat([each.images for each in data.batches(7, fit=model)])
    found = torch.cat([each.images for each in noisy.batches(7, fit=model)])
    ones = torch.stack([noisy[position].image for position in range(31)])
    assert torch.equal(found, ones)
    change = (found - plain)[:30]
    assert change.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(change.mean().item()) < 0.002
    assert len(torch.unique(change.flatten(1).sum(1))) == 30
    assert found[30].max() == 1
    # A picture's noise goes with its number, and is another with another seed.
    part = torch.cat([each.images for each in noisy.select([5, 2]).batches(2, fit=model)])
    assert torch.equal(part, found[[5, 2]])
    again = fs.neurons.with_noise(model, data, 0.02, seed=4)
    assert not torch.equal(again[5].image, noisy[5].image)
    assert noisy.identity() != data.identity()
    assert noisy.identity() != again.identity()
    assert "σ = 0.02" in noisy.notes[-1]
    read = [fs.neurons.read(model, each, "1").values for each in (data, noisy)]
    assert np.abs(read[0] - read[1]).min() > 0


def test_the_order_of_pictures_and_the_scale_of_units_say_nothing() -> None:
    model, real, adversarial = readings(1)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(24, CLASSES)).astype(np.float32) / 5
    adversarial = replace(adversarial, values=adversarial.values + noise)
    first = fs.neurons.consistency(real, adversarial, model=model, top=2, draws=2)
    order = rng.permutation(24)
    scale = np.array([1, 2, 0.5, 4], dtype=np.float32)
    second = fs.neurons.consistency(
        replace(real, values=real.values * scale),
        replace(adversarial, values=(adversarial.values * scale)[order],
                rows=adversarial.rows.take(order)),
        model=model, top=2, draws=2,
    )  # fmt: skip
    for name in ("level", "cs1", "cs2", "relative_sensitivity", "label_adversarial", "shared"):
        np.testing.assert_allclose(first.units[name], second.units[name], atol=1e-5)
    np.testing.assert_allclose(first.units["sensitivity"] * scale, second.units["sensitivity"],
                               rtol=1e-5)  # fmt: skip


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    model, real, adversarial = readings(1)
    found = fs.neurons.consistency(real, adversarial, model=model, top=2, noisy=real, draws=3)
    found.save(tmp_path)
    again = fs.neurons.Consistency.load(tmp_path)
    assert again.describe() == found.describe()
    assert json.dumps(again.describe(), allow_nan=False)
    for name, values in found.units.items():
        np.testing.assert_array_equal(values, again.units[name])
    assert np.array_equal(found.similarity.matrix, again.similarity.matrix)
    shown = again._repr_html_()
    assert "CS1" in shown
    assert "<svg" in shown
    assert set(found.describe()["definitions"]) == set(DEFINITIONS)
    certain = {one.reading for one in DEFINITIONS.values()}
    assert certain == {"sure", "inferred", "ours"}
    assert DEFINITIONS["cs1"].reading == DEFINITIONS["r1"].reading == "inferred"


def test_what_does_not_belong_together_is_refused() -> None:
    model, real, adversarial = readings(0)
    other = replace(adversarial, record={**adversarial.record, "model_sha256": "another"})
    moved = replace(adversarial, units=replace(adversarial.units, layer="head"))
    bare = fs.neurons.read(model, pictures()[2], "units")
    trained = readings(0)[0]
    trained.module.head.weight.data *= 2
    wrong = replace(adversarial, rows=adversarial.rows.set_column(
        adversarial.rows.schema.get_field_index("source"), "source",
        [np.roll(adversarial.sources, 6)],
    ))  # fmt: skip
    holes = replace(real, values=np.where(real.values > 0.5, np.nan, real.values))
    for given, words in (
        ((real, other), "another network"),
        ((real, moved), "two layers"),
        ((real, bare), "column 'target'"),
        ((real, wrong), "another class than the real picture"),
        ((holes, adversarial), "NaN or infinite"),
        ((bare, adversarial), "with a label"),
    ):
        with pytest.raises(FluoroscopeError, match=words):
            fs.neurons.consistency(*given, model=model)
    for options, words in (
        ({"model": trained}, "another network"),
        ({"top": 8}, "top is 8"),
        ({"top": 0}, "top is 0"),
        ({"active": 0.0}, "active is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"noisy": bare}, "other pictures"),
        ({"concepts": ["one"]}, "concepts are 1"),
        ({"similarity": "weights", "model": None}, "model="),
        ({"similarity": "no-such-file"}, "no such file"),
    ):
        with pytest.raises(FluoroscopeError, match=words):
            fs.neurons.consistency(real, adversarial, **{"model": model, **options})


def test_only_those_that_were_led_to_their_target() -> None:
    model, real, adversarial = readings(1)
    half = replace(adversarial, rows=adversarial.rows.set_column(
        adversarial.rows.schema.get_field_index("predicted"), "predicted",
        [np.where(np.arange(24) % 2 == 0, adversarial.targets, adversarial.labels)],
    ))  # fmt: skip
    found = fs.neurons.consistency(real, half, model=model, top=2, successful=True, draws=2)
    assert found.record["pictures"]["adversarial"] == 12
    assert found.record["targeted_success"] == 1
    assert not any("predicts" in note for note in found.notes)
    third = replace(half, rows=half.rows.set_column(
        half.rows.schema.get_field_index("predicted"), "predicted",
        [np.where(np.arange(24) % 3 == 0, adversarial.targets, adversarial.labels)],
    ))  # fmt: skip
    few = fs.neurons.consistency(real, third, model=model, top=2, draws=2)
    assert any("predicts 33.3" in note and "successful=True" in note for note in few.notes)
    assert "33.3" in few.pictures_words
    assert few.headline.startswith("of an attack that fails: only 33.3")
    failed = replace(half, rows=half.rows.set_column(
        half.rows.schema.get_field_index("predicted"), "predicted", [adversarial.labels]
    ))  # fmt: skip
    none = fs.neurons.consistency(real, failed, model=model, top=2, draws=2)
    assert none.headline.startswith("of an attack that fails: none of its pictures")
    every = fs.neurons.consistency(real, half, model=model, top=2, draws=2)
    assert every.record["targeted_success"] == 0.5
    assert every.headline.startswith("under attack")
    assert every.record["accuracy"] == 1
