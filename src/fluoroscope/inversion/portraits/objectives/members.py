"""Goals of several networks at once: portraits of an ensemble, whose members are each asked.

At its logits an ensemble answers as one, so goals of classes are of all members. A goal within one
member is that member's alone; what is added up goes back through all of them in one pass::

    both = fs.Ensemble([one, other])
    goal = of_member(0, channel("layer3", 5)) + of_member(1, channel("features.7", 2))
    fs.portrait(both, None, goal=goal)
"""

from dataclasses import replace

from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views


def of_member(number: int, goal: Goal) -> Goal:
    """A goal within one member of an ensemble.

    Args:
        number: the member's, from 0, in the ensemble's order.
        goal: of its layers. A class of it alone is a channel of its last layer.

    Raises:
        InvalidParameterError: a number below 0, or a goal at the logits, which are the ensemble's.
    """
    if number < 0:
        raise InvalidParameterError(f"number is {number}; expected 0 or more, a member's")
    if not goal.places or goal.of_class:
        raise InvalidParameterError(
            f"the goal, {goal}, is one of logits, which are those of the whole ensemble; expected "
            "one within a member: a class of it alone is a channel of its last layer"
        )
    names = {place: Place(f"networks.{number}.{place.layer}", place.given) for place in goal.places}

    def inside(views: Views) -> Views:
        outputs = {place: views.seen.outputs[there] for place, there in names.items()}
        return replace(views, seen=replace(views.seen, outputs=outputs))

    return replace(
        goal,
        name=f"{goal} of member {number}",
        function=lambda views: goal(inside(views)),
        places=tuple(names.values()),
        opposite=None if goal.opposite is None else lambda views: goal.against(inside(views)),
        parts=(),
    )
