"""What a report says, for networks of every kind, and when something goes wrong."""

import errno
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_networks import MARKUP, small
from torch import nn

import fluoroscope as fs
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.engine.labels import labelled
from fluoroscope.errors import StorageError
from fluoroscope.evaluation.curve import Curve
from fluoroscope.files import in_use
from fluoroscope.report import audited
from fluoroscope.report.audited import Believed, Told
from fluoroscope.report.audited import methods as every_method
from fluoroscope.report.blocks import Figure
from fluoroscope.report.phases import _WEIGHTS, Phases
from fluoroscope.report.registry import SECTIONS, Section
from fluoroscope.report.sections import curve as curve_section
from fluoroscope.report.sections import find_sections
from fluoroscope.report.sections.gradients import _score, _which
from fluoroscope.report.study import Study

pytestmark = pytest.mark.usefixtures("page", "quick")

ALL = ["verdict", "clean", "curve", "pictures", "map", "corruptions", "gradients", "trace",
       "consistency", "portraits", "next"]  # fmt: skip


class Tags(HTMLParser):
    """Every tag with its attributes, the words of the page, and where each section begins."""

    void = ("meta", "link", "img", "br", "path", "use", "image", "stop")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def assert_whole(report: fs.Report) -> None:
    assert not report.missing
    assert not Tags(report.html).open
    assert len(report.html) < 2_000_000


def test_every_section_is_there_and_its_numbers_are_those_of_the_findings(page: fs.Report) -> None:
    assert not page.missing
    found = page.describe()["sections"]
    assert list(found) == ALL
    tags = Tags(page.html)
    assert [a["id"] for t, a in tags.tags if t == "section"] == ALL
    batch = next(iter(fs.load_images("digits", channels=1).take(24).batches(24)))
    assert batch.labels is not None
    right = int(
        (fs.predict(fs.load_model("digits-cnn"), batch.images).winners == batch.labels).sum()
    )
    assert round(found["clean"]["accuracy"] * 24) == right
    assert round(found["verdict"]["clean_accuracy"] * 24) == right
    assert f"{100 * found['verdict']['robust_accuracy']:.1f} %" in tags.text
    json.dumps(page.describe(), allow_nan=False)


def test_the_share_goes_through_its_phases_in_the_order_in_which_they_are_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    at = Phases.at

    def noted(self: Phases, phase: str, share: float) -> float:
        if phase and phase not in begun:
            begun.append(phase)
        return at(self, phase, share)

    monkeypatch.setattr(Phases, "at", noted)
    model, images, labels = small(2)
    report = fs.xray(
        model, images, labels, threat="linf:0.02", on_progress=lambda what, share: None
    )
    assert_whole(report)
    assert begun == [one for one in _WEIGHTS if one in begun]
    assert {"read", "gradients", "attack", "trace", "corruptions", "portraits", "consistency",
            "map"} <= set(begun)  # fmt: skip


def test_verdict_is_that_of_the_evaluation_and_of_the_curve(page: fs.Report) -> None:
    found = page.describe()["sections"]["verdict"]
    at = [one for one in found["curve"]["points"] if one["eps"] <= 0.3 + 1e-6][-1]
    assert at["accuracy"] == pytest.approx(found["robust_accuracy"])


def test_pictures_shown_are_misread_at_the_distance_that_is_written(page: fs.Report) -> None:
    shown = page.describe()["sections"]["pictures"]["shown"]
    assert shown
    assert all(one["label"] != one["became"] for one in shown)
    curve = page.describe()["sections"]["verdict"]["curve"]
    most = max(one["eps"] for one in curve["points"])
    assert all(0 < one["distance"] <= most + 1e-4 for one in shown)


def test_page_is_whole_small_and_loads_nothing(page: fs.Report) -> None:
    tags = Tags(page.html)
    assert not tags.open
    assert len(page.html.encode()) < 10_000_000
    assert not [tag for tag, _ in tags.tags if tag in ("script", "iframe", "object", "embed")]
    for _, attributes in tags.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "style"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or name == "style" or not value
            assert "http" not in value.split("base64")[0]
    assert "@import" not in page.html
    names = [a["id"] for _, a in tags.tags if "id" in a]
    assert len(names) == len(set(names))
    for tag, attributes in tags.tags:
        if tag == "img":
            assert attributes["alt"]


@pytest.mark.parametrize(("classes", "channels", "side"), [(2, 1, 16), (10, 1, 28), (1000, 3, 16)])
def test_networks_of_every_kind_give_a_whole_page(classes: int, channels: int, side: int) -> None:
    model, images, labels = small(classes, channels=channels, side=side)
    assert_whole(fs.xray(model, images, labels, threat=fs.Linf(0.02)))


