"""``fluoroscope attribute``: the sheet and its files, what is refused, and what Ctrl-C leaves."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import fluoroscope as fs
from fluoroscope.attribution import attribute as door
from fluoroscope.attribution.names import METHODS
from fluoroscope.cli.attribute_options import options_by_method, usual_methods
from tests.cli.conftest import Said

Call = Callable[..., Said]
FIVE = ("attribute", "-m", "digits-linear", "-i", "digits:5")


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sheets are made, and their files are empty: painting them takes most of a call."""

    def write(path: Path, figure: Any) -> Path:
        path.write_bytes(b"")
        return path

    monkeypatch.setattr("fluoroscope.pictures.maps.write_figure", write)


def test_methods_across_and_classes_down(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        *FIVE, "--method", "gradient", "--method", "gradient-x-input", "-c", "5", "-c", "8",
        "-c", "5", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "sheet.png", "sheet.svg", "overlay.png", "overlay.svg",
        *(f"attribution-{one}.{kind}" for one in ("gradient", "gradient-x-input")
          for kind in ("json", "safetensors")),
        *(f"map-{one}-{number}-{number}.png" for one in ("gradient", "gradient-x-input")
          for number in (5, 8)),
    }  # fmt: skip
    told = json.loads(said.out)
    assert {Path(file).name for file in told["files"]} == names
    assert [one["method"] for one in told["attributions"]] == ["gradient", "gradient-x-input"]
    picture = fs.open_image("digits:5", channels=1).image
    model = fs.load_model("digits-linear")
    for one in told["attributions"]:
        kept = fs.Attribution.load(tmp_path / f"attribution-{one['method']}.json")
        expected = [fs.attribute(model, picture, c, method=one["method"]).maps[0] for c in (5, 8)]
        assert torch.equal(kept.maps, torch.stack(expected))
        assert [each["target"] for each in one["maps"]] == ["5", "8"]
        assert one["drawn"] is True
    across, down = Image.open(tmp_path / "sheet.png").size
    assert across > 3 * 280
    assert down > 2 * 280


@pytest.mark.usefixtures("unpainted")
def test_a_pair_and_the_winner(fluoroscope: Call, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path), "--json", str(tmp_path / "said.json"))
    said = fluoroscope(*FIVE, "--method", "gradient", *out)
    assert said.code == 0, said.err
    told = json.loads((tmp_path / "said.json").read_text())
    assert told["attributions"][0]["maps"][0]["target"] == told["winner"]
    said = fluoroscope(*FIVE, "--method", "gradient", "-c", "7", "--rather-than", "2", *out)
    assert said.code == 0, said.err
    assert re.search(r"7 \(.*%\) rather than 2", said.out)
    # What an earlier call left is gone, and nothing else.
    assert [path.name for path in tmp_path.glob("map-*")] == ["map-gradient-7-7-over-2-2.png"]
    assert (tmp_path / "said.json").is_file()
    said = fluoroscope(*FIVE, "-c", "2", "--rather-than", "2", *out)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--rather-than is 2, which is a class to explain" in said.err


