"""``fluoroscope evaluate`` and ``fluoroscope runs``, as a user calls them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyarrow import parquet

Call = Callable[..., Any]
DIGITS = ["--model", "digits-linear", "--data", "digits", "--limit", "40"]
PLAN = """
[[stages]]
attack = "fgsm"
[[stages]]
attack = "pgd"
parameters = {steps = 3}
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """A file of two quick stages."""
    (tmp_path / "quick.toml").write_text(PLAN)
    return str(tmp_path / "quick.toml")


@pytest.fixture
def evaluate(fluoroscope: Call, plan: str, tmp_path: Path) -> Call:
    """Evaluate within 0.02 by that plan into ``run``; later options replace these."""

    def call(*arguments: str) -> Any:
        return fluoroscope(
            "evaluate", *DIGITS, "--threat", "linf:0.02", "--plan", plan, "--out",
            str(tmp_path / "run"), *arguments,
        )  # fmt: skip

    return call


def test_a_run_and_its_verdict(evaluate: Call, fluoroscope: Call, tmp_path: Path) -> None:
    done = evaluate("--part", "15", "--save-images", "--json", "-")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["count"] == 40
    low, high = said["robust_interval"]
    assert 0 < low < said["robust_accuracy"] < high < said["clean_accuracy"]
    assert [each["name"] for each in said["components"]] == ["fgsm", "pgd"]
    assert said["components"][1]["robust_accuracy"] == said["robust_accuracy"]
    for cost in ("forwards", "backwards", "seconds"):
        assert said[cost] >= sum(each[cost] for each in said["components"]) > 0
    assert said["record"]["prepared"] == ["channels last"]
    assert "robust accuracy" in done.err
    parts = tmp_path / "run" / "parts"
    assert len(list(parts.glob("*-fgsm.safetensors"))) == 3
    rows = parquet.read_table(parts / "00000-clean.parquet")
    assert len(rows) == 15
    # From its rows, and without a network, the run says the same.
    again = fluoroscope("runs", "show", str(tmp_path / "run"), "--json", "-")
    assert again.code == 0, again.err
    read = json.loads(again.out)
    assert {**read, "record": None} == {**said, "record": None}
    assert again.err in done.err


def test_a_second_network_asks_for_the_trust_checks(
    evaluate: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.evaluation.check import Check
    from fluoroscope.evaluation.trust import of_run

    def checks(*_: object, second: Any, **__: object) -> tuple[Check, ...]:
        return tuple(Check("transfer", "fail", f"{one.name} fooled it.") for one in second)

    monkeypatch.setattr(of_run, "trust_checks", checks)
    done = evaluate("--second", "digits-cnn", "--second", "digits-robust", "--json", "-")
    assert done.code == 0, done.err
    words = [check["words"] for check in json.loads(done.out)["trust"][:2]]
    assert words == ["digits-cnn fooled it.", "digits-robust fooled it."]
    one_line(evaluate("--second", "digits-nn"), "no network is called 'digits-nn'")
    one_line(evaluate("--second", "digits-linear"), "the network under study itself")


def test_the_same_command_reads_what_is_there(evaluate: Call, tmp_path: Path) -> None:
    first = json.loads(evaluate("--json", "-").out)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "parts").iterdir()}
    again = evaluate("--json", "-")
    assert json.loads(again.out) == first
    assert files == {file: file.stat().st_mtime_ns for file in files}
    anew = json.loads(evaluate("--plain", "--resume", "never", "--json", "-").out)
    assert anew["record"]["prepared"] == []
    assert files != {file: file.stat().st_mtime_ns for file in files}


def test_a_damaged_file_is_named_in_a_line(evaluate: Call, tmp_path: Path) -> None:
    first = json.loads(evaluate("--json", "-").out)
    (tmp_path / "run" / "parts" / "00000-pgd.parquet").write_bytes(b"nothing of ours")
    again = evaluate("--json", "-")
    assert json.loads(again.out)["robust_accuracy"] == first["robust_accuracy"]
    [warning] = [line for line in again.err.splitlines() if "warning" in line]
    assert "00000-pgd.parquet cannot be used" in warning
    assert warning.endswith("made anew")