def test_markup_in_names_stays_text() -> None:
    labels = [f"{number} {MARKUP}" for number in range(3)]
    model, images, numbers = small(3, labels=labels)
    model.name = MARKUP
    report = fs.xray(
        model, images, numbers, threat="linf:0.02", command=f"xray {MARKUP}",
        sections=["verdict", "clean", "pictures", "map", "next"],
    )  # fmt: skip
    assert not report.missing
    tags = Tags(report.html)
    assert not [tag for tag, _ in tags.tags if tag in ("script", "b")]
    assert "<script" not in report.html
    assert '<script>alert("1")</script>' in tags.text


def test_formulas_in_names_are_no_formulas() -> None:
    model, images, numbers = small(3, labels=["$x^2$", r"$\frac{", "c_1"])
    model.name = "_$y^2$"  # an underscore in front would leave it out of a legend
    report = fs.xray(model, images, numbers, threat="linf:0.02", sections=["map", "curve"])
    assert not report.missing
    assert "$x^2$" in Tags(report.html).text
    [curve] = [one for one in report.sections if one.name == "curve"]
    [figure] = [block for block in curve.blocks if isinstance(block, Figure)]
    assert "_$y^2$" in figure.svg


def test_a_section_that_fails_says_so_and_the_others_stand(monkeypatch: Any) -> None:
    def broken(study: Study) -> None:
        raise ZeroDivisionError("<i>nothing</i> left")

    find_sections()
    before = SECTIONS["curve"]
    monkeypatch.setitem(
        SECTIONS, "curve", Section("curve", before.title, before.order, before.cost, broken)
    )
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["clean", "curve"])
    assert list(report.missing) == ["curve"]
    text = Tags(report.html).text
    assert "ZeroDivisionError: <i>nothing</i> left." in text
    assert "By class" in text


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space"), StorageError("full")])
def test_a_full_disk_is_no_sections_fault(problem: Exception, monkeypatch: Any) -> None:
    def fail(study: Study) -> Any:
        raise problem

    find_sections()
    monkeypatch.setitem(SECTIONS, "clean", replace(SECTIONS["clean"], build=fail))
    model, images, labels = small(3)
    with pytest.raises(StorageError, match="full"):
        fs.xray(model, images, labels, sections=["clean"])


def test_one_report_at_a_time_in_one_directory(tmp_path: Path) -> None:
    model, images, labels = small(3)
    with in_use(tmp_path), pytest.raises(fs.FluoroscopeError, match="in use by process"):
        fs.xray(model, images, labels, sections=["clean"], run=tmp_path)


def test_a_norm_without_a_search_leaves_its_sections_out() -> None:
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="l0:4")
    assert {"clean", "gradients", "next"} <= set(report.describe()["sections"])
    assert all(why.endswith(".") for why in report.missing.values())


def test_where_nothing_is_classified_correctly_no_check_of_trust_is_made() -> None:
    model, images, _ = small(3)
    wrong = (fs.predict(model, images).winners + 1) % 3
    report = fs.xray(model, images, wrong, sections=["verdict"], at_chance=True)
    assert not report.missing
    assert not report.describe()["sections"]["verdict"]["trust"]
    assert "No picture is classified correctly" in report.html


