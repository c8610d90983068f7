"""A metric as a value: its name, which way is better, what it applies to, where it is from."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from fluoroscope.attribution.classes import Targets
from fluoroscope.attribution.metrics.maps import Maps
from fluoroscope.attribution.metrics.setting import Explain, Setting
from fluoroscope.attribution.metrics.subsets import Scores
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wording import did_you_mean
from fluoroscope.words import listed

Direction = Literal["higher is better", "lower is better"]
Applies = Literal[
    "any map", "signed maps", "methods with a promise", "methods that can be run again"
]
"""Metrics for any map read its order alone; those for signed maps its signs and sizes, too. A
promise is that the map adds up to a difference of outputs."""


@dataclass(frozen=True)
class Metric:
    """How good maps are, by one measure; call it with a network, pictures, classes and maps."""

    name: str
    direction: Direction
    applies_to: Applies
    measures: str
    """In a line."""
    source: str
    """Authors, year, number in arXiv, equation or section."""
    make: Callable[..., Scores]
    """From a :class:`Setting` and options to what scores maps."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options with their defaults."""
        given = inspect.signature(self.make).parameters.values()
        return {each.name: each.default for each in given if each.kind is each.KEYWORD_ONLY}

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater score is a better one."""
        return self.direction == "higher is better"

    def prepare(self, setting: Setting, **options: Any) -> Scores:
        """Ask what does not depend on the maps once; what comes back scores any number of maps.

        Raises:
            InvalidParameterError: an option that it does not have, or of an impossible value.
        """
        for name in options.keys() - self.options.keys():
            known = listed(list(self.options), "or") or "none"
            raise InvalidParameterError(
                f"{self.name} has no option {name!r}; {did_you_mean(name, self.options)}"
                f"expected {known}"
            )
        return self.make(setting, **options)

    def __call__(
        self,
        model: Classifier | nn.Module,
        images: Tensor,
        classes: Targets,
        maps: Maps,
        *,
        seed: int = 0,
        numbers: Tensor | None = None,
        batch_size: int = 64,
        explain: Explain | None = None,
        **options: Any,
    ) -> Tensor:
        """The score of each map.

        Args:
            model: the network under study.
            images: ``(N, C, H, W)`` in ``[0, 1]``, of the maps' size.
            classes: the class of each map or one for all; or pairs, a tuple for all or one for
                each: then what is read of the network is the difference of the two logits, and
                where a probability is wanted its sigmoid.
            maps: ``(N, C, H, W)``, ``(N, 1, H, W)`` or ``(N, H, W)``, tensor or array, signed.
                Channels are added to rank pixels.
            seed: for everything random.
            numbers: ``(N,)``, which pictures of their data set these are.
            batch_size: pictures evaluated at once.
            explain: the method itself, for the metrics that run it again.
            **options: of this metric, see :attr:`options`.

        Returns:
            ``(N,)`` in float64, on the CPU.

        Raises:
            InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is
                unusable.
        """
        setting = Setting.of(
            model, images, classes,
            seed=seed, numbers=numbers, batch_size=batch_size, explain=explain,
        )  # fmt: skip
        return self.prepare(setting, **options)(maps)
