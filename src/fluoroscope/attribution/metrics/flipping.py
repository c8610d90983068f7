"""Pixels taken away in the order of a map, and how probable the class stays.

Petsiuk, Das, Saenko 2018, "RISE" (1806.07421), section 4.2: *deletion* takes the most relevant
pixels away first, all channels of a pixel at once; *insertion* brings them into a picture of which
nothing is left. Where both have the same replacement, insertion is deletion of the least relevant
first, read backwards. So one ordering gives both, and their difference is the symmetric relevance
gain (SRG) of Bluecher, Vielhaben, Strodthoff 2024 (2401.06654), whose ranking of methods depends
less on the replacement.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fluoroscope.attribution.metrics.maps import Maps, as_maps, pixels
from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.attribution.metrics.replacing import Replace, replacement
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError

Order = Literal["most", "least"]
"""Which pixels are away first: the most relevant, or the least."""


@dataclass(frozen=True)
class Curves:
    """Probabilities of the class while pixels are taken away."""

    fractions: Tensor
    """``(S,)``, shares of the pixels that are away."""
    most: Tensor
    """``(N, S)``, the most relevant away first."""
    least: Tensor
    """``(N, S)``, the least relevant away first."""

    @property
    def deletion(self) -> Tensor:
        """``(N,)``, the area under the curve with the most relevant away first; low is good."""
        return area(self.most, self.fractions)

    @property
    def insertion(self) -> Tensor:
        """``(N,)``, the area with the most relevant coming first; high is good."""
        return area(self.least, self.fractions)

    @property
    def srg(self) -> Tensor:
        """``(N,)``, insertion minus deletion: from -1 to 1, 0 for an order that tells nothing."""
        return self.insertion - self.deletion


class Flipping:
    """Takes pixels away in the order of any maps of a setting's pictures.

    What does not depend on a map, the whole picture and the empty one, is asked once.

    Args:
        setting: the network, pictures and classes.
        steps: in how many steps; equal shares of the pixels. The paper's are rows: 224 at 224².
        replace: what stands in place of removed pixels.
        fractions: the shares themselves, instead of steps.
        noise: of the replacement ``linear``, in units of ``[0, 1]``.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        steps: int = 32,
        replace: Replace = "mean",
        fractions: Sequence[float] | None = None,
        noise: float = 0.01,
    ) -> None:
        self.setting, total = setting, setting.pixels
        if fractions is None:
            steps = min(whole_number("steps", steps), total)
            fractions = [step / steps for step in range(steps + 1)]
        elif not fractions or not all(0 <= each <= 1 for each in fractions):
            raise InvalidParameterError(
                f"fractions are {list(fractions)}; expected shares of the pixels from 0 to 1"
            )
        if not 0 <= noise < math.inf:
            raise InvalidParameterError(f"noise is {noise}; expected a number of 0 or more")
        device = setting.images.device
        self._counts = torch.tensor([round(each * total) for each in fractions], device=device)
        self._replace = replacement(setting, replace, noise=noise)
        # Which of equally relevant pixels goes first is drawn: not the upper left one.
        keys = setting.keys(Purpose.TIES).split(setting.batch_size)
        self._shuffled = torch.cat(
            [randomness.uniform(part, 0, (total,)).argsort(1).int() for part in keys]
        )
        self._ends: dict[int, Tensor] = {}

    def __call__(self, maps: Maps) -> Curves:
        """Both curves of the maps."""
        return Curves(self.fractions, self.curve(maps, "most"), self.curve(maps, "least"))

    @property
    def fractions(self) -> Tensor:
        """``(S,)``, the shares that are taken away, to whole pixels."""
        return self._counts.double().cpu() / self.setting.pixels

    def curve(self, maps: Maps, order: Order) -> Tensor:
        """Probabilities ``(N, S)`` with the ``most`` or the ``least`` relevant away first."""
        ranks = self._ranks(as_maps(maps, self.setting.images))
        shape, total = self.setting.images.shape[2:], self.setting.pixels
        reverse = order == "least"

        def asked(counts: list[int], reverse: bool) -> Tensor:
            away = self._counts.new_tensor(counts)

            def make(rows: Tensor, numbers: Tensor) -> Tensor:
                many = away[numbers]
                gone, bound = ranks[rows], many[:, None]
                removed = gone >= total - bound if reverse else gone < bound
                return self._replace(rows, removed.view(-1, *shape), 2 * many + reverse)

            return self.setting.ask(len(counts), make, "probability")

        whole: list[int] = self._counts.tolist()
        for end in {0, total}.intersection(whole) - set(self._ends):
            self._ends[end] = asked([end], False)[:, 0]
        between = iter(asked([each for each in whole if each not in self._ends], reverse).unbind(1))
        columns = [self._ends[each] if each in self._ends else next(between) for each in whole]
        return torch.stack(columns, 1).double().cpu()

    def _ranks(self, maps: Tensor) -> Tensor:
        """The place ``(N, P)`` of each pixel, 0 for the most relevant."""
        size = self.setting.batch_size
        places = torch.arange(self.setting.pixels, dtype=torch.int32, device=maps.device)
        found = []
        for part, shuffled in zip(maps.split(size), self._shuffled.split(size), strict=True):
            before = shuffled.long()
            values = pixels(part).gather(1, before)
            order = before.gather(1, values.argsort(stable=True, dim=1, descending=True))
            ranks = torch.empty_like(shuffled)
            found.append(ranks.scatter_(1, order, places.expand_as(ranks)))
        return torch.cat(found)


def area(curves: Tensor, fractions: Tensor) -> Tensor:
    """The area ``(N,)`` under curves ``(N, S)``, by trapezoids.

    In units of the whole axis: a curve of ones has the area 1.
    """
    if len(fractions) < 2:
        return curves.mean(1)
    found: Tensor = torch.trapezoid(curves, fractions, dim=1) / (fractions[-1] - fractions[0])
    return found
