"""``fluoroscope train``: against attacks, broken off, and with settings that make no sense."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fluoroscope.training.job.run import TrainingRun
from fluoroscope.training.names import RECIPES

Call = Callable[..., object]
pytestmark = pytest.mark.usefixtures("without_curves")


@pytest.fixture(scope="module")
def data(bars: Callable[[int, int, int], Path]) -> Path:
    """22 pictures to learn from, and 4 to test with."""
    return bars(2, 11, 2)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "trades"])
def test_hardens_and_says_how_far(
    fluoroscope: Call, method: str, data: Path, tmp_path: Path
) -> None:
    steps = [] if method == "fgsm" else ["--adversarial-steps", "2"]
    said = fluoroscope(
        "train", "digits-linear", "--data", str(data), "--epochs", "1", "--adversarial", method,
        "--eps", "1/10", *steps, "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    record = json.loads(said.out)
    assert record["adversarial"]["method"] == method
    assert record["adversarial"]["eps"] == 0.1
    plain, strong = record["adversarial"]["test"]
    assert (plain["attack"], plain["steps"]) == ("FGSM", 1)
    assert (strong["attack"], strong["steps"], strong["restarts"]) == ("PGD", 100, 10)
    assert strong["pictures"] == 4
    assert strong["right"] <= plain["right"]
    assert ", attacked " in said.err
    assert "survive PGD (100 steps, 10 starts)" in said.err
    assert json.loads((tmp_path / "digits-linear.json").read_text("utf-8")) == record


def test_an_epochs_line_is_its_mean_as_in_the_record(
    fluoroscope: Call, data: Path, tmp_path: Path
) -> None:
    said = fluoroscope(
        "train", "digits-cnn", "-d", str(data), "--epochs", "2", "--batch-size", "8",
        "--recipe", "gates", "--gate-every", "2", "-o", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    for one in json.loads(said.out)["history"]:
        terms = ", ".join(f"{name} {mean:.3g}" for name, mean in one.get("terms", {}).items())
        told = f"{one['loss']:.4f}" + (f" ({terms})" if terms else "")
        assert f"epoch {one['epoch']}: loss {told}, held out" in said.err


def test_the_help_tells_of_every_recipe(fluoroscope: Call) -> None:
    told = " ".join(fluoroscope("train", "--help").out.split())
    assert all(f"{name}: " in told for name in RECIPES)


def test_goes_on_when_called_again(fluoroscope: Call, data: Path, tmp_path: Path) -> None:
    for step in TrainingRun("digits-linear", data, out=tmp_path / "out", epochs=3):
        if step.number == 2:
            break
    arguments = ["train", "digits-linear", "--data", str(data), "--out", str(tmp_path / "out")]
    other = fluoroscope(*arguments, "--epochs", "4")
    assert other.code == 2
    assert "left by another training (epochs was 3, now 4)" in other.err
    assert other.err.count("\n") == 1
    said = fluoroscope(*arguments, "--epochs", "3")
    assert said.code == 0, said.err
    assert "going on after step 2 of an earlier run" in said.out
    assert "epoch 1:" not in said.out
    assert "epoch 3:" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "digits-linear.json",
        "digits-linear.safetensors",
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--adversarial", "pgd"], "eps is missing"),
        (["--adversarial", "pgd", "--eps", "0"], "expected a number above 0"),
        (["--adversarial", "pgd", "--eps", "-0.1"], "eps is '-0.1'"),
        (["--adversarial", "pgd", "--eps", "much"], "eps is 'much'"),
        (["--adversarial", "pdg", "--eps", "0.3"], "expected fgsm or pgd or trades"),
        (["--eps", "0.3"], "--adversarial"),
        (["--adversarial-steps", "3"], "--adversarial"),
        (["--adversarial", "fgsm", "--eps", "0.3", "--adversarial-steps", "3"], "fgsm makes one"),
        (["--adversarial", "trades", "--eps", "0.3", "--adversarial-steps", "0"], "steps is 0"),
        (["--adversarial", "pgd", "--eps", "0.3", "--ramp", "2"], "ramp is 2.0"),
    ],
)
def test_mistakes_are_one_line(
    fluoroscope: Call, options: list[str], says: str, data: Path, tmp_path: Path
) -> None:
    said = fluoroscope("train", "digits-linear", "--data", str(data), *options, "--out",
                       str(tmp_path / "out"))  # fmt: skip
    assert said.code == 2, said
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_consistent_loss_from_the_command_line_alone(
    fluoroscope: Call, data: Path, tmp_path: Path
) -> None:
    """Trained with an attack by name, and read by the command that asks what units mean."""
    out = tmp_path / "out"
    said = fluoroscope(
        "train", "digits-linear", "--data", str(data), "--epochs", "1", "--recipe", "consistent",
        "--adversarial", "mi-fgsm", "--eps", "0.1", "--adversarial-steps", "2", "--targeted",
        "--layer", "1", "--weight", "2", "--distance", "cosine", "--out", str(out), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    record = json.loads(said.out)
    loss = record["loss"]
    assert (loss["kind"], loss["layer"], loss["weight"]) == ("ConsistentLoss", "1", 2)
    assert loss["base"]["attack"]["kind"] == "MIFGSM"
    assert record["adversarial"]["method"] == "mi-fgsm"
    assert record["adversarial"]["targeted"] is True
    for option in ("--recipe consistent", "--targeted", "--distance cosine"):
        assert option in record["command"]
    network = ["--model", "digits-linear", "--data", "digits", "--limit", "20", "--checkpoint",
               str(out / "digits-linear.safetensors")]  # fmt: skip
    led = str(tmp_path / "set")
    made = fluoroscope("neurons", "adversarial", *network, "--targets", "1", "--out", led)
    assert made.code == 0, made.err
    read = fluoroscope("neurons", "consistency", *network, "--adversarial", led, "--layer", "1",
                       "--out", str(tmp_path / "read"))  # fmt: skip
    assert read.code == 0, read.err
    assert "CS1" in read.out


def test_unbounded_attacks_teach_too(fluoroscope: Call, data: Path, tmp_path: Path) -> None:
    said = fluoroscope(
        "train", "digits-linear", "--data", str(data), "--epochs", "1", "--adversarial",
        "ensemble-optimisation", "--adversarial-steps", "2", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    record = json.loads(said.out)
    assert "adversarial" not in record  # there is no ball to judge it in
    assert record["loss"]["attack"]["steps"] == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--recipe", "consistent"], "--adversarial is missing, and recipe consistent learns"),
        (["--recipe", "consistent", "--layer", "9"], "--adversarial is missing"),
        (["--recipe", "consistent", *(two := ["--adversarial", "fgsm", "--eps", "0.1"]),
          "--layer", "lin"], "--layer is 'lin', which digits-linear does not have"),
        (["--recipe", "consistent", *two, "--weight", "-1"], "--weight is -1.0; expected 0 or"),
        (["--recipe", "consistent", *two, "--distance", "l1"], "--distance is 'l1'; expected"),
        ([*two, "--distance", "l2"], "expected --recipe consistent beside it"),
        ([*two, "--targeted", "--recipe", "exclude"], "--adversarial is fgsm, and recipe exclude"),
        (["--targeted"], "--targeted is True, but no adversarial training was asked for"),
        (["--adversarial", "trades", "--eps", "0.1", "--targeted"], "--targeted is True, and tra"),
        (["--adversarial", "square", "--eps", "0.1"], "square follows no gradient"),
        (["--adversarial", "mi-fgsm"], "--eps is missing; mi-fgsm training expects"),
        (["--adversarial", "ddn", "--ramp", "0.3"], "--ramp is 0.3, and ddn has no bound"),
        (["--adversarial", "rfgsm", "--eps", "0.1", "--adversarial-steps", "3"], "rfgsm does not"),
    ],
)  # fmt: skip
def test_mistakes_with_what_moves_pictures(
    fluoroscope: Call, options: list[str], says: str, data: Path, tmp_path: Path
) -> None:
    said = fluoroscope("train", "digits-linear", "--data", str(data), *options, "--out",
                       str(tmp_path / "out"))  # fmt: skip
    assert said.code == 2, said
    assert says in said.err
    assert said.err.count("\n") == 1


def test_a_network_without_convolutions_needs_a_layer(
    fluoroscope: Call, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.training.job.data.decode", None)  # nothing is decoded for it
    moved = ["--adversarial", "fgsm", "--eps", "0.1"]
    for recipe, says in {
        "consistent": "--layer is missing, and Sequential has no convolution",
        "selective": "--layer is missing, and Sequential has no convolution",
        "gates": "the network has no convolution; expected one with filters",
    }.items():
        said = fluoroscope(
            "train", "digits-linear", "--data", str(data), "--recipe", recipe,
            *(moved if recipe == "consistent" else []), "--out", str(tmp_path / "out"),
        )  # fmt: skip
        assert said.code == 2
        assert says in said.err
