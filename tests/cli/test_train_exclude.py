"""``fluoroscope train --recipe exclude``: what it writes, goes on from, and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fluoroscope as fs
from fluoroscope.inversion.exclusion import run
from fluoroscope.inversion.exclusion.garbage import Inverting
from fluoroscope.inversion.exclusion.run import ExclusionRun
from fluoroscope.inversion.generator.settings import Settings

Call = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_curves")


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Settings(features=8, noise=8, embedded=8)
    monkeypatch.setattr(run, "INVERTING", Inverting(steps=2, batch_size=10, generator=small))


@pytest.fixture(scope="module")
def digits(bars: Callable[[int, int, int], Path]) -> Path:
    return bars(10, 2, 1)


def test_the_command_writes_a_network_that_says_what_it_is(
    fluoroscope: Call, digits: Path, tmp_path: Path
) -> None:
    said = fluoroscope(
        "train", "digits-linear", "--data", str(digits), "--epochs", "2", "--recipe", "exclude",
        "--outside", "digits", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    record = json.loads(said.out)
    assert record["labels"] == [*"0123456789", "none of these"]
    assert "--recipe exclude --outside digits --out" in record["command"]
    assert [one["name"] for one in record["exclusion"]["outside"]] == ["Gaussian noise", "digits"]
    assert record["exclusion"]["inverting"]["steps"] == 2
    assert "none of the others" in said.err
    assert "AUROC" in said.err
    weights = tmp_path / "digits-linear.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digits-linear.json", "digits-linear.safetensors",
    ]  # fmt: skip
    with pytest.warns(fs.FluoroscopeWarning, match="has an eleventh class, 'none of these'"):
        model = fs.load_model("digits-linear", checkpoint=weights)
    assert model.labels == (*"0123456789", "none of these")
    assert model.module[1].out_features == 11
    predicted = fluoroscope(
        "predict", "--model", "digits-linear", "--checkpoint", str(weights), "--image", "noise"
    )
    assert predicted.code == 0, predicted.err
    assert "eleventh class" in predicted.err


def test_the_command_goes_on_to_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    whole = ExclusionRun("digits-linear", digits, out=tmp_path / "whole", epochs=3)
    many = len(list(whole))
    broken = ExclusionRun("digits-linear", digits, out=tmp_path / "broken", epochs=3)
    for step in broken:
        if step.number == 2:
            break
    again = ExclusionRun("digits-linear", digits, out=tmp_path / "broken", epochs=3)
    assert again.behind == 2
    assert len(list(again)) == many - 1
    assert again.result.weights.read_bytes() == whole.result.weights.read_bytes()
    assert not [path for path in (tmp_path / "broken").iterdir() if "garbage" in path.name]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--recipe", "exlude"], "recipe is 'exlude'"),
        (["--outside", "digits"], "--recipe exclude"),
        (["--recipe", "exclude", "--adversarial", "pgd", "--eps", "0.3"], "no moved pictures"),
        (["--recipe", "exclude", "--outside", "nowhere"], "nowhere"),
    ],
)
def test_the_commands_mistakes_are_one_line(
    fluoroscope: Call, options: list[str], says: str, digits: Path, tmp_path: Path
) -> None:
    said = fluoroscope("train", "digits-linear", "--data", str(digits), *options, "--out",
                       str(tmp_path / "out"))  # fmt: skip
    assert said.code == 2, said
    assert says in said.err
    assert said.err.count("\n") == 1
