"""The network and pictures of an audit, and what is measured on them once for all methods."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fluoroscope.attribution.classes import objective_of
from fluoroscope.attribution.doubts import rounding
from fluoroscope.attribution.rules.graph import ACTIVATIONS, Graph
from fluoroscope.attribution.rules.mode import Rules
from fluoroscope.attribution.rules.ruled import Ruled
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import Look
from fluoroscope.errors import FluoroscopeError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.likewise import Likewise

# Directions along which a derivative is measured, and how far.
_DIRECTIONS, _NUDGE = 4, 1e-8
_PURPOSE, _DITHER = 120, 121


@dataclass(frozen=True)
class Bench:
    """A network and the pictures that one look needs."""

    model: Classifier
    images: Tensor
    """``(n, C, H, W)``, on the network's device."""
    classes: Tensor
    """``(n,)`` or pairs ``(n, 2)``."""
    numbers: Tensor
    """``(n,)``, which pictures of their data set these are."""
    seed: int

    def first(self, count: int) -> "Bench":
        """The same of the first pictures alone."""
        return replace(
            self,
            images=self.images[:count],
            classes=self.classes[:count],
            numbers=self.numbers[:count],
        )

    def on(self, model: Classifier) -> "Bench":
        """The same pictures on another network."""
        return replace(self, model=model)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def rounding(self) -> float:
        """What rounding may change of a map, as a share."""
        return rounding(self.model)

    @cached_property
    def graph(self) -> Graph | None:
        """What of the network is not linear; ``None`` where no mode reaches it."""
        try:
            network = Ruled(self.model, partial(Rules, {}))
            evaluate(
                network, self.images[:1], self.classes[:1], objective_of(self.classes[:1]),
                gradient=True, look=False,
            )  # fmt: skip
        except FluoroscopeError:
            return None
        return network.graph

    @cached_property
    def hooked(self) -> dict[str, dict[str, int]] | None:
        """What a library covers that hooks ``nn.ReLU``, as a :class:`Coverage` describes itself."""
        if self.graph is None:
            return None
        calls, twin = 0, self.model.to()

        def note(*_: Any) -> None:
            nonlocal calls
            calls += 1

        for part in twin.module.modules():
            if isinstance(part, nn.ReLU):
                part.register_forward_hook(note)
        evaluate(twin, self.images[:1], look=False)
        there = {name: n for name, n in self.graph.non_linear.items() if name in ACTIVATIONS}
        missed = {**there, "relu": there.get("relu", 0) - calls}
        missed = {name: many for name, many in missed.items() if many > 0}
        return {"handled": {"relu": calls} if calls else {}, "linear": {}, "missed": missed}

    def doubt(self, kind: Any) -> bool:
        """Whether the first look at the network found this."""
        look = self.model.look
        return isinstance(look, Look) and look.found(kind)

    @property
    def saturated(self) -> int:
        """Pictures on which the probability of a class is 1, to rounding."""
        logits = evaluate(self.model, self.images, look=False).logits
        sure = logits.double().softmax(1).amax(1)
        return int((sure >= 1 - torch.finfo(self.model.precision).eps).sum())

    @cached_property
    def exact(self) -> "Bench | None":
        """The same on a copy in float64; ``None`` where there can be none, or it is one."""
        if self.model.precision == torch.float64:
            return None
        try:
            twin = self.model.to(dtype=torch.float64)
            twin.look = self.model.look
            evaluate(twin, self.images[:1].double(), look=False)
        # Modules that cannot be copied, or that hold tensors of one type.
        except (FluoroscopeError, RuntimeError):
            return None
        fits = twin.precision == torch.float64
        return replace(self.on(twin), images=self.images.double()) if fits else None

    def dithered(self, share: float) -> "Bench":
        """The same pictures, of which noise is a share: no two pixels are alike any more."""
        keys = randomness.keys(self.seed, self.numbers.to(self.images.device), _DITHER)
        noise = randomness.uniform(keys, 0, tuple(self.images.shape[1:])).to(self.images)
        return replace(self, images=(1 - share) * self.images + share * noise)

    @cached_property
    def slopes(self) -> tuple[Tensor, Tensor] | None:
        """Directions ``(n, K, C, H, W)``, and the derivative along each, ``(n, K)`` in float64.

        By central differences in float64; ``None`` where there can be none.
        """
        exact = self if self.model.precision == torch.float64 else self.exact
        if exact is None:
            return None
        images, goal = exact.images, objective_of(self.classes)
        keys = randomness.keys(self.seed, self.numbers.to(images.device), _PURPOSE)
        found, ways = [], []
        for number in range(_DIRECTIONS):
            way = randomness.normal(keys, number, tuple(images.shape[1:])).to(images)
            ends = [
                evaluate(exact.model, images + step * way, self.classes, goal, look=False).objective
                for step in (_NUDGE, -_NUDGE)
            ]
            assert ends[0] is not None
            assert ends[1] is not None
            found.append((ends[0] - ends[1]) / (2 * _NUDGE))
            ways.append(way)
        return torch.stack(ways, 1).cpu(), torch.stack(found, 1).double().cpu()


