"""The pages on training: what they say to type runs, what is quoted was measured, and a recipe of
one's own does what it says."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.cli import main
from fluoroscope.training.names import RECIPES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training.md").read_text("utf-8")
GUIDE = (DOCS / "write-a-recipe.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (fluoroscope .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
# What a command takes more to be quick.
_SCENES = ["--scenes", "8"]
QUICK = {
    "depth train": [*_SCENES, "--size", "16x24", "--epochs", "1", "--units", "8", "--bins", "4"],
    "depth show": _SCENES,
    "depth ablate": _SCENES,
    "depth diagnose": _SCENES,
    "train invertible": ["--blocks", "1", "--hidden", "4"],
    "train": ["--limit", "20", "--epochs", "1"],
    "xray": ["--limit", "12", "--sections", "clean"],
    "neurons": ["--limit", "12"],
}


def test_its_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) >= 4
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS:
        words = shlex.split(line)
        words += QUICK.get(words[1], []) if "-d" in words else []
        words += ["--epochs", "2"] if "gates" in words else []  # the first is without
        words += QUICK.get(" ".join(words[1:3]), [])
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code, line


def test_it_knows_every_recipe() -> None:
    for name in RECIPES:
        assert f"`--recipe {name}`" in PAGE


def test_what_it_quotes_stands_in_the_section_that_it_names() -> None:
    measured = (DOCS / "reproductions.md").read_text("utf-8")
    sections = {
        re.sub(r"[^\w -]", "", section.partition("\n")[0].lower()).replace(" ", "-"): section
        for section in measured.split("\n## ")[1:]
    }
    cells = [line.split("|")[4] for line in PAGE.splitlines() if line.startswith("| ")][1:]
    said = cells + re.findall(r"\[[^]]*\]\(reproductions\.md#[^)]*\)", PAGE)
    quoted = 0
    for words in said:
        (section,) = set(re.findall(r"\(reproductions\.md#([^)]*)\)", words))
        text = re.sub(r"\(reproductions[^)]*\)", "", words)
        for number in re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?:e-\d+)?", text):
            assert re.search(rf"(?<![\w.]){re.escape(number)}(?![\d.]\d)", sections[section]), words
            quoted += 1
    assert len(cells) == 13
    assert quoted > 30


def test_its_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"fs": fs, "__name__": "example"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
            exec(compile(code, "docs/write-a-recipe.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert (tmp_path / "flat.safetensors").is_file()


def test_its_own_recipe_is_short_and_flattens() -> None:
    code = next(c for c in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "FlatLoss" in c)
    lines = code.partition("\n\n\nstep =")[0].partition("@dataclass")[2].splitlines()
    assert len([line for line in lines if line]) <= 15
    names: dict[str, Any] = {"torch": torch, "__name__": "example"}
    exec(code.partition("\n\n\nstep =")[0], names)
    images = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    slopes = []
    for weight in (0.0, 10.0):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            net = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
        recipe = fs.training.Recipe(epochs=10, batch_size=20)
        fs.training.fit(net, images, labels, recipe, loss=names["FlatLoss"](weight))
        probe = images.clone().requires_grad_(True)
        loss = nn.functional.cross_entropy(net(probe), labels, reduction="sum")
        slopes.append(float(torch.autograd.grad(loss, probe)[0].norm()))
    assert slopes[1] < 0.5 * slopes[0]
