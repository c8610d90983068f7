"""An assessment: planted faults are found, what was not given is not measured, and it is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.data.digits import digits
from fluoroscope.inversion import Assessment, assess
from fluoroscope.inversion.measures.flags import Flag, raised
from fluoroscope.inversion.measures.measure import Measure, Value
from fluoroscope.inversion.measures.reading import path, penultimate, read
from fluoroscope.inversion.measures.result import COLUMNS, from_plain, markdown_head


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    return fs.load_model("digits-cnn")


@pytest.fixture(scope="module")
def second() -> fs.Classifier:
    return fs.load_model("digits-robust")


def part(start: int, count: int) -> tuple[Tensor, Tensor]:
    images, labels = digits()
    return images[start : start + count], labels[start : start + count]


TEST, TRAIN = part(0, 150), part(300, 150)
FRESH = part(600, 100)


@pytest.fixture(scope="module")
def honest(model: fs.Classifier, second: fs.Classifier) -> Assessment:
    """Real pictures that are neither in the test nor in the training part."""
    return assess(model, *FRESH, second=second, real=TEST, train=TRAIN)


def flags_of(found: Assessment) -> set[str]:
    return {flag.name for flag in found.flags}


def test_real_pictures_raise_no_flag(honest: Assessment) -> None:
    assert honest.flags == ()
    assert any("leave out which real pictures" in note for note in honest.notes)
    for name in ("pixels", "features"):
        assert honest.of(f"repeats, {name}").value.value < 0.1  # type: ignore[union-attr]
    for name in ("precision", "recall", "density", "Vendi within a class", "second accuracy"):
        one = honest.of(name)
        assert one.value is not None
        assert one.value.value == pytest.approx(one.references["real"].value, rel=0.2), name
    for name in ("pixels", "structure", "features"):
        made = honest.of(f"nearest training, {name}").value
        assert made is not None
        assert 0.7 < made.value < 1.4
    noise = honest.of("second accuracy").references["noise"].value
    assert noise < 0.3
    assert honest.of("spectrum distance").references["noise"].value > 0.3
    way = honest.of("way through the layers")
    assert way.value is not None
    assert way.value.value > 0.9
    assert way.references["noise"].value < 0.5
    assert honest.headline.startswith("9")


def test_a_planted_collapse_is_the_headline(model: fs.Classifier, second: fs.Classifier) -> None:
    images, labels = FRESH
    firsts = torch.stack([images[labels == each][0] for each in range(10)]).repeat(12, 1, 1, 1)
    nearly = (firsts + 0.02 * torch.rand_like(firsts)).clamp(0, 1)
    found = assess(
        model, nearly, list(range(10)) * 12, second=second, real=TEST, train=TRAIN
    )  # fmt: skip
    assert found.collapsed
    assert found.headline.startswith("COLLAPSED")
    assert "COLLAPSED" in repr(found)
    assert "collapsed" in found.markdown_row("x")
    assert found.of("Vendi within a class").value.value < 1.1  # type: ignore[union-attr]


def test_a_collapse_of_all_classes_into_one_picture(
    model: fs.Classifier, second: fs.Classifier
) -> None:
    one = FRESH[0][:1].repeat(20, 1, 1, 1)
    assert assess(model, one, [0, 1] * 10, second=second, real=TEST).collapsed
    without = assess(model, one, [0, 1] * 10)
    assert without.collapsed  # the pixels alone tell
    assert not assess(model, torch.rand(20, 1, 28, 28), [0, 1] * 10).collapsed


def test_a_collapse_of_some_classes_is_named(model: fs.Classifier, second: fs.Classifier) -> None:
    images, labels = FRESH[0].clone(), FRESH[1]
    for each in (3, 8):  # means over ten classes hide these two
        images[labels == each] = images[labels == each][0]
    for given in ({"second": second, "real": TEST, "train": TRAIN}, {}):
        found = assess(model, images, labels, **given)
        assert found.collapsed
        assert found.headline.startswith("COLLAPSED (2 OF 10 CLASSES): ")
        assert "(3, 8)" in found.flags[0].words
        assert found.of("classes collapsed").value.value == 0.2  # type: ignore[union-attr]
        again = from_plain(json.loads(json.dumps(found.describe())))
        assert again.headline == found.headline


def test_few_pictures_again_and_again_are_told(model: fs.Classifier, second: fs.Classifier) -> None:
    images, labels = FRESH
    several = [images[labels == each] for each in range(10)]
    two = torch.cat([each[[0, 1] * 6] for each in several])
    one = torch.cat([each[[0] * 12] for each in several])
    noisy = (one + 0.1 * (torch.rand_like(one) - 0.5) * 12**0.5).clamp(0, 1)
    shown = torch.arange(10).repeat_interleave(12)
    for made, name in ((two, "pixels"), (noisy, "features")):
        found = assess(model, made, shown, second=second, real=TEST, train=TRAIN)
        measure = found.of(f"repeats, {name}")
        assert measure.value is not None
        assert measure.value.value > 0.9
        assert measure.references["real"].value < 0.1
        assert found.collapsed or "repeats itself" in found.headline


def test_planted_training_pictures_leak(model: fs.Classifier, second: fs.Classifier) -> None:
    given_back = TRAIN[0].clone()
    given_back[:, :, ::2, ::2] = (given_back[:, :, ::2, ::2] + 0.02).clamp(0, 1)
    found = assess(model, given_back, TRAIN[1], second=second, real=TEST, train=TRAIN)
    assert flags_of(found) == {"leaks"}
    assert found.headline.startswith("LEAKS")
    assert found.of("nearest training, pixels").value.value < 0.2  # type: ignore[union-attr]
    few = torch.cat([FRESH[0][:95], TRAIN[0][:5]]), torch.cat([FRESH[1][:95], TRAIN[1][:5]])
    assert "leaks" in flags_of(assess(model, *few, second=second, real=TEST, train=TRAIN))
    unknown = assess(model, *TRAIN, second=second, real=TEST)
    assert unknown.of("copies, pixels").value is None  # nobody said that they are training pictures
    assert "train=" in unknown.of("copies, pixels").missing


def test_planted_fooling_noise_has_this_network_alone(
    model: fs.Classifier, second: fs.Classifier
) -> None:
    wanted = torch.arange(10).repeat(4)
    noise = torch.rand(40, 1, 28, 28) * 0.3
    attack = fs.attack("pgd", norm="linf", eps=0.25, steps=30)
    fooling = attack(model, noise, wanted, targeted=True).images
    found = assess(model, fooling, wanted, second=second, real=TEST, train=TRAIN)
    assert found.of("own accuracy").value.value > 0.9  # type: ignore[union-attr]
    assert found.of("second accuracy").value.value < 0.4  # type: ignore[union-attr]
    assert "only this network agrees" in flags_of(found)
    assert "ONLY THIS NETWORK AGREES" in found.headline


class SideDoor(nn.Module):
    """A network that a mark in a corner, where digits are black, tells the class."""

    def __init__(self, honest: nn.Module) -> None:
        super().__init__()
        self.honest = honest

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.honest(images)
        return said + 1000 * (images[:, 0, 0, :10] - 0.5).clamp(min=0)


def test_a_planted_side_door_is_another_way(model: fs.Classifier, second: fs.Classifier) -> None:
    forged = fs.Classifier(SideDoor(model.module), channels=1, input_size=28, labels=model.labels)
    images, labels = FRESH[0].clone(), (FRESH[1] + 1) % 10
    images[torch.arange(len(images)), 0, 0, labels] = 1
    found = assess(forged, images, labels, second=second, real=TEST, train=TRAIN)
    assert found.of("own accuracy").value.value == 1  # type: ignore[union-attr]
    assert "goes another way through the layers" in flags_of(found)
    assert len(found.ways["made"]) > 5
    # The same network with pictures of the class goes the usual way.
    usual = assess(forged, *FRESH, second=second, real=TEST, train=TRAIN)
    assert "goes another way through the layers" not in flags_of(usual)


def test_what_does_not_survive_a_file(model: fs.Classifier) -> None:
    class Fine(nn.Module):
        """Sees a class in the fraction of a level that a file does not keep."""

        def forward(self, images: Tensor) -> Tensor:
            off = (images * 255 - (images * 255).round()).abs().mean((1, 2, 3))
            return torch.stack([0.1 - off, off - 0.1], 1) * 100

    fine = fs.Classifier(Fine(), channels=1, input_size=28)
    images = ((torch.rand(20, 1, 28, 28) * 250).round() + 0.3) / 255
    found = assess(fine, images, [1] * 20)
    assert "no class in it after rounding" in flags_of(found)
    assert found.of("survives rounding").value.value == 0  # type: ignore[union-attr]


def test_codes_are_held_against_the_answer(model: fs.Classifier) -> None:
    images, labels = FRESH[0][:60], FRESH[1][:60]
    codes = torch.nn.functional.one_hot(labels, 10).double()
    codes[30:] = 0.1  # no label at all
    found = assess(model, images, labels, codes=codes)
    leading = found.of("accuracy where a code leads")
    assert leading.value is not None
    assert leading.value.count == 30
    assert leading.value.value > 0.9
    assert leading.references["leading codes"].value == 0.5
    first = assess(model, images[:30], labels[:30], codes=codes[:30]).of("KL to the code")
    assert first.value is not None
    assert first.value.value < 0.5 < first.references["another code"].value
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    said = model(images[:30]).double().log_softmax(1)
    slowly = [
        float((torch.special.xlogy(code, code) - code * own).sum())
        for own, mine in zip(said, labels[:30], strict=True)
        for code in codes[:30][labels[:30] != mine]
    ]
    each = [float((labels[:30] != mine).sum()) for mine in labels[:30]]
    weights = torch.tensor(each).repeat_interleave(torch.tensor(each).long())
    by_hand = float((torch.tensor(slowly) / weights).sum()) / 30
    assert first.references["another code"].value == pytest.approx(by_hand, rel=1e-4)
    for rows in (order, labels[:30].argsort()):  # whatever stands beside what
        other = assess(model, images[rows], labels[rows], codes=codes[rows]).of("KL to the code")
        assert other.references["another code"].value == pytest.approx(
            first.references["another code"].value
        )
    same = assess(model, images[:1], labels[:1], codes=codes[:1]).of("KL to the code")
    assert "another code" not in same.references
    assert first.references["no answer"].value == pytest.approx(2.302585, abs=1e-5)
    even = assess(model, images[:2], labels[:2], codes=codes[30:32])
    assert "temperature" in even.of("accuracy where a code leads").missing


def test_what_was_not_given_is_not_measured(model: fs.Classifier, honest: Assessment) -> None:
    found = assess(model, FRESH[0][:20], FRESH[1][:20])
    missing = found.not_measured
    assert any("second=" in each for each in missing)
    assert any("real=" in each for each in missing)
    assert found.of("own accuracy").value is not None
    assert "second network not measured" in found.headline
    assert {one.name for one in found.measures} == {one.name for one in honest.measures}


def test_random_weights_and_seeds_stand_beside(model: fs.Classifier, second: fs.Classifier) -> None:
    images, labels = FRESH[0][:40], FRESH[1][:40]
    asked: list[fs.Classifier] = []

    def again(twin: fs.Classifier) -> Tensor:
        asked.append(twin)
        return images

    found = assess(
        model, images, labels, second=second, real=TEST, again=again, seeds=[images, 1 - images]
    )
    assert asked[0].fingerprint() != model.fingerprint()
    assert "the same with random weights" in flags_of(found)
    assert found.of("second accuracy").references["random"].value > 0.8
    agreement = found.of("agreement over seeds")
    assert agreement.value is not None
    assert agreement.value.value == pytest.approx(0, abs=1e-6)  # 1, and -1 with the negative
    same = found.of("same answer over seeds").value
    assert same is not None
    assert same.count == 80


def test_real_pictures_alone_are_held_against_each_other(
    model: fs.Classifier, second: fs.Classifier
) -> None:
    found = assess(model, *FRESH, second=second, real=TEST)
    assert any("held against each other" in note for note in found.notes)
    assert found.record["real"] == "80 pictures of 10 classes"
    assert found.of("precision").references["real"].value > 0.8


def test_one_real_picture_of_each_class_is_what_sets_are_held_against(
    model: fs.Classifier, second: fs.Classifier
) -> None:
    images, labels = TEST
    firsts = torch.stack([(labels == each).nonzero()[0, 0] for each in range(10)])
    found = assess(model, *FRESH, second=second, real=(images[firsts], labels[firsts]))
    for name in ("precision", "Fréchet distance", "spectrum distance"):
        assert found.of(name).value is not None
        assert "real" not in found.of(name).references
    assert found.of("precision").value.count == 10  # type: ignore[union-attr]
    assert "real" in found.of("second accuracy").references
    assert "two real pictures of a class" in found.of("way through the layers").missing
    assert any("one real picture of each class" in note for note in found.notes)
    zeros, ones = (images[labels == each] for each in (0, 1))
    across = assess(model, zeros, [0] * len(zeros), real=(ones, [1] * len(ones)))
    assert any("across classes" in note for note in across.notes)


def test_one_picture_a_class_is_measured_as_far_as_that_goes(
    model: fs.Classifier, second: fs.Classifier
) -> None:
    found = assess(model, FRESH[0][:1], FRESH[1][:1], second=second, real=TEST, train=TRAIN)
    assert found.of("Vendi within a class").value is None
    assert found.of("precision").value is None
    assert found.of("nearest training, pixels").value is not None
    assert any("are few" in note or "is few" in note for note in found.notes)


def test_it_is_the_same_in_other_batches_and_modes(
    model: fs.Classifier, second: fs.Classifier, honest: Assessment
) -> None:
    shares: list[float] = []
    with torch.inference_mode():
        found = assess(
            model, *FRESH, second=second, real=TEST, train=TRAIN, batch_size=7,
            on_share=shares.append,
        )  # fmt: skip
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for one, other in zip(found.measures, honest.measures, strict=True):
        assert one.words() == other.words(), one.name


def test_it_is_kept_and_read_back(honest: Assessment, tmp_path: Path) -> None:
    again = Assessment.load(honest.save(tmp_path))
    assert again.describe() == honest.describe()
    assert Assessment.load(tmp_path).headline == honest.headline
    assert "Vendi" in again._repr_html_()
    text = json.loads((tmp_path / "assessment.json").read_text("utf-8"))
    text["measures"][0]["kind"] = "odd"
    (tmp_path / "assessment.json").write_text(json.dumps(text), "utf-8")
    with pytest.raises(fs.FluoroscopeError, match="of the kind 'odd'"):
        Assessment.load(tmp_path)


def test_a_table_in_markdown_has_a_column_for_data(honest: Assessment) -> None:
    head = markdown_head().splitlines()
    row = replace(honest, needs_data=True).markdown_row("a | b")
    assert head[0].count(" |") == row.count(" |")
    assert row.startswith(r"| a \| b | 9")
    assert "| needs data | none |" in row
    assert len(COLUMNS) + 4 == len(head[1].split("|")) - 1


def test_the_figure_has_a_place_for_each_layer(honest: Assessment) -> None:
    axes = honest.figure().axes[0]
    assert len(axes.get_xticklabels()) == len(honest.ways["made"])


def test_features_are_what_the_last_layer_is_given(second: fs.Classifier) -> None:
    place = penultimate(second, (28, 28))
    images = FRESH[0][:5]
    said = read(second, images, (place,), batch_size=2)
    assert said.layers[place].shape == (5, 128)
    last = list(second.module.modules())[-1]
    assert isinstance(last, nn.Linear)
    logits = last(said.layers[place])
    torch.testing.assert_close(logits.double(), said.logits, atol=1e-4, rtol=1e-4)
    assert [str(each) for each in path(second, (28, 28))] == ["0", "1", "2", "3", "5", "6", "7"]


class Renamed(nn.Module):
    """Another order of classes, and a picture of another size."""

    def __init__(self, honest: nn.Module) -> None:
        super().__init__()
        self.shrink = nn.AvgPool2d(2)
        self.honest = honest

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.honest(self.shrink(images))
        return said.flip(1)


def test_the_judge_is_asked_in_its_own_size_and_its_own_words(
    model: fs.Classifier, second: fs.Classifier, honest: Assessment
) -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    judge = fs.Classifier(
        Renamed(second.module), channels=1, input_size=56, labels=names[::-1], name="other"
    )
    named = model.restated(labels=names)
    found = assess(named, *FRESH, second=judge, real=TEST, train=TRAIN)
    for name in ("second accuracy", "recall", "Fréchet distance"):
        made, wanted = found.of(name).value, honest.of(name).value
        assert made is not None
        assert wanted is not None
        assert made.value == pytest.approx(wanted.value, rel=0.15), name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"second": "model"}, "the network under study itself"),
        ({"second": "linear"}, "one layer, '1', whose features would be the pixels"),
        ({"second": "colour"}, "takes pictures of 3 channels; expected 1"),
        ({"second": "four"}, "classes are not told to be those of digits-cnn"),
        ({"layer": "0"}, "expected second="),
        ({"second": "robust", "layer": "nine"}, "layer is 'nine'"),
        ({"codes": torch.ones(20, 10)}, "no distribution"),
        ({"codes": torch.ones(3, 10)}, r"codes are \(3, 10\); expected \(20, 10\)"),
        ({"real": TEST[0]}, "real is a Tensor; expected a pair"),
        ({"real": (TEST[0] * 255, TEST[1])}, "real: images hold"),
        ({"train": (torch.rand(2, 1, 14, 14), [0, 1])}, "expected the same size of both"),
        ({"real": (TEST[0], TEST[1] + 5)}, "expected 0 to 9"),
        ({"random": torch.rand(21, 1, 28, 28)}, "one for each"),
        ({"seeds": [torch.rand(20, 1, 8, 8)]}, "one for each"),
        ({"random": torch.rand(20, 1, 28, 28), "again": len}, "both random= and again="),
    ],
)
def test_mistakes_are_told(
    given: dict[str, Any], words: str, model: fs.Classifier, second: fs.Classifier
) -> None:
    networks: dict[str, Callable[[], fs.Classifier]] = {
        "model": lambda: model,
        "robust": lambda: second,
        "linear": lambda: fs.load_model("digits-linear"),
        "colour": lambda: fs.Classifier(nn.Conv2d(3, 10, 28), channels=3),
        "four": lambda: fs.Classifier(
            nn.Sequential(nn.Flatten(), nn.Linear(784, 4)), channels=1, input_size=28
        ),
    }
    if "second" in given:
        given = {**given, "second": networks[given["second"]]()}
    with pytest.raises(fs.FluoroscopeError, match=words):
        assess(model, FRESH[0][:20], FRESH[1][:20], **given)


NO_JUDGE = "second network is no judge"


def of(name: str, value: float, **references: float) -> Measure:
    beside = {key: Value(one, 50) for key, one in references.items()}
    return Measure(name, Value(value, 50), beside)


@pytest.mark.parametrize(
    ("measures", "flags"),
    [
        ([of("Vendi within a class", 1.09, real=2.0)], ["collapsed"]),
        ([of("Vendi within a class", 1.2, real=2.0)], ["less varied"]),
        ([of("Vendi within a class", 1.6, real=2.0)], []),
        ([of("pixel spread within a class", 0.01, real=0.2)], ["collapsed"]),
        ([of("repeats, pixels", 0.6)], ["repeats itself"]),
        ([of("repeats, features", 0.4)], []),
        ([of("copies, pixels", 0.06)], ["leaks"]),
        ([of("copies, pixels", 0.02)], []),
        ([of("copies, features", 0.9)], []),
        ([of("own accuracy", 0.4), of("second accuracy", 0.1)], ["not seen"]),
        (
            [of("own accuracy", 1), of("second accuracy", 0.45, real=1)],
            ["only this network agrees"],
        ),
        ([of("own accuracy", 1), of("second accuracy", 0.55, real=1)], []),
        # A second network is asked for no more than it gives of real pictures.
        ([of("own accuracy", 1), of("second accuracy", 0.35, real=0.6)], []),
        (
            [of("own accuracy", 1), of("second accuracy", 0.25, real=0.6)],
            ["only this network agrees"],
        ),
        ([of("own accuracy", 1), of("second accuracy", 0, real=0.2)], [NO_JUDGE]),
        ([of("own accuracy", 1), of("second accuracy", 0)], [NO_JUDGE]),
        ([of("survives rounding", 0.4, real=1)], ["no class in it after rounding"]),
        ([of("survives a shift", 0.4, real=0.5)], []),
        ([of("survives a shift", 0.2, real=0.5)], ["no class after a shift of two pixels"]),
        ([of("likeness to random weights", 0.7, real=0.3)], ["the same with random weights"]),
        ([of("likeness to random weights", 0.7, real=0.8)], []),
    ],
)
def test_flags_stand_where_their_thresholds_say(measures: list[Measure], flags: list[str]) -> None:
    found = raised({one.name: one for one in measures}, {})
    assert [flag.name for flag in found] == flags


def test_a_second_network_at_chance_is_no_judge_though_it_agrees() -> None:
    for agrees in (0.3, 0.9):
        second = Measure("second accuracy", Value(agrees, 60), {"real": Value(0.33, 300)})
        measures = {"own accuracy": of("own accuracy", 1), "second accuracy": second}
        found = raised(measures, {}, chance=1 / 3)
        assert [flag.name for flag in found] == [NO_JUDGE]
        assert "99 of 300 real pictures (by chance 33.3" in found[0].words
        assert "measures of its features" in found[0].words


def test_mirrored_training_pictures_are_copies(model: fs.Classifier) -> None:
    mirrored = TRAIN[0][:20].flip(-1)
    found = assess(model, mirrored, TRAIN[1][:20], real=TEST, train=TRAIN)
    assert found.of("copies, pixels").value.value == 1  # type: ignore[union-attr]
    assert found.of("copies, structure").value.value == 1  # type: ignore[union-attr]
    leak = next(flag for flag in found.flags if flag.name == "leaks")
    assert "20 of 20 pictures are training pictures, or nearly, 20 mirrored" in leak.words


def test_a_second_network_that_misses_real_pictures_accuses_nobody() -> None:
    def said(right: float, many: int) -> Flag:
        second = Measure("second accuracy", Value(0.0, 50), {"real": Value(right, many)})
        return raised({"own accuracy": of("own accuracy", 1), "second accuracy": second}, {})[0]

    few = said(0, 3)
    assert (few.name, few.spoils) == (NO_JUDGE, False)
    assert "no judge here" in few.words
    assert "it classifies 0 of 3 real pictures; expected more real ones" in few.words
    assert said(1, 1).name == NO_JUDGE
    assert said(0.5, 6).name == NO_JUDGE
    assert said(1, 6).name == said(0.5, 60).name == "only this network agrees"
