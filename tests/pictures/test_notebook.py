"""Every result shows itself: in a line as text, and in a notebook without network, harm or fail."""

import base64
import inspect
import io
import math
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.morph_result import MorphPlan, MorphStep
from fluoroscope.data.batches import Batch, Sample
from fluoroscope.engine.information import Information
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.class_map import Pair
from fluoroscope.evaluation.corruptions.mce import MeanCorruptionError
from fluoroscope.evaluation.corruptions.table import Row
from fluoroscope.evaluation.planted.examples import Example
from fluoroscope.evaluation.runs.compare import ClassChange, paired
from fluoroscope.evaluation.runs.table import Against, RunRow
from fluoroscope.evaluation.transfer import Share
from fluoroscope.evaluation.verdict import Component
from fluoroscope.neurons.answers.naming import UnitName
from fluoroscope.neurons.answers.top import TopPicture
from fluoroscope.neurons.reading.units import Units
from fluoroscope.pictures import html
from fluoroscope.training.job.run import Trained
from fluoroscope.training.trainer.step import FitStep

HOSTILE = ('<script>alert("x")</script>', "_x", "$\\frac$", "a' onerror=b &amp; <b>", "鶴\n\u202e")
MOST = 1_500_000
# What a page of ours is made of; an element beyond these is somebody's markup.
TAGS = {
    "div", "style", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "figure", "img",
    "figcaption", "br", "iframe", "svg", "g", "path", "defs", "use", "text", "tspan", "clippath",
    "rect", "image",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def pictures(self) -> Iterator[tuple[Image.Image, dict[str, str | None]]]:
        for tag, attributes in self.elements:
            if tag == "img":
                kind, _, content = str(attributes["src"]).partition(",")
                assert kind == "data:image/png;base64"
                yield Image.open(io.BytesIO(base64.b64decode(content))), attributes


def labels_of(classes: int) -> tuple[str, ...]:
    return (*HOSTILE, *map(str, range(len(HOSTILE), classes)))[:classes]


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def a_morph(channels: int = 1, classes: int = 10, side: int = 6, **changed: Any) -> fs.MorphResult:
    steps = 12
    frames = noise(steps, channels, side, side)
    logits = 9 * torch.eye(classes)[torch.arange(steps).clamp(max=classes - 1)]
    found: dict[str, Any] = {
        "model": HOSTILE[0],
        "labels": labels_of(classes),
        "plan": MorphPlan("to", 1, 11, 0.1, "sign", "linf", 0.3, "logit", False, None, 0),
        "original": frames[0],
        "image": frames[-1],
        "frames": frames,
        "frame_steps": torch.arange(steps),
        "probabilities": logits.softmax(1),
        "objective": torch.zeros(steps, dtype=torch.float64),
        "l0": torch.arange(steps),
        "l2": torch.linspace(0, 1, steps),
        "linf": torch.linspace(0, 0.3, steps),
        "provenance": {},
    }
    return fs.MorphResult(**(found | changed))


def an_attack(
    channels: int = 1, classes: int = 10, side: int = 6, count: int = 9, fill: float | None = None
) -> fs.AttackResult:
    originals = noise(count, channels, side, side)
    images = originals.flip(0) if fill is None else torch.full_like(originals, fill)
    rows = torch.arange(count)
    return fs.AttackResult(
        images=images,
        originals=originals,
        logits=noise(count, classes) if fill is None else torch.full((count, classes), fill),
        success=rows % 4 != 3,
        at_start=rows == 0,
        finished=rows != 1,
        distance=rows / 10,
        forwards=rows + 1,
        backwards=rows,
        read_as=rows % classes,
        read_probability=torch.full((count,), 0.5),
        notes=(HOSTILE[0], *HOSTILE),
        classes=rows % classes,
        numbers=rows,
        record={"attack": "PGD", "model": HOSTILE[0], "targeted": False},
        names=tuple(HOSTILE[row % len(HOSTILE)] for row in range(count)),
        labels=labels_of(classes),
    )


def an_attribution(
    channels: int = 1, side: int = 6, count: int = 9, *, heat: bool = False, **changed: Any
) -> fs.Attribution:
    maps = noise(count, 1 if heat else channels, side, side) - (0.0 if heat else 0.5)
    rows = torch.arange(count)
    found: dict[str, Any] = {
        "maps": maps,
        "images": noise(count, channels, side, side),
        "targets": rows % 10,
        "values": rows.double(),
        "error": torch.linspace(0, 1, count, dtype=torch.float64),
        "forwards": rows + 1,
        "backwards": rows,
        "numbers": rows,
        "record": {"method": "gradient", "promise": "completeness", "model": HOSTILE[0]},
        "labels": labels_of(10),
        "notes": HOSTILE,
    }
    return fs.Attribution(**(found | changed))


def some_portraits(
    channels: int = 1, side: int = 6, count: int = 14, **changed: Any
) -> fs.Portraits:
    from fluoroscope.inversion.portraits.second_opinion import Opinion

    rows = torch.arange(count)
    found: dict[str, Any] = {
        "images": noise(count, channels, side, side),
        "targets": rows % 10,
        "towards": torch.where(rows % 3 == 2, -1.0, 1.0),
        "logits": noise(count, 10),
        "transparency": noise(count, 1, side, side),
        "curve": noise(count, 3, 5),
        "weights": noise(count, 2),
        "stations": noise(count, 4, channels, side, side),
        "reached": torch.zeros(count, 4, dtype=torch.long),
        "frames": noise(count, 0, channels, side, side),
        "starts": noise(count, channels, side, side),
        "start_logits": noise(count, 10),
        "forwards": rows,
        "backwards": rows,
        "numbers": rows,
        "record": {
            "model": HOSTILE[0], "method": {"goal": HOSTILE[1], "steps": 4}, "prior": HOSTILE[2],
            "priors": list(HOSTILE[:2]),
        },
        "labels": labels_of(10),
        "notes": HOSTILE,
        "second": tuple(Opinion(HOSTILE[row % 5], 0.5, None, agrees=False) for row in range(count)),
    }  # fmt: skip
    return fs.Portraits(**(found | changed))


def a_verdict(curve: fs.Curve | None = None) -> fs.Verdict:
    part = Component(HOSTILE[0], 9, 3, 0, 0.5, (0.2, 0.8), 10, 10, 1.0)
    return fs.Verdict(
        10, 10, 0.9, (0.6, 1.0), 0.5, (0.2, 0.8), 30, 10, 65.0, (part,), True, (HOSTILE[0],),
        (Check(HOSTILE[3], "warn", HOSTILE[0]),),
        {"identity": {"model": HOSTILE[0], "threat": {"norm": "linf", "eps": 8 / 255},
                      "plan": {"name": HOSTILE[1]}}},
        curve,
    )  # fmt: skip


def a_curve(*distances: float) -> fs.Curve:
    return fs.Curve("linf", np.array(distances, float), np.zeros(len(distances), np.int64), HOSTILE)


def a_map(classes: int, *pairs: Pair) -> fs.ClassMap:
    return fs.ClassMap(
        labels_of(classes), "linf", pairs, "all", 3, 10, 10, 1.0, True, {"model": HOSTILE[0]}
    )


def many_pairs(classes: int) -> list[Pair]:
    ends = [(a, b) for a in range(min(classes, 60)) for b in range(min(classes, 60)) if a != b]
    return [Pair(a, b, math.inf if b == 3 else 0.01 * (a + b), 1, 1) for a, b in ends]


def planted_examples(many: int = 20) -> fs.PlantedExamples:
    examples = tuple(
        Example(n, n % 3 > 0, 1, HOSTILE[n % len(HOSTILE)] if n % 3 == 0 else "", n % 3 > 0,
                "pgd" if n % 3 == 1 else "", 900, 800)
        for n in range(many)
    )  # fmt: skip
    return fs.PlantedExamples(HOSTILE[0], HOSTILE[1], "linf:0.1", examples, 9000, 8000)


def a_matrix() -> fs.TransferMatrix:
    some, none = Share(1, 4, 0.25, (0.0, 0.7)), Share(0, 0, None, (0.0, 1.0))
    return fs.TransferMatrix(
        HOSTILE[:2], 4, (some, none), ((some, none), (some, some)), (some, none), (some, none),
        1, 1, 1.0, False, {"attack": {"attack": HOSTILE[0]}, "notes": [HOSTILE[0]]},
    )  # fmt: skip


def a_comparison() -> fs.Comparison:
    first, second = np.array([True, False, True]), np.array([True, True, True])
    return fs.Comparison(
        HOSTILE[0], HOSTILE[1], 3, paired(first, second), paired(first, second), (1,), (),
        tuple(ClassChange(label, 1, 0, 1) for label in labels_of(40)),
        {"network": (HOSTILE[0], HOSTILE[2])}, (HOSTILE[0],),
    )  # fmt: skip


def a_run(run: str, against: Against | None) -> RunRow:
    half = (0.4, 0.6)
    return RunRow(
        run, HOSTILE[0], "ab", HOSTILE[1], "linf 8/255", HOSTILE[3], 9, 0.5, half, 0.5, half, 9, 9,
        1.0, True, False, False, against, "" if against else HOSTILE[0],
    )  # fmt: skip


def a_table_of_runs() -> fs.RunsTable:
    pair = paired(np.array([True, False]), np.array([True, True]))
    return fs.RunsTable(
        (a_run("a", None), a_run(HOSTILE[0], Against(2, pair, pair, 1.0, 0.5))), (HOSTILE[0],)
    )


def a_corruption_table() -> fs.CorruptionTable:
    whole = (0.9, 1.0)
    row = Row(HOSTILE[0], "noise", (0.1, 0.2), (9, 9), (0.9, 0.9), (whole,) * 2, 0.9, whole)
    mean = MeanCorruptionError(0.8, (0.7, 0.9), 0.9, (HOSTILE[3],))
    return fs.CorruptionTable(
        10, 0.9, whole, 0.9, whole, mean, (1, 2), (row,) * 15, 9, 1.0, False, {"notes": HOSTILE}
    )


def a_check(*shape: int) -> fs.GradientCheck:
    values = torch.linspace(0, 1, math.prod(shape)).view(shape).double()
    codes = torch.full(shape, 4)
    return fs.GradientCheck(torch.arange(shape[1]), values, values, codes, 1e-6, "float64")


def a_network(classes: int = 10, channels: int = 1) -> fs.Classifier:
    module = nn.Sequential(nn.Flatten(), nn.Linear(36 * channels, classes))
    return fs.Classifier(
        module, labels=labels_of(classes), channels=channels, input_size=6, name=HOSTILE[0]
    )


def some_units(count: int = 20) -> Units:
    return Units(HOSTILE[0], None, (count,), count, 1, None)


def unit_statistics(classes: int = 10, fill: float = 0.5) -> fs.neurons.UnitStatistics:
    per_class, per_unit = np.full((20, classes), fill), np.full(20, fill)
    return fs.neurons.UnitStatistics(
        some_units(), labels_of(classes), "labels", np.ones(classes, int), per_class,
        np.ones((20, classes), int), 9, per_unit, np.arange(20) % classes, per_unit, per_unit,
        per_unit, np.arange(20) > 17, Information(per_class, fill), notes=HOSTILE,
    )  # fmt: skip


def top_pictures(channels: int = 1, side: int = 6) -> fs.neurons.TopPictures:
    tops = tuple(
        TopPicture(3, 7, HOSTILE[0], math.nan, 4, (0, 0, 3, 3), (1, 1, 2, 2), 0, one % 5, 0.5, one)
        for one in range(9)
    )
    return fs.neurons.TopPictures(
        some_units(), (3,) * 20, "relevance", "lrp", (tops,) * 20, noise(9, channels, side, side),
        labels_of(10), {3: 0.1}, {"model": HOSTILE[0]}, HOSTILE,
    )  # fmt: skip


def activations(count: int = 30, fill: float = 0.5) -> fs.neurons.Activations:
    columns = {"name": [HOSTILE[each % len(HOSTILE)] for each in range(count)],
               "label": np.arange(count) % 3, "target": np.arange(count) % 2}  # fmt: skip
    return fs.neurons.Activations.of(
        np.full((count, 20), fill), some_units(), columns, classes=labels_of(3), notes=HOSTILE,
        record={"model": HOSTILE[0], "pictures_of": HOSTILE[1]},
    )  # fmt: skip


def a_dissection(concepts: int = 6, fill: float = 0.5) -> fs.neurons.Dissection:
    per_unit = np.full(20, fill)
    return fs.neurons.Dissection(
        some_units(), tuple(range(20)), labels_of(concepts), np.full((20, concepts), fill),
        per_unit, per_unit.astype(np.float32), per_unit, np.ones(concepts, int), 3, 0.005, 0.04,
        HOSTILE,
    )  # fmt: skip


def unit_names() -> fs.neurons.UnitNames:
    one = UnitName(3, HOSTILE[0], 0.5, dict.fromkeys(HOSTILE, 0.2), 0.1)
    return fs.neurons.UnitNames((one,) * 20, "pearson", 9, 6, 3, 0.95, HOSTILE)


def an_audit(count: int = 3) -> fs.Audit:
    from fluoroscope.attribution.audit.faithfulness import Score
    from fluoroscope.attribution.audit.looks import Evidence
    from fluoroscope.attribution.audit.result import Audited
    from fluoroscope.attribution.audit.verdict import Verdict

    rows = [
        Audited(
            Verdict(HOSTILE[number % len(HOSTILE)], "not valid here", None, (*HOSTILE,)),
            Evidence(),
            scores={"srg": Score(math.nan, -math.inf, math.inf, 1)},
        )
        for number in range(count)
    ]
    return fs.Audit(
        rows=tuple(rows), controls={}, telling={"srg": HOSTILE[0]}, non_linear={HOSTILE[0]: 3},
        record={"model": HOSTILE[0]}, notes=tuple(HOSTILE),
    )  # fmt: skip


def a_set(channels: int = 1) -> fs.ImageSet:
    return fs.load_images(noise(30, channels, 6, 6), labels=torch.arange(30) % 5, channels=channels)


RESULTS: dict[str, Callable[[], Any]] = {
    **{
        f"morph {channels} {classes}": lambda c=channels, k=classes: a_morph(c, k)
        for channels, classes in ((1, 10), (2, 2), (3, 1000), (13, 10))
    },
    "morph of NaN": lambda: a_morph(
        image=torch.full((1, 6, 6), math.nan), probabilities=torch.full((12, 10), math.nan)
    ),
    "morph of no steps": lambda: a_morph(
        frames=noise(1, 1, 6, 6), frame_steps=torch.tensor([0]),
        probabilities=noise(1, 10).softmax(1),
    ),
    "morph at large": lambda: a_morph(3, 1000, 224),
    **{
        f"attack {channels} {classes}": lambda c=channels, k=classes: an_attack(c, k)
        for channels, classes in ((1, 2), (3, 1000), (13, 10))
    },
    "attack of NaN": lambda: an_attack(fill=math.nan),
    "attack of nothing": lambda: an_attack(count=0),
    "attack at large": lambda: an_attack(3, 1000, 224, 40),
    **{f"attribution {k}": lambda k=k: an_attribution(k) for k in (1, 2, 3, 13)},
    "attribution of no method of ours": lambda: an_attribution(
        record={"method": HOSTILE[0], "promise": None, "coverage": {"missed": {HOSTILE[3]: 2}}},
    ),
    "attribution that is not valid": lambda: an_attribution(
        verdict={"method": "x", "verdict": "not valid here", "reasons": [HOSTILE[0]]}
    ),
    "attribution of pairs": lambda: an_attribution(targets=torch.tensor([[0, 3]] * 9)),
    "attribution of heat": lambda: an_attribution(3, heat=True),
    "attribution of NaN": lambda: an_attribution(
        maps=torch.full((9, 1, 6, 6), math.nan), error=torch.full((9,), math.nan),
        values=torch.full((9,), math.nan),
    ),
    "attribution of nothing": lambda: an_attribution(count=0),
    "attribution at large": lambda: an_attribution(3, 224, 40),
    **{f"portraits {k}": lambda k=k: some_portraits(k) for k in (1, 2, 3, 13)},
    "portraits of a unit": lambda: some_portraits(targets=torch.full((14,), -1)),
    "portraits of NaN": lambda: some_portraits(
        logits=torch.full((14, 10), math.nan), weights=torch.full((14, 2), math.nan),
        curve=torch.full((14, 3, 5), math.nan),
    ),
    "portraits at large": lambda: some_portraits(3, 224),
    "prediction": lambda: fs.Prediction(noise(100, 10), labels_of(10)),
    "prediction of many": lambda: fs.Prediction(noise(100, 1000), labels_of(1000)),
    "prediction of two": lambda: fs.Prediction(noise(1, 2), labels_of(2)),
    "prediction of NaN": lambda: fs.Prediction(torch.full((3, 10), math.nan), labels_of(10)),
    "prediction of nothing": lambda: fs.Prediction(noise(0, 10), labels_of(10)),
    "check": lambda: a_check(2, 5),
    "check of nothing": lambda: a_check(0, 5),
    "verdict": a_verdict,
    "verdict with curve": lambda: a_verdict(a_curve(0.0, 0.1, 0.2, math.inf)),
    "verdict of nothing": lambda: fs.Verdict(
        0, 10, 0.0, (0.0, 1.0), 0.0, (0.0, 1.0), 0, 0, 0.0, (), False
    ),
    "curve": lambda: a_curve(0.0, 0.1, 0.2, math.inf),
    "curve of none classified correctly": lambda: a_curve(0.0, 0.0),
    "curve of nothing": lambda: a_curve(),
    **{f"map {k}": lambda k=k: a_map(k, *many_pairs(k)) for k in (2, 10, 1000)},
    "map without a way": lambda: a_map(3, Pair(0, 1, math.inf, 2, 0)),
    "map of nothing": lambda: a_map(3),
    "matrix": a_matrix,
    "planted examples": planted_examples,
    "planted examples of nothing": lambda: planted_examples(0),
    "comparison": a_comparison,
    "runs": a_table_of_runs,
    "corruptions": a_corruption_table,
    "audit": an_audit,
    "audit of nothing": lambda: an_audit(0),
    "statistics of units": unit_statistics,
    "statistics of dead units": lambda: unit_statistics(1, math.nan),
    **{
        f"activations {count} {fill}": lambda c=count, f=fill: activations(c, f)
        for count, fill in ((30, 0.5), (1, math.nan), (0, 0.0))
    },
    "relevance of units": lambda: fs.neurons.UnitRelevance(
        noise(9, 20), noise(9), torch.zeros(9), some_units(), "lrp", HOSTILE
    ),
    "top pictures": top_pictures,
    "top pictures of many channels": lambda: top_pictures(13),
    "top pictures at large": lambda: top_pictures(3, 224),
    "dissection": a_dissection,
    "dissection of nothing": lambda: a_dissection(6, math.nan),
    "names of units": unit_names,
    "receptive field": lambda: fs.neurons.ReceptiveField(
        (0, 0, 3, 3), (1, 1, 2, 2), noise(6, 6), 4, some_units(), (3,), 8, False, 0.5
    ),
    "report": lambda: fs.Report(f"<p class='a'>{HOSTILE[3]}</p>", HOSTILE[0], (), {}),
    "network": a_network,
    "network of many": lambda: a_network(1000, 13),
    "network of nobody": lambda: fs.Classifier(nn.Identity()),
    "set": a_set,
    "set of many channels": lambda: a_set(13),
    "set without labels": lambda: fs.load_images(noise(3, 1, 6, 6), channels=1),
    "sample": lambda: a_set(3)[0],
    "batch": lambda: next(a_set(3).batches(30)),
    "no batch": lambda: Batch(noise(0, 1, 6, 6), None, torch.zeros(0)),
    "no picture": lambda: Sample(noise(1, 0, 6), None, 0, HOSTILE[0]),
    "morph step": lambda: MorphStep(3, noise(1, 6, 6), noise(4), 0.5, 1, 0.1, 0.1, 2),
    "trained": lambda: Trained(
        a_network(), {"accuracy": {"test": 0.9}, "command": HOSTILE[0]}, Path(HOSTILE[0])
    ),
    "training step": lambda: FitStep(1, 1, math.nan, 0.5, 0.1, 3.0, None),
    "shown": lambda: fs.show(noise(20, 3, 6, 6), [HOSTILE[0]] * 20),
    "shown gradients": lambda: fs.show(noise(3, 6, 6) - 0.5),
    "shown NaN": lambda: fs.show(torch.full((2, 1, 6, 6), math.nan), signed=True),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RESULTS)
def test_every_result_shows_itself(name: str) -> None:
    result = RESULTS[name]()
    line, markup = repr(result), result._repr_html_()
    assert line.startswith(f"<{type(result).__name__} ")
    assert line.endswith(">")
    assert "\n" not in line
    assert "tensor(" not in line
    assert len(line) < 400
    assert len(markup) < MOST
    page = Page(markup)
    assert {tag for tag, _ in page.elements} <= TAGS
    for tag, attributes in page.elements:
        assert not any(each.startswith("on") for each in attributes), tag
        address = attributes.get("src") or attributes.get("xlink:href") or "#"
        assert address.startswith(("data:image/png;base64,", "#"))
    assert "pixelated" in markup
    assert "±nan" not in markup
    for picture, attributes in page.pictures():
        assert max(picture.size) <= 224
        picture.load()
        assert int(str(attributes["width"])) >= 1 <= int(str(attributes["height"]))


def test_every_public_result_is_among_them() -> None:
    """A new public class without a display fails here, unless it is a parameter."""
    without = {
        "Budget", "FluoroscopeError", "FluoroscopeWarning", "L0", "L1", "L2", "Linf", "Objective",
        "Requirements", "Unbounded",
    }  # fmt: skip
    public = {name for name in fs.__all__ if inspect.isclass(getattr(fs, name))}
    assert {name for name in public if not issubclass(getattr(fs, name), html.Shown)} == without


def test_a_picture_is_shown_pixel_by_pixel() -> None:
    image = noise(3, 5, 7)
    page = Page(html.picture(image, "a < b\nc"))
    ((picture, attributes),) = page.pictures()
    for channel, row, column in np.ndindex(3, 5, 7):
        level = picture.getpixel((column, row))
        assert isinstance(level, tuple)
        assert level[channel] == round(255 * float(image[channel, row, column]))
    assert (attributes["width"], attributes["height"]) == ("112", "80")
    assert attributes["alt"] == "a < b, c"
    assert page.words == "a < bc"


def test_a_large_picture_is_scaled_down_and_changes_share_a_scale() -> None:
    ((picture, _),) = Page(html.picture(noise(3, 500, 250))).pictures()
    assert picture.size == (56, 112)
    small, large = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    small[0, 0, 0], large[0, 0, 0] = 0.1, 1.0
    scale = html.scale_of([small, large])
    shades = []
    for values in (small, large):
        ((picture, _),) = Page(html.change(values, scale)).pictures()
        assert picture.getpixel((1, 1)) == (247, 246, 246)  # white is no change
        shades.append(picture.getpixel((0, 0))[1])
    assert shades[0] > 200 > 100 > shades[1]


def test_names_are_seen_as_they_are_written() -> None:
    page = Page(a_morph(classes=3)._repr_html_())
    # Matplotlib would leave a name that begins with "_" out of the legend, and draw formulas.
    assert page.words.count("_x") >= 3
    assert page.words.count("$\\frac$") >= 2
    assert page.words.count("<script>") >= 3
    assert "<script>" in Page(an_attack()._repr_html_()).words


def test_what_a_notebook_says_of_an_attack() -> None:
    result = an_attack()
    assert repr(result) == (
        f"<AttackResult PGD on {HOSTILE[0]}: 6 of 8 pictures misclassified (1 more were so before)"
        ", median distance 0.5>"
    )
    page = Page(result._repr_html_())
    assert len(list(page.pictures())) == 3 * 6
    assert "6 of 6 successes" in page.words
    assert "searches that were cut off1" in page.words


def test_the_strip_shows_where_a_class_takes_over() -> None:
    found = a_morph(classes=4)
    assert [step for step, _ in found.way_stations] == [0, 1, 2, 3]
    steps = re.findall(r"step (\d+)<br>", found._repr_html_())
    assert {"0", "1", "2", "3", "11"} <= set(steps)
    assert len(steps) <= 8
    # Of a way station that no kept frame shows there is no picture; the others are.
    few = a_morph(classes=4, frames=noise(2, 1, 6, 6), frame_steps=torch.tensor([0, 11]))
    assert re.findall(r"step (\d+)<br>", few._repr_html_()) == ["0", "11"]


def test_the_network_is_never_run() -> None:
    class Once(nn.Module):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            type(self).calls += 1
            return images.flatten(1)[:, :4]

    model = fs.Classifier(Once(), channels=1, input_size=6)
    assert "not asked yet" in model._repr_html_()
    found = [fs.morph(model, "noise", to=1, steps=2), fs.predict(model, noise(2, 1, 6, 6)), model]
    before = Once.calls
    for result in found:
        repr(result)
        result._repr_html_()
    assert Once.calls == before > 0


def test_a_report_is_a_page_in_a_frame_that_may_do_nothing() -> None:
    document = '<!DOCTYPE html><p class="a">1 &lt; 2 &amp; "x"</p><script>alert(1)</script>'
    page = Page(fs.Report(document, "a report", (), {})._repr_html_())
    ((_, attributes),) = [one for one in page.elements if one[0] == "iframe"]
    assert attributes["srcdoc"] == document
    assert attributes["sandbox"] == ""
    assert "script" not in {tag for tag, _ in page.elements}


def test_channels_that_a_user_chose() -> None:
    result = a_morph(13)
    with fs.showing(4, 3, 2):
        assert "channels 4, 3, 2 of 13" in result._repr_html_()
    with fs.showing(20):
        assert "channels to show are 20; the pictures have 13" in result._repr_html_()


def test_what_show_refuses() -> None:
    with pytest.raises(fs.errors.InvalidImagesError, match=r"images are \(6, 6\); expected"):
        fs.show(noise(6, 6))
    with pytest.raises(fs.errors.InvalidParameterError, match="captions holds 1; expected one"):
        fs.show(noise(2, 1, 6, 6), ["a"])
    assert not fs.show(noise(1, 6, 6)).signed
    assert fs.show(noise(1, 6, 6), signed=True).signed
    assert "±1" in fs.show(noise(1, 6, 6).round() - 1)._repr_html_()


def test_a_picture_that_cannot_be_read_leaves_a_word(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("L", (6, 6)).save(tmp_path / f"{name}.png")
    images = fs.load_images(tmp_path, channels=1)
    (tmp_path / "b.png").write_bytes(b"no picture")
    page = Page(images._repr_html_())
    assert len(list(page.pictures())) == 1
    assert "b.png" in page.words


def test_sentences_of_an_audit_are_whole_in_a_notebook() -> None:
    words = "A sentence of several words. " * 20
    assert "…" in html.table(("why",), [(words,)])
    assert words in html.table(("why",), [(words,)], letters=2_000)
    assert "…" in html.table(("why",), [("x" * 3_000,)], letters=2_000)
    assert "thead th{color:var(--soft);font-weight:600;overflow-wrap:normal}" in html._STYLE
