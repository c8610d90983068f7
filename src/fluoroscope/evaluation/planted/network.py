"""A network in which a misclassified neighbour of each of a few pictures is known to exist.

It answers through the whole of the network under study, so whatever hides a gradient, draws at
random or saturates is still there. Only what comes of the answer is changed, near each of the
pictures. With ``d`` the lead of its label over a rival class, ``f = d(picture) - d(image)`` how far
that falls, and ``b`` the fall from which an image counts as misclassified, the two logits are ::

    label:  z_label - s f / (2 b)        rival:  z_label - s + s f / (2 b)

with ``z`` the network's own answer at the picture and ``s`` its own lead there. So the lead is the
network's own at the picture, in its own units, and 0 where ``f = b``; the other logits stay what
they are at the picture, below both. That is a linear read-out of the network's logits, as that of
Zimmermann, Brendel, Tramèr and Carlini (2022, 2206.13991) is one of what comes before its last
layer; there that layer, and what comes after it, is left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fluoroscope.engine.vectors import wide
from fluoroscope.models.classifier import Classifier, tensor_bytes
from fluoroscope.models.wrappers.likewise import Likewise


@dataclass(frozen=True)
class Planting:
    """What is known of one picture, and what the network is made to say near it."""

    image: Tensor
    """``(C, H, W)``."""
    label: int
    rival: int
    lead: float
    """Of the label over the rival at the picture."""
    fall: float
    """Of that lead, from which on an image is misclassified."""
    logits: Tensor
    """``(classes,)`` in float64, the answer at the picture."""


class Planted(Likewise):
    """The network with other answers near some pictures: see the module.

    Near which of them an image lies its distance says, so no answer depends on the others in the
    batch. The network itself is left alone.

    Args:
        model: the network, and all that is around it.
        plantings: of pictures ``(C, H, W)`` of one size, whose balls do not meet.
        norm: ``linf`` or ``l2``, in which an image's distance is measured.
    """

    def __init__(self, model: Classifier, plantings: Sequence[Planting], norm: str) -> None:
        super().__init__(model)
        self.plantings, self.norm = tuple(plantings), norm
        device, kind = model.device, model.dtype
        logits = torch.stack([each.logits for each in plantings])
        self._classes = logits.shape[1]
        labels, rivals = (
            torch.tensor([getattr(each, name) for each in plantings], device=device)
            for name in ("label", "rival")
        )
        self._ends = torch.stack([labels, rivals], 1)
        self._logits = logits.to(device, kind)
        lead, fall = (
            torch.tensor([getattr(each, name) for each in plantings], dtype=of, device=device)
            for name, of in (("lead", wide(self._logits)), ("fall", kind))
        )
        self._lead = lead  # a small difference of large numbers is taken from it
        own = torch.stack([each.logits[each.label] - each.logits[each.rival] for each in plantings])
        turned = torch.zeros_like(self._logits)
        turned.scatter_(1, labels[:, None], -1).scatter_(1, rivals[:, None], 1)
        self._slopes = turned * (own.to(device, kind) / (2 * fall))[:, None]
        self._images = torch.stack([each.image for each in plantings]).to(device, kind)

    @property
    def plain(self) -> Classifier:
        """The same around the plain network, if this one's was prepared for speed."""
        plain = self.model.plain
        return self if plain is self.model else Planted(plain, self.plantings, self.norm)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy on another device or in another precision; this one stays as it is."""
        return type(self)(self.model.to(device, dtype), self.plantings, self.norm)

    def fingerprint(self) -> str:
        """SHA-256 of the network's own, the pictures and the answers."""
        digest = hashlib.sha256(f"planted {self.norm} {self.model.fingerprint()}".encode())
        for tensor in (self._images, self._logits, self._slopes, self._lead, self._ends):
            digest.update(tensor_bytes(tensor))
        return digest.hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, C, H, W)``; differentiable in the images."""
        answer, near = self.model(images), self._nearest(images)
        ends = answer.gather(1, self._ends[near]).to(self._lead.dtype)
        fall = (self._lead[near] - (ends[:, 0] - ends[:, 1])).to(answer.dtype)
        return self._logits[near] + self._slopes[near] * fall[:, None]

    def _nearest(self, images: Tensor) -> Tensor:
        """Which of the pictures each image is nearest to, ``(N,)``."""
        if len(self.plantings) == 1 or images.shape[1:] != self._images.shape[1:]:
            return torch.zeros(len(images), dtype=torch.long, device=images.device)
        with torch.no_grad():
            return torch.cdist(
                images.flatten(1),
                self._images.flatten(1),
                p=2.0 if self.norm == "l2" else torch.inf,
                compute_mode="donot_use_mm_for_euclid_dist",
            ).argmin(1)
