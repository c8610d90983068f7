"""What a command imports: the small ones no PyTorch, and none what it does not use.

Modules are counted, not seconds, which belong to the machine.
"""

import json
import subprocess
import sys
from pathlib import Path

import fluoroscope as fs

RUN = """
import contextlib, io, json, sys
from fluoroscope.cli import main
after = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["fluoroscope", *command]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            after.append([end.code, list(sys.modules)])
print(json.dumps(after))
"""
UNUSED = {
    *("sklearn", "scipy.stats", "scipy.sparse", "torch._dynamo", "torchvision", "sympy"),
    *("matplotlib", "pandas", "transformers", "timm"),
    *("fluoroscope.studio", "fastapi", "uvicorn"),
}
DIGITS = ("-m", "digits-cnn", "-d", "digits")


def imported(*commands: list[str], cwd: Path) -> tuple[list[int], list[set[str]]]:
    """The exit codes of some commands, and the modules that are there when each has ended."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        capture_output=True, text=True, check=True, cwd=cwd,
    )  # fmt: skip
    codes, modules = zip(*json.loads(done.stdout), strict=True)
    return list(codes), [*map(set, modules)]


def test_the_small_commands_and_mistakes_in_names_import_no_pytorch(tmp_path: Path) -> None:
    heavy = {"torch", "numpy", "pyarrow", "PIL"} | UNUSED
    small = [["--version"], ["models", "list"], ["attacks"], ["attacks", "pgd"]]
    small += [["attribute", "list"], ["attribute", "show", "gradient"]]
    small += [["portrait", "list"], ["portrait", "show", "pixels"]]
    codes, there = imported(*small, cwd=tmp_path)
    assert codes == [0] * len(small)
    assert not heavy & there[-1]
    wrong = [
        ["predict", "-m", "digits-cmn", "-d", "digits"],
        ["models", "show", "torchvision/resnt50"],
        ["labels", "-m", "digits-cnn", "-d", "digts"],
        ["morph", "-m", "digits-cnn", "-i", "digts:7", "--to", "2"],
        ["attack", "fgsm|pdg", *DIGITS, "--eps", "0.1"],
        ["attack", "pgd", *DIGITS, "--eps", "0.1", "--mask", "nowhere.png"],
        ["evaluate", *DIGITS, "--threat", "linf:8"],
        ["transfer", "-m", "digits-cnn", "-m", "digits-cmn", "-d", "digits"],
        ["attribute", "-m", "digits-cnn", "-i", "digits:7", "--method", "gradeint"],
        ["attribute", "-m", "digits-cnn", "-i", "digits:7", "--param", "nothing=1"],
        ["attribute", "show", "gradeint"],
        ["portrait", "-m", "digits-cnn", "--method", "furier"],
        ["portrait", "show", "furier"],
        ["neurons", "show", "-m", "digits-cmn", "-d", "digits"],
        ["trace", "-m", "digits-cnn", "-i", "digts:7"],
    ]
    codes, there = imported(*wrong, cwd=tmp_path)
    assert codes == [2] * len(wrong)
    assert not heavy & there[-1]


def test_a_run_is_shown_without_pytorch(tmp_path: Path) -> None:
    whole = fs.load_images("digits", channels=1).take(12)
    fs.evaluate(
        fs.load_model("digits-linear"), whole, threat="linf", plan="curve", out=tmp_path / "run"
    )
    codes, there = imported(
        ["runs", "show", "run"], ["runs", "compare", "run", "run"], cwd=tmp_path
    )
    assert codes == [0, 0]
    assert not ({"torch", "PIL"} | UNUSED) & there[-1]


def test_predicting_and_attacking_import_what_they_use(tmp_path: Path) -> None:
    codes, there = imported(
        ["predict", *DIGITS, "--limit", "20"],
        ["attack", "pgd", *DIGITS, "--limit", "20", "--eps", "0.1", "--steps", "5"],
        cwd=tmp_path,
    )
    assert codes == [0, 0]
    assert list(tmp_path.glob("out/*/pictures.png"))
    assert "torch" in there[0]
    assert not (UNUSED | {"pyarrow"}) & there[0]
    assert not UNUSED & there[1]
