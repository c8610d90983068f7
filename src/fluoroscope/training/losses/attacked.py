"""Adversarial training with any attack that follows a gradient.

``alpha * CE(f(x), y) + (1 - alpha) * CE(f(x'), y)``, where the attack, called as anybody calls it,
moves ``x`` to ``x'``: to the end of its steps, whether or not that is a success. With ``targeted``
it leads each picture to a class drawn anew in every epoch, as Dong et al. (2017, 1708.05493) drew
theirs. The losses of ``adversarial.py`` are faster, where one has the attack.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.attacks import registry
from fluoroscope.attacks.attack import Chain, Method
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.engine import randomness
from fluoroscope.engine.first_look import Look
from fluoroscope.engine.threats import Bound, Threat, one_bound
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected
from fluoroscope.training.losses.adversarial import check_share
from fluoroscope.training.losses.moved import MovedLoss
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.step import Moment

# The draw from which a picture's target is made; attacks number theirs from 0.
_TARGET = 2**31


@dataclass(frozen=True, kw_only=True)
class AttackLoss:
    """``alpha`` of the loss from the clean pictures, the rest from what ``attack`` makes of them.

    ``ramp`` is the share of the steps over which the attack's bound grows from 0; without a bound
    there is nothing to grow.

    Raises:
        InvalidParameterError: an attack that follows no gradient, makes one thing for all pictures
            or cannot be led to a class; a bound for each picture, or of 0; a share outside
            ``[0, 1]``.
    """

    attack: Method
    alpha: float = 0.5
    targeted: bool = False
    ramp: float = 0.0

    def __post_init__(self) -> None:
        for link in _links(self.attack):
            if link.access != "gradient" or isinstance(link, Fitted):
                does = (
                    "makes one thing for all pictures"
                    if link.access == "gradient"
                    else f"follows no gradient but reads {_READ[link.access]}"
                )
                raise InvalidParameterError(
                    f"{self.method} {does}; expected an attack that moves each picture along a "
                    "gradient, such as fgsm, pgd, mi-fgsm or ensemble-optimisation"
                )
            if self.targeted and not link.can_target:
                raise InvalidParameterError(
                    f"targeted is True, and {self.method} only leads away from a class; "
                    "leave it out, or choose another attack, such as pgd"
                )
        one_bound(self.attack.threat)
        if not float(self.attack.threat.eps) > 0:
            raise InvalidParameterError(
                f"eps is {self.attack.threat.eps}; expected a number above 0, such as 0.3 or "
                "8/255: within nothing there is nothing to learn against"
            )
        check_share("alpha", self.alpha)
        check_share("ramp", self.ramp)
        if self.ramp and not self._bounded:
            raise InvalidParameterError(
                f"ramp is {self.ramp}, and {self.method} has no bound that could grow; expected "
                "eps beside it"
            )

    @property
    def method(self) -> str:
        """The attack's name."""
        names = {kind: name for name, kind in registry.ATTACKS.items()}
        return "|".join(names.get(type(each), type(each).__name__) for each in _links(self.attack))

    @property
    def threat(self) -> Threat:
        """How far pictures are moved at most."""
        return self.attack.threat

    def begin(self, module: nn.Module, classes: int) -> "_Attacking":
        """For one network."""
        return _Attacking(self, classes)

    def describe(self) -> dict[str, Any]:
        """The attack and the settings as plain values, for records."""
        return {
            "method": self.method,
            **({"norm": self.threat.name, "eps": float(self.threat.eps)} if self._bounded else {}),
            "parameters": self.attack.stated["parameters"],
            **{name: value for name, value in vars(self).items() if name != "attack"},
        }

    def within(self, share: float) -> Method:
        """The attack within this share of its bound."""
        if share == 1 or not self._bounded:
            return self.attack
        threat = self.attack.threat
        return self.attack.within(replace(threat, eps=float(threat.eps) * share))  # type: ignore[type-var]

    @property
    def _bounded(self) -> bool:
        return float(self.threat.eps) < math.inf


