"""Priors on disk and by name: those of the package, and those that a user fitted."""

from typing import Any

import torch

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.models.classifier import Classifier


def prior_for(model: Classifier, prior: Any, size: tuple[int, int]) -> DataPrior:
    """The prior that was given, or the one of the package that fits the network's pictures.

    Raises:
        InvalidParameterError: one of another number of channels, or of another size.
    """
    if isinstance(prior, DataPrior):
        if len(prior.mean) != model.channels:
            raise InvalidParameterError(
                f"prior {prior.name} is of {len(prior.mean)} channels; {model.name} takes "
                f"{model.channels}"
            )
        return prior
    if prior is not None:
        raise InvalidParameterError(
            f"prior is {prior!r}; expected a fluoroscope.inversion.data_prior.DataPrior, or None"
        )
    channels = model.channels
    return DataPrior(
        "grey",
        torch.full((channels,), 0.5, dtype=torch.float32, device="cpu"),
        0.25,
        torch.eye(channels, dtype=torch.float32, device="cpu"),
    )
