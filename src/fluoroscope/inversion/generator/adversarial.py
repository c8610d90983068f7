"""Unrestricted adversarial samples: pictures from a generator that another network sees otherwise.

After Song, Shu, Kushman and Ermon 2018 (1805.07894): no real picture is changed, so no distance
bounds them; a made picture is adversarial if the network under study says the class that was asked
for and a judge says another. The judge there are people. Here it is a second network, trained
independently, which is no more than an opinion: how far a sample is from real pictures stands
beside it, for of a picture that resembles nothing two networks may differ on what it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.certificate import Certificate, Judges
from fluoroscope.inversion.generator.result import Inversion, Samples
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import percent


@dataclass(frozen=True)
class Unrestricted:
    """Samples of a generator, and which of them are adversarial."""

    samples: Samples
    certificate: Certificate

    @property
    def success(self) -> torch.Tensor:
        """``(N,)`` booleans: the network says what was asked, in 8 bits too, the judge another."""
        found = self.certificate.adversarial
        assert found is not None
        return found

    @property
    def summary(self) -> str:
        """What it comes to."""
        told = self.certificate.describe()
        near = (
            "" if told["far_from_data"] is None
            else f"; {percent(told['far_from_data'])} of all samples are far from the data"
        )  # fmt: skip
        return (
            f"{percent(float(self.success.double().mean()))} of {len(self.success):,} samples are "
            f"adversarial: predicted as asked ({percent(told['predicted_as_asked'])} are), and as "
            f"something else by the second network{near}"
        )

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {"summary": self.summary, **self.certificate.describe()}


def unrestricted(
    model: Classifier | nn.Module,
    inversion: Inversion,
    second: Classifier | nn.Module,
    *,
    classes: int | str | Sequence[int | str] | None = None,
    n: int = 10,
    seed: int = 0,
    temperature: float | None = None,
    real: torch.Tensor | None = None,
    batch_size: int = 64,
) -> Unrestricted:
    """``n`` samples of each class, and which of them are adversarial.

    Args:
        model: the network under study, that of the generator.
        inversion: the generator.
        second: the judge: a network of the same classes that was trained independently.
        classes: by default all that the generator learnt.
        n: of each class.
        seed: of the samples.
        temperature: of soft vectors.
        real: pictures ``(M, C, H, W)`` that distances are a ratio to; best of a test split.
        batch_size: pictures at once.

    Raises:
        InvalidParameterError, InvalidImagesError, UnknownLabelError: unusable input, or a
            generator for another network.
    """
    judges = Judges(model, real=real, second=second, batch_size=batch_size)
    if judges.model.fingerprint() != inversion.record["model_sha256"]:
        raise InvalidParameterError(
            f"the generator is for another network ({inversion.record['model']}) than "
            f"{judges.model.name}; expected its own"
        )
    made = inversion.sample(classes, n, seed, temperature=temperature)
    return Unrestricted(made, judges.certify(made.images, made.classes))
