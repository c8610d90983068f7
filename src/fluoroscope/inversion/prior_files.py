"""Priors by name: those of the package, and those that a user fitted."""

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.models.builtin import STATED_BY
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count

SHIPPED = ("digits", "natural")
"""Of the built-in digits at 28×28, and of natural colour at 224×224, for any size."""
GREY = "grey"
"""Mid-grey, of any number of channels: where nothing is known."""


def prior_for(
    model: Classifier, prior: Any, size: tuple[int, int], *others: tuple[int, int]
) -> DataPrior:
    """The prior that was given, or the one of the package that fits the network's pictures.

    Args:
        model: the network under study.
        prior: a :class:`DataPrior`; one of the package by name; the file of one that was saved; or
            nothing, for that of the digits for a built-in network, and of natural colour for others
            of three channels. For all else nothing is known.
        size: ``(height, width)`` of the portraits.
        others: which other sizes a fitted one may have.

    Raises:
        InvalidParameterError: one of another number of channels, or a fitted one of another size.
        ResultFormatError: no such file, or a broken one.
    """
    channels = model.channels
    if prior is None:
        digits = model.preprocessing.stated_by == STATED_BY and channels == 1
        prior = "digits" if digits else "natural" if channels == 3 else GREY
    if isinstance(prior, str) and prior == GREY:
        return DataPrior(
            GREY,
            torch.full((channels,), 0.5, dtype=torch.float32, device="cpu"),
            0.25,
            torch.eye(channels, dtype=torch.float32, device="cpu"),
        )
    found, fitted = _found(prior)
    if len(found.mean) != channels:
        raise InvalidParameterError(
            f"prior {found.name} is of {count(len(found.mean), 'channel')}, and {model.name} takes "
            f"{channels}; expected one fitted to such pictures (fit_prior, or fluoroscope portrait "
            "fit-prior)"
        )
    if fitted and found.size not in (None, size, *others):
        assert found.size is not None
        raise InvalidParameterError(
            f"prior {found.name} was fitted to pictures of {found.size[0]}×{found.size[1]}, and "
            f"the portrait is {size[0]}×{size[1]}; expected one of its size (fit_prior, or "
            "fluoroscope portrait fit-prior), or a portrait of the prior's size"
        )
    return found


def notes_on_size(prior: Any, found: DataPrior, size: tuple[int, int]) -> tuple[str, ...]:
    """What to say of a prior of the package that was asked for by name, at another size."""
    if not isinstance(prior, str) or prior not in SHIPPED or found.size in (None, size):
        return ()
    assert found.size is not None
    return (
        f"prior {prior} was measured on pictures of {found.size[0]}x{found.size[1]}, and these are "
        f"of {size[0]}x{size[1]}: its mean, colours and decay are taken as they are",
    )


def _found(prior: Any) -> tuple[DataPrior, bool]:
    """A prior, and whether a user fitted it."""
    if isinstance(prior, DataPrior):
        return prior, True
    if isinstance(prior, str) and prior in SHIPPED:
        return shipped(prior), False
    if not isinstance(prior, str | Path):
        raise InvalidParameterError(
            f"prior is a {type(prior).__name__}; expected what fit_prior gave, its file, or one of "
            f"{', '.join((*SHIPPED, GREY))}"
        )
    named = Path(prior)
    if isinstance(prior, str) and not named.suffix and "/" not in prior and not named.exists():
        raise InvalidParameterError(
            f"prior is {prior!r}; expected one of {', '.join((*SHIPPED, GREY))}, or the file of "
            "one that was fitted"
        )
    return DataPrior.load(prior), True


@cache
def shipped(name: str) -> DataPrior:
    """A prior of the package."""
    with as_file(files("fluoroscope.inversion") / "shipped") as folder:
        return DataPrior.load(folder / f"{name}.json")
