"""What can be said of a made picture beside "the network is sure of it".

A counterfeit is a picture that a network is sure of and that is far from all real ones; an
adversarial sample one that another network sees otherwise. Which of these a picture is, these
numbers say together, each of every picture:

* the probability that the network gives the class that was asked for;
* how far the nearest real picture is, as a ratio to how far real pictures are from each other: the
  median distance of a real picture to its nearest other one is 1. In pixel values pale noise is
  nearer to all pictures than these are to each other, as anything without contrast is; so it is
  taken once more of patterns, where every picture has the same mean and the same contrast;
* what an independently trained second network says;
* whether the class survives being saved in 8 bits.

Nothing is guessed: without a second network, or without real pictures, what needs them is ``None``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.engine.grid import round_to_grid
from fluoroscope.engine.labels import class_numbers
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.errors import InvalidImagesError
from fluoroscope.inversion.measures.assess import as_judge
from fluoroscope.inversion.measures.distances import nearest
from fluoroscope.inversion.measures.reading import Read, penultimate, read
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

SURE = 0.99
"""From this probability of the wanted class on a network counts as confident."""
FAR = 0.99
"""A picture is far from the data if it is farther from the nearest real one than this share of the
real ones are from theirs: of pixel values and patterns, whichever is more unusual."""
_FEWEST = 3
# Patterns, points at distance 1 from the middle, are the same up to rounding.
_SAME = 1e-3
# Less contrast than this, a tenth of an 8-bit level, is none: a grey picture has no pattern.
_FLAT = 0.1 / 255


@dataclass(frozen=True)
class _Space:
    """Real pictures as points ``(M, D)``: of pixel values, or of a network's features."""

    points: Tensor
    own: Tensor
    """``(M',)``, from each of the different ones to its nearest other."""

    @classmethod
    def of(cls, points: Tensor) -> "_Space":
        different = points.unique(dim=0)
        if len(different) < _FEWEST:
            raise InvalidImagesError(
                f"real holds {count(len(different), 'different picture')}; expected {_FEWEST} or "
                "more: how far they are from each other is what distances are a ratio to"
            )
        return cls(points, nearest(different, different, 2)[0][:, 1])

    @classmethod
    def of_patterns(cls, points: Tensor) -> "_Space | None":
        """The same of their patterns, ``own`` in the same order; nothing where most have none."""
        different = _patterns(points.unique(dim=0))
        own = nearest(different, different, 2)[0][:, 1]
        return cls(_patterns(points), own) if float(own.quantile(0.5)) > _SAME else None

    @property
    def edge(self) -> float:
        """Real points are nearer to each other than this ratio, but for one in a hundred."""
        return float(self.own.quantile(FAR) / self.own.quantile(0.5))

    def ratios(self, points: Tensor, others: bool) -> tuple[Tensor, Tensor]:
        """Of each point ``(N, D)`` to its nearest real one, and which that is; ``(N,)``.

        To the nearest of the ``others`` where the points are real ones themselves.
        """
        away, which = nearest(points, self.points, 2 if others else 1)
        return (away[:, -1] / self.own.quantile(0.5)).float(), which[:, -1]


