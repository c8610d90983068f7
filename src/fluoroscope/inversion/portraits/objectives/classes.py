"""Goals at the logits: what the engine's objectives say of the portrait's class."""

from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.inversion.portraits.objectives.goal import Goal


def class_goal(objective: str | Objective = "logit") -> Goal:
    """One of the engine's objectives, of each portrait's own class."""
    found = as_objective(objective)
    return Goal(
        found.name,
        lambda views: found(views.seen.logits, views.seen.classes),
    )
