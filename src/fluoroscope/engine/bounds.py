"""How far an image may move, as it is written down: a norm and a bound, checked without PyTorch."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Protocol

from fluoroscope.errors import InvalidParameterError

NORMS = ("linf", "l2", "l1", "l0")
"""The norms that have a bound; ``none`` is the name for no bound at all."""


class Bounded(Protocol):
    """A norm and a bound in it; threat models are such, and what was read of one."""

    @property
    def name(self) -> str:
        """Of the norm, or ``none``."""

    @property
    def eps(self) -> float | str:
        """The bound; infinite where there is none."""


@dataclass(frozen=True)
class Stated:
    """What a result that was read back says of its threat model."""

    name: str
    """Of the norm, or ``none``."""
    eps: float
    """The bound; infinite where there is none."""


def read_threat(text: str) -> tuple[str, float | None]:
    """Norm and bound of a text such as ``"linf:8/255"``, ``"l2:0.5"``, ``"linf"`` or ``"none"``.

    The bound of a norm alone is infinite; ``none`` has ``None``.

    Raises:
        InvalidParameterError: it names no threat model.
    """
    norm, colon, eps = text.partition(":")
    norm = norm.strip().lower()
    return norm, check_bound(norm, eps if colon else None if norm == "none" else inf)


def stated(norm: str, eps: float | str | None) -> Stated:
    """The threat model of a norm's name and a bound.

    Raises:
        InvalidParameterError: an unknown norm, or one that lacks or cannot take an ``eps``.
    """
    bound = check_bound(norm, eps)
    return Stated(norm, inf if bound is None else bound)


def check_bound(norm: str, eps: Any) -> float | None:
    """The bound as a number, if the norm takes it; ``None`` for the norm ``none``.

    Raises:
        InvalidParameterError: an unknown norm, or one that lacks or cannot take an ``eps``.
    """
    check_norm(norm, eps)
    return None if norm == "none" else radius(norm, eps)


def check_norm(norm: str, eps: Any) -> None:
    """Refuse an unknown norm, and one that lacks a bound or has none."""
    if norm not in (*NORMS, "none"):
        raise InvalidParameterError(f"norm is {norm!r}; expected {', '.join(NORMS)} or none")
    if norm == "none" and eps is not None:
        raise InvalidParameterError(f"eps is {eps} but norm is none; give norm {', '.join(NORMS)}")
    if norm != "none" and eps is None:
        raise InvalidParameterError(f"norm is {norm} but eps is missing; give one such as 8/255")


def radius(norm: str, eps: float | str) -> float:
    """One bound in a norm; infinite for none.

    Raises:
        InvalidParameterError: no number, below 0, or not one that the norm can take.
    """
    bound = inf if isinstance(eps, float | int) and eps == inf else as_number(eps)
    if norm == "linf" and 1 < bound < inf:
        meant = f": did you mean {bound:g}/255?" if bound <= 255 else ""
        raise InvalidParameterError(
            f"eps is {eps}; pixels go from 0 to 1, so in the norm linf at most 1 is expected{meant}"
        )
    if norm == "l0" and bound not in (inf, bound // 1):
        raise InvalidParameterError(
            f"eps is {eps!r}; in the norm l0 it counts pixels: expected a whole number"
        )
    return bound


def as_number(value: Any, name: str = "eps") -> float:
    """A finite number of at least 0, given as one or as a fraction such as ``"8/255"``.

    Raises:
        InvalidParameterError: no number, below 0, or not finite.
    """
    if hasattr(value, "numel") and value.numel() == 1:  # a tensor
        value = value.item()
    try:
        above, slash, below = str(value).partition("/")
        number = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        number = -1.0
    if not (isfinite(number) and number >= 0):
        raise InvalidParameterError(
            f"{name} is {value!r}; expected a number of at least 0, such as 0.03 or 8/255 "
            "(pixels go from 0 to 1)"
        )
    return number
