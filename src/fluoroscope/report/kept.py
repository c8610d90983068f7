"""What an X-ray left in the directory of its run, read without the network.

Such directories travel between people: what does not fit is as if it were not there, but for the
run itself, of which nothing could be said without it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.arrow import array_of
from fluoroscope.errors import ResultFormatError
from fluoroscope.evaluation.calibration import Calibration, calibration
from fluoroscope.evaluation.runs.stored import StoredRun, open_run
from fluoroscope.evaluation.verdict import Verdict
from fluoroscope.files import user_path
from fluoroscope.tensor_files import read_tensors
from fluoroscope.words import network_name

# Bytes of a file of findings; those of large pictures have some tens of millions.
_LARGEST = 300_000_000
# Maps that are shown.
_MAPS = 6


@dataclass(frozen=True)
class Maps:
    """Input gradients of some pictures; ``k`` first in all."""

    indices: tuple[int, ...]
    images: Tensor
    """``(k, C, H, W)`` in ``[0, 1]``."""
    gradients: Tensor
    """``(k, C, H, W)``, of the class predicted."""
    winners: tuple[int, ...]


@dataclass(frozen=True)
class KeptXray:
    """An X-ray, as its directory has it."""

    path: Path
    run: StoredRun
    whole: StoredRun | None = None
    """Where ``run`` has some of its pictures alone, the run with all of them."""

    def of(self, indices: NDArray[np.int64]) -> "KeptXray":
        """Of the pictures with these numbers in the data alone."""
        found = (
            [table.filter(np.isin(array_of(table["index"]), indices)) for table in tables]
            for tables in self.run.parts
        )
        parts = tuple((clean, *filter(len, stages)) for clean, *stages in found if len(clean))
        run = replace(self.run, total=len(indices), parts=parts)
        return replace(self, run=run, whole=self.run)

    @cached_property
    def verdict(self) -> Verdict:
        """What the rows of its attacks say."""
        return self.run.verdict()

    @property
    def name(self) -> str:
        """The network's."""
        return network_name(self.run.model)

    @cached_property
    def clean_rows(self) -> pa.Table:
        """The clean looks at all pictures."""
        return pa.concat_tables([tables[0] for tables in self.run.parts])

    @cached_property
    def names(self) -> dict[int, str]:
        """The pictures' names by their number in the data, where they are known."""
        columns = (self.clean_rows[name].to_pylist() for name in ("index", "name"))
        return {index: name for index, name in zip(*columns, strict=True) if name}

    @cached_property
    def calibration(self) -> Calibration | None:
        """How far its probabilities are off; nothing if that was not kept."""
        for found in self._tensors("clean"):
            with suppress(KeyError, ValueError, RuntimeError):
                sure, labels, winners = (
                    found[name].numpy() for name in ("confidence", "labels", "winners")
                )
                if self._fits(sure, labels, winners):
                    kept = self._positions(labels)
                    return None if kept is None else calibration(
                        sure[kept], winners[kept] == labels[kept]
                    )  # fmt: skip
        return None

    def _positions(self, labels: NDArray[np.generic]) -> NDArray[np.int64] | None:
        """Where its pictures are among all that were looked at; nothing if nobody knows."""
        if self.whole is None:
            return np.arange(len(labels))
        rows = KeptXray(self.path, self.whole).clean_rows
        if not np.array_equal(labels[: len(rows)], array_of(rows["label"])):
            return None
        own = array_of(self.clean_rows["index"])
        return np.flatnonzero(np.isin(array_of(rows["index"]), own))

    def _fits(self, sure: NDArray[np.generic], *classes: NDArray[np.generic]) -> bool:
        """Whether these can be the predictions of this run's pictures, or more of them."""
        shapes = {each.shape for each in (sure, *classes)}
        run = self.whole or self.run
        if len(shapes) != 1 or sure.ndim != 1 or len(sure) != run.total:
            return False
        rows = KeptXray(self.path, run).clean_rows
        share = float(np.mean(classes[0] == classes[1]))
        clean = 1 - float(pc.mean(rows["success"].cast(pa.float64())).as_py())
        whole = len(rows) == run.total
        likely = np.asarray(sure, dtype=np.float64)
        shares = bool(np.all((likely >= 0) & (likely <= 1)))
        return shares and (not whole or abs(share - clean) < 1e-9)

    @cached_property
    def maps(self) -> Maps | None:
        """Input gradients; nothing if they were not kept."""
        for found in self._tensors("gradients"):
            with suppress(KeyError, ValueError, RuntimeError, IndexError):
                images, trained = found["images"][:_MAPS].float(), found["trained"][:_MAPS].float()
                indices, winners = (found[name][:_MAPS].tolist() for name in ("indices", "winners"))
                whole = (
                    images.dim() == 4 and images.shape == trained.shape
                    and len(indices) == len(winners) == len(images) > 0
                    and min(images.shape) > 0 and images.shape[1] <= 1000
                    and bool(torch.isfinite(images).all() and torch.isfinite(trained).all())
                    and all(0 <= winner < len(self.run.labels) for winner in winners)
                )  # fmt: skip
                if whole:
                    return Maps(tuple(indices), images.clamp(0, 1), trained, tuple(winners))
        return None

    @cached_property
    def portraits(self) -> dict[int, tuple[Tensor, float]]:
        """Of classes the first portrait ``(C, H, W)``, and how sure the network is of it."""
        known: dict[int, tuple[Tensor, float]] = {}
        for found in self._tensors("portraits"):
            with suppress(KeyError, ValueError, RuntimeError, IndexError):
                images, logits = found["images"].float(), found["logits"].double()
                classes = found["classes"].tolist()
                whole = (
                    images.dim() == 4 and min(images.shape) > 0 and images.shape[1] <= 1000
                    and logits.shape == (len(images), len(self.run.labels))
                    and len(classes) == len(images) and bool(found["own"].all())
                    and bool(torch.isfinite(images).all() and torch.isfinite(logits).all())
                    and all(type(one) is int and 0 <= one < logits.shape[1] for one in classes)
                )  # fmt: skip
                for row, label in enumerate(classes if whole else ()):
                    sure = float(logits[row].softmax(0)[label])
                    known.setdefault(label, (images[row].clamp(0, 1), sure))
        return dict(sorted(known.items()))

    def _tensors(self, name: str) -> Iterator[dict[str, Tensor]]:
        for file in sorted(self.path.glob(f"{name}-*.safetensors")):
            with suppress(OSError, SafetensorError, ValueError):
                if file.stat().st_size <= _LARGEST:
                    yield read_tensors(file)[0]


def open_xray(path: str | Path) -> KeptXray:
    """The X-ray of a directory that ``xray --run`` kept, or the run of one that ``evaluate`` did.

    Raises:
        ResultFormatError: there is none, or several, or it is damaged.
    """
    place = user_path(path)
    if (place / "run.json").exists():
        return _with_parts(KeptXray(place.parent if place.suffix == ".run" else place,
                                    open_run(place)))  # fmt: skip
    runs = sorted(place.glob("evaluation-*.run"))
    if not runs:
        raise ResultFormatError(
            f"{place} holds no evaluation of an X-ray; expected a directory as fluoroscope xray "
            "--run makes it, with its verdict, or as fluoroscope evaluate --out does"
        )
    if len(runs) > 1:
        raise ResultFormatError(
            f"{place} holds {len(runs)} evaluations, of other threats or pictures: give the one "
            f"that is meant, such as {runs[-1]}"
        )
    return _with_parts(KeptXray(place, open_run(runs[0])))


def _with_parts(found: KeptXray) -> KeptXray:
    if not found.run.parts:
        raise ResultFormatError(
            f"{found.run.path} has no finished part yet; expected a run that got further"
        )
    return found
