"""A trace: what it says, what it keeps on disk, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ResultFormatError,
    UnknownLabelError,
)
from fluoroscope.neurons import Trace, trace
from fluoroscope.neurons.reading.units import find_units
from fluoroscope.neurons.tracing import looked
from fluoroscope.neurons.tracing.ablation import Ablation, as_put
from fluoroscope.neurons.tracing.trace_result import agreement_words
from fluoroscope.pictures.unit_bars import Bar, Curves, bars_figure
from fluoroscope.words import class_names


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    return fs.load_model("digits-cnn")


@pytest.fixture(scope="module")
def found(model: fs.Classifier) -> Trace:
    return trace(model, fs.open_image("digits:5", channels=1).image, "5", shown=3)


def test_of_a_misclassified_picture(found: Trace) -> None:
    """A 5 that is predicted as 3: one unit speaks for 3 above all, and without it it is a 5."""
    assert (found.wanted, found.predicted) == ("5", "3")
    assert found.record["layer"] == "5"
    assert found.smallest_set is not None
    loudest = int(found.ranking()[-1])
    assert found.effects[loudest, 0] < 0
    assert found.maps.shape == (6, 1, 28, 28)
    assert float(found.effects[found.shown[0], 0]) == float(found.effects[:, 0].max())
    assert int(found.shown[-1]) == loudest
    assert all(found.agreement[name] is not None for name in found.names)
    assert "predicted as 5 and not 3" in found.summary
    # The maps add up to what the units carried by relevance.
    relevance = found.approximations[found.names.index("relevance")][found.shown]
    torch.testing.assert_close(found.maps.double().sum((1, 2, 3)), relevance, atol=1e-4, rtol=1e-3)


def test_map_and_number_are_of_the_same_two_classes(model: fs.Classifier) -> None:
    """A unit without which a third class leads: the number beside its map is not of the margin."""
    image = fs.open_image("digits:0", channels=1).image
    found = trace(model, image, sets=False, approximations=(), shown=3)
    units = find_units(model, "5")
    asked = Ablation(model, image[None], units, as_put(model, units, "zero"))
    pair = found.record["wanted"], found.record["rival"]
    for unit, beside in zip(found.shown.tolist(), found.shown_effects.tolist(), strict=True):
        gone = torch.zeros(1, 64, dtype=torch.bool)
        gone[0, unit] = True
        both = torch.cat([asked.logits, asked.without(gone, lambda logits: logits)]).double()
        lead = both[:, pair[0]] - both[:, pair[1]]
        assert float(lead[0] - lead[1]) == pytest.approx(beside, abs=1e-5)
    assert not torch.allclose(found.shown_effects, found.effects[found.shown, 0])
    assert f"of the logit of 0 over that of {model.labels[pair[1]]}" in found._key()


def test_a_map_of_the_other_sign_is_marked() -> None:
    one = torch.tensor([[[-2.0, 1.0]]])
    assert looked.words(one, 0.5) == ["+0.5", looked.DIFFERS]
    assert looked.words(one, -0.5) == ["-0.5"]


def test_classes_of_one_first_name_are_told_apart() -> None:
    labels = [
        "truck, red",
        "truck, blue",
        "crane",
        "crane",
        "cat, tabby",
        "bus, " + 30 * "x",
        "bus",
    ]
    assert class_names(labels) == [
        "truck, red", "truck, blue", "crane (2)", "crane (3)", "cat", "bus (5)", "bus",
    ]  # fmt: skip


def test_words_give_the_range_and_what_agreement_is_worth(
    found: Trace, model: fs.Classifier
) -> None:
    first, *_, last = found.record["set"]["random_sizes"]
    middle = found.record["set"]["random_size"]
    assert f"in 5 random orders the median is {middle} ({first} to {last})" in found.summary
    some = {"random_sizes": [1, 2, 16, None, None], "random_size": 16}
    kept = replace(found, record=found.record | {"set": found.record["set"] | some})
    assert "the median is 16 (1 to never)" in kept.summary
    layer = trace(model, found.image, layer="1", sets=False)  # of few units
    each = layer.record["agreement"]["activation"]
    assert (each["of"], each["at_random"]) == (len(layer.effects) // 4, 0.25)
    assert "(25\u202f% at random)" in agreement_words(each)
    axes = found.figure().axes[1]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim()[1] == 64


def test_of_many_units_the_axis_says_how_it_is_bent() -> None:
    counts = [0, 1, 5, 30, 320]
    curves = Curves([1.0, -1.0], counts, [[1.0, 1, 0, 0, 0]], "5")
    axes = bars_figure([Bar("unit 1", 1.0)], left="", right="", title="", curves=curves).axes[1]
    assert axes.get_xlabel() == "units removed (logarithmic from 10 on)"
    assert [float(tick) for tick in axes.get_xticks()][-3:] == [100, 200, 320]


def test_files_keep_it(found: Trace, tmp_path: Path) -> None:
    found.save(tmp_path)
    again = Trace.load(tmp_path)
    assert again.describe() == found.describe()
    assert torch.equal(again.maps, found.maps)
    assert "<img" in again._repr_html_()
    assert again.sheet().size == found.sheet().size
    path = tmp_path / "trace.json"
    path.write_text(path.read_text().replace('"wanted": 5', '"wanted": 11'))
    with pytest.raises(ResultFormatError, match="broken"):
        Trace.load(tmp_path)


def test_it_says_what_it_left_out(model: fs.Classifier) -> None:
    image = fs.open_image("digits:7", channels=1).image
    found = trace(model, image, layer="8", sets=False, shown=0, approximations=())
    assert found.smallest_set is None
    assert found.curve == []
    assert found.names == ()
    assert len(found.maps) == 0
    assert found.record["found"].startswith("closed form")
    found.figure()


def test_a_scripted_network_has_no_layer_to_ask_at() -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.jit.script(torch.nn.Conv2d(1, 3, 3))
            self.units = torch.nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.units(self.body(images))
            return found.mean((2, 3))

    scripted = fs.Classifier(Head().eval(), input_size=8, channels=1)
    found = trace(scripted, torch.rand(1, 8, 8), layer="units")
    assert "relevance" not in found.names
    assert any(note.startswith("relevance is left out") for note in found.notes)
    with pytest.raises(InvalidParameterError, match="scripted"):
        trace(scripted, torch.rand(1, 8, 8), layer="body")


def test_what_is_refused(model: fs.Classifier) -> None:
    image = torch.zeros(1, 28, 28)
    with pytest.raises(InvalidParameterError, match=r"did you mean 4|expected one of"):
        trace(model, image, layer="44")
    with pytest.raises(UnknownLabelError):
        trace(model, image, "cat")
    with pytest.raises(InvalidImagesError, match="2 pictures"):
        trace(model, torch.zeros(2, 1, 28, 28))
    with pytest.raises(InvalidParameterError, match="shown is -1"):
        trace(model, image, shown=-1)
    with pytest.raises(InvalidParameterError, match="put is 'median'"):
        trace(model, image, put="median")