class Behind(Likewise):
    """The network behind a change of its pictures: a window, or a mirror.

    Through a window a frame of every picture is black, whatever is there; so no pixel of the frame
    can matter, and the map of a method that follows the slope is zero there. In a mirror, see
    :func:`mirrored`, the map is mirrored.

    Args:
        model: the network.
        window: ``(1, 1, H, W)`` of ones and zeros; without one it is the mirror.
    """

    _asks = True

    def __init__(self, model: Classifier, window: Tensor | None = None) -> None:
        super().__init__(model)
        self.window = window

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "Behind":
        """A copy, whose network is one too."""
        window = self.window
        return Behind(
            self.model.to(device, dtype),
            None if window is None else window.to(device=device, dtype=dtype),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of what is seen."""
        return self.model(mirrored(images) if self.window is None else images * self.window)


class OneClass(Behind):
    """The network of whose logits some depend on the picture, and the others are 0.

    Args:
        model: the network.
        kept: the classes whose logits stay.
    """

    def __init__(self, model: Classifier, kept: tuple[int, ...]) -> None:
        super().__init__(model)
        self._found = model._found.for_a_twin()  # what is found of it is nobody's trouble
        self.look, self.kept = model.look, kept

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "OneClass":
        """A copy, whose network is one too."""
        return OneClass(self.model.to(device, dtype), self.kept)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)``."""
        logits = self.model(images)
        kept = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        kept[[*self.kept]] = True
        return logits.where(kept, torch.zeros_like(logits))


def mirrored(images: Tensor) -> Tensor:
    """Left is right and top is bottom, about a place that is not the middle; twice it is nothing.

    What turns or moves the maps of all pictures alike shows, for it does not come out the same in
    another order.
    """
    height, width = images.shape[-2:]
    return images.flip(-2, -1).roll((max(1, height // 8), max(1, width // 4)), (-2, -1))


def window_of(images: Tensor) -> Tensor | None:
    """``(1, 1, H, W)``, 0 in a frame and 1 within; ``None`` of few pixels.

    Each side of the frame has another width but for those at the right and below, so that maps that
    are turned or flipped lie in it too.
    """
    height, width = images.shape[2:]
    if min(height, width) < 4:
        return None
    window = torch.zeros(1, 1, height, width, dtype=images.dtype, device=images.device)
    down, right = max(1, height // 8), max(1, width // 8)
    window[..., 2 * down : -down, min(3 * right, width - 2 * right) : -right] = 1
    return window


def traces(model: Classifier) -> dict[str, Any]:
    """Everything that a method must leave as it was, in pieces that can be named."""
    module = model.module
    return {
        "weights or buffers": model.fingerprint(),
        "modes of training": [part.training for part in module.modules()],
        "gradient flags": [
            (weight.requires_grad, weight.grad is None) for weight in module.parameters()
        ],
        "hooks": [[*_hooks(part)] for part in module.modules()],
        "attributes": [
            sorted(name for name in vars(part)) for part in module.modules()
        ],
        "the random state": (
            torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state(legacy=True))
        ),
    }  # fmt: skip


def _hooks(part: nn.Module) -> Iterator[tuple[str, int]]:
    for name, value in vars(part).items():
        if name.endswith("_hooks") and isinstance(value, dict):
            yield name, len(value)
