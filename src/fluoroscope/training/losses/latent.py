"""Adversarial training by way of the latent, for networks that have an inverse.

``CE(f(x), y) / 2 + CE(f(x'), y) / 2``, where ``x'`` lies at a distance of ``eps`` from ``x`` in L2,
in the direction of the picture behind the nearest point beyond a border of the head: one pass to
the latent, the closed form there, and the inverse, of which a few rounds are enough for a
direction. No gradient of the pixels is taken. The latent attack is that of Bai, Bagchi and Inouye
2020 (2012.13111), who propose it for training; how it is bounded here is ours.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.attacks.latent.border import beyond_border
from fluoroscope.engine.vectors import column, lengths
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.invertible.backwards import invertible_in
from fluoroscope.training.losses.adversarial import AdversarialLoss
from fluoroscope.training.trainer.preprocessed import network_of
from fluoroscope.training.trainer.step import Moment


@dataclass(frozen=True, kw_only=True)
class LatentLoss(AdversarialLoss):
    """Half of the loss from the pictures, half from those moved through the latent.

    ``rounds`` is how often each block's fixed point is gone through on the way back.

    Raises:
        InvalidParameterError: a ball in another norm than L2, or no rounds.
    """

    rounds: int = 5
    method = "latent"

    def __post_init__(self) -> None:
        self._check_ball()
        if self.threat.name != "l2":
            raise InvalidParameterError(
                f"threat is {self.threat}; expected a length in L2, in which the latent is measured"
            )
        if self.rounds < 1:
            raise InvalidParameterError(f"rounds is {self.rounds}; expected 1 or more, such as 5")

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """The images moved by ``eps`` through the latent, as the network is now.

        Raises:
            InvalidParameterError: a network without an inverse.
        """
        model = network_of(module, images.shape[1])
        network = invertible_in(model, "adversarial training through the latent")
        threat = self._threat(self._grown(moment))
        with model.held(), torch.no_grad():
            latents = network.encode(model.preprocessing.normalize(images))
            wanted = beyond_border(latents, network.head, labels)
            found = model.preprocessing.denormalize(network.undo(wanted, self.rounds)[0])
            away = found - images
            length = column(lengths(away).clamp(min=torch.finfo(away.dtype).tiny))
            return threat.project(images + away * (float(threat.eps) / length), images)

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert clean is not None
        return {
            "clean": F.cross_entropy(clean, labels) / 2,
            "adversarial": F.cross_entropy(logits, labels) / 2,
        }
