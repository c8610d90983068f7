"""Who reads clean pictures no better than somebody who never looks at them."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import ChanceLevelError
from fluoroscope.evaluation.level import Level, _by_chance
from fluoroscope.evaluation.plan import Plan, Stage

PLAN = Plan("short", (Stage("fgsm", fs.attack("fgsm", eps=0.01)),))


class Shown(nn.Module):
    """Reads the class that is written in the first pixel, right in a share of the pictures."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.classes = classes
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.looked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.looked += len(images)
        written = images[:, 0, 0, 0] * 10
        return -self.scale * (written[:, None] - torch.arange(self.classes)).abs()


def written(classes: Tensor) -> Tensor:
    images = torch.rand(len(classes), 1, 3, 3, generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0] = classes / 10
    return images


def network(module: nn.Module, classes: int = 10) -> fs.Classifier:
    return fs.Classifier(
        module, channels=1, input_size=3, labels=[f"c{number}" for number in range(classes)]
    )


def level(labels: list[int], read: list[int], classes: int = 10) -> Level:
    return Level(network(Shown(classes), classes)).add(torch.tensor(labels), torch.tensor(read))


def test_what_would_be_right_in_any_order_slowly() -> None:
    labels, read = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 1, 1, 2])
    rights = [
        float((labels == read[list(order)]).sum()) for order in itertools.permutations(range(5))
    ]
    expected, spread = _by_chance(labels, read)
    assert expected == pytest.approx(sum(rights) / len(rights))
    every = torch.tensor(rights, dtype=torch.double)
    assert spread == pytest.approx(float(every.std(correction=0)))


@pytest.mark.parametrize(
    ("labels", "read", "at_chance"),
    [
        ([0] * 100, [0] * 100, True),  # one class alone
        ([0] * 95 + [1] * 5, [0] * 100, True),  # the same of all
        ([0] * 95 + [1] * 5, [0] * 95 + [1] * 5, False),
        (list(range(10)) * 10, list(range(10)) * 10, False),
        (list(range(10)) * 10, [3] * 100, True),
        # 19 right, as nobody's training leaves behind.
        (list(range(10)) * 10, (list(range(10)) + [7] * 90), True),
        ([0] * 98 + [1] * 2, [0] * 98 + [1] * 2, False),
        # 31 right, as few untrained networks are.
        (list(range(10)) * 10, [n % 10 if n < 31 else (n + 1) % 10 for n in range(100)], True),
        # Half of few pictures: no untrained network is so lucky.
        (list(range(10)) * 2, [n % 10 if n < 10 else (n + 1) % 10 for n in range(20)], False),
        ([0] * 19, [0] * 19, False),  # too few to tell
    ],
)
def test_at_chance(labels: list[int], read: list[int], at_chance: bool) -> None:
    assert level(labels, read).at_chance is at_chance


def test_guessing_that_is_unlikely_is_told_with_its_probability() -> None:
    """21 of 40 among three classes: binomially P = 0.0096, but within what weights may see."""
    labels = [0] * 14 + [1] * 13 + [2] * 13
    read = [label if n % 2 == 0 or n == 1 else (label + 1) % 3 for n, label in enumerate(labels)]
    found = level(labels, read, 3)
    assert int((found.labels == found.read).sum()) == 21
    share = _by_chance(found.labels, found.read)[0] / 40
    slowly = sum(math.comb(40, k) * share**k * (1 - share) ** (40 - k) for k in range(21, 41))
    with pytest.raises(ChanceLevelError, match=rf"\(guessing .* P = {slowly:.2g}, .*give more"):
        found.check(lambda: "words")
    assert not level(labels * 2, read * 2, 3).at_chance


def test_a_few_of_a_thousand_classes_are_enough() -> None:
    labels = list(range(200))
    assert not level(labels, labels[:20] + [500] * 180, 1000).at_chance


def test_68_percent_of_a_hundred_in_order_of_class() -> None:
    own = torch.arange(10).repeat_interleave(10)
    shown = own.where(torch.arange(100) % 25 < 17, (own + 1) % 10)
    verdict = fs.evaluate(
        network(Shown()), written(shown), own, threat="linf:0.01", plan=PLAN, part=10
    )
    assert verdict.clean_accuracy == 0.68
    low, high = verdict.clean_interval
    assert low < 0.68 < high
    assert verdict.record["seen"]["classes"] == 10
    assert not any("classes" in note for note in verdict.notes)


def test_a_first_part_that_is_misread_is_no_reason(tmp_path: Path) -> None:
    """The first two parts are of classes that it does not know; nothing is looked at twice."""
    own = torch.arange(10).repeat_interleave(20)
    shown = own.where(own > 1, 9)
    module = Shown()
    options: dict[str, Any] = {"threat": "linf:0.01", "plan": PLAN, "part": 20, "out": tmp_path}
    verdict = fs.evaluate(network(module), written(shown), own, **options)
    assert verdict.clean_accuracy == 0.8
    # But for the first look at a network, 16 pictures at the most.
    assert verdict.forwards <= module.looked <= verdict.forwards + 16
    again = fs.evaluate(network(module), written(shown), own, **options)
    assert again.clean_accuracy == 0.8


@pytest.mark.parametrize("limit", [None, 100, 30])
def test_an_untrained_network_is_never_a_result(limit: int | None, tmp_path: Path) -> None:
    digits = fs.load_images("digits", channels=1)
    order = torch.tensor([one.label for one in digits]).argsort(stable=True)[::4]
    first = digits.select(order if limit is None else order[:limit])
    for seed in range(2):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Conv2d(1, 4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        model = fs.Classifier(module, channels=1, input_size=28)
        for call in (
            lambda model: fs.evaluate(model, first, threat="linf:0.01", plan=PLAN),
            lambda model: fs.xray(model, first, sections=["clean"]),
            lambda model: fs.corruption_accuracy(model, first, corruptions=["contrast"]),
            lambda model: fs.class_map(model, first),
            lambda model: fs.transfer_matrix([model, model], first, fs.attack("fgsm", eps=0.01)),
        ):
            with pytest.raises(ChanceLevelError, match="better than chance"):
                call(model)


def test_at_chance_goes_on_and_says_so() -> None:
    own = torch.zeros(40, dtype=torch.long)
    verdict = fs.evaluate(
        network(Shown()), written(own), own, threat="linf:0.01", plan=PLAN, at_chance=True
    )
    assert verdict.clean_accuracy == 1
    seen, note = (note for note in verdict.notes if "classes" in note)
    assert seen.startswith("40 pictures of 1 of 10 classes; none of 'c1', 'c2'")
    assert "all are of one class, 'c0': no better than chance" in note


def test_a_stopped_run_has_a_note_and_no_refusal() -> None:
    own = torch.zeros(40, dtype=torch.long)
    verdict = fs.evaluate(
        network(Shown()), written(own), own, threat="linf:0.01", plan=PLAN, part=20,
        cancelled=lambda: True,
    )  # fmt: skip
    assert not verdict.complete
    assert any("of one class" in note for note in verdict.notes)