def attack_loss(
    attack: str,
    eps: Bound | None = None,
    *,
    steps: int | None = None,
    targeted: bool = False,
    ramp: float = 0.0,
) -> AttackLoss:
    """The loss with the attack of that name, as ``fluoroscope attacks`` lists them.

    Raises:
        InvalidParameterError: no such attack, settings that it does not take, or an attack that
            nothing can be learnt with.
    """
    kind = registry.find_attack(attack)
    # Whoever gives a bound to an attack that may do without one means a pixel's.
    norm = "linf" if eps is not None and kind.norms[0] == "none" else None
    if eps is None and not kind.minimum_norm and kind.norms[0] != "none":
        raise InvalidParameterError(
            f"eps is missing; {attack} training expects how far a pixel may move, such as 0.3 for "
            "MNIST or 8/255 for colour pictures"
        )
    if steps is not None and "steps" not in {field.name for field in fields(kind)}:  # type: ignore[arg-type]
        raise InvalidParameterError(
            f"adversarial steps are {steps}, but {attack} does not take their number; leave them "
            "out, or take pgd"
        )
    settings = {} if steps is None else {"steps": steps}
    method = registry.attack(attack, eps=eps, norm=norm, **settings)
    return AttackLoss(attack=method, targeted=targeted, ramp=ramp)


_READ = {
    "score": "scores", "decision": "decisions alone", "inverse": "the network's inverse"
}  # fmt: skip


class _Attacking(Running, MovedLoss):
    """The loss for one network, which the attack finds the same at every step."""

    settings: AttackLoss

    def __init__(self, settings: AttackLoss, classes: int) -> None:
        self.settings, self.classes = settings, classes
        self._model: Classifier | None = None

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        settings, many = self.settings, len(images)
        attack = settings.within(min(1.0, moment.share / settings.ramp) if settings.ramp else 1.0)
        keys = randomness.keys(moment.seed, moment.indices, moment.epoch)
        wanted = self._drawn(labels, keys.to(images.device)) if settings.targeted else labels
        # What it tells of every call, a training need not hear a thousand times.
        with collected():
            found = attack(
                self._classifier(module, images), images, wanted, targeted=settings.targeted,
                # Such as look for the nearest success keep that, and else the picture itself.
                keep=None if attack.minimum_norm else "last", batch_size=many,
                numbers=moment.indices.cpu(), seed=_seed(moment),
            )  # fmt: skip
        return found.images.to(images)

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert clean is not None
        alpha = self.settings.alpha
        return {
            "clean": alpha * F.cross_entropy(clean, labels),
            "adversarial": (1 - alpha) * F.cross_entropy(logits, labels),
        }

    def _drawn(self, labels: Tensor, keys: Tensor) -> Tensor:
        """For each picture another class than its own, ``(N,)``."""
        if self.classes < 2:
            raise InvalidParameterError(
                "targeted is True, and the network has 1 class; expected 2 or more"
            )
        drawn = randomness.integers(keys, _TARGET, self.classes - 1)[:, 0]
        return drawn + (drawn >= labels)

    def _classifier(self, module: nn.Module, images: Tensor) -> Classifier:
        if self._model is None:
            names = [str(each) for each in range(self.classes)]
            height, width = images.shape[2:]
            self._model = Classifier(
                module, channels=images.shape[1], input_size=(height, width), labels=names
            )
            # A first look costs passes, and what is yet to be learnt is no finding.
            self._model.look = Look()
        return self._model


def _links(attack: Method) -> tuple[Method, ...]:
    """The attacks that one is made of."""
    return attack.attacks if isinstance(attack, Chain) else (attack,)


def _seed(moment: Moment) -> int:
    """Another one in every epoch: a picture's randomness follows from its number and this."""
    return int(randomness.keys(moment.seed, torch.tensor([moment.epoch], device="cpu"))[0])
