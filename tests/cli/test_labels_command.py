"""Class folders in an order of their own: every command reads them by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

import fluoroscope as fs
from fluoroscope.pictures.write import to_pil
from tests.cli.conftest import Said

Run = Callable[..., Said]

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders called by words, which sort as eight, five, four; and numbers without a 3."""
    root = tmp_path_factory.mktemp("folders")
    digits = fs.load_images("digits", channels=1)
    for number, sample in enumerate(digits[at] for at in range(30)):
        assert sample.label is not None
        for folder in (root / "words" / WORDS[sample.label], root / "gap" / str(sample.label)):
            if folder != root / "gap" / "3":
                folder.mkdir(parents=True, exist_ok=True)
                to_pil(sample.image).save(folder / f"{number:02}.png")
    (root / "words.txt").write_text("\n".join(WORDS))
    return root


@pytest.mark.parametrize("data", ["words", "gap"])
def test_predict_evaluate_and_attack_agree(
    fluoroscope: Run, root: Path, tmp_path: Path, data: str
) -> None:
    labels = ["--labels", str(root / "words.txt")] if data == "words" else []
    network = ["-m", "digits-cnn", *labels]
    pictures = str(root / data)
    asked = fluoroscope("predict", *network, "--data", pictures, "--json", "-")
    predicted = json.loads(asked.out)
    assert predicted["accuracy"] > 0.9
    assert predicted["seen"]["classes"] == (10 if data == "words" else 9)
    evaluated = json.loads(
        fluoroscope("evaluate", *network, "-d", pictures, "--threat", "linf:0", "--plan", "fast",
            "--out", str(tmp_path / "run"), "--json", "-").out
    )  # fmt: skip
    assert evaluated["clean_accuracy"] == predicted["accuracy"]
    if data == "gap":
        assert any("none of '3'" in note for note in evaluated["notes"])
        assert "none of '3'" in asked.err
    done = fluoroscope("attack", "fgsm", *network, "--data", pictures, "--eps", "0.001",
               "--out", str(tmp_path / "attack"))  # fmt: skip
    assert done.code == 0, done.err
    rows = parquet.read_table(tmp_path / "attack" / "part-00000.parquet")
    wrong = sum(rows["at_start"].to_pylist())
    assert 1 - wrong / len(rows) == pytest.approx(predicted["accuracy"])


def test_a_names_file_makes_them_match(fluoroscope: Run, root: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    shown = fluoroscope("labels", "-m", "digits-cnn", "-d", str(root / "gap"), "--out", str(names))
    assert shown.code == 0, shown.err
    assert "not in the data: '3'" in shown.out
    assert names.read_text().split() == [str(number) for number in range(10)]
    words = fluoroscope("labels", "-m", "digits-cnn", "--labels", str(root / "words.txt"),
                "-d", str(root / "words"), "--json", "-")  # fmt: skip
    found = json.loads(words.out)
    assert found["refusal"] is None
    assert [row["number"] for row in found["classes"][:3]] == [8, 5, 4]
    assert found["classes"][0]["pictures"] > 0


def test_labels_help_where_matching_is_refused(
    fluoroscope: Run, root: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("\n".join([*WORDS[:8], "eigth", "ten"]))
    network = ["-m", "digits-cnn", "--labels", str(wrong)]
    refused = fluoroscope("predict", *network, "--data", str(root / "words"))
    assert refused.code == 2
    assert "'eight' is none of its" in refused.err
    shown = fluoroscope(
        "labels", *network, "-d", str(root / "words"), "--out", str(tmp_path / "names.txt")
    )
    assert shown.code == 0, shown.err
    assert "'eight' may be 'eigth'" in shown.out
    assert "not in the data: 'eigth', 'ten'" in shown.out
    assert (tmp_path / "names.txt").read_text().split() == [*WORDS[:8], "eigth", "ten"]