@pytest.mark.usefixtures("unpainted")
def test_files_of_others_stay(fluoroscope: Call, tmp_path: Path) -> None:
    others = ["map-holiday-2024-berlin.png", "attribution-mine.json", "sheet.pdf"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    assert fluoroscope(*FIVE, "--method", "gradient", "--out", str(tmp_path)).code == 0
    assert all((tmp_path / name).read_bytes() == b"mine" for name in others)


@pytest.mark.parametrize("anyway", [False, True])
def test_a_map_that_is_not_valid_is_drawn_only_if_asked_for(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyway: bool
) -> None:
    plain = door.attribute

    def judged(*args: Any, method: str, **options: Any) -> fs.Attribution:
        found = plain(*args, method=method, **options)
        if method == "gradient":
            return found
        reason = "It is bit for bit the plain gradient."
        return replace(
            found, verdict={"method": method, "verdict": "not valid here", "reasons": [reason]}
        )

    monkeypatch.setattr(door, "attribute", judged)
    said = fluoroscope(
        *FIVE, "--method", "gradient", "--method", "gradient-x-input", "--out", str(tmp_path),
        "--json", str(tmp_path / "said.json"), *(["--anyway"] if anyway else []),
    )  # fmt: skip
    assert said.code == 0, said.err
    words = " ".join(said.out.split())
    assert "gradient-x-input is not valid here: it is bit for bit the plain gradient" in words
    assert ("not drawn: --anyway draws it" in words) is not anyway
    drawn = sorted(path.name for path in tmp_path.glob("map-*"))
    assert len(drawn) == 1 + anyway
    told = json.loads((tmp_path / "said.json").read_text())["attributions"]
    assert [one["drawn"] for one in told] == [True, anyway]
    svg = (tmp_path / "sheet.svg").read_text()
    assert ("not drawn:" in svg) is not anyway
    if anyway:
        tile = Image.open(tmp_path / drawn[1]).convert("RGB")
        assert (180, 35, 24) in set(tile.get_flattened_data())


@pytest.mark.usefixtures("unpainted")
def test_what_the_maps_themselves_show_needs_no_audit(fluoroscope: Call, tmp_path: Path) -> None:
    both = ("--method", "gradient", "--method", "guided-backprop", "--json", "-")
    said = fluoroscope(*FIVE, *both[2:4], *both[:2], "--out", str(tmp_path))
    assert "guided-backprop: the same map as gradient" in said.out
    said = fluoroscope(*FIVE, *both, "--out", str(tmp_path))
    assert said.code == 0, said.err
    words = " ".join(said.err.split())  # beside the JSON
    assert "guided-backprop: the same map as gradient" in words
    assert f"wrote {tmp_path}/sheet.png and 8 more beside it" in said.err
    assert words.count("an operation that it has a rule for") == 1
    told = json.loads(said.out)["attributions"]
    assert [one["drawn"] for one in told] == [True, False]
    assert told[1]["verdict"]["verdict"] == "not valid here"


@pytest.mark.usefixtures("unpainted")
def test_an_audit_lends_its_verdicts(fluoroscope: Call, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    given = ("-m", "digits-linear", "--method", "gradient", "--fast", "--limit", "2")
    assert fluoroscope("audit", *given, "--out", str(audit)).code == 0
    drawn = ("--method", "gradient", "--audit", str(audit), "--out", str(tmp_path / "out"))
    said = fluoroscope(*FIVE, *drawn)
    assert said.code == 0, said.err
    assert "gradient: valid" in said.out
    assert fs.Attribution.load(tmp_path / "out").verdict is not None
    for mistake, words in {
        ("-m", "digits-cnn"): "is of another network than digits-cnn",
        ("--audit", str(tmp_path / "none")): "none",
    }.items():
        said = fluoroscope(*FIVE, *drawn, *mistake)
        assert (said.code, said.err.count("\n")) == (2, 1), said.err
        assert words in said.err


@pytest.mark.usefixtures("unpainted")
def test_ctrl_c_keeps_the_maps_that_are_made(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    plain = door.attribute

    def slow(*args: Any, method: str, on_step: Any, **options: Any) -> fs.Attribution:
        if method == "gradient-x-input":
            os.kill(os.getpid(), signal.SIGINT)
        return plain(*args, method=method, on_step=on_step, **options)

    monkeypatch.setattr(door, "attribute", slow)
    both = ("--method", "gradient", "--method", "gradient-x-input")
    said = fluoroscope(*FIVE, *both, "--out", str(tmp_path))
    assert said.code == 130
    assert said.err.endswith("stopped\n")
    assert [path.name for path in tmp_path.glob("*.json")] == ["attribution-gradient.json"]
    assert (tmp_path / "sheet.png").is_file()
    said = fluoroscope(*FIVE, *both[2:], "--out", str(tmp_path / "none"))
    assert said.code == 130
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--method", "gradeint"), "did you mean gradient?"),
        (("--method", "Grad-CAM"), "did you mean grad-cam?"),
        (("--method", "Layer CAM"), "did you mean layer-cam?"),
        (("--method", "saliency"), "did you mean gradient?"),
        (("--method", "SHAP"), "did you mean deeplift?"),
        (("--method", "gradient", "--param", "x"), "--param is 'x'; expected [METHOD.]NAME=VALUE"),
        (
            ("--method", "gradient", "--param", "objektive=logit"),
            "gradient has no option 'objektive'; did you mean objective?",
        ),
        (
            ("--method", "gradient", "--param", "gradient-x-input.objective=logit"),
            "gradient-x-input is not among the methods; expected --method gradient-x-input",
        ),
        (("--method", "gradient", "--layer", "body.1"), "gradient has no option 'layer'"),
        (("--class", "eleven"), "eleven"),
        (("--method", "gradient", "--param", "objective=x"), "objective is 'x'; expected"),
        (("--param", "objective=x"), "objective is 'x'; expected"),
        (("--display", "4,3,2"), "channels to show are 4, 3, 2"),
    ],
)
def test_mistakes_are_one_sentence(
    fluoroscope: Call, tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    said = fluoroscope(*FIVE, *given, "--out", str(tmp_path / "out"))
    assert (said.code, said.err.count("\n")) == (2, 1), said.err
    assert words in said.err


def test_options_go_to_the_methods_that_have_them() -> None:
    both = ["gradient", "gradient-x-input"]
    found = options_by_method(both, ["objective=probability", "gradient.objective=margin"])
    assert found == {
        "gradient": {"objective": "margin"}, "gradient-x-input": {"objective": "probability"},
    }  # fmt: skip


def test_a_layer_may_be_called_by_a_number_and_a_baseline_be_one() -> None:
    both = ["grad-cam", "deeplift"]
    expected = {"grad-cam": {"layer": "5"}, "deeplift": {"baseline": 0.5}}
    assert options_by_method(both, None, layer="5", baseline="0.5") == expected
    assert options_by_method(both, ["layer=5", "deeplift.baseline=0.5"]) == expected


@pytest.mark.usefixtures("unpainted")
def test_a_picture_is_a_baseline(fluoroscope: Call, tmp_path: Path) -> None:
    given = ("--method", "deeplift", "-c", "5", "--out", str(tmp_path))
    assert fluoroscope(*FIVE, *given, "--baseline", "digits:3").code == 0
    five, three = (fs.open_image(f"digits:{n}", channels=1).image for n in (5, 3))
    model = fs.load_model("digits-linear")
    expected = fs.attribute(model, five, 5, method="deeplift", baseline=three)
    assert torch.equal(fs.Attribution.load(tmp_path).maps, expected.maps)
    for name in ("nowhere.png", "digts:3"):
        said = fluoroscope(*FIVE, *given, "--baseline", name)
        assert (said.code, said.err.count("\n")) == (2, 1), said.err
        assert name.split(":")[0] in said.err


def test_a_list_of_all_and_a_page_for_each(fluoroscope: Call) -> None:
    said = fluoroscope("attribute", "list")
    assert said.code == 0
    told = json.loads(fluoroscope("attribute", "list", "--json", "-").out)
    assert [one["name"] for one in told] == list(METHODS)
    assert set(METHODS) <= set(re.findall(r"^ ([\w+-]+) ", said.out, re.M))
    for name, about in METHODS.items():
        page = fluoroscope("attribute", "show", name)
        assert page.code == 0
        words = " ".join(page.out.split())
        for text in (about.formula, about.cost, *about.options):
            assert " ".join(text.split())[:20] in words, text
        assert max(map(len, page.out.splitlines())) <= 80
    peer = fluoroscope("attribute", "show", "captum:layer-grad-cam")
    assert (peer.code, "LayerGradCam" in peer.out) == (0, True)
    wrong = fluoroscope("attribute", "show", "gradeint")
    assert (wrong.code, "did you mean gradient" in wrong.err) == (2, True)
    assert "did you mean 'list'" in fluoroscope("attribute", "lst").err.lower()


def test_its_help_names_the_words_too(fluoroscope: Call) -> None:
    page = fluoroscope("attribute", "--help").out
    assert "fluoroscope attribute [OPTIONS] | list | show" in page
    assert "--rather-than" in page


def test_without_a_method_the_usual_ones_are_drawn(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        "attribute", "-m", "digits-cnn", "-i", "digits:5", "--out", str(tmp_path), "--json", "-"
    )
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [one["method"] for one in told["attributions"]] == usual_methods()
    assert usual_methods() == ["gradient", "deeplift", "layer-cam"]
    words = " ".join(said.err.split())
    assert "the network says: 3 (64.0 %), then 5 (35.9 %)" in words
    assert "logit: the score of a class" in words


@pytest.mark.usefixtures("unpainted")
def test_integrated_gradients_stand_in_for_deeplift(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = door.attribute

    def refused(*args: Any, method: str, **options: Any) -> fs.Attribution:
        if method == "deeplift":
            raise fs.errors.InvalidParameterError("not here")
        return plain(*args, method=method, **options)

    monkeypatch.setattr(door, "attribute", refused)
    said = fluoroscope(*FIVE, "--out", str(tmp_path), "--json", "-")
    assert said.code == 0, said.err
    told = json.loads(said.out)["attributions"]
    assert [one["method"] for one in told][-1] == "integrated-gradients"
    assert "deeplift is left out: not here" in said.err
