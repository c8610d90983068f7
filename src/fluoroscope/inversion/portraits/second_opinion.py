"""What a second network says of portraits: a picture that only one network knows says of that one.

The second network is to be trained independently: another seed, best another architecture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fluoroscope.engine.predict import predict
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.matching import fold
from fluoroscope.words import count


@dataclass(frozen=True)
class Opinion:
    """What the second network says of one portrait."""

    winner: str
    """Its most probable class."""
    sure: float
    """How probable that one is."""
    probability: float | None
    """That of the portrait's class; ``None`` if it knows no class of that name."""
    agrees: bool
    """Whether its most probable class is the portrait's."""


def opinions(
    second: Classifier, images: Tensor, targets: Tensor, labels: Sequence[str]
) -> tuple[Opinion, ...]:
    """What a network says of images ``(N, C, H, W)`` that are to show classes ``targets`` ``(N,)``.

    Its class is the one of the same name, or where there is none and both know as many, the one at
    the same place. Pictures of another size than its own are brought to it, as any picture is.

    Raises:
        InvalidParameterError: it takes pictures of another number of channels.
    """
    if second.channels != images.shape[1]:
        raise InvalidParameterError(
            f"second is {second.name}, which takes pictures of "
            f"{count(second.channels, 'channel')}; expected one for {images.shape[1]}, as the "
            "portraits have"
        )
    same = second.input_size in (None, tuple(images.shape[-2:]))
    said = predict(second, images if same else second.fit(images))
    sure, winners = said.probabilities.max(1)
    places = {target: _place(target, labels, second.labels) for target in set(targets.tolist())}
    known = {fold(label) for label in labels}
    # Without a name in common classes are matched by their places, and so are their names.
    by_place = len(labels) == len(second.labels) and not any(
        fold(label) in known for label in second.labels
    )
    names = labels if by_place else second.labels
    found = []
    for row, (target, winner) in enumerate(zip(targets.tolist(), winners.tolist(), strict=True)):
        place = places[target]
        own = None if place is None else float(said.probabilities[row, place])
        found.append(Opinion(names[winner], float(sure[row]), own, winner == place))
    return tuple(found)


def _place(target: int, labels: Sequence[str], others: Sequence[str]) -> int | None:
    if target < 0:
        return None
    folded = fold(labels[target])
    found = [place for place, label in enumerate(others) if fold(label) == folded]
    if len(found) == 1:
        return found[0]
    return target if len(labels) == len(others) and not found else None
