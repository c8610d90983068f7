"""Several runs in one table: what is compared, corrected, marked and escaped."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from short_plans import plan

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.runs.table import as_latex, holm

Run = Callable[..., fs.Verdict]


def test_holm_by_its_definition() -> None:
    # Holm 1979: reject in ascending order while p <= alpha / (tests left).
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.random(rng.integers(1, 6)) ** 3
        corrected = holm(p_values.tolist())
        for alpha in (0.01, 0.05, 0.3):
            rejected = set()
            for rank, number in enumerate(np.argsort(p_values)):
                if p_values[number] > alpha / (len(p_values) - rank):
                    break
                rejected.add(int(number))
            assert rejected == {n for n, value in enumerate(corrected) if value <= alpha}
    assert holm([]) == []


def test_each_run_beside_the_first(run: Run, tmp_path: Path, few: fs.ImageSet) -> None:
    verdict = run("a")
    run("b", model=fs.load_model("digits-robust"))
    run("c", model=fs.load_model("digits-cnn"))
    run("d", threat="linf:0.03", plan=plan(0.03))
    run("e", images=few.select(range(40)))
    run("other/digits", images=fs.load_images("digits", channels=1).select(range(100, 120)))
    names = ["a", "b", "c", "d", "e", "other/digits"]
    table = fs.runs_table([tmp_path / name for name in names])
    a, b, _, d, e, other = table.rows
    assert (a.count, a.robust, a.robust_interval) == (
        verdict.count, verdict.robust_accuracy, verdict.robust_interval,
    )  # fmt: skip
    assert (a.forwards, a.backwards) == (verdict.forwards, verdict.backwards)
    assert [row.against is None for row in table.rows] == [True, False, False, True, False, True]
    assert (a.apart, b.apart, d.apart, other.apart) == (
        "", "", "another threat than linf:0.02", "other pictures",
    )  # fmt: skip
    pair = fs.compare_runs(tmp_path / "a", tmp_path / "b")
    assert b.against is not None
    assert (b.against.clean, b.against.robust) == (
        pair.clean,
        pair.robust,
    )
    beside = [row.against for row in table.rows if row.against]
    assert [value for one in beside for value in (one.p_clean, one.p_robust)] == holm(
        [each.p_value for one in beside for each in (one.clean, one.robust)]
    )
    assert e.against is not None
    assert e.against.count == 40
    said = " ".join(table.notes)
    for words in ("another threat", "other pictures", "on the 40 pictures that both", "6 compar"):
        assert words in said
    json.dumps(table.describe())


def test_only_what_is_surely_the_highest_is_marked(run: Run, tmp_path: Path) -> None:
    run("weak")
    run("strong", model=fs.load_model("digits-robust"))
    run("strong again", model=fs.load_model("digits-robust"), seed=1)
    alone = fs.runs_table([tmp_path / "weak", tmp_path / "strong"])
    assert [row.best_robust for row in alone.rows] == [False, True]
    assert alone.latex().count(r"\textbf") == sum(
        row.best_robust + row.best_clean for row in alone.rows
    )
    # Twice the same: neither is above the other.
    tied = fs.runs_table([tmp_path / name for name in ("weak", "strong", "strong again")])
    assert not any(row.best_robust or row.best_clean for row in tied.rows)
    assert r"\textbf" not in tied.latex()
    assert not any(row.best_robust for row in fs.runs_table([tmp_path / "strong"]).rows)


def test_a_weaker_plan_wins_nothing_and_8_bits_are_a_threat_of_their_own(
    run: Run, tmp_path: Path
) -> None:
    run("weak", plan=replace(plan(), name="weak"), model=fs.load_model("digits-robust"))
    run("strong")
    run("bits", grid=8)
    table = fs.runs_table([tmp_path / name for name in ("strong", "weak", "bits")])
    assert not any(row.best_robust for row in table.rows)
    assert "the plans differ" in " ".join(table.notes)
    assert [row.threat for row in table.rows][1:] == ["linf:0.02", "linf:0.02, 8-bit pictures"]
    assert table.rows[2].apart == "another threat than linf:0.02"
    lines = [line for line in table.latex().splitlines() if "digits" in line and " & " in line]
    assert [line.split(" & ")[0] for line in lines] == ["strong", "weak", "bits"]


def test_texts_of_strangers_are_texts(run: Run, tmp_path: Path) -> None:
    run("a")
    about = tmp_path / "a" / "run.json"
    found = json.loads(about.read_text())
    network, data = r"=cmd|'/c'!A1 \input{x}%$&#_^~--" + "\n", "@data\ttab"
    found["identity"]["model"], found["identity"]["data"]["name"] = network, data
    about.write_text(json.dumps(found))
    for file in (tmp_path / "a" / "parts").iterdir():
        file.unlink()
    with pytest.raises(InvalidParameterError, match="no finished part"):
        fs.runs_table([tmp_path / "a"])
    assert as_latex(network) == (
        r"=cmd\textbar{}\textquotesingle{}/c\textquotesingle{}!A1 \textbackslash{}input\{x\}"
        r"\%\$\&\#\_\textasciicircum{}\textasciitilde{}-{}-"
    )
    run("b", model=_called(network), threat="linf:0.02")
    table = fs.runs_table([tmp_path / "b"])
    (row,) = csv.DictReader(io.StringIO(table.csv()))
    assert row["network"].startswith("'=cmd|")
    assert "\n" not in row["network"]
    assert float(row["robust"]) == table.rows[0].robust
    assert as_latex(network) in table.latex()


def _called(name: str) -> fs.Classifier:
    module = fs.load_model("digits-linear").module
    return fs.Classifier(module, channels=1, input_size=28, name=name)


def test_what_is_no_list_of_runs(run: Run, tmp_path: Path) -> None:
    run("a")
    for given in ([], str(tmp_path / "a"), [tmp_path / "a", tmp_path / "b" / ".." / "a"]):
        with pytest.raises(InvalidParameterError, match="expected the directories of"):
            fs.runs_table(given)  # type: ignore[arg-type]


def test_all_bounds_at_once_are_the_norm_alone(run: Run, tmp_path: Path, few: fs.ImageSet) -> None:
    run("all", images=few.select(range(8)), threat="linf", plan="curve")
    run("one", images=few.select(range(8)))
    names = [tmp_path / "all", tmp_path / "one"]
    assert fs.runs_table(names).rows[0].threat == "linf"
    assert fs.compare_runs(*names).apart["threat"][0] == "linf"
