"""A data set of adversarial pictures, each led to a drawn class, for whoever asks what units mean.

Dong, Su, Zhu and Bao 2017 (1708.05493) led each of 50,000 pictures to 10 classes against an
ensemble of networks, and looked at what units answer to among them. Here every picture ends on the
256 levels of a PNG, and networks see nothing else on the way, so that what is saved is what was
found. The attack runs its whole length for every pair: successes and failures are kept, and
``success`` tells them apart.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fluoroscope.attacks import registry
from fluoroscope.attacks.attack import Chain, Method
from fluoroscope.attacks.parts import search_length
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.data.tables import require_library
from fluoroscope.engine import randomness
from fluoroscope.engine.classes import Given
from fluoroscope.engine.first_look import notes_of
from fluoroscope.engine.labels import Truth, labelled
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.predict import check_batch_size, predict, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.threats import Bound, bounds_of
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.ensemble import Ensemble
from fluoroscope.models.wrappers.prepared import prepare
from fluoroscope.neurons.adversarial.set_files import Row, SetDirectory, making
from fluoroscope.neurons.places import set_directory
from fluoroscope.notices import distinct, tell
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.attacks.result import AttackResult
    from fluoroscope.engine.stream import Step

ATTACK = "ensemble-optimisation"
TARGETS = 10
"""Classes that a picture is led to."""
# Pixel values in a part, and pictures: little enough that a killed run loses a minute or two.
_VALUES, _PICTURES = 2**23, 250


def adversarial_set(
    models: Classifier | nn.Module | Sequence[Classifier | nn.Module],
    images: ImageSet | tuple[Tensor, Given],
    *,
    out: str | Path,
    targets: int | None = None,
    attack: str | Method = ATTACK,
    eps: Bound | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    on_share: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImageSet:
    """Lead every picture to some drawn classes, and keep what comes of it as a data set.

    Beside the pictures it has the columns ``label`` (the true class), ``target``, ``source`` (the
    number of the real picture in its data set), ``distance`` (root mean square of the differences
    of pixel values in [0, 1]), ``success`` (all networks together predict the target) and
    ``success_1`` and on, for each network alone, shown the saved picture as its own preprocessing
    does. Whoever stops it goes on by the same call, and ends with the same bytes.

    Args:
        models: the network, or several of the same classes, which are attacked together.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in [0, 1] and its labels; those
            without a label are left out.
        out: the directory; :func:`fluoroscope.load_images` and ``-d`` open it afterwards.
        targets: classes for each picture, drawn without replacement among all but its own; by
            default 10, or all others where there are fewer.
        attack: its name, or one ready to be called.
        eps: how far a picture may go, in Linf for the usual attack, which without it is held back
            by its own distance alone.
        batch_size: pictures at once; by default as many as suit the device.
        seed: of targets and attack.
        on_share: called with the share that lies behind.
        cancelled: asked at every step; once true, the result has the parts that were finished.

    Raises:
        InvalidParameterError: more targets than there are other classes, an attack that cannot
            lead to a class, a directory that holds another set, a stop before the first part.
        InvalidImagesError: no labels, or pictures that are neither grey nor in three colours.
        UnknownLabelError: classes that the networks do not have.
        ModelFormatError: networks of other classes than the first.
        StorageError: the disk has too little room, or refuses.
        MissingExtraError: the ``datasets`` library is needed and not installed.
    """
    members = _members(models)
    method = _method(attack, eps)
    require_library("an adversarial set")
    judged = members[0] if len(members) == 1 else Ensemble(members, average="loss")
    data = labelled(judged, images) if isinstance(images, ImageSet) else labelled(judged, *images)
    plan = _Plan.of(judged, data, targets, randomness.as_seed(seed))
    first = next(data.take(1, first=True).batches(1, fit=judged.preprocessing)).images
    if judged.channels not in (1, 3):
        raise InvalidImagesError(
            f"{judged.name} takes pictures of {count(judged.channels, 'channel')}; expected a "
            "network of grey or colour pictures, which PNG files can hold"
        )
    batch_size = suitable_batch(first) if batch_size is None else check_batch_size(batch_size)
    each = max(1, min(_PICTURES, _VALUES // first[0].numel()) // plan.each)
    about = provenance(judged)
    identity = {
        "networks": [member.name for member in members], "model_sha256": about["model_sha256"],
        "data": data.identity(), "targets": plan.each, "pairs": plan.hash, "seed": seed,
        **method.stated, "batch_size": batch_size, "part": each,
    }  # fmt: skip
    parts = [range(at, min(at + each, len(data))) for at in range(0, len(data), each)]
    total = len(data) * plan.each
    search = _Search(members, _together(members, first), method, plan, batch_size, seed)
    out = set_directory(out, data)
    with making(out, identity, plan.names, len(parts), first[0].numel(), total) as directory:
        missing = directory.missing()
        share = _Shares(len(parts), len(parts) - len(missing), on_share)
        for number in missing:
            rows = search.part(data, parts[number], share, cancelled)
            if rows is None:
                return _stopped(directory, total)
            directory.write(number, rows)
            share.done()
        told = distinct([*plan.notes, *notes_of(judged)])
        directory.finish(_record(directory, members, data, plan) | about | {"notes": list(told)})
    return load_images(directory.path, channels=judged.channels)


@dataclass(frozen=True)
class _Plan:
    """Which pictures are led where, in the network's numbering and in that of the set."""

    labels: Tensor
    """``(N,)``, the true class of each, the network's."""
    targets: Tensor
    """``(N, k)``"""
    stored: Tensor
    """``(K,)``, the set's number for each of the network's classes."""
    names: tuple[str, ...]
    """Of the classes, in the order of the set's numbers."""
    notes: tuple[str, ...]
    """On the data and how its classes were matched."""

    @classmethod
    def of(cls, model: Classifier, data: ImageSet, targets: int | None, seed: int) -> "_Plan":
        many = model.num_classes
        targets = min(TARGETS, many - 1) if targets is None else targets
        if not 1 <= whole_number("targets", targets) < many:
            raise InvalidParameterError(
                f"targets is {targets}; {model.name} has {count(many, 'class', 'classes')}: "
                f"expected 1 to {many - 1}, as no picture is led to its own"
            )
        truth, nothing = Truth.of(model, data), torch.zeros(0, dtype=torch.float32, device="cpu")
        labels = truth.labels(Batch(nothing, data.class_numbers(), nothing))
        keys = randomness.keys(seed, torch.tensor(data.indices, device="cpu"), -1)
        order = randomness.uniform(keys, 0, (many - 1,)).argsort(dim=1, stable=True)[:, :targets]
        drawn = order + (order >= labels[:, None])
        numbers = torch.arange(many, device="cpu") if truth.numbers is None else truth.numbers
        if data.labels is not None and len(data.labels) == many == len(numbers.unique()):
            return cls(labels, drawn, numbers.argsort(), _distinct(data.labels), truth.notes)
        whole = torch.arange(many, device="cpu")
        return cls(labels, drawn, whole, _distinct(model.labels), truth.notes)

    @property
    def each(self) -> int:
        """Targets of a picture."""
        return self.targets.shape[1]

    @property
    def hash(self) -> str:
        """Of labels and targets."""
        digest = hashlib.sha256(self.labels.numpy().tobytes())
        digest.update(self.targets.numpy().tobytes())
        return digest.hexdigest()


