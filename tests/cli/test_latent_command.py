"""``fluoroscope latent``: by an attack or another picture, and what does not go together."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fluoroscope.models.invertible.network import Shape
from fluoroscope.models.invertible.stated import invertible_classifier, statement

Call = Any


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = invertible_classifier(
            Shape(1, 28, 28, 10, scales=1, blocks=2, hidden=2), tuple("0123456789")
        )
        torch.nn.init.normal_(model.module.head.weight)
    file = tmp_path_factory.mktemp("network") / "mine.safetensors"
    save_file(model.module.state_dict(), file, statement(model))
    return "-m", "invertible", "--checkpoint", str(file)


def test_a_picture_and_what_the_attack_makes_of_it(
    fluoroscope: Call, network: tuple[str, ...], tmp_path: Path
) -> None:
    said = fluoroscope("latent", *network, "-i", "digits:7", "--out", str(tmp_path), "--json", "-")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["how"].startswith("latent, L2 distance")
    assert sum(found["shares"]) == pytest.approx(1)
    assert [part["part"] for part in found["parts"]] == ["both classes", "other classes", "ignored"]
    names = {"latent.json", "latent.safetensors", "latent.png"}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert "where the head does not look" in said.err


def test_two_pictures(fluoroscope: Call, network: tuple[str, ...], tmp_path: Path) -> None:
    given = ("-i", "digits:7", "--adversarial", "digits:2", "--out", str(tmp_path))
    said = fluoroscope("latent", *network, *given)
    assert said.code == 0, said.err
    assert "apart in pixels" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adversarial", "digits:2", "--attack", "pgd"], "--attack is pgd, beside --adversarial"),
        (["--attack", "pgd"], "--eps"),
        (["--attack", "pdg"], "did you mean pgd"),
        (["--attack", "latent", "--eps", "1e-9"], "--attack latent found nothing within"),
    ],
)
def test_what_does_not_go_together(
    fluoroscope: Call, network: tuple[str, ...], tmp_path: Path, arguments: list[str], words: str
) -> None:
    said = fluoroscope("latent", *network, "-i", "digits:7", *arguments, "--out", str(tmp_path))
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1


def test_other_networks_are_refused_before_anything_is_attacked(
    fluoroscope: Call, tmp_path: Path
) -> None:
    said = fluoroscope("latent", "-m", "digits-cnn", "-i", "digits:7", "--out", str(tmp_path))
    assert said.code == 2
    assert "needs a network's inverse" in said.err
    said = fluoroscope("latent", "-m", "invertible", "-i", "digits:7", "--out", str(tmp_path))
    assert said.code == 2
    assert "wrote as --checkpoint" in said.err
