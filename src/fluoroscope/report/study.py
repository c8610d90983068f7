"""What the sections of a report read: a network, its pictures, and what was found of them so far.

Everything is worked out once, when a section first asks, and kept in the run's directory if there
is one. So a report of a finished run only reads.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.minimum_norm.fmn import FMN
from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.grid import HALF_A_LEVEL, as_grid, nothing_between, round_to_grid
from fluoroscope.engine.labels import Seen, Truth, what_was_fed
from fluoroscope.engine.predict import predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.threats import Threat, as_threat
from fluoroscope.errors import (
    FluoroscopeError,
    InvalidParameterError,
    ResultFormatError,
)
from fluoroscope.evaluation.check import Check, Outcome
from fluoroscope.evaluation.class_map import ClassMap, class_map
from fluoroscope.evaluation.curve import Curve
from fluoroscope.evaluation.evaluate import columns_of, evaluate
from fluoroscope.evaluation.history import ROUNDING
from fluoroscope.evaluation.intervals import wilson
from fluoroscope.evaluation.level import Level
from fluoroscope.evaluation.plan import Plan, nearest
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.requirements import Requirements
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.runs.run_directory import RunDirectory, data_hash
from fluoroscope.evaluation.trust.checks import LARGE, trust_checks
from fluoroscope.evaluation.trust.of_run import from_rows
from fluoroscope.evaluation.verdict import Verdict
from fluoroscope.files import atomic_path, output_directory, regular
from fluoroscope.hashing import bits
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected
from fluoroscope.pictures.display import shown_channels
from fluoroscope.report.phases import Phases
from fluoroscope.tensor_files import read_tensors, write_tensors
from fluoroscope.words import NORMS, Ruler, count, listed, picture_name, shortened

# Raised when what is kept in a directory changes its form.
FORMAT = 1
T = TypeVar("T")
Tell = Callable[[str, float], None]
BATCH = 64
# Pictures that are attacked together; between them the time that is left is looked at.
PART, PART_LARGE = 50, 8
# The share of the time left that the evaluation may take.
SHARE = 0.6
# And the search in 8 bits, of what is left then.
EIGHT_SHARE = 0.3
# And the trust checks, of what is left then; pictures that they look at, small and large.
TRUST_SHARE = 0.5
SOME, FEW = 32, 4
# And the map; pictures of each class that it leads away. Where passes last or classes are many:
# pictures in all, and classes that each is led to.
MAP_SHARE, MAP_PICTURES, MAP_CLASSES = 0.8, 5, 20
MAP_LARGE, MAP_TARGETS = 15, 4
VERDICT = "fast"
MARK = "†"
MARKED = (
    f"{MARK} Less than half a level of 8 bits (0.5/255): lost when the changed picture is saved as "
    "a file."
)
NEAREST_NORMS = ("linf", "l2", "l1")
# Steps of a search where pictures are large.
STEPS_LARGE = 12


class LeftOutError(FluoroscopeError):
    """Something that was not made because time was up or a person stopped it."""


@dataclass(frozen=True)
class Reading:
    """How the network reads ``N`` clean pictures."""

    labels: Tensor
    """``(N,)``, the true classes as the network numbers them."""
    winners: Tensor
    """``(N,)``, the classes that it names."""
    confidence: Tensor
    """``(N,)``, the probability of the winner."""
    rank: Tensor
    """``(N,)``, how many classes come before the true one; 0 where it is right."""
    digest: Tensor
    """``(32,)``, the SHA-256 of pictures and labels."""

    @property
    def sha256(self) -> str:
        """Of pictures and labels, in their order here."""
        return bytes(self.digest.tolist()).hex()

    @property
    def right(self) -> Tensor:
        """``(N,)`` booleans."""
        return self.winners == self.labels


@dataclass(frozen=True)
class Stated:
    """What somebody says of network and pictures that they themselves do not tell."""

    title: str | None = None
    """The page's; by default network and data."""
    version: str | None = None
    """The network's."""
    data: str | None = None
    """What the pictures are, how and when they were gathered."""