@dataclass
class _Shares:
    """How much lies behind, told to whoever asks."""

    parts: int
    finished: int
    tell: Callable[[float], None] | None
    within: float = 0.0
    """Of the part that is made."""

    def done(self) -> None:
        """A part is finished."""
        self.finished, self.within = self.finished + 1, 0.0
        self._say()

    def step(self, share: float) -> None:
        """So much of a part lies behind."""
        self.within = max(self.within, min(share, 0.99))
        self._say()

    def _say(self) -> None:
        if self.tell is not None:
            self.tell((self.finished + self.within) / self.parts)


@dataclass(frozen=True)
class _Search:
    """Everything that making a part needs."""

    members: Sequence[Classifier]
    together: Classifier
    """What is attacked: their ensemble, or the only one."""
    method: Method
    plan: _Plan
    batch_size: int
    seed: int

    def part(
        self, data: ImageSet, positions: range, share: _Shares,
        cancelled: Callable[[], bool] | None,
    ) -> list[Row] | None:  # fmt: skip
        """The rows of these pictures of the set; none if it was stopped."""
        pictures = data.select(positions)
        batch = next(pictures.batches(len(positions), fit=self.together.preprocessing))
        at = slice(positions.start, positions.stop)
        targets = self.plan.targets[at].flatten()
        sources = batch.indices.repeat_interleave(self.plan.each)
        length, behind = (search_length(self.method) + 1) * len(targets), 0

        def step(step: "Step") -> None:
            nonlocal behind
            behind += len(step.indices)
            share.step(behind / length)

        result = self.method(
            self.together, batch.images.repeat_interleave(self.plan.each, 0), targets,
            targeted=True, keep=None if self.method.minimum_norm else "last", grid=8,
            batch_size=self.batch_size, seed=self.seed,
            numbers=sources * self.together.num_classes + targets,
            on_step=step, cancelled=cancelled,
        )  # fmt: skip
        if cancelled is not None and cancelled():
            return None
        labels = self.plan.labels[at].repeat_interleave(self.plan.each)
        return self._rows(result, labels, targets, sources)

    def _rows(
        self, result: "AttackResult", labels: Tensor, targets: Tensor, sources: Tensor
    ) -> list[Row]:
        images, stored = result.images.float(), self.plan.stored
        away = (images - result.originals.float()).double().flatten(1)
        led = [
            predict(member, member.preprocessing.fit(images), batch_size=self.batch_size).winners
            == targets
            for member in self.members
        ]
        classes = stored[torch.stack([labels, targets, result.read_as], 1)].tolist()
        columns = zip(
            images, classes, sources.tolist(), result.success.tolist(),
            torch.stack(led, 1).tolist(), away.square().mean(1).sqrt().tolist(), strict=True,
        )  # fmt: skip
        return [
            Row(image, label, target, source, before, success, tuple(members), distance)
            for image, (label, target, before), source, success, members, distance in columns
        ]


