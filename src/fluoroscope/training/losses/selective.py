"""Units that answer to one class each: a loss that raises their selectivity for it.

You et al. 2021 (2108.05312) assign unit ``k`` of ``K`` to one of ``D`` groups, ``floor(k D / K)``,
and lower ``L - weight * mean_k S_k`` with ``S_k = (R_kd - R_rest) / (R_kd + R_rest)``: ``R_kd`` is
the mean ``|activation|`` where the unit's own group is, ``R_rest`` the mean of the other groups'.
Their groups are bins of depth (:mod:`fluoroscope.depth`); here they are classes. Groups that a
batch shows nothing of are left out, and so are units that are assigned to one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import find_layer, tapped
from fluoroscope.models.wrappers.randomised import random_state_aside
from fluoroscope.notices import tell
from fluoroscope.training.reading import answers, evenly
from fluoroscope.training.trainer.companion import Companion, Running, begun
from fluoroscope.training.trainer.fitting import cross_entropy
from fluoroscope.training.trainer.preprocessed import (
    check_convolution,
    last_convolution,
    network_of,
)
from fluoroscope.training.trainer.step import Loss, Moment, Ready, Terms, prepare

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
    size = _sizes(activation)
    shown = torch.nn.functional.one_hot(labels, classes).to(size)
    many = shown.sum(0)
    return (size.T @ shown) / many.clamp_min(1), many > 0


def _sizes(activation: Tensor) -> Tensor:
    """Of each picture and unit the mean ``|activation|`` over its places, ``(N, K)``."""
    size = activation.abs()
    if size.dim() > 2:
        size = size.mean(1) if size.dim() == 3 else size.mean((2, 3))
    return size


def judged(
    model: Classifier, images: Tensor, labels: Tensor, layer: str, classes: int
) -> dict[str, Any]:
    """What a layer's units answer to, as plain values for a record.

    ``selectivity`` is the mean over the units whose class has pictures, from -1 to 1, and
    ``answer_most_to_their_own`` how many of all answer to no class more than to theirs.

    Args:
        model: the trained network.
        images: ``(N, C, H, W)``, 8-bit, or floats in ``[0, 1]``, of the network's size; at most
            :data:`MOST` of them are read, evenly among them.
        labels: ``(N,)``, the class of each.
        layer: by its name.
        classes: how many the network tells apart.
    """
    chosen = evenly(len(images))
    sizes = torch.cat([_sizes(answer) for answer in answers(model, images[chosen], layer)])
    responses, present = class_responses(sizes, labels[chosen], classes)
    own = assignment(len(responses), classes)
    each = selectivity(responses, own, present)
    alive = responses.sum(1) > 0
    return {
        "layer": layer,
        "units": len(own),
        "classes": classes,
        "pictures": len(chosen),
        "selectivity": float(mean_selectivity(responses, own, present)),
        "answer_most_to_their_own": int(((responses.argmax(1) == own) & alive).sum()),
        "dead": int((~alive).sum()),
        "class_of_unit": own.tolist(),
        "selectivity_of_unit": [one if one == one else None for one in each.tolist()],
    }


@dataclass(frozen=True, kw_only=True)
class SelectiveLoss:
    """Another loss, and the selectivity of a layer's units for classes of their own.

    ``base`` is what is lowered besides. Units are read in the pass that its logits come from: in
    adversarial training that of the moved pictures. Where several processes learn, each reads its
    share of a batch by itself.

    Raises:
        InvalidParameterError: a weight that is no number above 0.
    """

    base: Loss | Companion = cross_entropy
    layer: str | None = None
    """By its name in the network; by default the last convolution. Of one that is used several
    times the last use counts."""
    weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise InvalidParameterError(
                f"weight is {self.weight}; expected a number above 0, such as 0.1"
            )

    def begin(self, module: nn.Module, classes: int) -> "Selecting":
        """For a network of so many classes.

        Raises:
            InvalidParameterError: it has no such layer, or ``base`` has weights of its own.
        """
        if self.layer is None:
            check_convolution(module)
        else:
            find_layer(network_of(module, 3), self.layer)
        base = begun(self.base, module, classes)
        if isinstance(base, Running) and (base.parameters() or base.tensors()):
            raise InvalidParameterError(
                f"base is a {type(self.base).__name__}, which learns something of its own; "
                "expected the cross-entropy, or a loss of moved pictures"
            )
        return Selecting(self, base, classes)


class Selecting(Running):
    """One training with a `SelectiveLoss`; it is the loss."""

    def __init__(self, settings: SelectiveLoss, base: Loss, classes: int) -> None:
        self.settings, self._base, self._classes = settings, base, classes
        self.layer = settings.layer
        self._own: Tensor | None = None

    def meet(self, module: nn.Module, images: Tensor) -> None:
        """Find the layer, if nobody named one."""
        if self.layer is None:
            with random_state_aside(images.device):
                self.layer = last_convolution(module, images)

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Terms, Tensor]:
        """The terms of the base (``standard`` where it has one), and ``selectivity penalty``, which
        is minus ``weight`` times the mean selectivity; the base's logits ``(N, classes)``.
        """
        return self.prepare(module, images, labels, moment)()

    def prepare(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Ready:
        """What the base does once for a batch; the loss at the weights there are when asked."""
        self.meet(module, images)
        # The many passes of a search for moved pictures are over then.
        ready = prepare(self._base, module, images, labels, moment)
        assert self.layer is not None
        return partial(self._lowered, ready, module, images.shape[1], labels, self.layer)

    def _lowered(
        self, ready: Ready, module: nn.Module, channels: int, labels: Tensor, layer: str
    ) -> tuple[Terms, Tensor]:
        with tapped(network_of(module, channels), layer) as kept:
            terms, logits = ready()
        if not kept or kept[-1].dim() not in (2, 3, 4) or len(kept[-1]) != len(labels):
            raise InvalidParameterError(
                f"layer is {layer!r}, which gives out nothing of each picture's own; expected one "
                "with units, such as a convolution"
            )
        if not kept[-1].requires_grad:
            raise InvalidParameterError(
                f"layer is {layer!r}, up to which no weight is learnt; expected a layer behind one"
            )
        responses, present = class_responses(kept[-1], labels, self._classes)
        value = mean_selectivity(responses, self._units(responses), present)
        # A bare number is not called "loss", as the sum is.
        others = {"standard": terms} if isinstance(terms, Tensor) else terms
        return {**others, "selectivity penalty": -self.settings.weight * value}, logits

    def findings(self, model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """What the units answer to on the test pictures, and which class is each one's own."""
        assert self.layer is not None
        return {"selective": judged(model, images, labels, self.layer, self._classes)}

    def _units(self, responses: Tensor) -> Tensor:
        units = len(responses)
        if self._own is None:
            if units < self._classes:
                tell(
                    f"layer {self.layer} has {units:,} units for {self._classes:,} classes: each "
                    "unit is assigned one, and the other classes have none"
                )
            self._own = assignment(units, self._classes).to(responses.device)
        return self._own
