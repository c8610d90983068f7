"""The map between classes: how far each lies from each, and which the network meets on the way.

For a pair (from, to) pictures of the class *from* that are classified correctly are led to the
class *to* by a targeted search for the closest success. The distance of the pair is the median of
what that took; its way stations are the other classes that the network read in the steps before the
first success, in the order of their first appearance.

Up to 20 classes all pairs are measured. Among more, each picture is led to the classes that lie
nearest by the linearised network (lead over the dual norm of its gradient, as in DeepFool) and to
some drawn at random; :attr:`ClassMap.chosen` says so.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor, nn

from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.parts import part_size
from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.classes import Given
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.grid import as_grid, nothing_between, round_to_grid
from fluoroscope.engine.labels import Seen, Truth, labelled, what_was_fed
from fluoroscope.engine.numbers import half_within
from fluoroscope.engine.objectives import MARGIN, leads
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import DEFAULT_BATCH, Step
from fluoroscope.engine.threats import Threat, as_threat
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, ResultFormatError
from fluoroscope.evaluation.level import Level, check_level
from fluoroscope.evaluation.plan import nearest
from fluoroscope.files import atomic_path, output_directory, regular, user_path
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.labels import find_class
from fluoroscope.pictures import html
from fluoroscope.pictures.class_maps import class_map_figure
from fluoroscope.pictures.plots import page_style
from fluoroscope.words import count, number, shortened

FORMAT = 1
# Up to so many classes all pairs are measured, and with so many pictures of each.
_ALL_PAIRS, _PICTURES = 20, 10
# Classes that a picture is led to where there are more.
_TARGETS = 6
_DUAL_ORDER = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


@dataclass(frozen=True)
class Station:
    """A class that was met on the way from one to another."""

    label: int
    count: int
    """Searches that met it."""
    place: float
    """Its mean place among those that a search met; 1 is the first."""


@dataclass(frozen=True)
class Pair:
    """The way from one class to another."""

    source: int
    target: int
    distance: float
    """The median smallest perturbation; infinite if more than half of the searches found none."""
    searches: int
    found: int
    """Searches with a success."""
    stations: tuple[Station, ...] = ()
    """Met before the first success, the most frequent first."""


@dataclass(frozen=True)
class Route:
    """The easiest way over the map from one class to another."""

    classes: tuple[int, ...]
    """From the first to the last."""
    hops: tuple[float, ...]
    """The distance of each hop."""
    direct: float
    """The distance of the pair itself; ``nan`` if it was not measured."""


@dataclass(frozen=True)
class MapProgress:
    """How far a map is; handed out after every step."""

    total: int
    """Searches."""
    done: int
    passes: int
    """Forward and backward passes so far."""


@dataclass(frozen=True, repr=False)
class ClassMap(html.Shown):
    """Distances and way stations between the ``K`` classes of a network."""

    labels: tuple[str, ...]
    """The names of all ``K`` classes."""
    norm: str
    pairs: tuple[Pair, ...]
    """Those that were measured."""
    chosen: str
    """How pictures and pairs were chosen."""
    pictures: int
    """Pictures that were led away."""
    forwards: int
    backwards: int
    seconds: float
    complete: bool
    """Whether it was not interrupted."""
    record: dict[str, Any] = field(default_factory=dict)
    """Network, data, attack, seed, versions and hardware, as plain values."""

    @cached_property
    def distance(self) -> NDArray[np.float64]:
        """``(K, K)``, the median smallest perturbation from (row) to (column).

        ``nan`` where nothing was measured, infinite where no success was found.
        """
        matrix = np.full((len(self.labels),) * 2, np.nan)
        for pair in self.pairs:
            matrix[pair.source, pair.target] = pair.distance
        return matrix

    @property
    def searches(self) -> NDArray[np.int64]:
        """``(K, K)``, how many searches each distance is of."""
        matrix = np.zeros((len(self.labels),) * 2, dtype=np.int64)
        for pair in self.pairs:
            matrix[pair.source, pair.target] = pair.searches
        return matrix

    def pair(self, source: str | int, target: str | int) -> Pair | None:
        """What was found between two classes; ``None`` if it was not measured.

        Raises:
            UnknownLabelError: no such class.
        """
        return self._found.get((self._number(source), self._number(target)))

    def neighbours(self, label: str | int, most: int = 3) -> list[Pair]:
        """The classes that pictures of this one are turned into most easily, nearest first."""
        own = self._number(label)
        near = [p for p in self.pairs if p.source == own and math.isfinite(p.distance)]
        return sorted(near, key=lambda pair: (pair.distance, pair.target))[:most]

    def route(self, source: str | int, target: str | int, *, power: float = 2.0) -> Route | None:
        """The way over measured pairs whose distances to this power have the smallest sum.

        With a power of 1 a detour hardly ever pays, for a search goes straight; the higher it is,
        the more and the shorter are the hops, and the classes on the way are those that lie
        between (power-weighted shortest paths, Hwang, Damelin and Hero 2016). ``None`` if the
        measured pairs lead nowhere.

        Raises:
            UnknownLabelError: no such class.
            InvalidParameterError: a power that is not positive.
        """
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        if not 0 < power < math.inf:
            raise InvalidParameterError(f"power is {power}; expected more than 0")
        start, end = self._number(source), self._number(target)
        edges = [pair for pair in self.pairs if math.isfinite(pair.distance)]
        scale = max((pair.distance for pair in edges), default=1.0)
        # Dijkstra's takes a 0 for no edge.
        weights = [max((pair.distance / scale) ** power, 1e-300) for pair in edges]
        ends = [pair.source for pair in edges], [pair.target for pair in edges]
        graph = csr_matrix((weights, ends), shape=(len(self.labels),) * 2)
        _, before = dijkstra(graph, indices=start, return_predecessors=True)
        way = [end]
        while way[-1] != start:
            if before[way[-1]] < 0:
                return None
            way.append(int(before[way[-1]]))
        way.reverse()
        hops = tuple(self._found[a, b].distance for a, b in pairwise(way))
        direct = self._found.get((start, end))
        return Route(tuple(way), hops, math.nan if direct is None else direct.distance)

    def _line(self) -> str:
        middle = _median([pair.distance for pair in self.pairs])
        total = len(self.labels) * (len(self.labels) - 1)
        early = "" if self.complete else ", stopped early"
        return (
            f"{self.record.get('model', '')}: median {self.norm} distance {number(middle)} "
            f"over {len(self.pairs):,} of {count(total, 'pair')} of classes, "
            f"{count(self.pictures, 'picture')}{early}"
        )

    def _view(self) -> Iterator[html.Html]:
        if any(0 < pair.distance < math.inf for pair in self.pairs):
            with page_style():
                figure = class_map_figure(self.distance, self.labels, norm=self.norm)
            yield html.plot(figure, "distance from each class (rows) to the others (columns)")
            yield html.paragraph("Blank was not measured; a cross marks what was never reached.")
        sources = sorted({pair.source for pair in self.pairs})
        near = {label: self.neighbours(label) for label in sources[: html.ROWS]}
        yield html.table(
            ["class", "turned most easily into"],
            [
                [
                    shortened(self.labels[label]),
                    ", ".join(
                        f"{shortened(self.labels[pair.target])} ({number(pair.distance)})"
                        for pair in found
                    )
                    or "none found",
                ]
                for label, found in near.items()
            ],
        )
        if len(sources) > len(near):
            yield html.paragraph(f"and {len(sources) - len(near):,} more classes")
        yield html.notes(self.record.get("notes", ()))

    def describe(self) -> dict[str, Any]:
        """As plain values; ``None`` stands for a distance that nothing was found within."""
        count = len(self.labels)
        return {
            "norm": self.norm,
            "labels": list(self.labels),
            "chosen": self.chosen,
            "pictures": self.pictures,
            "searches": sum(pair.searches for pair in self.pairs),
            "pairs_measured": len(self.pairs),
            "pairs_possible": count * (count - 1),
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": self.seconds,
            "complete": self.complete,
            "neighbours": {
                self.labels[label]: [self.labels[pair.target] for pair in self.neighbours(label)]
                for label in sorted({pair.source for pair in self.pairs})
            },
            "pairs": [{**asdict(pair), "distance": _finite(pair.distance)} for pair in self.pairs],
            "record": self.record,
        }

    def save(self, directory: str | Path, name: str = "class_map") -> Path:
        """Write everything into a JSON file; it appears whole or not at all."""
        path = output_directory(directory) / f"{name}.json"
        with atomic_path(path) as draft:
            text = {"format": FORMAT, **self.describe()}
            draft.write_text(
                json.dumps(text, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
            )
        return path

    @classmethod
    def load(cls, path: str | Path) -> "ClassMap":
        """Read back what :meth:`save` wrote.

        Raises:
            ResultFormatError: no such file, or one that is broken or of a newer version.
        """
        try:
            found = json.loads(regular(user_path(path)).read_text("utf-8"))
            if found["format"] > FORMAT:
                raise ResultFormatError(
                    f"{path} has format {found['format']} and this version of fluoroscope knows "
                    f"{FORMAT}; install a newer one to read it"
                )
            for pair in found["pairs"]:
                pair["distance"] = math.inf if pair["distance"] is None else pair["distance"]
            known = {name: found[name] for name in cls.__dataclass_fields__}
            made = TypeAdapter(cls).validate_python(known)
            if not all(0 <= n < len(made.labels) for p in made.pairs for n in (p.source, p.target)):
                raise ValueError("a pair is of classes that have no label")
            return made
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise ResultFormatError(
                f"{path} cannot be read: {' '.join(str(error).split())}; expected what fluoroscope "
                "map wrote"
            ) from error

    @cached_property
    def _found(self) -> dict[tuple[int, int], Pair]:
        return {(pair.source, pair.target): pair for pair in self.pairs}

    def _number(self, label: str | int) -> int:
        return find_class(label, self.labels)


def class_map(
    model: Classifier | nn.Module,
    images: ImageSet | Tensor,
    labels: Given | None = None,
    *,
    threat: Threat | str = "linf",
    attack: Method | None = None,
    classes: Sequence[str | int] | None = None,
    pictures: int | None = None,
    targets: int | None = None,
    grid: int | None = None,
    batch_size: int = DEFAULT_BATCH,
    seed: int = 0,
    at_chance: bool = False,
    on_progress: Callable[[MapProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ClassMap:
    """Lead pictures of each class to other classes, and map how far that is.

    Nothing is kept on disk on the way: interrupted, it returns what was found so far.

    Args:
        model: the network under study.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: the true class of each ``(N,)``, for a batch: indices, names or one-hot rows.
        threat: the norm, and how far a picture may go at the most: ``"linf"`` or ``"l2:3"``.
        attack: the search, one for the closest success; by default FMN with 25 steps.
        classes: only the map between these; by default all of the network's.
        pictures: of each class, the first ones in the data that are classified correctly; by
            default 10 where all pairs are measured, else 1.
        targets: classes that each picture is led to: two thirds those nearest by the linearised
            network, the others drawn. By default all where there are up to 20, else 6.
        grid: 8 rounds the pictures, and every image that a search shows the network, to the 256
            levels that a file holds; distances are then those of saved pictures.
        batch_size: images evaluated at once.
        seed: for everything random; what is random of a sample depends on it and the
        sample's index alone.
        at_chance: go on with a network whose clean accuracy is at chance level.
        on_progress: called at every step.
        cancelled: asked at every step; once true, the map is of what was found so far.

    Raises:
        InvalidImagesError: no picture of these classes is classified correctly.
        UnknownLabelError: a class that the network does not have, or labels that do not match.
        InvalidParameterError: a norm or number that makes no sense.
        ChanceLevelError: the clean accuracy is at chance level.
    """
    model = as_classifier(model)
    threat, grid = as_threat(threat), as_grid(grid)
    method = nearest(threat) if attack is None else attack
    if not (method.minimum_norm and method.can_target):
        raise InvalidParameterError(
            f"attack is {type(method).__name__}; expected one that looks for the closest success "
            "and can be led to a class, such as fmn"
        )
    data = labelled(model, images, labels)
    truth, level = Truth.of(model, data), Level(model)
    studied = _studied(model, classes)
    others = len(studied) - 1
    sampled = others if targets is None and len(studied) <= _ALL_PAIRS else targets or _TARGETS
    sampled = min(_positive("targets", sampled), others)
    number = _positive("pictures", pictures or (_PICTURES if sampled == others else 1))
    began = time.perf_counter()
    search = _Search(
        model, method, truth, level, studied, sampled,
        check_batch_size(batch_size), grid, seed, cancelled or (lambda: False),
    )  # fmt: skip
    positions = search.read_right(number)
    if not at_chance and not search.cancelled():
        check_level(
            level, truth, search.fed,
            fit=model.preprocessing, batch_size=batch_size, cancelled=cancelled,
        )  # fmt: skip
    if not positions:
        raise InvalidImagesError(
            f"{model.name} classifies no picture of {data.name} correctly in one of these "
            f"{len(studied)} classes; expected labelled pictures of classes that it knows"
        )
    watch = _Watch(len(positions) * sampled, on_progress)
    rows = search.rows(positions, watch)
    seen = Seen.of(model, level.labels[positions])
    how = "all pairs" if sampled == others else (
        f"each picture to {sampled - sampled // 3} classes nearest by the linearised network and "
        f"{sampled // 3} drawn (seed {seed})"
    )  # fmt: skip
    return ClassMap(
        labels=tuple(model.labels),
        norm=threat.name,
        pairs=_pairs(rows),
        chosen=(
            f"{how} among {len(studied)} classes; of each the first {count(number, 'picture')} "
            f"classified correctly, {len(positions)} in all"
        ),
        pictures=len(positions),
        forwards=watch.forwards,
        backwards=watch.backwards,
        seconds=time.perf_counter() - began,
        complete=not search.cancelled(),
        record={
            "data": {"name": data.name, "split": data.split, "count": len(data)},
            "attack": as_plain(method),
            "classes": studied if len(studied) < model.num_classes else None,
            "grid": grid,
            "seed": seed,
            "seen": seen.describe(),
            "notes": [
                *truth.notes,
                *(seen.notes if len(studied) == model.num_classes else ()),
                *level.notes,
                *filter(None, [nothing_between(threat, grid)]),
            ],
            **provenance(model),
        },
    )


@dataclass(frozen=True)
class _Row:
    """What one search came to."""

    source: int
    target: int
    distance: float
    stations: tuple[int, ...]


@dataclass(frozen=True)
class _Search:
    """What leading pictures away needs to know."""

    model: Classifier
    method: Method
    truth: Truth
    level: Level
    """What is read of clean pictures on the way."""
    studied: list[int]
    targets: int
    batch_size: int
    grid: int | None
    seed: int
    cancelled: Callable[[], bool]

    def read_right(self, number: int) -> list[int]:
        """The positions of the first pictures of each class studied that are classified
        correctly.
        """
        missing = dict.fromkeys(self.studied, number)
        kept: list[int] = []
        seen = 0
        for batch in self.batches(self.truth.images, self.batch_size):
            labels = self.truth.labels(batch)
            read = predict(self.model.plain, batch.images, batch_size=self.batch_size).winners
            self.level.add(labels, read)
            for offset, label in enumerate(labels.tolist()):
                if read[offset] == label and missing.get(label, 0):
                    missing[label] -= 1
                    kept.append(seen + offset)
            seen += len(labels)
            if self.cancelled() or not any(missing.values()):
                break
        return kept

    def batches(self, images: ImageSet, size: int) -> Iterator[Batch]:
        """The pictures as the network sees them."""
        for batch in images.batches(size, fit=self.model.preprocessing):
            if self.grid is not None:
                batch = replace(batch, images=round_to_grid(batch.images))
            yield batch

    def fed(self) -> str:
        """What it was given, in words."""
        batch = next(self.batches(self.truth.images.take(3), 3))
        return what_was_fed(self.model, batch.images, self.truth.labels(batch))

    def rows(self, positions: list[int], watch: "_Watch") -> list[_Row]:
        """Every search of these pictures, a part at a time."""
        size = max(1, part_size(self.model) // self.targets)
        found: list[_Row] = []
        for start in range(0, len(positions), size):
            if self.cancelled():
                break
            part = self.truth.images.select(positions[start : start + size])
            batch = next(self.batches(part, size))
            labels = self.truth.labels(batch)
            wanted = self._wanted(batch, labels)
            found += self._led(batch, labels, wanted, watch)
        return found

    def _wanted(self, batch: Batch, labels: Tensor) -> Tensor:
        """The classes ``(n, T)`` that each picture is led to."""
        allowed = torch.zeros(self.model.num_classes, dtype=torch.bool, device="cpu")
        allowed[self.studied] = True
        open_ = allowed.repeat(len(labels), 1).scatter(1, labels[:, None], False)
        if self.targets == len(self.studied) - 1:
            return open_.nonzero()[:, 1].view(len(labels), -1)
        drawn = self.targets // 3
        near = torch.cat(
            [
                self._near(images, own, free, self.targets - drawn)
                for images, own, free in zip(
                    batch.images.split(self.batch_size),
                    labels.split(self.batch_size),
                    open_.split(self.batch_size),
                    strict=True,
                )
            ]
        )
        open_ = open_.scatter(1, near, False)
        keys = randomness.keys(self.seed, batch.indices, -1)
        lots = randomness.uniform(keys, 0, (self.model.num_classes,)).masked_fill(~open_, -1)
        return torch.cat([near, lots.topk(drawn, dim=1).indices], 1)

    def _near(self, images: Tensor, labels: Tensor, open_: Tensor, count: int) -> Tensor:
        """The classes ``(n, count)`` with the nearest borders in the linearised network.

        Among the strongest rivals, three for each that is wanted: every one costs a pass back.
        """
        model = self.model
        rivals = min(3 * count, int(open_.sum(1).min()))
        own, free = labels.to(model.device), open_.to(model.device)
        free = free.scatter(1, own[:, None], True)  # its own class is what the others lead over
        towards = torch.full_like(own, -1)

        def several(logits: Tensor, classes: Tensor) -> Tensor:
            return leads(rivals, towards)(logits.masked_fill(~free, -torch.inf), classes)

        pixels = images.to(model.device, model.dtype)
        answer = evaluate(model, pixels, own, MARGIN, several=several)
        assert answer.several is not None
        assert answer.jacobian is not None
        ranked = answer.logits.masked_fill(~free, -torch.inf).scatter(1, own[:, None], -torch.inf)
        order = _DUAL_ORDER[self.method.threat.name]
        steep = torch.linalg.vector_norm(answer.jacobian.flatten(2).double(), ord=order, dim=2)
        distance = (-answer.several / steep).nan_to_num(nan=torch.inf)
        best = distance.topk(count, dim=1, largest=False).indices
        return ranked.topk(rivals, dim=1).indices.gather(1, best).cpu()

    def _led(self, batch: Batch, labels: Tensor, wanted: Tensor, watch: "_Watch") -> list[_Row]:
        """Each picture to each of its ``wanted`` classes ``(n, T)``."""
        targets = wanted.flatten()
        sources = labels.repeat_interleave(self.targets)
        watch.begin(sources, targets)
        indices = batch.indices.repeat_interleave(self.targets)
        result = self.method(
            self.model,
            batch.images.repeat_interleave(self.targets, 0),
            targets,
            targeted=True,
            keep="nearest",
            grid=self.grid,
            batch_size=self.batch_size,
            seed=self.seed,
            numbers=indices * self.model.num_classes + targets,
            on_step=watch.see,
            cancelled=self.cancelled,
        )
        watch.end(int(result.forwards.sum()), int(result.backwards.sum()))
        distance = result.distance.double().where(result.success, torch.inf).tolist()
        ended = result.finished | result.success
        every = zip(
            sources.tolist(), targets.tolist(), distance, watch.stations, ended.tolist(),
            strict=True,
        )  # fmt: skip
        return [_Row(a, b, far, tuple(met)) for a, b, far, met, end in every if end]


class _Watch:
    """Notes the classes that searches meet on their way, and counts."""

    def __init__(self, total: int, tell: Callable[[MapProgress], None] | None) -> None:
        self._total, self._tell = total, tell
        self._done = self._passes = self.forwards = self.backwards = 0
        self.stations: list[list[int]] = []

    def begin(self, sources: Tensor, targets: Tensor) -> None:
        self._ends = list(zip(sources.tolist(), targets.tolist(), strict=True))
        self._arrived = torch.zeros(len(sources), dtype=torch.bool, device="cpu")
        self._last = sources.clone()
        self.stations = [[] for _ in self._ends]

    def see(self, step: Step) -> None:
        rows, reached = step.indices.cpu(), step.reached.cpu()
        self._arrived[rows[reached]] = True
        read = step.answer.logits.argmax(1).cpu()
        new = ~self._arrived[rows] & (read != self._last[rows])
        self._last[rows] = read
        for row, label in zip(rows[new].tolist(), read[new].tolist(), strict=True):
            if label not in self._ends[row] and label not in self.stations[row]:
                self.stations[row].append(label)
        self._done += int(step.done.sum())
        self._passes += 2 * len(rows)
        if self._tell is not None:
            self._tell(MapProgress(self._total, self._done, self._passes))

    def end(self, forwards: int, backwards: int) -> None:
        self.forwards += forwards
        self.backwards += backwards
        self._passes = self.forwards + self.backwards


def _median(distances: Sequence[float]) -> float:
    """As of an attack's distances: one of them, and infinite where fewer than half are finite."""
    found = half_within([one for one in distances if math.isfinite(one)], len(distances))
    return math.inf if found is None else found


