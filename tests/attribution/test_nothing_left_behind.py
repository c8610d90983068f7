"""No method leaves a trace on the network or on PyTorch, whether it succeeds or fails anywhere."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

import fluoroscope as fs
from fluoroscope.attribution.names import METHODS
from fluoroscope.models.classifier import tensor_bytes
from tests.attribution.cases import FIRST_ORDER
from tests.attribution.toys import BasicBlock, Gate, network

PEERS = ("captum:deep-lift", "captum:guided-backprop", "captum:noise-tunnel", "captum:lrp")
REFUSED = ("captum:deep-lift", "captum:lrp")
"""By Captum, for the network has a ReLU that is used twice, and layers that it has no rule for."""
FEW: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 2},
    "smoothgrad-squared": {"samples": 2},
    "vargrad": {"samples": 2},
    "integrated-gradients": {"points": 2},
    "expected-gradients": {"samples": 2},
    "rise": {"samples": 8},
}
"""What keeps a method short that asks a network often."""
_HOOKS = [name for name in vars(nn.Module()) if name.endswith("hooks")]


class Fuse(nn.Module):
    """Raises from one of its calls on, on the way forward or on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.blown: tuple[int, str] | None = None
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = x * 1
        if self.blown is not None and self.calls >= self.blown[0]:
            if self.blown[1] == "forward":
                raise ValueError("the fuse has blown")
            if y.requires_grad:
                y.register_hook(_blow)
        return y


def _blow(slope: Tensor) -> None:
    raise ValueError("the fuse has blown")


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    torch.manual_seed(0)
    gate = Gate(torch.sigmoid)
    module = network(Fuse(), nn.ReLU(inplace=True), Fuse(), BasicBlock(), Fuse(), gate, Fuse())
    module[0].rule = "of the user's own"
    module[0].weight.grad = torch.ones_like(module[0].weight)
    module[0].bias.requires_grad_(False)
    module[4].bn1.train()  # a network half in training mode stays so
    module[0].register_forward_hook(lambda *_: None)
    return fs.Classifier(module, channels=3, input_size=8, mean=[0.5] * 3, std=[0.25] * 3)


def state(model: fs.Classifier, images: Tensor) -> dict[str, Any]:
    """Everything that a method might leave behind."""
    parts = dict(model.module.named_modules())
    tensors = [*model.module.named_parameters(), *model.module.named_buffers()]
    gelu = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(F.gelu(gelu).sum() + nn.GELU()(gelu).sum(), gelu)
    return {
        "weights": {name: (id(one), tensor_bytes(one)) for name, one in tensors},
        "trainable": {name: one.requires_grad for name, one in tensors},
        "gradients": {
            name: None if one.grad is None else tensor_bytes(one.grad) for name, one in tensors
        },
        "modes": {name: part.training for name, part in parts.items()},
        "hooks": {
            name: [list(getattr(part, kind)) for kind in _HOOKS] for name, part in parts.items()
        },
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "forward": {name: part.forward.__func__ for name, part in parts.items()},
        "images": (images.requires_grad, images.grad, images._version, tensor_bytes(images)),
        "random": (
            tensor_bytes(torch.get_rng_state()), random.getstate(), str(np.random.get_state()),
        ),
        "torch": (
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
            len(_get_current_function_mode_stack()),
        ),
        "gelu": [round(value / 2, 3) for value in slope.tolist()],
    }  # fmt: skip


def explain(model: fs.Classifier, images: Tensor, name: str) -> None:
    fs.attribute(model, images, [0, 1], method=name, **FEW.get(name, {}))


def fuses(model: fs.Classifier) -> list[Fuse]:
    return [part for part in model.module.modules() if isinstance(part, Fuse)]


@pytest.mark.filterwarnings("ignore::fluoroscope.errors.FluoroscopeWarning")
@pytest.mark.parametrize("name", [*METHODS, *PEERS])
def test_a_success_and_a_failure_at_each_layer_leave_everything_as_it_was(
    model: fs.Classifier, name: str
) -> None:
    images = torch.rand(2, 3, 8, 8)
    fs.attribute(model, images)  # and the first look at the network is made
    peer = name in PEERS  # which works on a copy, after one call of the network itself
    before = state(model, images)
    for fuse in fuses(model):
        fuse.calls = 0
    if name in REFUSED:
        with pytest.raises(fs.FluoroscopeError, match="Captum"):
            explain(model, images, name)
    else:
        explain(model, images, name)
    assert state(model, images) == before
    assert before["gelu"] == [-0.083, 0.867, 1.085]
    for fuse, calls in [(fuse, fuse.calls) for fuse in fuses(model)]:
        for way in ("forward", "back"):
            # In the last pass, when whatever a method sets up stands.
            fuse.calls, fuse.blown = 0, (2 if peer else calls, way)
            try:
                failed = _fails(lambda: explain(model, images, name))
            finally:
                fuse.blown = None
            assert failed or (way == "back" and name not in FIRST_ORDER)
            assert state(model, images) == before


def _fails(call: Callable[[], None]) -> bool:
    """Whether it does, with an error of ours; on the way back only those do that go there."""
    try:
        call()
    except fs.FluoroscopeError:
        return True
    return False


def test_gelu_is_nobodys_but_pytorchs() -> None:
    """A library that replaces it would change every network of the process."""
    x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(nn.GELU()(x).sum(), x)
    assert [round(value, 3) for value in slope.tolist()] == [-0.083, 0.867, 1.085]
