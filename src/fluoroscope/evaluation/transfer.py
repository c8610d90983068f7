"""Transfer between networks: does what was made against one fool another?

Szegedy et al. (2014, 1312.6199) made pictures against one network and showed them to others. Here
each of several networks is attacked, and each reads what was made on every one of them. A rate is
the share of the pictures that **both** networks classified correctly before, which the other one
then misclassifies. Whether the attack worked on its own network is not asked: all that it makes is
shown. On the diagonal stands the attack on the network itself.

All networks are shown the same pictures, at the size of the largest one; a smaller one sees them
stretched to its own.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.parts import part_size
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.classes import Given
from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.engine.labels import Seen, Truth, labelled, what_was_fed
from fluoroscope.engine.predict import predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import DEFAULT_BATCH, Step
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.level import Level, check_level
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.ensemble import Ensemble
from fluoroscope.pictures import html
from fluoroscope.pictures.heat_map import heat_map
from fluoroscope.words import count, interval, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Share:
    """So many of so many, with Wilson's interval at 95 %."""

    count: int
    of: int
    share: float | None
    """``None`` of nothing."""
    interval: Interval


@dataclass(frozen=True, repr=False)
class TransferMatrix(html.Shown):
    """Which of several networks are fooled by what was made on each."""

    models: tuple[str, ...]
    count: int
    """Pictures."""
    clean: tuple[Share, ...]
    """By network: classified correctly as they are."""
    fooled: tuple[tuple[Share, ...], ...]
    """Made on the network of the row and read by that of the column: misclassified, of those that
    both classified correctly before."""
    under_others: tuple[Share, ...]
    """By network: classified correctly as they are, and as what was made on every *other*
    network.
    """
    under_all: tuple[Share, ...]
    """Likewise, and as what was made on the network itself."""
    forwards: int
    """Images that went through a network, in attacks and to be read."""
    backwards: int
    seconds: float
    complete: bool
    """Whether every picture was attacked on every network to the end."""
    record: dict[str, Any] = field(default_factory=dict)
    """Attack, data, seed, and each network's record, as plain values."""

    def _line(self) -> str:
        others = [
            cell.share
            for made, row in enumerate(self.fooled)
            for judge, cell in enumerate(row)
            if made != judge and cell.share is not None
        ]
        mean = f"on average {percent(sum(others) / len(others))} of what" if others else "what"
        attack = self.record.get("attack", {}).get("attack", "an attack")
        return (
            f"{attack}, {count(len(self.models), 'network')}, {count(self.count, 'picture')}: "
            f"{mean} is made on one {'fools another' if others else 'was read by no other'}"
            f"{'' if self.complete else ', stopped early'}"
        )

    def _view(self) -> Iterator[html.Html]:
        names, right = short_names(self.models), range(1, len(self.models) + 1)
        yield html.table(
            ["misclassified, of what both classified correctly", *(f"by {name}" for name in names)],
            [
                [f"made on {name}", *map(_cell, row)]
                for name, row in zip(names, self.fooled, strict=True)
            ],
            right=right,
        )
        yield html.table(
            ["classified correctly", *names],
            [
                ["as they are", *map(_cell, self.clean)],
                ["and under the others", *map(_cell, self.under_others)],
                ["and under all", *map(_cell, self.under_all)],
            ],
            right=right,
        )
        yield html.notes(self.record.get("notes", ()))

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def _cell(share: Share) -> str:
    if share.share is None:
        return "–"
    return f"{percent(share.share)} ({interval(share.interval, 0)})"


