"""What a report is about, how it is named, and where its findings are kept.

Everything is worked out once, when a section first asks, and kept in the run's directory if there
is one. So a report of a finished run only reads.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf, prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.grid import HALF_A_LEVEL, as_grid, round_to_grid
from fluoroscope.engine.labels import Truth, in_words_of
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import (
    FluoroscopeError,
    InvalidParameterError,
)
from fluoroscope.evaluation.evaluate import columns_of
from fluoroscope.evaluation.requirements import Requirements
from fluoroscope.evaluation.trust.checks import LARGE
from fluoroscope.evaluation.verdict import Verdict
from fluoroscope.files import atomic_path, output_directory, regular
from fluoroscope.hashing import bits
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.display import shown_channels
from fluoroscope.report.phases import Phases
from fluoroscope.tensor_files import read_tensors, write_tensors
from fluoroscope.words import NORMS, Ruler, class_names, count, listed, picture_name

# Raised when what is kept in a directory changes its form.
FORMAT = 1
T = TypeVar("T")
Tell = Callable[[str, float], None]
MARK = "†"
MARKED = (
    f"{MARK} Less than half a level of 8 bits (0.5/255): lost when the changed picture is saved as "
    "a file."
)


class LeftOutError(FluoroscopeError):
    """Something that was not made because time was up or a person stopped it."""


@dataclass(frozen=True)
class Stated:
    """What somebody says of network and pictures that they themselves do not tell."""

    title: str | None = None
    """The page's; by default network and data."""
    version: str | None = None
    """The network's."""
    data: str | None = None
    """What the pictures are, how and when they were gathered."""