@dataclass(frozen=True)
class Certificate:
    """Of ``N`` pictures; all on the CPU, every field ``(N,)``."""

    classes: Tensor
    """The class that was asked for."""
    predicted: Tensor
    """What the network says."""
    confidence: Tensor
    """The probability that it gives the class asked for."""
    rounded: Tensor
    """The same of the picture in 8 bits."""
    surest: Tensor
    """The probability of what it predicts, whatever that is, in 8 bits."""
    survives: Tensor
    """Booleans: it is predicted as that class in 8 bits, too."""
    ratio: Tensor | None = None
    """How far the nearest real picture is in pixel values; between real ones the median is 1."""
    nearest: Tensor | None = None
    """Which that is."""
    pattern_ratio: Tensor | None = None
    """The same ratio of patterns, which all have one mean and one contrast; ``None`` too where the
    real ones have none."""
    far: Tensor | None = None
    """Booleans: farther than 99 % of the real ones are from their nearest, of pixel values and
    patterns whichever is more unusual."""
    second_ratio: Tensor | None = None
    """The same ratio in the second network's features."""
    second: Tensor | None = None
    """What the second network says."""
    second_confidence: Tensor | None = None
    """The probability that it gives the class asked for."""
    second_sure: Tensor | None = None
    """The probability that it gives what it says."""

    @property
    def confident(self) -> Tensor:
        """Booleans: the network gives the class asked for ``SURE``, in 8 bits too."""
        return (self.confidence >= SURE) & (self.rounded >= SURE)

    @property
    def counterfeit(self) -> Tensor | None:
        """Booleans: confident, and far from the data; ``None`` without real pictures."""
        return None if self.far is None else self.confident & self.far

    @property
    def adversarial(self) -> Tensor | None:
        """Booleans: the network says the class asked for, in 8 bits too, and the second network
        says another; ``None`` without one."""
        if self.second is None:
            return None
        return self.survives & (self.predicted == self.classes) & (self.second != self.classes)

    def describe(self) -> dict[str, Any]:
        """As plain values: shares and medians; of what was not measured ``None``."""

        def share(hits: Tensor | None) -> float | None:
            return None if hits is None else float(hits.double().mean())

        def middle(numbers: Tensor | None) -> float | None:
            return None if numbers is None else float(numbers.double().quantile(0.5))

        agrees = None if self.second is None else self.second == self.classes
        return {
            "pictures": len(self.classes),
            "predicted_as_asked": share(self.predicted == self.classes),
            "confidence_median": middle(self.confidence),
            "confident": share(self.confident),
            "survives_8_bits": share(self.survives),
            "distance_ratio_median": middle(self.ratio),
            "pattern_ratio_median": middle(self.pattern_ratio),
            "far_from_data": share(self.far),
            "second_distance_ratio_median": middle(self.second_ratio),
            "second_agrees": share(agrees),
            "second_confidence_median": middle(self.second_confidence),
            "counterfeits": share(self.counterfeit),
            "adversarial": share(self.adversarial),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """One for each picture, of plain values; what was not measured is left out."""
        columns = {
            field.name: getattr(self, field.name).tolist()
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


class Judges:
    """What certificates are issued with: the network, real pictures, and a second network.

    Args:
        model: the network that pictures are made for.
        real: pictures ``(M, C, H, W)`` in ``[0, 1]`` that distances are a ratio to; best such as
            neither the network nor the generator has seen.
        second: a network of the same classes that was trained independently.
        batch_size: pictures at once.

    Raises:
        InvalidImagesError, InvalidParameterError: unusable input, or networks that do not fit.
    """

    def __init__(
        self,
        model: Classifier | nn.Module,
        *,
        real: Tensor | None = None,
        second: Classifier | nn.Module | None = None,
        batch_size: int = 64,
    ) -> None:
        self.model = as_classifier(model)
        self.second = None if second is None else as_judge(self.model, as_classifier(second))
        self.real = None if real is None else check_images(real, self.model.channels).float().cpu()
        self._rows = check_batch_size(batch_size)
        self._place = None
        self._pixels = self._patterns = self._features = None
        if self.real is not None:
            points = self.real.flatten(1)
            self._pixels, self._patterns = _Space.of(points), _Space.of_patterns(points)
            spaces = [one for one in (self._pixels, self._patterns) if one is not None]
            own = [one.own / one.own.quantile(0.5) for one in spaces]
            self._line = float(self._unusual(*own).quantile(FAR))
            if self.second is not None:
                size = (self.real.shape[2], self.real.shape[3])
                self._place = penultimate(self.second, size)
                self._features = _Space.of(self._read(self.real).layers[self._place])

    def certify(self, images: Tensor, classes: Tensor, *, real: bool = False) -> Certificate:
        """Look at made pictures ``(N, C, H, W)`` that were to be of the classes ``(N,)``.

        With ``real`` they are some of the real ones, held against the others.
        """
        images = check_images(images, self.model.channels).float().cpu()
        wanted = classes.cpu()
        if self.real is not None and self.real.shape[1:] != images.shape[1:]:
            raise InvalidImagesError(
                f"real holds pictures {tuple(self.real.shape[1:])} and those made are "
                f"{tuple(images.shape[1:])}; expected one size"
            )
        said = predict(self.model, images, batch_size=self._rows)
        saved = predict(self.model, round_to_grid(images), batch_size=self._rows)
        ratio = which = pattern = far = apart = None
        if self._pixels is not None:
            ratio, which = self._pixels.ratios(images.flatten(1), real)
            if self._patterns is not None:
                pattern = self._patterns.ratios(_patterns(images.flatten(1)), real)[0]
            far = self._unusual(ratio, pattern) > self._line
        other = None if self.second is None else self._read(images)
        if other is not None and self._features is not None and self._place is not None:
            apart = self._features.ratios(other.layers[self._place], real)[0]
        return Certificate(
            classes=wanted,
            predicted=said.winners,
            confidence=_of(said.probabilities, wanted),
            rounded=_of(saved.probabilities, wanted),
            surest=saved.probabilities.amax(1),
            survives=saved.winners == wanted,
            ratio=ratio,
            nearest=which,
            pattern_ratio=pattern,
            far=far,
            second_ratio=apart,
            second=None if other is None else other.winners,
            second_confidence=None if other is None else other.confidence(wanted).float(),
            second_sure=None if other is None else other.confidence(other.winners).float(),
        )

    def _unusual(self, ratio: Tensor, pattern: Tensor | None = None) -> Tensor:
        """How far pictures are for real ones, ``(N,)``: about 1 for one in a hundred of those."""
        assert self._pixels is not None
        found = ratio / self._pixels.edge
        if pattern is None or self._patterns is None:
            return found
        return torch.maximum(found, pattern / self._patterns.edge)

    def _read(self, images: Tensor) -> Read:
        assert self.second is not None
        places = () if self._place is None else (self._place,)
        found = read(self.second, images, places, batch_size=self._rows)
        numbers = class_numbers(self.second, self.model.labels)
        return found if numbers is None else replace(found, logits=found.logits[:, numbers])


def _patterns(points: Tensor) -> Tensor:
    """Pictures ``(N, D)`` with mean 0 and length 1; those without contrast lie at 0."""
    points = points - points.mean(1, keepdim=True)
    length = points.norm(dim=1, keepdim=True)
    flat = length <= _FLAT * points.shape[1] ** 0.5
    return torch.where(flat, 0, points / length.clamp(min=_FLAT))


def _of(probabilities: Tensor, classes: Tensor) -> Tensor:
    return probabilities.gather(1, classes[:, None])[:, 0]
