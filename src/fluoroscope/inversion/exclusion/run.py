"""The whole job behind ``fluoroscope train --recipe exclude``: learn, invert, exclude, judge.

What is told of a training in :mod:`fluoroscope.training.job.run` holds here too. At the end the
network is judged on pictures that show none of its classes: fresh noise always, and whatever is
named.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError, UnknownDataError
from fluoroscope.inversion.exclusion.detection import Detection, detection
from fluoroscope.inversion.exclusion.exclude import Exclusion, ExclusionRecipe
from fluoroscope.inversion.exclusion.garbage import Inverting
from fluoroscope.models.builtin import DIGITS
from fluoroscope.models.labels import NONE_OF_THESE
from fluoroscope.training.job.run import TrainingRun
from fluoroscope.training.trainer.checkpoint import describe
from fluoroscope.training.trainer.step import FitStep, Loss

JUDGED = 1000
"""At most so many pictures of each other set, and of noise, are judged at the end."""
INVERTING = Inverting()
_NOISE = 8


class ExclusionRun(TrainingRun):
    """One training of a built-in architecture with a class for what is none of the digits.

    Args:
        architecture: ``digits-linear``, ``digits-cnn`` or ``digits-robust``.
        data: labelled pictures with the splits ``train`` and ``test``, as `load_images` finds them.
        out: the directory for ``NAME.safetensors`` and ``NAME.json``.
        outside: other data, pictures of something else, on which the network is judged at the end:
            the split ``test`` where there is one.
        settings: of any ``TrainingRun``, such as ``epochs`` and ``seed``.

    Raises:
        UnknownModelError, UnknownDataError, InvalidImagesError, UnknownLabelError,
        InvalidParameterError, ModelFormatError: as a ``TrainingRun``.
    """

    labels = (*DIGITS, NONE_OF_THESE)

    def __init__(
        self,
        architecture: str,
        data: Any,
        *,
        out: str | Path,
        outside: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self._names = tuple(outside)
        self.found: Detection | None = None
        """What the network says of pictures that show no digit; there after the last step."""
        if architecture not in ("digits-linear", "digits-cnn"):
            why = ", whose recipe is adversarial" if architecture == "digits-robust" else ""
            raise InvalidParameterError(
                f"architecture is {architecture!r}{why}; expected digits-linear or digits-cnn with "
                "recipe exclude"
            )
        if settings.get("processes", 1) != 1:
            raise InvalidParameterError(
                f"processes is {settings['processes']}, and recipe exclude inverts the network "
                "between two epochs; expected 1 with it"
            )
        self._sets = {name: _pictures(name) for name in self._names}
        super().__init__(architecture, data, out=out, **settings)

    @cached_property
    def exclusion(self) -> Exclusion:
        """The training itself."""
        return Exclusion(
            self.learner,
            *self.data.kept,
            ExclusionRecipe(self.recipe, INVERTING),
            self.seed,
            self.checkpoint,
        )

    @property
    def _loss(self) -> Loss:
        return self.exclusion.loss

    def _steps(self, held_out: tuple[Tensor, Tensor] | None) -> Iterator[FitStep]:
        return self.exclusion.steps(held_out, beside=[self.history])

    def _ended(self) -> None:
        kept = self.exclusion.kept
        if kept is not None:
            kept.unlink(missing_ok=True)

    def _more_options(self) -> list[tuple[str, Any]]:
        return [("recipe", "exclude"), ("outside", self._names or None)]

    def _about_weights(self) -> dict[str, str] | None:
        return {"labels": json.dumps(self.labels)}

    def more_record(self) -> dict[str, Any]:
        images, labels = self.data.test
        noise = {"Gaussian noise": _noise(self.data.train[0], self.seed)}
        others = {
            name: torch.cat([each.images for each in found.batches(500, fit=self.classifier)])
            for name, found in self._sets.items()
        }
        self.found = detection(self.classifier, (images / 255, labels), noise | others)
        told = {name: value for name, value in self.found.describe().items() if name != "record"}
        return {
            "labels": list(self.labels),
            "exclusion": {"inverting": describe(self.exclusion.recipe.inverting), **told},
        }


def _pictures(name: str) -> ImageSet:
    """Other data in grey, of which the labels do not matter."""
    try:
        found = load_images(name, "test", channels=1)
    except UnknownDataError:
        found = load_images(name, channels=1)
    return found.take(JUDGED)


def _noise(images: Tensor, seed: int) -> Tensor:
    """Noise that was not learnt from, of the mean and spread of the 8-bit pictures."""
    values = images.float() / 255
    numbers = torch.arange(JUDGED, device="cpu") + 1
    keys = randomness.keys(seed, numbers, _NOISE)
    drawn = randomness.normal(keys, _NOISE, tuple(images.shape[1:]))
    return (values.mean() + values.std() * drawn).clamp(0, 1)
