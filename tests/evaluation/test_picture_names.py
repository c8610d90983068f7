"""Rows carry the names of their pictures; runs from before they did are read and gone on with."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import fluoroscope as fs
from fluoroscope.errors import ResultFormatError
from fluoroscope.evaluation.rows import UNNAMED, as_written
from fluoroscope.evaluation.runs.part_files import write_rows
from fluoroscope.evaluation.runs.run_directory import RunDirectory

Run = Callable[..., fs.Verdict]


def as_before(out: Path) -> None:
    """Make a run what the first format had: no names in its rows, and no slopes."""
    for file in (out / "parts").glob("*.parquet"):
        table = parquet.read_table(file).drop_columns(["name", "flat", "steep"])
        about = {key: value for key, value in table.schema.metadata.items() if b"seal" not in key}
        kept = parquet.read_schema(file).metadata
        assert kept.keys() - about.keys() == {b"fluoroscope.seal"}
        assert table.schema.equals(UNNAMED)
        write_rows(file, table.replace_schema_metadata(about), RunDirectory(out).hash)
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "format": 1}))


def test_every_row_has_its_pictures_name(run: Run, few: fs.ImageSet, tmp_path: Path) -> None:
    run(images=few.select([5, 3, 40, 11]), part=3)
    rows = RunDirectory(tmp_path / "run").tables().to_pylist()
    assert {(row["attack"], row["name"]) for row in rows} >= {("clean", "digits:40")}
    assert len({row["attack"] for row in rows}) > 1
    assert all(row["name"] == f"digits:{row['index']}" for row in rows)


def test_a_picture_file_is_called_as_in_its_folder(small: fs.Classifier, tmp_path: Path) -> None:
    images, labels = fs.load_images("digits", channels=1), []
    for position in range(6):
        sample = images[position]
        grey = (sample.image[0].numpy() * 255).round().astype(np.uint8)
        file = tmp_path / "data" / str(sample.label) / f"site {position}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(file)
        labels.append(f"{sample.label}/site {position}.png")
    found = fs.load_images(tmp_path / "data", channels=1)
    fs.evaluate(small, found, threat="linf:0.02", plan="fast", out=tmp_path / "run")
    rows = RunDirectory(tmp_path / "run").tables().to_pylist()
    assert {row["name"] for row in rows} == set(labels)


def test_a_run_without_names_is_read_and_gone_on_with(run: Run, tmp_path: Path) -> None:
    verdict, out = run(), tmp_path / "run"
    names = RunDirectory(out).tables()["name"].to_pylist()
    as_before(out)
    again = fs.read_run(out)
    assert again == replace(verdict, record=again.record)
    assert set(RunDirectory(out).tables()["name"].to_pylist()) == {""}
    lost = sorted((out / "parts").glob("*-fgsm.parquet"))[-1]
    lost.unlink()
    assert run().robust_accuracy == verdict.robust_accuracy
    assert set(parquet.read_table(lost)["name"].to_pylist()) <= set(names)
    assert RunDirectory(out).tables().num_rows == len(names)


def test_a_changed_name_breaks_the_seal(run: Run, tmp_path: Path) -> None:
    run()
    file = tmp_path / "run" / "parts" / "00000-clean.parquet"
    table = parquet.read_table(file)
    other = table.set_column(1, table.schema.field(1), [["b.png"] * len(table)])
    parquet.write_table(other.replace_schema_metadata(table.schema.metadata), file)
    with pytest.raises(ResultFormatError, match="damaged, changed"):
        fs.read_run(tmp_path / "run")


def test_any_name_can_be_written() -> None:
    strange = ["a\udcffb.png", "x" * 10_000, "", "ligne\n2"]
    written = as_written(strange)
    assert written[0] == "a\\udcffb.png"
    assert (len(written[1]), written[2:]) == (4096, ["", "ligne\n2"])
    assert b"".join(one.encode() for one in written)


def test_a_comparison_names_the_pictures(run: Run, few: fs.ImageSet, tmp_path: Path) -> None:
    from fluoroscope.words import picture_name

    run("a")
    run("b", threat="linf:0.001")
    found = fs.compare_runs(tmp_path / "a", tmp_path / "b")
    fooled = {*found.fooled_in_first_only, *found.fooled_in_second_only}
    assert fooled
    assert found.names == {index: f"digits:{index}" for index in fooled}
    as_before(tmp_path / "a")
    assert fs.compare_runs(tmp_path / "a", tmp_path / "b").names == found.names
    as_before(tmp_path / "b")
    plain = fs.compare_runs(tmp_path / "a", tmp_path / "b").names
    assert plain == {index: str(index) for index in fooled}
    assert [picture_name(name, 7) for name in ("", "digits:7", "7", "x" * 40)] == [
        "7", "7", "7", "…" + "x" * 31,
    ]  # fmt: skip
