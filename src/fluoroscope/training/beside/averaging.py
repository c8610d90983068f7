"""The average of a network's weights over its training, by which it is judged and with which it
ends: smoother in the weights, and less overfitted to its attack than the last of them (Izmailov et
al. 2018, 1803.05407; in adversarial training Gowal et al. 2020, 2010.03593).

``a <- d a + (1 - d) w`` after each update, where ``d = min(decay, (1 + t) / (10 + t))`` at update
``t``, from 1: so the first weights are soon forgotten.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.step import Moment


@dataclass(frozen=True)
class WeightAverage:
    """An exponential moving average of everything in the network's state that is not counted: the
    weights, and the statistics of batch norm, too.

    The network learns as it would without. Cost: no passes, one copy of the network.

    Raises:
        InvalidParameterError: a ``decay`` outside ``[0, 1)``.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InvalidParameterError(
                f"decay is {self.decay}; expected 0 or more and less than 1, such as 0.999"
            )

    def begin(self, module: nn.Module, classes: int) -> "Averaging":
        return Averaging(self, module)


class Averaging(Running):
    """The average of one training."""

    def __init__(self, settings: WeightAverage, module: nn.Module) -> None:
        self.settings: WeightAverage = settings
        self._updates = torch.zeros((), dtype=torch.int64, device="cpu")
        self._average = _copied(module)

    def tensors(self) -> dict[str, Tensor]:
        kept = {f"average.{name}": value for name, value in self._average.items()}
        return {"updates": self._updates, **kept}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._updates = tensors["updates"].clone()
        for name, value in self._average.items():
            value.copy_(tensors[f"average.{name}"])

    @torch.no_grad()
    def after(self, module: nn.Module, moment: Moment) -> None:
        self._updates += 1
        updates = int(self._updates)
        decay = min(self.settings.decay, (1 + updates) / (10 + updates))
        for name, value in _state(module).items():
            if value.is_floating_point():
                self._average[name].lerp_(value, 1 - decay)
            else:
                self._average[name].copy_(value)

    @contextmanager
    def judged(self, module: nn.Module) -> Iterator[None]:
        own = _copied(module)
        _put(module, self._average)
        try:
            yield
        finally:
            _put(module, own)

    def end(self, module: nn.Module) -> None:
        _put(module, self._average)


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in _state(module).items()}


@torch.no_grad()
def _put(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, value in _state(module).items():
        value.copy_(values[name])
