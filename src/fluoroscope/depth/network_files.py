"""A trained depth network, and how it lies on disk: weights, and how they were made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fluoroscope.depth.bins import Bins
from fluoroscope.depth.network import DepthNetwork
from fluoroscope.pictures import html
from fluoroscope.sealed_files import Kind, read_sealed, write_sealed
from fluoroscope.words import number, percent

KIND = Kind("depth", "depth network", "depth networks")


@dataclass(frozen=True, repr=False)
class TrainedDepth(html.Shown):
    """A depth network, and the bins that its units are assigned to."""

    network: DepthNetwork
    bins: Bins
    record: dict[str, Any]
    """How it was made and what it reached, as plain values."""

    @property
    def size(self) -> tuple[int, int]:
        """Of the scenes that it learnt from."""
        height, width = self.record["settings"]["size"]
        return height, width

    @property
    def seed(self) -> int:
        """Of its training."""
        return int(self.record["seed"])

    def save(self, directory: str | Path) -> list[Path]:
        """Write ``depth.safetensors`` and ``depth.json``; each appears whole or not at all.

        Raises:
            InvalidParameterError: the directory cannot be written to.
            StorageError: the disk is full, or refuses.
        """
        return write_sealed(
            KIND,
            directory,
            KIND.name,
            self.network.state_dict(),
            {
                "units": self.network.units,
                "width": self.network.width,
                "bins": asdict(self.bins),
                "record": self.record,
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "TrainedDepth":
        """What :meth:`save` wrote: its directory, or the JSON in it.

        Raises:
            ResultFormatError: files that are missing, broken, or something else.
        """
        return read_sealed(KIND, path, _made)

    def _line(self) -> str:
        test, selectivity = self.record.get("test", {}), self.record.get("selectivity", {})
        return (
            f"{self.network.units} units, off by {percent(test.get('rel', 0.0))} on "
            f"{test.get('scenes', 0)} other scenes, mean depth selectivity "
            f"{number(selectivity.get('mean', 0.0))}"
        )

    def _view(self) -> Iterator[html.Html]:
        settings, test = self.record.get("settings", {}), self.record.get("test", {})
        yield html.facts(
            [
                ("scenes learnt from", f"{settings.get('scenes', 0):,}"),
                ("weight of the selectivity", f"{settings.get('weight', 0)}"),
                ("RMSE", f"{number(test.get('rmse', 0.0))} m"),
                ("within a factor of 1.25", percent(test.get("right", 0.0))),
                ("weights", f"{self.record.get('parameters', 0):,}"),
            ]
        )


def _made(record: dict[str, Any], tensors: dict[str, Tensor]) -> TrainedDepth:
    units, width = record["units"], record["width"]
    if type(units) is not int or type(width) is not int:
        raise ValueError("its units and width are no whole numbers")
    told = record["record"]
    settings, bins = told["settings"], record["bins"]
    height, across = settings["size"]
    test, selectivity = told["test"], told["selectivity"]
    numbers = (height, across, told["seed"], settings["scenes"], test["scenes"], bins["count"])
    if any(type(one) is not int for one in numbers):
        raise ValueError("sizes and counts are no whole numbers")
    shares = (test["rel"], test["rmse"], test["right"], selectivity["mean"], settings["weight"])
    if any(not isinstance(one, int | float) for one in (*shares, bins["first"], bins["last"])):
        raise ValueError("errors and selectivity are no numbers")
    network = DepthNetwork(units, width)
    network.load_state_dict(tensors)
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError("it has weights that are not finite")
    return TrainedDepth(network.eval().requires_grad_(False), Bins(**bins), told)