@dataclass(frozen=True)
class EightBits:
    """The pictures that were fooled in floating point, attacked again in 8 bits."""

    fooled: int
    """In floating point."""
    searched: int
    """Of these, attacked again."""
    again: int
    """Of these, fooled in 8 bits too."""
    robust: int
    """Pictures that are robust in 8 bits, if all were attacked again."""
    count: int
    """Pictures of the verdict."""

    @property
    def whole(self) -> bool:
        """Whether all were attacked again."""
        return self.searched == self.fooled

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        share = self.robust / self.count if self.whole and self.count else None
        return {
            "fooled": self.fooled,
            "searched": self.searched,
            "fooled_in_8_bits": self.again,
            "robust_accuracy": share,
            "robust_interval": None if share is None else list(wilson(self.robust, self.count)),
        }


@dataclass(frozen=True)
class Closest:
    """The smallest change found of each of ``N`` pictures that are classified correctly."""

    indices: Tensor
    """``(N,)``, in the data set."""
    labels: Tensor
    """``(N,)``."""
    distances: Tensor
    """``(N,)``, infinite where none was found."""
    became: Tensor
    """``(N,)``, the class it was predicted as; the label where none was found."""
    stages: tuple[str, ...]
    """``(N,)``, the attack that found it."""

    def ranked(self) -> list[int]:
        """Rows of pictures that were led to another class, the nearest first."""
        order = self.distances.argsort(stable=True)
        return [row for row in order.tolist() if self.distances[row] < inf]

    def median(self) -> float:
        """The change that half of the pictures are fooled by; infinite if fewer ever are."""
        if not len(self.distances):
            return inf
        return float(self.distances.sort().values[(len(self.distances) - 1) // 2])


@dataclass(frozen=True)
class Flipped:
    """A picture that was led to another class."""

    index: int
    label: int
    became: int
    confidence: float
    """Probability of the new class."""
    distance: float
    before: Tensor
    """``(C, H, W)``."""
    after: Tensor


class Study:
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
    ) -> None:
        if not 0 < float(threat.eps) < inf:
            raise InvalidParameterError(
                f"the threat {threat.name} has the bound {threat.eps}; expected one above 0, such "
                "as linf:8/255: the report shows all smaller and larger ones beside it"
            )
        keys = randomness.keys(seed, torch.arange(len(images), device="cpu"))
        self.model, self.images = model, images.select(bits(keys, 0, 1)[:, 0].argsort())
        self.slices, self.required = tuple(slices), required
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
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._tell, self._cancelled = tell, cancelled
        self.truth = Truth.of(model, images)
        """What the pictures' labels mean for the network."""
        self._known: dict[str, Any] = {}

    # How time is spent

    def cancelled(self) -> bool:
        """Whether a person has stopped it."""
        return self._cancelled is not None and self._cancelled()

    def left(self) -> float:
        """Seconds that are left."""
        return inf if self._ends is None else self._ends - time.monotonic()

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
            "data": [self.images.name, self.images.split, list(self.images.indices)],
            "seed": self.seed,
            **({} if self.grid is None else {"grid": self.grid}),
        }

    @property
    def record(self) -> dict[str, Any]:
        """Everything needed to repeat it, as plain values."""
        return {
            **self.provenance,
            "data": {
                "name": self.images.name,
                "split": self.images.split,
                "count": len(self.images),
                "sha256": self.reading.sha256,
            },
            "threat": str(self.threat),
            "seed": self.seed,
            "grid": self.grid,
            "stated": asdict(self.stated),
            "model_files": self.model_files,
            "command": self.command,
            "shown_channels": self.shown,
            "cut": sorted(self.cut),
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
    def side(self) -> int:
        """The longer side of the pictures as the network sees them."""
        return max(self.model.input_size or self.load(self.images.indices[:1])[0].shape[-2:])

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
        return self.once("labels", lambda: tuple(map(shortened, self.model.labels)))

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

    # What was found

    def check(self) -> None:
        """Refuse what no section could say anything true of.

        Raises:
            InvalidImagesError, UnknownLabelError, ChanceLevelError: see :func:`.xray`.
        """
        Level(self.model).add(self.reading.labels, self.reading.winners).check(
            lambda: what_was_fed(self.model, *self.load(self.images.indices[:3]))
        )

    @property
    def seen(self) -> Seen:
        """How many pictures of which classes it is about."""
        return Seen.of(self.model, self.reading.labels)

    @property
    def reading(self) -> Reading:
        """How the network reads the clean pictures."""

        def look() -> dict[str, Tensor]:
            found: list[Tensor] = []
            digest = hashlib.sha256()
            for batch in self._batches(self.images, BATCH):
                self.tell("reading clean pictures", sum(map(len, found)) / len(self.images), "read")
                labels = self._as_numbers([batch])
                digest.update(data_hash(batch.images, labels).encode())
                logits = predict(self.model.plain, batch.images, batch_size=BATCH).logits.double()
                sure, winner = logits.softmax(1).max(1)
                own = logits.gather(1, labels[:, None])
                rank = (logits > own).sum(1)
                found.append(torch.stack((labels, winner, sure, rank), 1))
            labels, winner, sure, rank = torch.cat(found).unbind(1)
            return {
                "labels": labels.long(),
                "winners": winner.long(),
                "confidence": sure,
                "rank": rank.long(),
                "digest": torch.tensor(list(digest.digest()), dtype=torch.uint8, device="cpu"),
            }

        return Reading(**self.kept("clean", None, look))

    @property
    def plan(self) -> Plan:
        """Attacks for the smallest change of every picture, and for the verdict at the bound."""

        def make() -> Plan:
            stages = find_plan(VERDICT, self.threat).stages
            if self.threat.name in NEAREST_NORMS:
                closest = [one for one in find_plan("curve", self.threat).stages if one.everyone]
                if self._large():
                    closest = [replace(closest[0], attack=self._nearest())]
                stages = (*closest, *stages)
            return Plan("x-ray", stages)

        return self.once("plan", make)

    def _nearest(self) -> Method:
        """The search for the smallest change: the plan ``curve``'s first, or a shorter one."""
        found = nearest(as_threat(self.threat.name))
        return replace(cast(FMN, found), steps=STEPS_LARGE) if self._large() else found

    def _large(self) -> bool:
        height, width = self.model.input_size or (224, 224)
        return self.model.channels * height * width > LARGE

    @property
    def verdict(self) -> Verdict:
        """How many pictures it still classifies correctly under attack."""
        return self._evaluated[0]

    @property
    def eight_bits(self) -> EightBits | None:
        """What the verdict is in 8 bits; ``None`` where it is in 8 bits itself.

        Rounding what was found would leave out successes that a search on the grid finds, so those
        who were fooled are attacked again; who was not, counts as robust in both.
        """
        if self.grid is not None or self.threat.name not in NEAREST_NORMS:
            return None

        def search() -> EightBits:
            found, closest = self.verdict, self.closest
            within = closest.distances <= self.eps + ROUNDING
            fooled = closest.indices[within].tolist()
            robust = round(found.robust_accuracy * found.count)
            if not fooled or nothing_between(self.threat, 8) is not None:
                return EightBits(
                    len(fooled), len(fooled), 0, robust + len(fooled), found.count
                )  # fmt: skip
            self.go_on("The verdict in 8 bits")
            places = {index: place for place, index in enumerate(self.images.indices)}
            again = self.images.select([places[index] for index in fooled])
            plan = find_plan(VERDICT, self.threat)
            eight, _ = self._evaluate("8-bit", again, plan, 8, EIGHT_SHARE)
            holding = round(eight.robust_accuracy * eight.count)
            return EightBits(
                len(fooled), eight.count, eight.count - holding, robust + holding, found.count
            )  # fmt: skip

        return self.once("8 bits", search)

    @property
    def curve(self) -> Curve:
        """Accuracy at every bound.

        Raises:
            LeftOutError: the norm has no search for the smallest change.
        """
        found = self.verdict.curve
        if found is None:
            raise LeftOutError(
                f"in the norm {self.threat.name} there is no search for the smallest change; "
                f"choose {listed(NEAREST_NORMS, 'or')}"
            )
        return found

    @property
    def trust(self) -> tuple[Check, ...]:
        """Reasons to trust the verdict, or not to."""

        def look() -> tuple[Check, ...]:
            parts, plan = self._parts(), self.plan
            seen = from_rows(parts, plan)
            pictures = FEW if self._large() else SOME
            right = self.reading.right.nonzero().squeeze(1)[:pictures].tolist()
            images, labels = self.load([self.images.indices[row] for row in right])
            ends = time.monotonic() + TRUST_SHARE * self.left()
            made: list[Check] = []

            def over() -> bool:
                return self.cancelled() or time.monotonic() > ends

            def note(check: Check) -> None:
                made.append(check)
                self.tell(f"can it be trusted: {check.name}", min(len(made) / 16, 1.0), "trust")

            found = trust_checks(
                self.model, images, labels, self.threat, pictures=pictures, seed=self.seed,
                on_check=note, cancelled=over,
            )  # fmt: skip
            if any(check.status == "not made" for check in found):
                self.cut.add("trust")
            return (*found, *seen)

        def as_rows() -> list[dict[str, Any]]:
            return [check.describe() for check in look()]

        rows = self.written("trust", [str(self.threat), self.plan.describe()], as_rows)
        return tuple(Check(**row) for row in rows)

    def judge(self, checks: tuple[Check, ...]) -> tuple[Outcome, ...]:
        """How what is required of the verdict came out, with these trust checks."""
        if self.required is not None:
            self.judged = replace(self.verdict, trust=checks)
            self.judged = replace(self.judged, requirements=self.required.of(self.judged))
        return () if self.judged is None else self.judged.requirements

    @property
    def class_map(self) -> ClassMap:
        """How far the classes lie from each other."""

        def search() -> ClassMap:
            file = self._file("map", self.threat.name, "json")
            if file is not None and file.exists():
                with suppress(ResultFormatError):
                    return ClassMap.load(file)
            ends = time.monotonic() + MAP_SHARE * self.left()
            images, pictures, targets = self.images, MAP_PICTURES, None
            if self._large() or self.model.num_classes > MAP_CLASSES:
                right = self.reading.right.nonzero().squeeze(1)[:MAP_LARGE]
                images, pictures, targets = self.images.select(right), 1, MAP_TARGETS
            found = class_map(
                self.model, images, threat=self.threat.name, attack=self._nearest(),
                pictures=pictures, targets=targets, seed=self.seed, grid=self.grid, at_chance=True,
                on_progress=lambda now: self.tell(
                    "map between classes", now.done / now.total, "map"
                ),
                cancelled=lambda: self.cancelled() or time.monotonic() > ends,
            )  # fmt: skip
            if file is not None and found.complete:
                found.save(file.parent, file.stem)
            return found

        return self.once("map", search)

    def _parts(self) -> list[list[pa.Table]]:
        """The rows as the evaluation has them: all parts as one, stage by stage."""
        rows = self._evaluated[1]
        stages = [CLEAN, *(stage.name for stage in self.plan.stages)]
        tables = [rows.filter(pc.equal(rows["attack"], name)) for name in stages]
        return [[table for number, table in enumerate(tables) if len(table) or not number]]

    @property
    def closest(self) -> Closest:
        """The smallest change found of each picture."""

        def find() -> Closest:
            rows = self._evaluated[1]
            clean = rows.filter(pc.equal(rows["attack"], CLEAN))
            clean = clean.filter(pc.invert(clean["success"]))
            attacked = set(rows.filter(pc.not_equal(rows["attack"], CLEAN))["index"].to_pylist())
            best: dict[int, tuple[float, int, str]] = {}
            won = rows.filter(
                pc.and_(rows["success"], pc.not_equal(rows["attack"], CLEAN))
            ).to_pylist()
            for row in won:
                key = (row["distance"], row["prediction"], row["attack"])
                best[row["index"]] = min(best.get(row["index"], (inf, -1, "")), key)
            kept = [row for row in clean.to_pylist() if row["index"] in attacked]
            found = [best.get(row["index"], (inf, row["label"], "")) for row in kept]
            return Closest(
                torch.tensor([row["index"] for row in kept], dtype=torch.long, device="cpu"),
                torch.tensor([row["label"] for row in kept], dtype=torch.long, device="cpu"),
                torch.tensor([each[0] for each in found], dtype=torch.double, device="cpu"),
                torch.tensor([each[1] for each in found], dtype=torch.long, device="cpu"),
                tuple(each[2] for each in found),
            )

        return self.once("closest", find)

    def flipped(self, rows: Sequence[int]) -> dict[int, Flipped]:
        """The pictures in these rows of :attr:`closest` before and after their smallest change.

        The attack that found it is made once more on them: randomness belongs to the sample, so it
        finds the same.
        """
        closest = self.closest
        indices = closest.indices[list(rows)].tolist()

        def again() -> dict[str, Tensor]:
            images, labels = self.load(indices)
            after = images.clone()
            for stage in self.plan.stages:
                mine = [n for n, row in enumerate(rows) if closest.stages[row] == stage.name]
                if not mine:
                    continue
                self.tell("drawing what was found", 0.0, "draw")
                with collected():
                    found = stage.attack(
                        self.model, images[mine], labels[mine], keep=stage.keep,
                        restarts=stage.restarts, grid=self.grid, seed=self.seed,
                        numbers=torch.tensor([indices[n] for n in mine], device="cpu"),
                    )  # fmt: skip
                after[mine] = found.images.to(after)
            return {"before": images, "after": after}

        found = self.kept("flipped", [indices, self.plan.describe()], again)
        distance = self.threat.distance(found["after"] - found["before"])
        said = predict(self.model.plain, found["after"], batch_size=BATCH)
        sure, became = said.probabilities.max(1)
        return {
            row: Flipped(
                int(closest.indices[row]), int(closest.labels[row]), int(became[n]),
                float(sure[n]), float(distance[n]), found["before"][n], found["after"][n],
            )
            for n, row in enumerate(rows)
        }  # fmt: skip

    @property
    def _evaluated(self) -> tuple[Verdict, pa.Table]:
        return self.once(
            "evaluation",
            lambda: self._evaluate("evaluation", self.images, self.plan, self.grid, SHARE),
        )

    def _evaluate(
        self, name: str, images: ImageSet, plan: Plan, grid: int | None, share: float
    ) -> tuple[Verdict, pa.Table]:
        """A verdict and its rows, for which this share of the time left may be spent."""
        eight = name == "8-bit"
        doing, phase = ("attacking in 8 bits", "8-bit") if eight else ("attacking", "attack")
        with ExitStack() as stack:
            kept = self._file(name, [str(self.threat), plan.describe()], "run")
            place: Path | str = kept or stack.enter_context(
                TemporaryDirectory(prefix="fluoroscope-")
            )
            ends = time.monotonic() + share * self.left()
            verdict = evaluate(
                self.model, images, threat=self.threat, plan=plan, out=place, grid=grid,
                part=PART_LARGE if self._large() else PART, seed=self.seed, at_chance=True,
                slices=self.slices if images is self.images else (),
                on_progress=lambda now: self.tell(
                    f"{doing}, {now.surviving} of {now.looked} survive", now.done, phase
                ),
                cancelled=self._cancelled,
                enough=lambda: time.monotonic() > ends,
            )  # fmt: skip
            return verdict, RunDirectory(Path(place)).tables()


def _seal(file: Path, found: Any) -> str:
    text = json.dumps([file.name, found])
    return hashlib.sha256(text.encode()).hexdigest()


def _end(name: str) -> str:
    with suppress(OSError, ValueError):  # a name that is no path
        return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name
    return name
