"""Goals at the logits: what the engine's objectives say of the portrait's class, or of a pair."""

from torch import Tensor

from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.errors import InvalidParameterError, UnknownLabelError
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views

# Numbers of which a network is surer the lower they are.
_LOSSES = ("cross-entropy", "dlr")


def class_goal(objective: str | Objective = "logit") -> Goal:
    """One of the engine's objectives, of each portrait's own class.

    Args:
        objective: ``logit``, ``log-probability``, ``probability``, ``margin`` (the lead over the
            strongest other class), or one of your own.

    Raises:
        InvalidParameterError: no objective of that name, or a loss, which would be raised.
    """
    found = as_objective(objective)
    if isinstance(objective, str) and objective in _LOSSES:
        raise InvalidParameterError(
            f"objective is {objective!r}, a loss, which is the higher the less the class is seen; "
            "expected logit, log-probability, probability or margin"
        )
    return Goal(
        found.name,
        lambda views: found(views.seen.logits, views.seen.classes),
        of_class=True,
    )


def difference(other: int) -> Goal:
    """The logit of each portrait's class minus that of another: what tells the two apart.

    Args:
        other: its index.
    """

    def function(views: Views) -> Tensor:
        logits, classes = views.seen.logits, views.seen.classes
        if not 0 <= other < logits.shape[1]:
            raise UnknownLabelError(
                f"other is {other}, and the network has {logits.shape[1]} classes; expected 0 to "
                f"{logits.shape[1] - 1}"
            )
        if bool((classes == other).any()):
            raise UnknownLabelError(
                f"other is {other}, the class of a portrait itself; expected another class"
            )
        return logits.gather(1, classes[:, None])[:, 0] - logits[:, other]

    return Goal(f"logit - logit of class {other}", function, of_class=True)


def logit_of(number: int) -> Goal:
    """The logit of one class, whatever the portrait's own is."""

    def function(views: Views) -> Tensor:
        logits = views.seen.logits
        if not 0 <= number < logits.shape[1]:
            raise UnknownLabelError(
                f"class is {number}, and the network has {logits.shape[1]}; expected 0 to "
                f"{logits.shape[1] - 1}"
            )
        return logits[:, number]

    return Goal(f"logit of class {number}", function)
