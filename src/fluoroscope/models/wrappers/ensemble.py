"""Several networks that answer as one.

With the members' logits ``z_k`` and probabilities ``p_k``, the answer for class ``y`` is

* ``logits``: ``mean_k z_k(y)`` (Dong et al. 2018, 1710.06081);
* ``probabilities``: ``log mean_k p_k(y)`` (Liu et al. 2017, 1611.02770);
* ``loss``: ``mean_k log p_k(y)``, which is minus the mean of the members' cross-entropies.

The last is not normalised, and cannot be: ``sum_y exp(mean_k log p_k(y))`` is below 1 wherever the
members differ. So it says of itself that its answers are log-probabilities, which the objectives do
not normalise again: their cross-entropy is then the mean loss to the letter. Normalised, ``loss``
would be the same as ``logits``, for their answers differ by the same number for all classes.
"""

import copy
import hashlib
import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.matching import Matching, match
from fluoroscope.models.preprocessing import Preprocessing, Size
from fluoroscope.notices import tell

Average = Literal["logits", "probabilities", "loss"]


class Ensemble(Classifier):
    """The mean answer of several networks with the same classes.

    Images come at the ensemble's own size. A member of another size sees the whole picture,
    stretched to its size; the gradient flows back through that.

    Args:
        members: classifiers whose labels mean the same classes in one order (those that nobody
            named agree with any), of the same channels, device and float type.
        average: what the mean is taken of.
        input_size: ``(height, width)`` or one side; the largest of the members' sizes by default,
            or any size where all members take any.
        name: how messages and results call the ensemble.

    Raises:
        ModelFormatError: no members, something else than classifiers, or members that differ in
            classes, channels, device or type.
        InvalidParameterError: an unknown average, or an impossible size.
    """

    _asks = True

    def __init__(
        self,
        members: Sequence[Classifier | nn.Module],
        *,
        average: Average = "logits",
        input_size: Size | None = None,
        name: str | None = None,
    ) -> None:
        asked = [as_classifier(member) for member in members]
        _check_members(asked)
        super().__init__(
            _Members(asked, check_average(average)),
            labels=_labels(asked),
            name=name or f"ensemble of {', '.join(member.name for member in asked)}",
            preprocessing=_seen(asked).overridden(
                input_size=(input_size, input_size) if isinstance(input_size, int) else input_size
            ),
        )
        self.log_probabilities = average == "loss"
        self.passes = sum(member.passes for member in asked)

    @property
    def members(self) -> tuple[Classifier, ...]:
        """The networks, as they are asked: without a crop of their own."""
        return tuple(self._asked.members)

    @property
    def average(self) -> Average:
        """What the mean is taken of."""
        return self._asked.average

    @property
    def plain(self) -> Classifier:
        """The same of the plain networks, if some of these were prepared for speed."""
        members = [member.plain for member in self.members]
        same = all(map(operator.is_, members, self.members))
        return self if same else self._over(members)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy on another device or in another precision; this one stays as it is."""
        return self._over([member.to(device, dtype) for member in self.members])

    def fingerprint(self) -> str:
        """SHA-256 of the members' own, the averaging and the size."""
        parts = " ".join(member.fingerprint() for member in self.members)
        stated = f"ensemble {self.average} {self.input_size} {parts}"
        return hashlib.sha256(stated.encode()).hexdigest()

    def _over(self, members: Sequence[Classifier]) -> Self:
        twin = copy.copy(self)
        twin.module = _Members(members, self.average)
        return twin

    @property
    def _asked(self) -> "_Members":
        assert isinstance(self.module, _Members)
        return self.module


class _Members(nn.Module):
    def __init__(self, members: Sequence[Classifier], average: Average) -> None:
        super().__init__()
        self.members = [uncropped(member) for member in members]
        self.average = average
        # Registered, so that weights are found and moved.
        self.networks = nn.ModuleList(member.module for member in members)

    def forward(self, images: Tensor) -> Tensor:
        return averaged([member(images) for member in self.members], self.average)


def uncropped(model: Classifier) -> Classifier:
    """The same network, shown pictures of another size whole instead of their centre.

    For pictures that were fitted already: a second crop would hide their border.
    """
    if model.preprocessing.resize in (None, model.input_size):
        return model
    return model.restated(resize=model.input_size)


def shown_the_same(model: Classifier, other: Classifier) -> Classifier:
    """Another network with the same classes, which sees all of what the first one sees.

    Raises:
        ModelFormatError: they differ in classes, channels, device or type.
    """
    Ensemble([model, other])  # refuses them
    return uncropped(other)


def averaged(answers: Sequence[Tensor], average: Average) -> Tensor:
    """One answer ``(N, classes)`` from several; see the formulas above."""
    kind = answers[0].dtype
    # In float64, so that a member that is sure keeps its slope; Apple's GPUs have none.
    wide = kind if answers[0].device.type == "mps" else torch.float64
    stack = torch.stack([answer.to(wide) for answer in answers])
    match average:
        case "logits":
            mean = stack.mean(0)
        case "probabilities":
            mean = stack.log_softmax(2).logsumexp(0) - math.log(len(answers))
        case "loss":
            mean = stack.log_softmax(2).mean(0)
    return mean.to(kind)


def check_average(average: Average) -> Average:
    """The average, if it is one.

    Raises:
        InvalidParameterError: it is unknown.
    """
    if average not in get_args(Average):
        raise InvalidParameterError(
            f"average is {average!r}; expected {', '.join(map(repr, get_args(Average)))}"
        )
    return average


def _check_members(members: Sequence[Classifier]) -> None:
    if not members:
        raise ModelFormatError("the ensemble has no members; expected at least one classifier")
    first, *others = members
    for what, mend in (
        ("channels", "give pictures of one kind to all"),
        ("device", "move one with model.to(...)"),
        ("dtype", "change one with model.to(dtype=...)"),
        ("num_classes", "choose networks with the same classes"),
    ):
        for other in others:
            one, two = getattr(first, what), getattr(other, what)
            if one != two:
                raise ModelFormatError(
                    f"{first.name} has {what} {one} and {other.name} has {two}; expected members "
                    f"that agree: {mend}"
                )


def _labels(members: Sequence[Classifier]) -> tuple[str, ...]:
    unnamed = tuple(map(str, range(members[0].num_classes)))
    first = next((member for member in members if member.labels != unnamed), members[0])
    for member in members:
        if member.labels in (unnamed, first.labels):
            continue
        found = match(member.labels, first.labels, of=member.name, network=first.name)
        if not found.in_order:
            raise ModelFormatError(
                f"{_difference(first, member, found)}; expected equal labels: if they mean the "
                "same, member.restated(labels=...)"
            )
        for note in found.notes:
            tell(note, stacklevel=2)
    return first.labels


def _difference(first: Classifier, member: Classifier, found: Matching) -> str:
    """Which class shows that the two mean different ones, or number them otherwise."""
    at = next(
        (i for i, number in enumerate(found.numbers) if number != i or found.how[i] == "place"), 0
    )
    said = (
        f"class {at} is {first.labels[at]!r} for {first.name} and {member.labels[at]!r} for "
        f"{member.name}"
    )
    there = found.numbers[at]
    return said if there in (None, at) else f"{said}, and that is class {there} for {first.name}"


def _seen(members: Sequence[Classifier]) -> Preprocessing:
    """How pictures are brought to the ensemble's size: as its largest member does it."""
    largest = max(members, key=lambda member: math.prod(member.input_size or (0, 0)))
    return replace(largest.preprocessing, mean=None, std=None, channel_order="rgb")