def _members(models: Classifier | nn.Module | Sequence[Classifier | nn.Module]) -> list[Classifier]:
    if isinstance(models, Ensemble):
        return list(models.members)
    given = [models] if isinstance(models, nn.Module | Classifier) else list(models)
    if not given:
        raise InvalidParameterError("models is empty; expected one network or several")
    return [as_classifier(model) for model in given]


def _method(attack: str | Method, eps: Bound | None) -> Method:
    if isinstance(attack, Method):
        if eps is not None:
            raise InvalidParameterError(
                f"eps was given beside {type(attack).__name__}, which has one of its own; expected "
                "the name of an attack with it"
            )
        method = attack
    else:
        norm = "linf" if attack == ATTACK and eps is not None else None
        method = registry.attack(attack, eps=eps, norm=norm)
    links = method.attacks if isinstance(method, Chain) else (method,)
    for link in links:
        if not link.can_target or isinstance(link, Fitted) or bounds_of(link.threat) is not None:
            raise InvalidParameterError(
                f"attack is {type(link).__name__}, with which one picture cannot be led to several "
                f"classes; expected one that leads each towards a class, such as {ATTACK} or pgd, "
                "with one bound for all"
            )
    return method


def _together(members: Sequence[Classifier], first: Tensor) -> Classifier:
    """The networks made ready for many passes, as one that answers with the mean of their losses.

    Whether a picture is a success is said by them as they are.
    """
    size = tuple(first.shape[2:])
    fast = [
        prepare(member, images=first if member.input_size in (None, size) else None)
        for member in members
    ]
    return fast[0] if len(fast) == 1 else Ensemble(fast, average="loss")


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with the number behind those that several classes have, such as ImageNet's cranes."""
    several = {name for name in names if list(names).count(name) > 1}
    return tuple(
        f"{name} ({number})" if name in several else name for number, name in enumerate(names)
    )


def _stopped(directory: SetDirectory, total: int) -> ImageSet:
    made = len(directory.columns("source")["source"])
    if not made:
        raise InvalidParameterError(
            "cancelled before the first part of the adversarial set was finished; the same call "
            "begins again"
        )
    found = load_images(directory.folder)
    note = f"stopped early: the first {made:,} of {count(total, 'picture')} are there"
    tell(note)
    found.notes = (*found.notes, note)
    return found


def _record(
    directory: SetDirectory, members: Sequence[Classifier], data: ImageSet, plan: _Plan
) -> dict[str, Any]:
    """What the set is and how often it succeeded."""
    own = [f"success_{number + 1}" for number in range(len(members))]
    columns = directory.columns("success", "distance", "target", "before", *own)
    far = sorted(columns["distance"])
    before = sum(a == b for a, b in zip(columns["target"], columns["before"], strict=True))
    return {
        "pictures": len(far),
        "sources": len(data),
        "targets": plan.each,
        "success": sum(columns["success"]),
        "members": [
            {"name": member.name, "sha256": member.fingerprint(), "success": sum(columns[name]),
             "column": name}
            for member, name in zip(members, own, strict=True)
        ],
        "before": before,
        "distance": {"mean": sum(far) / len(far), "median": median(far), "largest": far[-1]},
        "data": data.identity(),
        "seen": data.class_counts(),
    }  # fmt: skip
