"""Units that answer to one class each: a loss that raises their selectivity for it.

You et al. 2021 (2108.05312) assign unit ``k`` of ``K`` to one of ``D`` groups, ``floor(k D / K)``,
and lower ``L - weight * mean_k S_k`` with ``S_k = (R_kd - R_rest) / (R_kd + R_rest)``: ``R_kd`` is
the mean ``|activation|`` where the unit's own group is, ``R_rest`` the mean of the other groups'.
Their groups are bins of depth (:mod:`fluoroscope.depth`); here they are classes. Groups that a
batch shows nothing of are left out, and so are units that are assigned to one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.layers import tapped
from fluoroscope.notices import tell
from fluoroscope.training.companion import Companion, Running
from fluoroscope.training.fitting import cross_entropy
from fluoroscope.training.losses.adversarial import AdversarialLoss
from fluoroscope.training.preprocessed import last_convolution, network_of
from fluoroscope.training.step import Loss, Moment, Terms

# Responses that add up to less count as none.
_NOTHING = 1e-12


def assignment(units: int, groups: int) -> Tensor:
    """The group of each unit ``(units,)``, ``floor(k / (units / groups))``, in whole numbers."""
    return torch.arange(units, device="cpu") * groups // units


def selectivity(responses: Tensor, own: Tensor, present: Tensor) -> Tensor:
    """Of each unit, from -1 to 1, how much more it answers to its own group than to the others.

    Args:
        responses: ``(K, D)``, not negative; what stands for groups that are not there is ignored.
        own: ``(K,)``, each unit's group.
        present: ``(D,)``, which groups there are.

    Returns:
        ``(K,)``; 0 of a unit that answers to nothing, NaN where its group, or any other, is not
        there.
    """
    there = responses * present
    mine = there.gather(1, own[:, None])[:, 0]
    rest = (there.sum(1) - mine) / (present.sum() - 1)
    found = (mine - rest) / (mine + rest).clamp_min(_NOTHING)
    return found.where(present[own], found.new_tensor(float("nan")))


def mean_selectivity(responses: Tensor, own: Tensor, present: Tensor) -> Tensor:
    """The mean over the units whose group is there; 0 where that is none, or the only one."""
    seen = present[own]
    if int(present.sum()) < 2 or not bool(seen.any()):
        return 0 * responses.sum()
    return selectivity(responses, own, present)[seen].mean()


def class_responses(activation: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The mean ``|activation|`` of each unit over a batch's pictures of each class.

    Args:
        activation: ``(N, K)``, maps ``(N, K, H, W)`` or tokens ``(N, T, K)``.
        labels: ``(N,)``.
        classes: how many there are.

    Returns:
        ``(K, classes)``, and which classes there are pictures of, ``(classes,)``.
    """
    size = activation.abs()
    if size.dim() > 2:
        size = size.mean(1) if size.dim() == 3 else size.mean((2, 3))
    shown = torch.nn.functional.one_hot(labels, classes).to(size)
    many = shown.sum(0)
    return (size.T @ shown) / many.clamp_min(1), many > 0


@dataclass(frozen=True, kw_only=True)
class SelectiveLoss:
    """Another loss, and the selectivity of a layer's units for classes of their own.

    ``base`` is what is lowered besides, and says which pictures are learnt from: in adversarial
    training the moved ones, of which the units' answers are taken then.

    Raises:
        InvalidParameterError: a weight that is no number above 0.
    """

    base: Loss = cross_entropy
    layer: str | None = None
    """By its name in the network; by default the last convolution."""
    weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise InvalidParameterError(
                f"weight is {self.weight}; expected a number above 0, such as 0.1"
            )
        if isinstance(self.base, Companion):
            raise InvalidParameterError(
                f"base is a {type(self.base).__name__}, which keeps something of its own; expected "
                "cross_entropy or an adversarial loss"
            )

    def begin(self, module: nn.Module, classes: int) -> "Selecting":
        """For a network of so many classes."""
        return Selecting(self, classes)


class Selecting(Running):
    """One training with a `SelectiveLoss`; it is the loss."""

    def __init__(self, settings: SelectiveLoss, classes: int) -> None:
        self.settings = settings
        self._classes = classes
        self._layer = settings.layer
        self._own: Tensor | None = None

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Terms, Tensor]:
        """The terms of the base, and ``selectivity``; the base's logits ``(N, classes)``."""
        if self._layer is None:
            self._layer = last_convolution(module, images)
        layer, base = self._layer, self.settings.base
        if isinstance(base, AdversarialLoss):  # of the search's many passes nothing is kept
            moved = base.moved(module, images, labels, moment)
        with tapped(network_of(module, images.shape[1]), layer) as kept:
            if isinstance(base, AdversarialLoss):
                clean = module(images) if base.learns_clean else None
                logits = module(moved)
                terms: Terms = base.terms(clean, logits, labels)
            else:
                terms, logits = base(module, images, labels, moment)
        if not kept or kept[-1].dim() not in (2, 3, 4) or len(kept[-1]) != len(labels):
            raise InvalidParameterError(
                f"layer is {layer!r}, which gives out no maps of the pictures; expected a layer "
                "with units, such as a convolution"
            )
        responses, present = class_responses(kept[-1], labels, self._classes)
        value = mean_selectivity(responses, self._units(len(responses), responses), present)
        named = {"loss": terms} if isinstance(terms, Tensor) else terms
        return {**named, "selectivity": -self.settings.weight * value}, logits

    def _units(self, units: int, like: Tensor) -> Tensor:
        if self._own is None:
            if units < self._classes:
                tell(
                    f"layer {self._layer} has {units:,} units for {self._classes:,} classes: each "
                    "unit is assigned one, and the other classes have none"
                )
            self._own = assignment(units, self._classes).to(like.device)
        return self._own