def one_line(done: Any, message: str) -> None:
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threat", "none"], "not defined for the norm 'none'"),
        (["--threat", "linf:inf"], "--threat is 'inf'"),
        (["--threat", "linf"], "eps is infinite; FGSM expects a bound such as 8/255"),
        (["--threat", "l0:3"], "not defined for the norm 'l0'"),
        (["--threat", "l0:3", "--plan", "curve"], "expected linf, l2, l1"),
        (["--workers", "2"], "expected --engine ray with them"),
        (["--engine", "dask"], "dask"),
        (["--threat", "0.3"], "--threat is '0.3'; expected linf, l2, l1, l0 or none"),
        (["--threat", "none", "--plan", "standard"], "not defined for the norm 'none'"),
        (["--plan", "standart"], "there is no plan 'standart'"),
        (["--data", "no/such-folder.d"], "no/such-folder.d"),
        (["--data", "digits", "--split", "test"], "has no split 'test'"),
        (["--model", "digits-cmm"], "digits-cmm"),
        (["--resume", "perhaps"], "perhaps"),
        (["--part", "0"], "--part"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_mistakes_are_one_line(evaluate: Call, arguments: list[str], message: str) -> None:
    one_line(evaluate(*arguments), message)


def test_mistakes_in_a_plan(evaluate: Call, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[[stages]]\nattack = 'pgd'\nparameters.step = 3")
    one_line(evaluate("--plan", str(tmp_path / "wrong.toml")), "wrong.toml: the stage pgd: pgd has")


def test_data_without_labels(evaluate: Call, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "pictures" / "one.png")
    one_line(evaluate("--data", str(tmp_path / "pictures")), "has no labels")


def class_folders(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / "test" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(root / "test" / name / "one.png")
    return root


def test_classes_of_another_kind(evaluate: Call, tmp_path: Path) -> None:
    pets = class_folders(tmp_path / "pets", ["cat", "dog"])
    one_line(evaluate("--data", str(pets)), "the data's 'cat' is none of its. Name the network's")


def test_classes_in_other_words_go_by_their_places(evaluate: Call, tmp_path: Path) -> None:
    folders = class_folders(tmp_path / "digits", [f"digit-{chr(97 + at)}" for at in range(10)])
    done = evaluate("--data", str(folders), "--json", "-")
    assert done.code == 0, done.err
    assert "so the data's are matched by their places ('digit-a' is 0); --labels" in done.err


def test_a_network_at_chance_shows_what_it_was_fed(
    evaluate: Call, tmp_path: Path, plan: str
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(str((number + 3) % 10) for number in range(10)))
    wrong = ["--labels", str(labels)]
    done = evaluate(*wrong)
    one_line(done, "no better than chance among 10 classes")
    assert "values from 0 to 1" in done.err
    assert "--at-chance" in done.err
    assert f"see {tmp_path / 'run' / 'fed.png'}" in done.err
    with Image.open(tmp_path / "run" / "fed.png") as picture:
        assert min(picture.size) > 500
    anyway = evaluate(*wrong, "--at-chance", "--json", "-")
    assert anyway.code == 0, anyway.err
    assert json.loads(anyway.out)["clean_accuracy"] < 0.3


def test_another_run_in_the_same_directory(evaluate: Call, tmp_path: Path) -> None:
    assert evaluate().code == 0
    one_line(evaluate("--threat", "linf:0.03"), "threat eps is 0.02, and here 0.03")
    one_line(evaluate("--model", "digits-cnn"), "network is digits-linear, and here digits-cnn")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(about | {"format": 99}))
    one_line(evaluate(), "has format 99")
    assert evaluate("--resume", "never").code == 0


def test_a_full_disk_is_one_line(evaluate: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    one_line(evaluate(), "00000-clean.parquet: the disk is full")


def test_a_curve_has_its_picture(evaluate: Call, fluoroscope: Call, tmp_path: Path) -> None:
    done = evaluate("--plan", "curve", "--threat", "linf", "--limit", "20", "--json", "-")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["curve"]["median"] > 0
    assert said["record"]["identity"]["threat"] == {"norm": "linf", "eps": "inf"}
    assert "within L∞" in done.err
    assert "robust accuracy" not in done.err  # without a bound it would say nothing
    with Image.open(tmp_path / "run" / "curve.png") as picture:
        assert min(picture.size) > 300
    again = fluoroscope("runs", "show", str(tmp_path / "run"), "--json", "-")
    assert json.loads(again.out)["curve"] == said["curve"]


def test_a_cluster_that_is_not_there(evaluate: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("fluoroscope.engine.cluster.find_spec", lambda name: None)
    one_line(evaluate("--engine", "ray"), "pip install 'fluoroscope[cluster]'")


def test_several_runs_are_rows_of_a_table(
    evaluate: Call, fluoroscope: Call, tmp_path: Path
) -> None:
    runs = [str(tmp_path / name) for name in "abc"]
    for seed, out in enumerate(runs):
        assert evaluate("--out", out, "--seed", str(seed)).code == 0
    done = fluoroscope("runs", "compare", *runs, "--csv", "-", "--latex", str(tmp_path / "t.tex"))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("run,network,")
    assert (tmp_path / "t.tex").read_text().count("digits-linear & digits & linf:0.02") == 3
    assert "corrected for that (Holm)" in done.err
    shown = fluoroscope("runs", "show", runs[0], "--csv", "-")
    assert shown.out.splitlines()[0].startswith("run,network,")
    assert fluoroscope("runs", "compare", runs[0]).code == 2
    both = fluoroscope("runs", "show", runs[0], "--csv", "-", "--json", "-")
    assert both.code == 2
    assert "--json and --csv are both -" in both.err


def test_runs_are_compared(evaluate: Call, fluoroscope: Call, tmp_path: Path) -> None:
    evaluate()
    evaluate("--threat", "linf:0.04", "--out", str(tmp_path / "other"))
    runs = [str(tmp_path / "run"), str(tmp_path / "other")]
    done = fluoroscope("runs", "compare", *runs, "--json", "-")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    only = said["fooled_in_second_only"]
    assert len(only) == said["robust"]["first"] > 2
    assert said["robust"]["difference"] == pytest.approx(-len(only) / 40)
    assert said["robust"]["interval"][1] < 0
    assert said["robust"]["p_value"] == 2 ** (1 - len(only))
    assert "fooled in B only: pictures" in done.err
    assert "the threats differ" in done.err
    assert sum(each["fooled_in_second_only"] for each in said["classes"]) == len(only)


def test_runs_that_are_none(fluoroscope: Call, tmp_path: Path) -> None:
    for arguments in (["show", str(tmp_path)], ["compare", str(tmp_path), str(tmp_path)]):
        one_line(fluoroscope("runs", *arguments), "holds no run; expected a directory")


def test_ctrl_c_leaves_a_verdict_and_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text("[[stages]]\nattack='square'\nparameters.queries=1000000")
    command = [
        sys.executable, "-c", "from fluoroscope.cli import main; main()", "evaluate", "--model",
        "digits-robust", "--data", "digits", "--limit", "100", "--threat", "linf:0.02", "--plan",
        str(tmp_path / "long.toml"), "--part", "50", "--out", str(tmp_path / "run"), "--json", "-",
    ]  # fmt: skip
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "80"}
    )
    clean = tmp_path / "run" / "parts" / "00000-clean.parquet"
    while not clean.is_file() and running.poll() is None:
        time.sleep(0.1)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err.decode()
    said = json.loads(out)
    assert not said["complete"]
    assert said["count"] == 50
    assert said["components"][0]["unfinished"] == said["components"][0]["given"] > 30
    assert "stopped early: 50 of 100 samples" in said["notes"][0]
    assert b"the same command goes on" in err
    assert not list((tmp_path / "run" / "parts").glob("*-square.parquet"))