def _pairs(rows: list[_Row]) -> tuple[Pair, ...]:
    """The searches of each pair together, pairs in order."""
    grouped: dict[tuple[int, int], list[_Row]] = {}
    for row in rows:
        grouped.setdefault((row.source, row.target), []).append(row)
    return tuple(
        Pair(
            source,
            target,
            distance=_median([row.distance for row in several]),
            searches=len(several),
            found=sum(math.isfinite(row.distance) for row in several),
            stations=_stations(several),
        )
        for (source, target), several in sorted(grouped.items())
    )


def _stations(rows: list[_Row]) -> tuple[Station, ...]:
    places: dict[int, list[int]] = {}
    for row in rows:
        for place, label in enumerate(row.stations, start=1):
            places.setdefault(label, []).append(place)
    found = [Station(label, len(each), float(np.mean(each))) for label, each in places.items()]
    return tuple(sorted(found, key=lambda each: (-each.count, each.place, each.label)))


def _studied(model: Classifier, classes: Sequence[str | int] | None) -> list[int]:
    if classes is None:
        studied = list(range(model.num_classes))
    else:
        studied = sorted({model.find_class(label) for label in classes})
    if len(studied) < 2:
        raise InvalidParameterError(
            f"the map is between {count(len(studied), 'class', 'classes')}; expected at least 2"
        )
    return studied


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise InvalidParameterError(f"{name} is {value}; expected 1 or more")
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