def transfer_matrix(
    models: Sequence[Classifier | nn.Module],
    images: ImageSet | Tensor,
    attack: Method,
    labels: Given | None = None,
    *,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH,
    at_chance: bool = False,
    on_progress: Callable[[int, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> TransferMatrix:
    """Attack every picture on every network, and let every network read what came of it.

    A picture is attacked on the networks that classify it correctly, away from its class. An attack
    within a bound spends all its steps, since the first image that fools one network rarely fools
    another.

    Args:
        models: two networks or more with the same classes, channels, device and type, of any input
            size. Where one was prepared for speed, the plain one reads.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        attack: what is done to them.
        labels: the true class of each ``(N,)``, for a batch: indices, names or one-hot rows.
        seed: for everything random; what is random of a sample depends on it and the
        sample's index alone.
        batch_size: images evaluated at once.
        at_chance: go on with networks whose clean accuracy is at chance level.
        on_progress: called at every step with the searches done with, how many there are at the
            most, and the passes of the present one's part so far.
        cancelled: asked at every step; once true, the matrix is of the pictures that were attacked
            on every network by then.

    Raises:
        InvalidParameterError: fewer networks than two, or an attack that has to be fitted first.
        ModelFormatError: networks that differ in classes, channels, device or type.
        UnknownLabelError, InvalidImagesError: labels that are missing or not the networks'.
        ChanceLevelError: a network's clean accuracy is at chance level.
    """
    views, joint = _views([as_classifier(model) for model in models])
    if isinstance(attack, Fitted):
        raise InvalidParameterError(
            f"{type(attack).__name__} makes one thing for all pictures and has to be fitted first; "
            "expected an attack on single pictures, such as mi-fgsm"
        )
    data, began = labelled(joint, images, labels), time.perf_counter()
    truth, levels = Truth.of(joint, data), [Level(view) for view in views]
    work = _Work(views, attack, seed, batch_size, len(data), on_progress, cancelled)
    count = len(models)
    clean, misclassified = (
        [torch.zeros(0, count, dtype=torch.float32, device="cpu").bool()],
        [torch.zeros(0, count, count, dtype=torch.float32, device="cpu").bool()],
    )
    for batch in data.batches(part_size(joint), fit=joint.preprocessing):
        own = truth.labels(batch)
        read = [work.reads(view, batch.images) for view in views]
        right = torch.stack([each == own for each in read], 1)
        for view, level, each in zip(views, levels, read, strict=True):
            level.add(own, each)
            if len(clean) == 1:
                fed = partial(what_was_fed, view, batch.images, own)
                if not at_chance:
                    check_level(
                        level, truth, fed,
                        fit=joint.preprocessing, batch_size=batch_size, cancelled=cancelled,
                    )  # fmt: skip
        rows = list(work.fooled(batch.images, own, right, batch.indices))
        if len(rows) < count:
            break
        clean.append(right)
        misclassified.append(torch.stack(rows, 1))
    for level in levels:
        if not at_chance and sum(map(len, clean)) == len(data):
            level.check(fed)
    seen = Seen.of(joint, levels[0].labels[: sum(map(len, clean))])
    return _matrix(
        torch.cat(clean),
        torch.cat(misclassified),
        models=tuple(view.plain.name for view in views),
        forwards=work.forwards,
        backwards=work.backwards,
        seconds=time.perf_counter() - began,
        total=len(data),
        record={
            "attack": as_plain(attack),
            "data": {"name": data.name, "split": data.split, "count": len(data)},
            "input_size": joint.input_size,
            "seed": seed,
            "seen": seen.describe(),
            "notes": [
                *truth.notes,
                *seen.notes,
                *(note for level in levels for note in level.notes),
            ],
            "models": [provenance(as_classifier(model)) for model in models],
        },
    )


def transfer_figure(matrix: TransferMatrix) -> "Figure":
    """The matrix as a heat map, and below it what is left of each network's accuracy."""
    names = short_names(matrix.models)
    below = {
        "as they are": matrix.clean,
        "under the others": matrix.under_others,
        "under all": matrix.under_all,
    }
    rows = [*([cell.share for cell in row] for row in matrix.fooled)]
    kept = [[cell.share for cell in row] for row in below.values()]
    return heat_map(
        rows, names, names, kept, list(below),
        row_title="made on", column_title="read by",
        bar="misclassified, % of those both had right",
        under_bar="accuracy, %",
        title=f"{matrix.record['attack']['attack']}, {matrix.count:,} pictures",
    )  # fmt: skip


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each name, where these differ, and at most 24 letters of it."""
    last = [PurePath(name).name for name in names]
    chosen = last if len(set(last)) == len(set(names)) else list(names)
    return [name if len(name) <= 24 else f"…{name[-23:]}" for name in chosen]


@dataclass
class _Work:
    """Attacking and reading, with the books of what it costs."""

    views: list[Classifier]
    attack: Method
    seed: int
    batch_size: int
    total: int
    on_progress: Callable[[int, int, int], None] | None
    cancelled: Callable[[], bool] | None
    forwards: int = 0
    backwards: int = 0
    behind: int = 0

    def reads(self, view: Classifier, images: Tensor) -> Tensor:
        """What the plain network predicts images ``(N, C, H, W)`` to be ``(N,)``."""
        self.forwards += len(images) * view.plain.passes
        return predict(view.plain, images, batch_size=self.batch_size).winners

    def fooled(
        self, images: Tensor, truth: Tensor, right: Tensor, numbers: Tensor
    ) -> Iterator[Tensor]:
        """For each network attacked, who misclassifies ``(N, readers)`` what was made of the
        images.

        A picture that the network attacked misclassifies as it is stays as it is. Ends early when
        cancelled.
        """
        for view, chosen in zip(self.views, right.unbind(1), strict=True):
            made = images.clone()
            if bool(chosen.any()):
                made[chosen] = self._made(view, images[chosen], truth[chosen], numbers[chosen])
            if self.cancelled is not None and self.cancelled():
                return
            self._progress(len(images), 0)
            self.behind += len(images)
            yield torch.stack([self.reads(reader, made) != truth for reader in self.views], 1)

    def _made(self, view: Classifier, images: Tensor, truth: Tensor, numbers: Tensor) -> Tensor:
        ended = passes = 0

        def observe(step: Step) -> None:
            nonlocal ended, passes
            ended += int(step.done.sum())
            passes += len(step.indices)
            self._progress(ended, passes)

        result = self.attack(
            view,
            images,
            truth,
            keep=None if self.attack.minimum_norm else "last",
            batch_size=self.batch_size,
            seed=self.seed,
            numbers=numbers,
            on_step=observe,
            cancelled=self.cancelled,
        )
        self.forwards += int(result.forwards.sum())
        self.backwards += int(result.backwards.sum())
        return result.images.to(images)

    def _progress(self, within: int, passes: int) -> None:
        if self.on_progress is not None:
            self.on_progress(self.behind + within, self.total * len(self.views), passes)


def _views(models: Sequence[Classifier]) -> tuple[list[Classifier], Classifier]:
    """The networks for pictures of one size, and one that stands for what they have in common."""
    if len(models) < 2:
        raise InvalidParameterError(
            f"given {count(len(models), 'network')}; expected two or more, for something to carry "
            "over from one to another"
        )
    joint = Ensemble(models)  # refuses networks of other classes, channels or types
    if len({model.input_size for model in models}) == 1:
        return list(models), joint
    size = joint.input_size
    return [Ensemble([model], input_size=size, name=model.name) for model in models], joint


def _matrix(clean: Tensor, misclassified: Tensor, *, total: int, **rest: Any) -> TransferMatrix:
    """From what each network classified correctly ``(N, models)``, and misclassified ``(N, made on,
    read by)``.
    """
    both = clean[:, :, None] & clean[:, None, :]
    surviving = clean[:, None, :] & ~misclassified
    own = torch.eye(clean.shape[1], dtype=torch.bool, device="cpu")
    return TransferMatrix(
        count=len(clean),
        clean=_shares(clean.sum(0), len(clean)),
        fooled=tuple(
            tuple(_share(int(fooled), int(trials)) for fooled, trials in zip(row, of, strict=True))
            for row, of in zip((both & misclassified).sum(0), both.sum(0), strict=True)
        ),
        under_others=_shares((surviving | own & clean[:, None, :]).all(1).sum(0), len(clean)),
        under_all=_shares(surviving.all(1).sum(0), len(clean)),
        complete=len(clean) == total,
        **rest,
    )


def _shares(counts: Tensor, of: int) -> tuple[Share, ...]:
    return tuple(_share(count, of) for count in counts.tolist())


def _share(count: int, of: int) -> Share:
    return Share(count, of, count / of if of else None, wilson(count, of))
