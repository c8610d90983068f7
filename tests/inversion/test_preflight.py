"""Preflight: every planted fault is found and named, and a sound network has none."""

from pathlib import Path

import pytest
import torch
from portrait_toys import normed
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.errors import InvalidImagesError

NORM = "the prior of batch norm's statistics"
GRADIENT = "portraits and generators"
RELUS = "ReLUs as layers, and opened in the first steps"
LAYERS = "channels as goals, layer statistics and sorted values"
UNITS = "units as goals"
COLOUR = "decorrelated natural colour"
MATRIX = "a hot matrix as the code of a generator"
VECTOR = "a soft vector as the code of a generator"


def test_a_sound_network_is_fit_for_everything() -> None:
    found = fs.inversion.preflight(normed(), torch.rand(20, 3, 8, 8, dtype=torch.float64))
    assert not found.refused
    assert {each.verdict for each in found.findings} == {"yes"}
    assert "2 batch norms" in found[NORM].why
    assert "all 9 channels" in found[UNITS].why
    assert repr(found).endswith("all can be used>")
    assert found.describe()["findings"][0]["valid"] == "yes"


class _Odd(nn.Module):
    """Calls ReLU as a function, has a channel that is dead and no names for its maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3)
        self.act = nn.ReLU()
        self.last = nn.Linear(3 * 36, 40)
        nn.init.constant_(self.first.bias[1:2], -100)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.act(self.first(x)) - 0.01).flatten(1))


def test_planted_faults_are_found() -> None:
    torch.manual_seed(0)
    model = fs.Classifier(_Odd(), channels=1, input_size=8)
    found = fs.inversion.preflight(model, torch.rand(5, 1, 8, 8))
    assert found[NORM].verdict == "no"
    assert "no batch norm" in found[NORM].why
    assert found[RELUS].verdict == "with care"
    assert "1 ReLU of it is called as a function" in found[RELUS].why
    assert found[UNITS].verdict == "with care"
    assert "1 of 3 channels of ReLUs" in found[UNITS].why
    assert "act:1" in found[UNITS].why
    assert found[COLOUR].verdict == "no"
    assert "grey" in found[COLOUR].why
    assert found[MATRIX].verdict == "no"
    assert found[VECTOR].verdict == "with care"
    assert found[LAYERS].verdict == "yes"
    assert "act" in found[LAYERS].why
    assert "is called as a function" in found._repr_html_()


def test_without_gradient_or_maps_it_is_said() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last((x.flatten(1) > 0.5).float())

    found = fs.inversion.preflight(fs.Classifier(Steps(), channels=1, input_size=2))
    assert found[GRADIENT].verdict == "no"
    assert "do not depend differentiably" in found[GRADIENT].why
    assert found[LAYERS].verdict == "no"
    assert "expected layers by name, of last" in found[LAYERS].why
    assert found[MATRIX].verdict == "yes"
    with pytest.raises(InvalidImagesError):
        fs.inversion.preflight(normed(), torch.rand(1, 3, 9, 9))


def test_a_network_that_is_dead_at_noise_is_doubted() -> None:
    conv = nn.Conv2d(1, 2, 3)
    nn.init.constant_(conv.bias, -100)  # type: ignore[arg-type]
    dead = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 3))
    found = fs.inversion.preflight(fs.Classifier(dead, channels=1, input_size=8))
    assert found[GRADIENT].verdict == "with care"
    assert "exactly zero at noise" in found[GRADIENT].why


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("mobilenet_v1_0.25_128", "no"), ("mobilenet_v1_0.75_224", "yes")],
)
def test_pretrained_networks(name: str, verdict: str, shared: Path) -> None:
    found = fs.inversion.preflight(fs.load_model(shared / "models" / name))
    assert found[NORM].verdict == verdict
    assert found[GRADIENT].verdict == "yes"
    assert found[MATRIX].verdict == "no"