class Subject:
    """A network and labelled pictures, and what is known of them.

    The pictures are gone through in an order drawn from the seed, so that those that were seen
    when time is up speak for all.

    Args:
        model: the network under study.
        images: labelled pictures.
        threat: how far an image may move.
        seed: for everything random.
        directory: where findings are kept; nowhere if ``None``.
        seconds: how long everything may take.
        grid: 8 where it is about 8-bit pictures alone.
        stated: what somebody says of it.
        command: how to repeat it.
        named: the options that name network and pictures in other commands.
        called: the arguments that name them in calls of the library.
        tell: called with what is being done and the share of all work that is done.
        phases: the work that there is.
        cancelled: asked at every step; once true, nothing new is begun.
        slices: columns of the data by whose values the accuracies are told apart.
        required: what the verdict must say.
        second: another network of the same classes, which judges what this one is sure of.
    """

    def __init__(
        self,
        model: Classifier,
        images: ImageSet,
        threat: Threat,
        *,
        seed: int = 0,
        directory: Path | None = None,
        seconds: float | None = None,
        grid: int | None = None,
        stated: Stated = Stated(),
        command: str = "",
        named: str = "",
        called: str = "model, images",
        tell: Tell | None = None,
        phases: Phases | None = None,
        cancelled: Callable[[], bool] | None = None,
        slices: Sequence[str] = (),
        required: Requirements | None = None,
        second: Classifier | None = None,
    ) -> None:
        if not 0 < float(threat.eps) < inf:
            raise InvalidParameterError(
                f"the threat {threat.name} has the bound {threat.eps}; expected one above 0, such "
                "as linf:8/255: the report shows all smaller and larger ones beside it"
            )
        keys = randomness.keys(seed, torch.arange(len(images), device="cpu"))
        self.model, self.images = model, images.select(bits(keys, 0, 1)[:, 0].argsort())
        self.slices, self.required, self.second = tuple(slices), required, second
        self.judged: Verdict | None = None
        """The verdict with its trust checks and how what is required of it came out."""
        # What they lack is said before the long run.
        columns_of(images, slices, required)
        self.threat, self.seed, self.grid, self.stated = threat, seed, as_grid(grid), stated
        self.command, self.named, self.called = command, named, called
        self.directory = output_directory(directory) if directory else None
        self.cut: set[str] = set()
        """Findings that are not whole because time was up or a person stopped them."""
        self.phases = phases or Phases(())
        self.marked = False
        """Whether the section that is being made has marked a distance."""
        self.data: dict[str, dict[str, Any]] = {}
        """Findings of the sections made so far, as plain values."""
        self.ruler = Ruler.of(threat, model.channels)
        self.shown = shown_channels(model.channels)
        self._began = time.monotonic()
        self._ends = None if seconds is None else self._began + seconds
        self._tell, self._cancelled = tell, cancelled
        self.truth = Truth.of(model, images)
        """What the pictures' labels mean for the network."""
        # People read names; that they are the data's is a note.
        self.model = in_words_of(model, images.labels)
        self._known: dict[str, Any] = {}

    # How time is spent

    def cancelled(self) -> bool:
        """Whether a person has stopped it."""
        return self._cancelled is not None and self._cancelled()

    def left(self) -> float:
        """Seconds that are left."""
        return inf if self._ends is None else self._ends - time.monotonic()

    def spent(self) -> float:
        """Seconds that lie behind."""
        return time.monotonic() - self._began

    def tell(self, what: str, share: float, phase: str = "") -> None:
        """Say what is being done, and which share of that phase lies behind; see :mod:`.phases`."""
        if self._tell is not None:
            self._tell(what, self.phases.at(phase, share))

    def go_on(self, what: str) -> None:
        """Stop here if a person said so or time is up.

        Raises:
            LeftOutError: with ``what`` and the reason.
        """
        if self.cancelled():
            raise LeftOutError(f"{what}: stopped before it was done")
        if self.left() <= 0:
            raise LeftOutError(f"{what}: the time was up")

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` returns or raises, made at the first call of this name."""
        if name not in self._known:
            try:
                self._known[name] = make()
            except Exception as problem:
                self._known[name] = problem
        found = self._known[name]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    def kept(
        self, name: str, about: Any, make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors by name, from the run's directory if they were made there for the same study.

        ``about`` is what they depend on besides the network, the pictures and the seed.
        """

        def load_or_make() -> dict[str, Tensor]:
            file = self._file(name, about, "safetensors")
            seal = {} if file is None else {"file": file.name}
            if file is not None:
                # What is damaged, or of another study, is made anew.
                with suppress(OSError, SafetensorError, ValueError):
                    found, told = read_tensors(file)
                    if told == seal:
                        return found
            found = make()
            if file is not None:
                write_tensors(file, found, seal)
            return found

        return self.once(f"{name} {about}", load_or_make)

    def written(self, name: str, about: Any, make: Callable[[], T]) -> T:
        """Plain values, as :meth:`kept` keeps tensors; nothing is kept of what was cut short."""

        def load_or_make() -> T:
            file = self._file(name, about, "json")
            if file is not None:
                with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                    kept = json.loads(regular(file).read_text("utf-8"))
                    if kept["sha256"] == _seal(file, kept["found"]):
                        return kept["found"]  # type: ignore[no-any-return]
            found = make()
            if file is not None and name not in self.cut:
                with atomic_path(file) as draft:
                    sealed = {"found": found, "sha256": _seal(file, found)}
                    draft.write_text(json.dumps(sealed, ensure_ascii=False), "utf-8")
            return found

        return self.once(f"{name} {about}", load_or_make)

    def _file(self, name: str, about: Any, kind: str) -> Path | None:
        if self.directory is None:
            return None
        given = json.dumps([FORMAT, self.identity, about], sort_keys=True, default=str)
        return self.directory / f"{name}-{hashlib.sha256(given.encode()).hexdigest()[:12]}.{kind}"

    # What it is about

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, machine, and the network's name and content hash."""
        return self.once("provenance", lambda: provenance(self.model))

    @property
    def identity(self) -> dict[str, Any]:
        """What findings depend on."""
        return {
            "model": self.provenance["model_sha256"],
            # What the labels of the data mean depends on what the classes are called.
            "labels": list(self.model.labels),
            "data": [self.images.name, self.images.split, list(self.images.indices)],
            "seed": self.seed,
            **({} if self.grid is None else {"grid": self.grid}),
        }

    @property
    def model_files(self) -> dict[str, str]:
        """The files that the network's weights were read from, and the SHA-256 of each."""

        def look() -> dict[str, str]:
            found = {}
            for file in self.model.plain.files:
                try:
                    with regular(file).open("rb") as opened:
                        found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
                except OSError as problem:
                    found[file.name] = f"not there any more ({problem.strerror})"
            return found

        return self.once("model files", look)

    @property
    def title(self) -> str:
        """The page's."""
        return self.stated.title or f"{self.name} on {self.data_name}"

    @property
    def name(self) -> str:
        """The network's name; of a path its end."""
        return _end(self.model.name)

    @property
    def data_name(self) -> str:
        """The pictures' name; of a path its end."""
        return _end(self.images.name)

    @property
    def about(self) -> str:
        """What was looked at, in a line."""
        split = f" ({self.images.split})" if self.images.split else ""
        size = self.model.input_size
        shape = f" of {size[0]}×{size[1]} pixels" if size else ""
        return (
            f"{count(len(self.images), 'picture')}{shape} from {self.data_name}{split}, "
            f"{count(self.model.num_classes, 'class', 'classes')}, attacks within {self.bound}"
            + (", 8-bit pictures alone" if self.grid else "")
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures as the network sees them.

        Where it takes any size, of the first.
        """

        def look() -> tuple[int, int]:
            height, width = self.load(self.images.indices[:1])[0].shape[-2:]
            return height, width

        return self.model.input_size or self.once("size", look)

    @property
    def side(self) -> int:
        """The longer side of the pictures as the network sees them."""
        return max(self.size)

    @property
    def large(self) -> bool:
        """Whether the pictures are so large that everything is done on fewer of them."""
        return self.model.channels * prod(self.size) > LARGE

    @property
    def naming(self) -> list[str]:
        """What is to be said where the classes' names are the data's."""
        if self.truth.model is self.model:
            return []
        first = listed([f"{n} is {name!r}" for n, name in enumerate(self.labels[:3])])
        return [
            f"the classes have numbers alone in {self.name}; the names here are those that "
            f"{self.data_name} has at their places: {first}. Were they learnt in another order, "
            "every number here would be about other classes"
        ]

    @property
    def bound(self) -> str:
        """The bound in short: ``L∞ 8/255``."""
        return f"{NORMS.get(self.threat.name, self.threat.name)} {self.ruler.short(self.eps)}"

    def far(self, distance: float, digits: int = 3) -> str:
        """A distance in short, marked if it is less than half a level of 8 bits."""
        vanishes = self.vanishes(distance)
        self.marked |= vanishes
        return f"{self.ruler.short(distance, digits)}{MARK if vanishes else ''}"

    def vanishes(self, distance: float) -> bool:
        """Whether a change of this size is surely rounded away when a picture is saved."""
        # In each of these norms no value can have moved by more than the distance.
        return self.ruler.norm in ("linf", "l2", "l1") and 0 < distance < HALF_A_LEVEL

    @property
    def eps(self) -> float:
        """The bound of the threat model."""
        return float(self.threat.eps)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, short enough for a table."""
        return self.once("labels", lambda: tuple(class_names(self.model.labels)))

    def picture(self, index: int) -> str:
        """A picture's name: the end of its file's where it has one, else its number."""
        return picture_name(self.images.names([index])[0], index)

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pictures ``(N, C, H, W)`` as the network sees them, and its labels of them ``(N,)``."""
        places = {index: place for place, index in enumerate(self.images.indices)}
        chosen = self.images.select([places[index] for index in indices])
        batches = list(self._batches(chosen, 32))
        return torch.cat([one.images for one in batches]), self._as_numbers(batches)

    def _batches(self, images: ImageSet, size: int) -> Iterator[Batch]:
        """Pictures as the network sees them."""
        for batch in images.batches(size, fit=self.model.preprocessing):
            if self.grid is not None:
                batch = replace(batch, images=round_to_grid(batch.images))
            yield batch

    def _as_numbers(self, batches: Sequence[Batch]) -> Tensor:
        return torch.cat([self.truth.labels(one) for one in batches])


def _seal(file: Path, found: Any) -> str:
    text = json.dumps([file.name, found])
    return hashlib.sha256(text.encode()).hexdigest()


def _end(name: str) -> str:
    with suppress(OSError, ValueError):  # a name that is no path
        return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name
    return name
