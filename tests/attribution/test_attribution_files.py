"""An attribution on disk: what is read back is what was saved, and harm is told in a sentence."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attribution.reading import coverage_words
from fluoroscope.pictures.attributions import Column


@pytest.fixture(scope="module")
def found() -> fs.Attribution:
    images = torch.linspace(0, 1, 2 * 784).view(2, 1, 28, 28)
    return fs.attribute(fs.load_model("digits-linear"), images, ("3", "5"), method="gradient")


def changed(found: fs.Attribution, **given: object) -> fs.Attribution:
    kept = {field.name: getattr(found, field.name) for field in fields(found)}
    return fs.Attribution(**(kept | given))


def test_all_of_it_comes_back(found: fs.Attribution, tmp_path: Path) -> None:
    verdict = {"method": "gradient", "verdict": "partly", "reasons": ["a reason"]}
    told = changed(found, verdict=verdict, notes=("a note",))
    written = told.save(tmp_path)
    assert [path.name for path in written] == ["attribution.safetensors", "attribution.json"]
    for place in (tmp_path, tmp_path / "attribution.json"):
        again = fs.Attribution.load(place)
        for field in fields(told):
            value, other = getattr(told, field.name), getattr(again, field.name)
            if isinstance(value, Tensor):
                assert value.dtype == other.dtype
                assert torch.equal(value.nan_to_num(7.0), other.nan_to_num(7.0)), field.name
            else:
                assert value == other, field.name
    assert again.target(0) == "3 rather than 5"
    assert again.describe() == told.describe()


def test_the_json_says_what_the_maps_are(found: fs.Attribution, tmp_path: Path) -> None:
    found.save(tmp_path)
    told = json.loads((tmp_path / "attribution.json").read_text())
    sums = found.maps.double().sum(1).flatten(1)
    for row, each in enumerate(told["maps"]):
        assert each["lowest"] == pytest.approx(float(sums[row].min()))
        assert each["highest"] == pytest.approx(float(sums[row].max()))
        assert each["sum"] == pytest.approx(float(sums[row].sum()))
        assert each["classes"] == [3, 5]
        assert each["error"] is None  # NaN is no number of JSON's
    assert told["unit"] == "difference of logits per unit of pixel value"
    assert told["method"] == "gradient"


def test_two_in_a_directory_are_told_apart(found: fs.Attribution, tmp_path: Path) -> None:
    found.save(tmp_path, "attribution-a")
    found.save(tmp_path, "attribution-b")
    with pytest.raises(fs.errors.ResultFormatError, match="2 attributions; expected the file"):
        fs.Attribution.load(tmp_path)
    fs.Attribution.load(tmp_path / "attribution-b.json")
    with pytest.raises(fs.errors.InvalidParameterError, match=r"name is '\.\./a'; expected"):
        found.save(tmp_path, "../a")


def test_harm_is_one_sentence(found: fs.Attribution, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(fs.errors.ResultFormatError, match=words):
            fs.Attribution.load(tmp_path)

    refused(r"holds no attribution: there is no file .*attribution\.json; expected the JSON")
    found.save(tmp_path)
    told, there = tmp_path / "attribution.json", tmp_path / "attribution.safetensors"
    whole = told.read_text()
    told.write_text(json.dumps(json.loads(whole) | {"format": 9}))
    refused("written in format 9; this version reads up to 1")
    told.write_text(json.dumps(json.loads(whole) | {"labels": ["a"]}))
    refused("a target is none of 1 classes; make it anew")
    told.write_text(whole[:-40])
    refused("broken attribution")
    told.write_text(whole)
    tensors = load_file(there)
    save_file(tensors | {"maps": tensors["maps"] + 1}, there)
    refused("damaged, or of an earlier version")
    changed(found, maps=found.maps + 1).save(tmp_path, "attribution-other")
    (tmp_path / "attribution-other.json").unlink()
    (tmp_path / "attribution-other.safetensors").rename(there)
    refused("the numbers are not those that the JSON speaks of")
    changed(found, maps=found.maps[:, :, :9]).save(tmp_path)
    refused("maps have shape")
    there.unlink()
    refused(r"holds no attribution: there is no file .*attribution\.safetensors; expected")
    there.mkdir()
    refused(r"holds no attribution: [^\[]*; expected the JSON")
    told.unlink()
    told.mkdir()
    refused("holds no attribution: it is no file, but a directory, pipe or device; expected")


def test_what_a_map_is_in_words(found: fs.Attribution) -> None:
    assert found.kept(0) == ""
    promised = changed(
        found, record=found.record | {"promise": "completeness"},
        error=torch.tensor([2e-6, 0.4], dtype=torch.float64),
    )  # fmt: skip
    assert promised.kept(0) == "adds up to the score within 2e-06"
    assert promised.kept(1) == "misses the score by 40.0\u202f%"
    assert found.unit == "difference of logits per unit of pixel value"
    assert found.key == "red: brighter pixels favour 3\nblue: brighter pixels favour 5"
    pair = changed(found, record=found.record | {"method": "gradient-x-input"})
    assert pair.key == "red speaks for 3\nblue for 5"
    assert pair.unit == "parts of the difference of logits"
    several = changed(pair, targets=torch.tensor([[3, 5], [4, 5]]))
    assert several.key == "red speaks for the class\nblue for 5"
    found = changed(found, targets=torch.tensor([3, 5]))
    assert "brighter pixels raise it" in found.key
    times = changed(found, record=found.record | {"method": "gradient-x-input"})
    assert times.key == "red speaks for the class\nblue against it"
    assert times.unit == "parts of the logit"
    units = {"captum:saliency": found.unit, "captum:lime": times.unit, "mine": "no unit"}
    units["occlusion"] = "fall of the logit while hidden"
    for method, unit in units.items():
        assert changed(found, record=found.record | {"method": method}).unit == unit
    assert changed(found, maps=found.maps.abs()).key == "bright: much\ndark: nothing"
    assert found.complaint == ""
    bad = {
        "method": "gradient",
        "verdict": "not valid here",
        "reasons": ["Relu6 has no rule.", "More."],
    }
    assert changed(found, verdict=bad).complaint == (
        "gradient is not valid here: relu6 has no rule"
    )
    assert changed(found, verdict=bad | {"verdict": "partly"}).complaint == ""


def test_coverage_in_words() -> None:
    assert coverage_words(None) == ""
    assert coverage_words(
        {"handled": {"relu": 4, "max_pool2d": 1}, "linear": {}, "missed": {}}
    ) == ("5 non-linear operations by a rule, none without")
    many = {"handled": {"relu": 1, "conv2d": 2}, "missed": {"tanh": 1, "max_pool2d": 1}}
    assert coverage_words(many, "conservation").startswith("3 operations by a rule, 2 without")
    assert coverage_words(many | {"handled": {"relu": 1}}, None) == (
        "1 activation by a rule, 1 without: tanh × 1"
    )
    assert coverage_words({"handled": {"relu": 1}, "missed": {"glu": 2, "erf": 1}}) == (
        "1 non-linear operation by a rule, 3 without: glu × 2, erf × 1"
    )


def test_a_figure_is_of_some_maps(found: fs.Attribution) -> None:
    figure = found.figure()
    words = [text.get_text() for axis in figure.axes for text in (axis.title, axis.yaxis.label)]
    assert "gradient" in words
    model = fs.load_model("digits-linear")
    labels = [" ".join(word.split()) for word in words]
    for row, said in enumerate(fs.predict(model, found.images).probabilities.tolist()):
        shares = [f"{100 * said[number]:.1f} %" for number in (3, 5)]
        sure = [re.sub(r"^0\.0 %", "< 0.1 %", re.sub("^100.0", "> 99.9", one)) for one in shares]
        assert f"3 ({sure[0]}) rather than 5 ({sure[1]})" in labels, (row, labels)
    with pytest.raises(fs.errors.InvalidParameterError, match="no maps; expected one or more"):
        changed(found, maps=found.maps[:0]).figure()


def test_what_the_network_answers_is_said(tmp_path: Path) -> None:
    model = fs.load_model("digits-cnn")
    five = fs.open_image("digits:5", channels=1).image
    said = fs.predict(model, five)
    found = fs.attribute(model, five, 8)
    assert found.answer(0) == "3 (64.0\u202f%), then 5 (35.9\u202f%)"
    assert found.shares(0) == [float(said.probabilities[0, 8])]
    assert found.spoken(0) == "8 (< 0.1\u202f%)"
    found.save(tmp_path)
    assert fs.Attribution.load(tmp_path).answer(0) == found.answer(0)
    page = found._repr_html_()
    assert "the network says: 3 (64.0\u202f%), then 5 (35.9\u202f%)" in page
    assert "Logit: the score of a class" in page
    for best, targets, words in (
        ([[99, 0.5]], [0.5], "an answer is none of 10 classes"),
        ([[9, 0.5]], [0.5, 0.1], "an answer is not of 1 target"),
    ):
        answer = {"best": best, "targets": targets}
        changed(found, record=found.record | {"answers": [answer]}).save(tmp_path)
        with pytest.raises(fs.errors.ResultFormatError, match=words):
            fs.Attribution.load(tmp_path)


def test_a_map_of_what_is_rejected_says_so_and_what_it_is_compared_with() -> None:
    model = fs.load_model("digits-cnn")
    five = fs.open_image("digits:5", channels=1).image

    def column(method: str, to: int | tuple[int, int]) -> Column:
        return fs.attribute(model, five, to, method=method).column([0])

    little = "what little speaks for it: the network gives it < 0.1\u202f%"
    assert list(column("layer-cam", 8).captions) == [little]
    assert list(column("layer-cam", 3).captions) == [""]
    assert list(column("layer-cam", (5, 3)).captions) == ["the network answers its rival"]
    assert column("layer-cam", 3).key.endswith("\n7×7 places, enlarged")
    assert column("eigen-cam", 8).key.endswith("\nthe same for every class")
    assert column("deeplift", 3).key.endswith("\ncompared with black")
    assert column("occlusion", 3).key.endswith("\nhidden by black")


def test_a_notebook_marks_a_map_that_is_not_valid() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(72, 3)
    )
    model = fs.Classifier(network, channels=1)
    page = fs.attribute(model, torch.rand(1, 1, 8, 8), 2, method="guided-backprop")._repr_html_()
    assert '<figure class="wrong"' in page
    assert "guided-backprop is not valid here: nothing in this network" in page
    assert "what its maps show" in page
    assert "audit" not in page
