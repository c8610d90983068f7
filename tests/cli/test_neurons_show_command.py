"""``fluoroscope neurons show``: sheets, table, JSON; it goes on, and says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import fluoroscope as fs
from tests.cli.conftest import Said

Call = Callable[..., Said]
DIGITS = ("neurons", "show", "-m", "digits-cnn", "-d", "digits", "--limit", "30", "--layer", "5")


def test_it_shows_and_goes_on(fluoroscope: Call, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    said = fluoroscope(*DIGITS, "--unit", "5", "--unit", "16", "-o", out, "--json", "-")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [each["unit"] for each in told["units"]] == [5, 16]
    assert all(len(each["pictures"]) == 6 for each in told["units"])
    assert told["statistics"]["units"][0]["unit"] == 5
    assert "selectivity" in said.err
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "read", "units.png", "unit-5.png", "unit-16.png",
    }  # fmt: skip
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/read").rglob("*.npy")}
    again = fluoroscope(*DIGITS, "--unit", "5", "--by", "relevance", "-o", out, "--json", "-")
    assert json.loads(again.out)["way"] == "lrp"
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
    assert not (tmp_path / "out/unit-16.png").exists()
    # Fewer pictures are read beside these, not refused for them.
    fewer = fluoroscope(*DIGITS, "--unit", "5", "--limit", "9", "-o", out)
    assert fewer.code == 0, fewer.err
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
    wrong = fluoroscope(*DIGITS, "--unit", "64", "-o", str(tmp_path / "other"))
    assert wrong.code == 2
    assert not list((tmp_path / "other").rglob("*.npy"))


def test_another_set_stands_beside_it(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(
        *DIGITS, "--unit", "5", "--top", "2", "--against", "digits", "-o", str(tmp_path / "out"),
        "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert len(told["against"]["units"][0]["pictures"]) == 2
    assert "in the other set" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--unit", "64"], "--unit is 64"),
        (["--by", "fame"], "--by is 'fame'"),
        (["--layer", "55"], "--layer is '55'"),
        (["--reduction", "least"], "--reduction is least"),
        (["--call", "3"], "--call is 3"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    fluoroscope: Call, tmp_path: Path, words: list[str], told: str
) -> None:
    said = fluoroscope(*DIGITS, *words, "-o", str(tmp_path / "out"))
    assert said.code == 2
    assert told in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_units_are_held_against_masks_and_named(
    fluoroscope: Call, tmp_path: Path, tiny_clip: Path
) -> None:
    (tmp_path / "masks" / "[bold]ink").mkdir(parents=True)
    for one in fs.load_images("digits", channels=1).take(10):
        mask = Image.fromarray(one.image[0].numpy() > 0.5)
        mask.save(tmp_path / "masks" / "[bold]ink" / f"{one.index}.png")
    (tmp_path / "words.txt").write_text("round\nstraight\n\n[red]odd\n")
    said = fluoroscope(
        *DIGITS, "--unit", "5", "--masks", str(tmp_path / "masks"), "--quantile", "0.1",
        "--names", str(tiny_clip), "--words", str(tmp_path / "words.txt"), "--score", "cosine",
        "-o", str(tmp_path / "out"), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["dissection"]["quantile"] == 0.1
    assert told["dissection"]["pictures"] == 10
    assert len(told["dissection"]["units"]) == 64
    assert "[bold]ink" in said.err
    assert [each["unit"] for each in told["names"]["units"]] == [5]
    assert told["names"]["labels"] == 3
    assert "20 pictures without a mask" in said.err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--unit", "64"], "--unit is 64, and the layer"),
        (["--masks", "MASKS", "--quantile", "2"], "--quantile is 2.0; expected a share"),
        (["--masks", "nowhere"], "nowhere"),
        (["--names", "nowhere"], "nowhere is no folder"),
        (["--iou", "0.1"], "--iou goes with --masks"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_read(
    fluoroscope: Call, tmp_path: Path, wrong: list[str], told: str
) -> None:
    (tmp_path / "ink").mkdir()
    Image.new("1", (8, 8)).save(tmp_path / "ink" / "0.png")
    wrong = [str(tmp_path) if word == "MASKS" else word for word in wrong]
    said = fluoroscope(*DIGITS, *wrong, "-o", str(tmp_path / "out"))
    assert said.code == 2
    assert told in said.err
    assert not list((tmp_path / "out").glob("*"))


def test_words_without_a_network_are_refused(fluoroscope: Call, tmp_path: Path) -> None:
    said = fluoroscope(*DIGITS, "--words", str(tmp_path / "x"), "-o", str(tmp_path / "out"))
    assert said.code == 2
    assert "expected --names with it" in said.err
