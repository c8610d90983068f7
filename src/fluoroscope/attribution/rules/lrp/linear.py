"""The rule of linear layers: which one, the composite says."""

from typing import Any

from torch import Tensor

from fluoroscope.attribution.rules.lrp.back import gone_back
from fluoroscope.attribution.rules.lrp.context import Context, Limits
from fluoroscope.attribution.rules.lrp.layers import Applied, as_layer
from fluoroscope.attribution.rules.lrp.operations import Args, Kwargs
from fluoroscope.attribution.rules.lrp.products import product
from fluoroscope.attribution.rules.lrp.spreading import SPREADS, at_picture
from fluoroscope.attribution.rules.mode import Operation


def layer(here: Context, func: Operation, args: Args, kwargs: Kwargs) -> Any:
    """A linear layer, by the rule that the composite has for its kind."""
    as_it_is = as_layer(func, args, kwargs)
    if as_it_is is None:
        return product(here, func, args, kwargs)
    how, x = here.how, as_it_is.x
    limits = here.limits(x) if here.is_picture(x) else None
    first = here.is_picture(x)
    applied = Applied(here, as_it_is)
    return gone_back(applied.y, Layered(here, applied, how.first if first else None, limits), x)


class Layered:
    """The way back of a layer."""

    def __init__(self, here: Context, applied: Applied, first: str | None, limits: Limits) -> None:
        self._how, self.applied, self._first, self._limits = here.how, applied, first, limits
        self.uses = 0
        """How many operations were given what came out."""
        self.told = False
        """Whether what comes back next is the relevance itself; said by its only user."""

    def __call__(self, slope: Tensor) -> tuple[Tensor]:
        how, applied = self._how, self.applied
        relevance = slope if self.told else applied.y * slope
        self.told = False
        if self._first is not None:
            return (at_picture(self._first, applied, relevance, how, self._limits),)
        rule = getattr(how, applied.layer.kind)
        return (SPREADS[rule](applied, relevance, how),)
