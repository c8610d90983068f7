"""What of a request can be known before there is a job: the names in it, and its numbers."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fluoroscope.attacks.catalogue import check_attack
from fluoroscope.attribution.names import check_method
from fluoroscope.engine.bounds import as_number, read_threat
from fluoroscope.inversion.names import check_preset
from fluoroscope.notices import collected
from fluoroscope.studio.kinds.kind import Request

if TYPE_CHECKING:
    from fluoroscope.studio.studio import Studio

_CLASSES = "to", "less", "against", "classes"


def check(studio: "Studio", asked: Request) -> None:
    """Refuse names of nothing, and numbers that are none, as far as that costs nothing: what is not
    loaded or opened yet is left to the work.

    Raises:
        FluoroscopeError: one of them is.
    """
    model = studio.networks.one(asked.network).model
    checks = _CHECKS | {
        "picture": studio.check_picture,
        "other": studio.check_picture,
        "data": studio.pictures.check,
        "others": studio.pictures.check,
    }
    if model is not None and model.knows_classes:
        checks |= dict.fromkeys(_CLASSES, model.find_class)
    with collected():  # what is to be said of them the job says
        for name, given in asked:
            if name in checks and given is not None:
                for one in given if isinstance(given, list) else [given]:
                    checks[name](one)


_CHECKS: dict[str, Callable[[Any], object]] = {
    "attack": check_attack,
    "methods": check_method,
    "preset": check_preset,
    "eps": as_number,
    "step_size": partial(as_number, name="step_size"),
    "threat": read_threat,
}