def test_networks_without_a_gradient_still_have_a_page() -> None:
    class Steps(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> Any:
            return self.module((x * 255).round() / 255)

    model, images, labels = small(3)
    model.module = Steps(model.module)
    labels = torch.where(torch.arange(24) < 20, fs.predict(model, images).winners, labels)
    report = fs.xray(model, images, labels, threat="linf:0.02")
    assert "clean" in report.describe()["sections"]


def test_training_is_advised_as_far_as_it_can_train_the_network() -> None:
    model, images, labels = small(3)
    given = {"threat": "linf:0.2", "sections": ["verdict", "next"]}

    def advised(model: fs.Classifier) -> dict[str, Any]:
        steps = fs.xray(model, images, labels, **given).describe()["sections"]["next"]["steps"]
        return next(step for step in steps if step["title"].startswith("Train"))

    assert "import fluoroscope as fs" in advised(model)["command"]
    module = nn.Sequential(model.module, nn.Softmax(1))
    other = fs.Classifier(module, input_size=16, name="odds", outputs="probabilities")
    assert not advised(other)["command"]
    assert "networks that return logits" in advised(other)["why"]


@pytest.mark.parametrize("threshold", [0.25, 2.0])
def test_maps_that_are_zero_everywhere_are_not_compared(threshold: float) -> None:
    class Dark(nn.Module):
        """Nothing comes back to the pixels of pictures that are dark."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> Any:
            bright = x.mean((1, 2, 3), keepdim=True) > threshold
            return self.module(torch.where(bright, x, x.detach() + 0 * x))

    model, images, labels = small(3)
    images[:16] *= 0.4
    model.module = Dark(model.module)
    labels = torch.where(torch.arange(24) < 20, fs.predict(model, images).winners, labels)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["gradients"])
    found = report.describe()["sections"]["gradients"]
    bright = 8 if threshold < 1 else 0
    assert (found["pictures"], found["without_a_map"]) == (bright, 24 - bright)
    assert ("likeness of “gradient” and “gradient, random weights”" in report.html) == bool(bright)
    assert ("For 16 pictures more" in report.html) == bool(bright)
    if not bright:
        assert found["likeness"] is None
        assert report.summary.startswith("Nothing can be told from the maps")


def test_the_best_maps_that_can_be_believed_stand_beside_the_gradient() -> None:
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["gradients"])
    found = report.describe()["sections"]["gradients"]["audit"]
    assert [(one["method"], one["verdict"]) for one in found["told"]] == [
        ("gradient", "valid"), ("gradient-x-input", "valid")
    ]  # fmt: skip
    assert found["best"] == ["gradient-x-input"]
    assert all(one["forgot"] for one in found["told"])
    assert found["complete"] is True
    assert "gradient-x-input of " in report.html
    assert "2 of 2 attribution methods are valid on this network" in report.html
    assert '<td data-head="why">A blob in the centre.</td>' in report.html
    assert "which is better was not measured" not in report.html


def test_remarks_stand_beside_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "methods", lambda: ["gradient", "eigen-cam"])
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["gradients"])
    assert "It knows no class" in report.html


def test_what_was_not_measured_is_not_claimed() -> None:
    """And where nothing is, edges and what needs a pixel that is not black come last."""
    assert every_method()[:4] == ["gradient", "deeplift", "layer-cam", "lrp"]
    assert every_method()[-3:] == ["gradient-x-input", "guided-backprop", "deconvolution"]
    told = [Told(name, "valid", [], [], None, 0, None, False) for name in ("gradient", "lrp")]
    found = Believed(told, ["lrp"], "srg", ranked=False, controls={}, complete=False)
    assert "which is better was not measured" in _which(found)
    told = [replace(one, score=0.5, pictures=12) for one in told]
    found = replace(found, told=told, controls={"edges": 0.4, "random": 0.1})
    assert "these pictures leave open" in _which(found)
    words = _which(replace(found, ranked=True))
    assert "scored on 12 pictures, it names best" in words
    assert _score(0.72, 4, 12) == ["0.72 (4 pictures)"]
    assert _score(0.72, 12, 12) == ["0.72"]
    assert "0.50; of maps that know nothing of the network the best, the picture's edges" in words
    assert "0.40" in words


def test_without_time_for_an_audit_it_shows_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "_SECONDS", 0.0)
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["gradients"])
    assert report.describe()["sections"]["gradients"]["audit"] is None
    assert "There was no time to look which other maps can be believed here." in report.html
    assert "random weights" in report.html


def test_a_stopped_report_holds_what_was_found() -> None:
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", cancelled=lambda: True)
    assert set(report.missing) == set(ALL) - {"clean", "next"}
    assert all("stopped" in why for why in report.missing.values())
    calls = 0

    def later() -> bool:
        nonlocal calls
        calls += 1
        return calls > 12

    report = fs.xray(model, images, labels, threat="linf:0.02", cancelled=later)
    assert "clean" in report.describe()["sections"]
    assert report.missing


def test_a_budget_that_is_up_says_what_was_left_out() -> None:
    model, images, labels = small(3)
    report = fs.xray(model, images, labels, threat="linf:0.02", budget=1e-6)
    assert set(report.missing) == set(ALL) - {"clean", "next"}
    assert all("time was up" in why for why in report.missing.values())


def test_a_kept_report_is_read_back(tmp_path: Path, monkeypatch: Any) -> None:
    model, images, labels = small(3)
    options: dict[str, Any] = {"threat": "linf:0.02", "run": tmp_path / "run"}
    first = fs.xray(model, images, labels, **options)
    calls = []
    forward = type(model.module).forward
    monkeypatch.setattr(
        type(model.module), "forward", lambda self, x: calls.append(len(x)) or forward(self, x)
    )
    again = fs.xray(model, images, labels, **options)
    assert again.describe()["sections"] == first.describe()["sections"]
    # What remains: who is named in the pictures that are shown, and what was fed.
    assert sum(calls) < 60
    for file in (tmp_path / "run").glob("*.safetensors"):
        # Whole, and of something else, as it is after copying one file over another.
        save_file({"other": torch.zeros(3)}, file)
    for file in (tmp_path / "run").glob("*.json"):
        file.write_text("{")
    anew, before = (
        {name: found for name, found in report.describe()["sections"].items() if name != "map"}
        for report in (fs.xray(model, images, labels, **options), first)
    )
    assert anew == before


def test_the_same_call_makes_the_same_page() -> None:
    model, images, labels = small(4)
    one, other = (
        fs.xray(model, images, labels, threat="linf:0.02", sections=["clean", "curve", "map"]).html
        for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sections": ["verdict", "nonsense"]}, "nonsense"),
        ({"sections": []}, "none"),
        ({"budget": 0}, "budget"),
        ({"threat": "linf"}, "bound"),
        ({"threat": "linf:0"}, "bound"),
        ({"threat": "linfinite:1"}, "linfinite"),
    ],
)
def test_mistakes_are_told(wrong: dict[str, Any], message: str) -> None:
    model, images, labels = small(3)
    with pytest.raises(fs.FluoroscopeError, match=message):
        fs.xray(model, images, labels, **wrong)


def test_chance_level_is_refused() -> None:
    model, images, labels = small(10)
    with pytest.raises(fs.FluoroscopeError, match="no better than chance"):
        fs.xray(model, images, (labels + 3) % 10)


def test_a_report_at_chance_level_says_so() -> None:
    model, images, labels = small(10)
    wrong = (labels + 3) % 10
    made = fs.xray(model, images, wrong, sections=["clean"], at_chance=True)
    assert "no better than chance among 10 classes" in made.html


def test_an_unwritable_place_is_told(page: fs.Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(fs.FluoroscopeError, match="cannot write"):
        page.save(tmp_path / "file" / "report.html")


@pytest.mark.parametrize(("side", "large"), [(16, False), (72, True)])
def test_without_a_stated_size_pictures_are_as_large_as_they_are(side: int, large: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3)).eval()
    for size in (None, side):
        model = fs.Classifier(module, input_size=size, channels=3, name="free")
        images = labelled(model, torch.rand(3, 3, side, side), torch.arange(3))
        study = Study(model, images, fs.Linf(0.02))
        assert (study.size, study.side, study.large) == ((side, side), side, large)


@pytest.mark.parametrize("own", [None, ["Cat", "bird", "ship"]])
def test_classes_with_numbers_alone_go_by_the_names_of_the_data(own: list[str] | None) -> None:
    model, pictures, labels = small(3)
    model = model if own is None else model.restated(labels=own)
    images = ImageSet(
        ArraySource(pictures, "photos", labels), "photos", labels=["cat", "dog", "ship"]
    )
    report = fs.xray(
        model, images, threat="linf:0.02", sections=["verdict", "clean", "next"], require="class>=1"
    )  # fmt: skip
    by_class = set(report.describe()["sections"]["clean"]["by_class"])
    assert by_class == {"cat", "dog", "ship"} if own is None else set(own)
    named = "0 is &#39;cat&#39;, 1 is &#39;dog&#39; and 2 is &#39;ship&#39;"
    assert (named in report.html) == (own is None)
    [required] = report.requirements
    assert required.words.split(":")[0].removeprefix("class ") in by_class
    assert model.labels == (("0", "1", "2") if own is None else tuple(own))


def test_no_row_of_a_curve_stands_twice() -> None:
    model, images, labels = small(3)
    study = Study(model, labelled(model, images, labels), fs.Linf(0.02))
    # Levels of 8 bits, as float32 has the differences between them.
    levels = np.array([1, 1, 1, 2, 2, 3]) / 255 + np.arange(6) * 1e-9
    found = Curve("linf", levels, np.zeros(6, dtype=np.int64))
    rows = curve_section._figure(study, found, []).table.rows
    assert [row[0] for row in rows[1:]] == ["1/255", "2/255", "3/255"]
    # Of those that are one, the last: half of them are fooled by then.
    assert rows[1][1] == "50.0\N{NARROW NO-BREAK SPACE}%"


def test_classes_without_a_place_in_the_table_of_classes_are_named() -> None:
    model, pictures, _ = small(3, labels=["cat", "dog", "ship"])
    read = fs.predict(model, pictures).winners
    pictures = torch.cat([pictures[read != 1].repeat(4, 1, 1, 1), pictures[read == 1][:1]])
    labels = fs.predict(model, pictures).winners
    report = fs.xray(model, pictures, labels, threat="linf:0.02", sections=["curve"])
    assert "The smallest change by class" in report.html
    assert "classified correctly: dog." in report.html


def test_other_labels_are_another_study(tmp_path: Path) -> None:
    """What a data set's names mean depends on what the network's classes are called."""
    model, images, _ = small(3)
    images = images[:12]  # too few to be at chance level
    numbers = fs.predict(model, images).winners.tolist()
    words = [f"class {number}" for number in numbers]
    for order in (1, -1):
        named = model.restated(labels=[f"class {number}" for number in range(3)][::order])
        found = fs.xray(named, images, words, sections=["clean"], run=tmp_path)
        right = sum(named.labels[n] == word for n, word in zip(numbers, words, strict=True))
        assert found.describe()["sections"]["clean"]["accuracy"] == right / len(words)
