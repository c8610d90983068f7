"""Adversarial training with a consistent loss: features are to stay where the picture stays.

Dong, Su, Zhu and Bao 2017 (1708.05493) learn from real pictures and from moved ones, and lower how
far the features ``phi`` at a layer are from each other beside both cross-entropies:

    CE(f(x), y) + CE(f(x'), y) + weight * d(phi(x), phi(x'))

so that units answer to what a picture shows whether or not somebody led it elsewhere. That is
lowered where pictures are moved by PGD, or within several norms. Other losses keep their own terms
beside the distance: FGSM, the latent and attacks by name halve both cross-entropies, so that the
same weight counts twice as much beside them; TRADES has ``CE(f(x), y) + beta * KL``, and MART its
boosted cross-entropy.

Which ``d``, which layer and which weight were theirs could not be found. Ours are a distance that
does not depend on how many features a layer has nor on how large they are, so that a weight means
the same at every layer and nothing is gained by shrinking them; the last convolution; and a weight
of 1.

Per picture, and then the mean over the batch, with ``a`` and ``b`` its features as it is and moved,
less the mean of the batch's real ones:

* ``l2``: ``|a - b|^2 / (|a|^2 + |b|^2)``
* ``cosine``: ``1 - a.b / (|a| |b|)``

Both are 0 for equal features, 1 for orthogonal ones, and 2 for opposite ones; where the lengths are
the same they are the same number. The mean is taken off since a bias would do otherwise: networks
learn one large constant for all pictures, beside which those differ little, moved or not.

**Passes.** Features come from the two forward passes that are made in any case. Where dropout lies
before the layer each draws its own units, and the distance holds what that does, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import find_layer, outputs_of, tapped
from fluoroscope.models.wrappers.randomised import random_state_aside
from fluoroscope.training.losses.moved import MovedLoss
from fluoroscope.training.trainer.companion import Companion, Running, begun
from fluoroscope.training.trainer.preprocessed import (
    check_convolution,
    last_convolution,
    network_of,
)
from fluoroscope.training.trainer.step import Moment, Ready, Terms

Distance = Literal["l2", "cosine"]
# Features whose squares add up to less are none, and point nowhere.
_NOTHING = 1e-12


@dataclass(frozen=True, kw_only=True)
class ConsistentLoss:
    """What ``base`` lowers, and ``weight`` times the distance of features at a layer.

    One weight counts twice as much beside FGSM, which takes half of each cross-entropy, as beside
    PGD, where the whole of both is lowered.

    ``base`` says what pictures are moved by, and what is made of the answers: `FGSMLoss` as in the
    paper, or any other loss of moved pictures, such as `AttackLoss` with an attack's name, or
    `MultiNormLoss`. Where it learns from moved pictures alone, as `PGDLoss` does, the cross-entropy
    of the real ones is lowered beside it. ``layer`` is a name of the network's ``named_modules()``,
    by default its last convolution; of a layer that is used several times the last use counts.

    Raises:
        InvalidParameterError: a weight below 0, or an unknown distance.
    """

    base: MovedLoss | Companion
    layer: str | None = None
    weight: float = 1.0
    distance: Distance = "l2"

    def __post_init__(self) -> None:
        if not isinstance(self.base, MovedLoss | Companion):
            raise _no_base(self.base)
        if not 0 <= self.weight < float("inf"):
            raise InvalidParameterError(f"weight is {self.weight}; expected 0 or more, such as 1")
        if self.distance not in get_args(Distance):
            raise InvalidParameterError(f"distance is {self.distance!r}; expected 'l2' or 'cosine'")

    def begin(self, module: nn.Module, classes: int) -> "_Consistent":
        """For one network.

        Raises:
            InvalidParameterError: it has no such layer, or the base learns from no moved pictures.
        """
        if self.layer is None:
            check_convolution(module)
        else:
            find_layer(network_of(module, 3), self.layer)
        base = begun(self.base, module, classes)
        if not isinstance(base, MovedLoss):
            raise _no_base(self.base)
        return _Consistent(self, base)


def _no_base(given: object) -> InvalidParameterError:
    return InvalidParameterError(
        f"base is {given!r}; expected a loss of moved pictures, such as FGSMLoss"
    )


class _Consistent(Running):
    """The loss for one network, whose layer is known from the first step on.

    What its base keeps, it keeps.
    """

    def __init__(self, settings: ConsistentLoss, base: MovedLoss) -> None:
        self.settings, self._base, self.layer = settings, base, settings.layer
        self._model: Classifier | None = None
        self._running = base if isinstance(base, Running) else Running()

    def parameters(self) -> list[nn.Parameter]:
        return self._running.parameters()

    def tensors(self) -> dict[str, Tensor]:
        return self._running.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._running.restore(tensors)

    def after(self, module: nn.Module, moment: Moment) -> None:
        self._running.after(module, moment)

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Terms, Tensor]:
        """The terms to lower, and the logits of the moved images ``(N, classes)``."""
        return self.prepare(module, images, labels, moment)()

    def prepare(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Ready:
        """Move the images; the loss of them at the weights that the network has when asked."""
        if self.layer is None:
            with random_state_aside(images.device):
                self.layer = last_convolution(module, images)
        if self._model is None:
            self._model = network_of(module, images.shape[1])
        moved = self._base.moved(module, images, labels, moment)
        seen = partial(_seen, self._model, self.layer, module)
        return partial(self._lowered, seen, images, moved, labels)

    def _lowered(
        self,
        seen: Callable[[Tensor], tuple[Tensor, Tensor]],
        images: Tensor,
        moved: Tensor,
        labels: Tensor,
    ) -> tuple[Terms, Tensor]:
        (clean, real), (logits, adversarial) = seen(images), seen(moved)
        terms = self._base.terms(clean, logits, labels)
        if not self._base.learns_clean:
            terms = {"clean": F.cross_entropy(clean, labels), **terms}
        # Of one picture alone nothing is left when what all have in common is taken off.
        apart = (
            feature_distance(real, adversarial, self.settings.distance)
            if len(images) > 1
            else 0 * adversarial.sum()
        )
        return {**terms, "consistent": self.settings.weight * apart}, logits


def _seen(
    model: Classifier, layer: str, module: nn.Module, images: Tensor
) -> tuple[Tensor, Tensor]:
    """The logits, and what the layer gave out ``(N, ...)``."""
    with tapped(model, layer) as kept:
        logits = module(images)
    (found,) = outputs_of(kept, layer, len(images), model)
    if not found.requires_grad:
        raise InvalidParameterError(
            f"layer is {layer!r}, up to which {model.name} has no weight that is learnt; "
            "expected a layer behind one"
        )
    return logits, found


def feature_distance(real: Tensor, moved: Tensor, distance: Distance = "l2") -> Tensor:
    """How far features ``(N, ...)`` of pictures are from those of the moved ones, from 0 to 2.

    The mean over pictures; see the module's words.

    Raises:
        InvalidParameterError: features of fewer than 2 pictures, or of others than the real ones.
    """
    if len(real) < 2 or real.shape != moved.shape:
        raise InvalidParameterError(
            f"features are {tuple(real.shape)} and {tuple(moved.shape)}; expected the same shape "
            "(N, ...) of 2 pictures or more, as what these have in common is taken off"
        )
    exact = torch.promote_types(real.dtype, torch.float32)
    a, b = real.flatten(1).to(exact), moved.flatten(1).to(exact)
    common = a.mean(0)
    a, b = a - common, b - common
    squares = a.square().sum(1), b.square().sum(1)
    both = squares[0] + squares[1]
    if distance == "l2":
        apart = (a - b).square().sum(1) / both.clamp_min(_NOTHING)
    else:
        lengths = [each.clamp_min(_NOTHING).sqrt() for each in squares]
        apart = 1 - (a * b).sum(1) / (lengths[0] * lengths[1])
        apart = apart * (both > _NOTHING)  # where there are none, none are apart
    return apart.mean()
