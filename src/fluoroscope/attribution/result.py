"""What an attribution comes back with: maps, what they promise, and what they cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fluoroscope.pictures import html
from fluoroscope.words import count, network_name

# Maps that a notebook shows.
_SHOWN = 6


@dataclass(frozen=True, kw_only=True, repr=False)
class Attribution(html.Shown):
    """The maps of ``N`` pictures; all tensors are on the CPU."""

    maps: Tensor
    """``(N, C, H, W)``, signed, in units of the objective (``gradient``: per unit of pixel value);
    ``(N, 1, H, W)`` of methods that know no channels."""
    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, what was explained."""
    targets: Tensor
    """``(N,)``, the class of each; or ``(N, 2)``, a class and its rival."""
    values: Tensor
    """``(N,)`` float64, the number that each map explains; NaN where the method does not ask."""
    error: Tensor
    """``(N,)`` float64, the completeness or conservation error; NaN where none is promised."""
    forwards: Tensor
    """``(N,)``, images that went through the network for each."""
    backwards: Tensor
    """``(N,)``, gradients computed for each."""
    numbers: Tensor
    """``(N,)``, which pictures of their data set these are."""
    record: dict[str, Any]
    """Method, options, promise, coverage, seed, versions and the network's content hash, as plain
    values."""
    labels: tuple[str, ...]
    """The network's names of the classes."""
    notes: tuple[str, ...] = ()
    """What a reader of the maps should know."""
    verdict: dict[str, Any] | None = None
    """What the audit says of the method on this network, if there is one."""

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.record["method"])

    @property
    def promise(self) -> str | None:
        """``completeness``, ``conservation`` or ``None``."""
        promise: str | None = self.record["promise"]
        return promise

    def target(self, row: int) -> str:
        """What a map speaks of, in words: a label, or one rather than another."""
        numbers = self.targets[row].reshape(-1).tolist()
        return " rather than ".join(self.labels[number] for number in numbers)

    def _line(self) -> str:
        maps = count(len(self.maps), "map")
        return f"{self.method} of {network_name(str(self.record.get('model')))}: {maps}"

    def _view(self) -> Iterator[html.Html]:
        rows = range(min(len(self.maps), _SHOWN))
        scale = html.scale_of([self.maps[row] for row in rows])
        yield html.cards(
            [
                html.picture(self.images[row], f"picture {int(self.numbers[row])}"),
                html.change(self.maps[row], scale, self.target(row)),
            ]
            for row in rows
        )
        yield html.notes(self.notes)
