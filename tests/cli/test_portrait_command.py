"""``fluoroscope portrait``: what it draws, says and leaves, stopped and gone on with."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import fluoroscope as fs
from fluoroscope.engine import bookmark
from fluoroscope.inversion import names
from fluoroscope.inversion.portraits.presets import PRESETS
from fluoroscope.pictures import tile_sheet
from tests.cli.conftest import Said

Call = Callable[..., Said]
# `fluoroscope.cli.portrait` is the command of that name, too.
command = import_module("fluoroscope.cli.portrait")
SHORT = ("portrait", "-m", "digits-cnn", "--method", "pixels", "--steps", "6")


def test_every_preset_is_told_of(fluoroscope: Call) -> None:
    assert names.PRESETS.keys() == PRESETS.keys()
    told = json.loads(fluoroscope("portrait", "list", "--json", "-").out)
    assert [each["name"] for each in told] == [*PRESETS]
    for name, recipe in PRESETS.items():
        said = fluoroscope("portrait", "show", name)
        assert said.code == 0
        assert f"{recipe.steps} steps" in names.PRESETS[name].constants


def test_a_gallery_of_all_classes(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        *SHORT, "--samples", "2", "--second", "digits-robust", "--against", "--gif",
        "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [row["class"] for row in told["portraits"][:20]] == [n // 2 for n in range(20)]
    assert [row["against"] for row in told["portraits"]] == [False] * 20 + [True] * 20
    assert [row["number"] for row in told["portraits"]] == [0, 1] * 20
    assert told["second"] == "digits-robust"
    assert "by the second network" in said.err
    # It is looked at some steps alone, so it may have been so before.
    assert "the step of the first look that found it so" in " ".join(said.err.split())
    assert "not what the class looks like" in " ".join(said.err.split())
    left = {file.name for file in tmp_path.iterdir()}
    assert {"gallery.png", "ladder.png", "pairs.png", "curves.png", "portraits.gif"} <= left
    assert not left & {command.GOING, command.FORMING}
    found = fs.Portraits.load(tmp_path)
    alone = fs.portrait(fs.load_model("digits-cnn"), 7, method="pixels", steps=6)
    row = [*zip(found.targets.tolist(), found.numbers.tolist(), strict=True)].index((7, 0))
    torch.testing.assert_close(found.images[row], alone.images[0])


def test_a_unit_from_a_picture(fluoroscope: Call, tmp_path: Path) -> None:
    layer = next(
        name for name, part in fs.load_model("digits-cnn").module.named_modules()
        if isinstance(part, torch.nn.Conv2d)
    )  # fmt: skip
    said = fluoroscope(
        *SHORT, "--unit", f"{layer}:1", "--start", "digits:7", "--transparent",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert f"channel 1 of {layer}" in said.out
    assert not (tmp_path / "ladder.png").exists()
    assert fs.Portraits.load(tmp_path).targets.tolist() == [-1]


def test_a_start_is_read_at_the_size_of_the_portraits(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        "portrait", "-m", "digits-cnn", "-c", "3", "--method", "pixels", "--steps", "1",
        "--start", "digits:7", "--size", "56x42", "--out", str(tmp_path),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert fs.Portraits.load(tmp_path).images.shape[2:] == (56, 42)


def test_stopped_it_keeps_what_is_finished_and_goes_on(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (*SHORT, "-c", "1", "-c", "2", "-c", "3", "--batch-size", "1")
    assert fluoroscope(*given, "--out", str(tmp_path / "whole")).code == 0
    place, asked = tmp_path / "stopped", 0

    @contextmanager
    def pressed() -> Iterator[Callable[[], bool]]:
        def answer() -> bool:
            nonlocal asked
            asked += 1
            return asked >= 14

        yield answer

    with monkeypatch.context() as patched:
        patched.setattr(bookmark, "_WORTH", 0.0)
        patched.setattr(command, "interruptible", pressed)
        said = fluoroscope(*given, "--out", str(place))
    assert said.code == 130, said.err
    assert "not finished; the same command goes on" in said.out
    assert 0 < len(fs.Portraits.load(place).images) < 3
    assert (place / command.GOING).exists()
    other = fluoroscope(*given[:-2], "--seed", "4", "--out", str(tmp_path / "other"))
    assert other.code == 0
    going = fluoroscope(*given, "--out", str(place))
    assert going.code == 0
    assert "going on where an earlier run stopped" in going.out
    name = "portraits.safetensors"
    assert (place / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (place / command.GOING).exists()


def test_of_many_classes_some_are_drawn_and_named(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_ALL", 9)
    said = fluoroscope(*SHORT, "--out", str(tmp_path))
    assert "4 of the 10 classes, evenly spread over their numbers: 0, 3, 6, 9" in said.out
    assert fs.Portraits.load(tmp_path).targets.tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "furier"), "did you mean 'fourier'?"),
        (("-c", "eleven"), "no class is called 'eleven'"),
        (("-c", "3", "--unit", "0:1"), "both --class and --unit given"),
        (("--unit", "nowhere:1"), "nowhere"),
        (("--unit", "a:b"), "--unit is 'a:b'"),
        (("--size", "wide"), "--size is 'wide'"),
        (("--second", "digits-cnn"), "--second is digits-cnn, the network under study itself"),
        (("--start", "nowhere.png"), "nowhere.png"),
        (("--method", "vital"), "none are given; expected --data, pictures and their classes"),
        (("--method", "accentuation"), "none is given; expected --start"),
        (("--method", "deepinversion"), "as --method deepinversion-data and --method vital do"),
        (("--data", "digits"), "looks at none; expected --method deepinversion-data or"),
        (("--split", "test"), "--split is of a data set; expected --data with it"),
        (("--json", "nowhere/x.json"), "x.json: there is no directory nowhere; make it, or give"),
        (("--prior", __file__), "test_portrait_command.py holds no prior; expected the JSON that"),
    ],
)
def test_mistakes_in_a_sentence(
    options: tuple[str, ...], words: str, fluoroscope: Call, tmp_path: Path
) -> None:
    said = fluoroscope(*SHORT, *options, "--out", str(tmp_path))
    assert said.code == 2, said.out
    assert words in said.err
    assert said.err.count("\n") == 1


def test_no_work_is_done_for_a_file_that_cannot_be_written(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs.Portraits, "draw", None)  # it does not come to that
    said = fluoroscope(*SHORT, "--json", str(tmp_path / "no" / "x.json"), "--out", str(tmp_path))
    assert said.code == 2
    assert "there is no directory" in said.err
    # A directory that the command makes is there by then.
    monkeypatch.undo()
    new = tmp_path / "new"
    assert fluoroscope(*SHORT, "--json", str(new / "x.json"), "--out", str(new)).code == 0
    assert (new / "x.json").is_file()


def test_what_an_earlier_run_left_is_told_apart_while_another_forms(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = "portraits.json and what belongs to it are what an earlier run left"
    given = (*SHORT, "-c", "1", "--out", str(tmp_path))
    assert left not in fluoroscope(*given).out
    feet, drawn = [], tile_sheet.tile_sheet

    def draws(*rows: Any, **words: Any) -> Image.Image:
        feet.append((words.get("title"), words.get("foot")))
        return drawn(*rows, **words)

    monkeypatch.setattr(command, "_EVERY", 0.0)
    monkeypatch.setattr(tile_sheet, "tile_sheet", draws)
    assert left in fluoroscope(*given, "--seed", "1").out
    assert ("forming", left) in feet


def test_of_a_unit_nothing_is_said_of_a_class(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(*SHORT, "--unit", "3:2", "--out", str(tmp_path))
    assert said.code == 0, said.err
    assert "channel 2 of 3" in said.out
    assert "sure" not in said.out.split("1 portrait.")[0]
