"""The part of a network from a layer on: it answers as the whole does, and skips the rest."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import fluoroscope as fs
from fluoroscope.models.layers import find_layer
from fluoroscope.models.rest import Rest
from fluoroscope.models.wrappers.likewise import Likewise
from fluoroscope.neurons.reading.units import find_units


class Odd(nn.Module):
    """Reused and in-place modules, functions between them, a skip, two rows of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.tokens = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        found = self.relu(self.first(images * 2 - 1))
        found += 0.5 * self.relu(self.second(found))
        found = F.max_pool2d(found, 2).flatten(2).transpose(1, 2)
        found = found + self.tokens(found, found, found)[0]
        head: Tensor = self.head(self.norm(found).mean(1))
        return head


def whole(model: fs.Classifier, image: Tensor, name: str, call: int, gone: Tensor) -> Tensor:
    """The slow way: whole passes in which a hook removes the units."""
    units, seen = find_units(model, name, call), 0

    def without(module: nn.Module, given: object, output: Tensor | tuple[Tensor, ...]) -> object:
        nonlocal seen
        seen += 1
        if seen - 1 != call:
            return None
        first = output[0] if isinstance(output, tuple) else output
        changed = units.removed(first[:1], gone)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    hook = find_layer(model, name).register_forward_hook(without)
    try:
        with torch.no_grad():
            return model(image.expand(len(gone), -1, -1, -1).clone())
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def odd() -> fs.Classifier:
    torch.manual_seed(0)
    return fs.Classifier(Odd().eval(), input_size=8, channels=3, mean=[0.4] * 3, std=[0.3] * 3)


@pytest.mark.parametrize(
    ("name", "call"),
    [("first.0", 0), ("first", 0), ("relu", 0), ("relu", 1), ("second", 0), ("tokens", 0),
     ("norm", 0), ("head", 0)],
)  # fmt: skip
def test_it_answers_as_the_whole_network(odd: fs.Classifier, name: str, call: int) -> None:
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    rest, units = Rest(odd, name, call), find_units(odd, name, call)
    activation, logits = rest.see(image)
    torch.testing.assert_close(logits, odd(image), atol=1e-5, rtol=0)
    gone = torch.eye(units.count, dtype=torch.bool)
    found = rest(units.removed(activation, gone))
    torch.testing.assert_close(found, whole(odd, image, name, call, gone), atol=1e-5, rtol=0)
    assert rest.skips == (name not in ("first.0", "first"))


def test_what_lies_before_is_computed_once(odd: fs.Classifier) -> None:
    image = torch.rand(1, 3, 8, 8)

    def flops(name: str) -> int:
        rest = Rest(odd, name)
        activation, _ = rest.see(image)
        with FlopCounterMode(display=False) as counted:
            rest(activation.expand(50, *activation.shape[1:]))
        assert rest._twin is not None
        assert all("forward" not in vars(part) for part in rest._twin.module.modules())
        return int(counted.get_total_flops())

    assert flops("head") == 0
    assert flops("norm") == 50 * 2 * 6 * 4  # the head alone
    assert flops("norm") < flops("first.1")


class Fixed(nn.Module):
    """Takes so many images and no other number, as exported networks do."""

    def __init__(self, many: int) -> None:
        super().__init__()
        self.many = many
        self.first = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) != self.many:
            raise ValueError(f"expected {self.many} images")
        head: Tensor = self.head(self.first(images).relu().mean((2, 3)))
        return head


@pytest.mark.parametrize("many", [1, 2, 4])
def test_a_network_of_a_fixed_batch_size(many: int) -> None:
    torch.manual_seed(0)
    model = fs.Classifier(Fixed(many).eval(), channels=1, input_size=6)
    image = torch.rand(1, 1, 6, 6)
    rest = Rest(model, "first")
    activation, logits = rest.see(image)
    assert not rest.skips
    torch.testing.assert_close(logits, model(image))
    inner = model.module
    units = find_units(model, "first")
    copies = units.removed(activation, torch.eye(4, dtype=torch.bool))
    expected = inner.head(copies.relu().mean((2, 3)))  # type: ignore[operator]
    torch.testing.assert_close(rest(copies), expected)


def test_members_of_an_ensemble_and_wrappers() -> None:
    """A member's layer is one of the ensemble's; a wrapper answers in a way of its own."""
    torch.manual_seed(0)
    members = [
        fs.Classifier(Odd().eval(), input_size=8, channels=3, mean=[0.1 * k] * 3, std=[0.3] * 3)
        for k in (1, 3)
    ]
    image = torch.rand(1, 3, 8, 8)
    both = fs.Ensemble(members)
    for model in (both, Likewise(members[0]), Doubled(members[0])):
        name = next(
            name for name, _ in reversed(list(model.module.named_modules()))
            if name.endswith("norm")
        )  # fmt: skip
        rest, units = Rest(model, name), find_units(model, name)
        activation, logits = rest.see(image)
        torch.testing.assert_close(logits, model(image), atol=1e-5, rtol=0)
        gone = torch.eye(units.count, dtype=torch.bool)[:3]
        found = rest(units.removed(activation, gone))
        expected = whole(model, image, name, 0, gone)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert rest.skips == (type(model) in (fs.Ensemble, Likewise))


class Doubled(Likewise):
    """Answers with twice the logits."""

    def __call__(self, images: Tensor) -> Tensor:
        return 2 * self.model(images)
