"""Accuracies of slices: counted as by hand, kept with the run, read from strangers with care."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.errors import FluoroscopeWarning, InvalidParameterError, UnknownDataError
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.evaluation.slices import Slice, slicing

Run = Callable[..., fs.Verdict]


@pytest.fixture(scope="module")
def told_apart(few: fs.ImageSet) -> fs.ImageSet:
    """The sixty digits, of cameras that come by threes."""
    pictures = np.stack([sample.image.numpy() for sample in few])
    labels = [sample.label for sample in few]
    cameras = ["abc"[n % 3] if n != 7 else None for n in range(60)]
    return fs.load_images(
        pictures, labels=labels, columns={"camera": cameras, "name": list(range(60))}
    )


def by_hand(rows: list[dict[str, object]], wanted: set[object]) -> tuple[int, int, int]:
    """Pictures of these indices, how many are classified correctly, and how many under attack."""
    lost = {row["index"] for row in rows if row["success"] and row["attack"] != "clean"}
    clean = [row for row in rows if row["attack"] == "clean" and row["index"] in wanted]
    right = [row["index"] for row in clean if not row["success"]]
    return len(clean), len(right), sum(index not in lost for index in right)


def test_slices_and_classes_are_counted_as_by_hand(
    run: Run, told_apart: fs.ImageSet, tmp_path: Path
) -> None:
    found = run(images=told_apart, slices=["camera"])
    rows = RunDirectory(tmp_path / "run").tables().to_pylist()
    (sliced,) = found.slices
    wanted = {
        "(none)": {7}, "a": {*range(0, 60, 3)}, "b": {*range(1, 60, 3)} - {7},
        "c": {*range(2, 60, 3)},
    }  # fmt: skip
    assert {one.value for one in sliced.slices} == set(wanted)
    for one in sliced.slices:
        count, right, robust = by_hand(rows, set(wanted[one.value]))
        assert one == Slice(
            one.value, count, right / count, wilson(right, count), robust / count,
            wilson(robust, count),
        )  # fmt: skip
    order = [(one.robust_accuracy, one.clean_accuracy) for one in sliced.slices]
    assert order == sorted(order)  # type: ignore[type-var]
    labels = {row["index"]: row["label"] for row in rows}
    for one in found.by_class:
        mine = {index for index, label in labels.items() if str(label) == one.value}
        assert (one.count, round(one.clean_accuracy * one.count)) == by_hand(rows, mine)[:2]
    assert sum(one.count for one in found.by_class) == 60


def test_slices_are_kept_with_the_run(run: Run, told_apart: fs.ImageSet, tmp_path: Path) -> None:
    found = run(images=told_apart, slices=["camera"])
    again = fs.read_run(tmp_path / "run")
    assert again == replace(found, record=again.record)
    other = run(images=told_apart, slices=["name"])
    (sliced,) = other.slices
    assert (sliced.column, sum(one.count for one in sliced.slices)) == ("name", 60)
    assert len(sliced.slices) == 4
    assert run(images=told_apart).slices == ()
    assert fs.read_run(tmp_path / "run").slices == other.slices
    run(images=told_apart, resume=False)
    assert fs.read_run(tmp_path / "run").slices == ()


def test_a_column_that_there_is_not_is_refused_before_anything_is_looked_at(
    run: Run, few: fs.ImageSet, told_apart: fs.ImageSet, tmp_path: Path
) -> None:
    with pytest.raises(UnknownDataError, match="array has no column 'site'; expected one of: 'cam"):
        run(images=told_apart, slices=["site"])
    with pytest.raises(UnknownDataError, match="digits has no column 'camera'; it has none"):
        run(images=few, slices=["camera"])
    with pytest.raises(InvalidParameterError, match="slices is 'camera'; expected a list"):
        run(images=told_apart, slices="camera")
    assert not (tmp_path / "run").exists()


def test_a_slice_far_behind_is_named() -> None:
    values = ["night"] * 40 + ["day"] * 60
    right = np.array([n % 2 == 0 for n in range(40)] + [True] * 60)
    found = slicing("camera", values, right)
    assert [one.value for one in found.slices] == ["night", "day"]
    assert found.slices[0].robust_accuracy is None
    (words,) = found.words
    assert words.startswith("clean accuracy falls far behind the others for camera night: 50.0")
    assert slicing("camera", ["x", "x", "y", "y"] * 25, right).words == ()
    both = slicing("camera", values, right, right)
    assert [one.measure for one in both.behind] == ["clean", "robust"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.rename_columns(["index", "camera"]),
        lambda table: table.set_column(0, "index", [[0.5] * len(table)]),
        lambda table: table.set_column(0, "index", [[1] * len(table)]),
        lambda table: table.set_column(1, "slice camera", [[None] * len(table)]),
        lambda table: table.set_column(1, "slice camera", [[str(n) for n in range(len(table))]]),
        lambda table: table.set_column(1, "slice camera", [[1] * len(table)]),
    ],
)
def test_a_file_of_slices_that_cannot_be_is_named_and_not_used(
    run: Run, told_apart: fs.ImageSet, tmp_path: Path, spoil: Callable[[pa.Table], pa.Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run(images=told_apart, slices=["camera"])
    file = tmp_path / "run" / "slices.parquet"
    parquet.write_table(spoil(parquet.read_table(file)), file)
    monkeypatch.setattr("fluoroscope.evaluation.runs.columns_file._MOST_VALUES", 50)
    with pytest.warns(FluoroscopeWarning, match=r"slices.parquet cannot be used"):
        assert fs.read_run(tmp_path / "run").slices == ()


def test_names_of_strangers_steer_no_terminal(
    run: Run, told_apart: fs.ImageSet, tmp_path: Path
) -> None:
    run(images=told_apart, slices=["camera"])
    file = tmp_path / "run" / "slices.parquet"
    values = ["\x1b[31mred" + "x" * 999] * 60
    parquet.write_table(pa.table({"index": list(range(60)), "slice \x07c": values}), file)
    (sliced,) = fs.read_run(tmp_path / "run").slices
    assert sliced.column == "c"
    assert sliced.slices[0].value == ("[31mred" + "x" * 999)[:200]
