"""Adversarial losses by the names of their methods."""

from fluoroscope.attacks.catalogue import catalogue
from fluoroscope.engine.threats import L2, Linf
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean
from fluoroscope.training.losses.adversarial import AdversarialLoss, FGSMLoss, PGDLoss, TRADESLoss
from fluoroscope.training.losses.attacked import AttackLoss, attack_loss
from fluoroscope.training.losses.latent import LatentLoss
from fluoroscope.training.losses.mart import MARTLoss

ADVERSARIAL: dict[str, type[AdversarialLoss]] = {
    loss.method: loss for loss in (FGSMLoss, PGDLoss, TRADESLoss, MARTLoss, LatentLoss)
}


def adversarial_loss(
    method: str,
    eps: float | str | None,
    *,
    steps: int | None = None,
    ramp: float = 0.0,
    targeted: bool = False,
) -> AdversarialLoss | AttackLoss:
    """The loss of a method's name: ``fgsm``, ``pgd``, ``trades`` or ``mart`` within ``eps`` in
    Linf, ``latent`` (for networks that have an inverse) in L2, or any attack that follows a
    gradient within ``eps`` in its usual norm.

    ``targeted`` leads each picture to a class drawn for it, by an attack that can.

    Raises:
        InvalidParameterError: an unknown method, no ``eps``, or settings that it cannot take.
    """
    if method not in ADVERSARIAL or (targeted and method in catalogue()):
        if method not in catalogue():
            raise InvalidParameterError(
                f"adversarial is {method!r}; {did_you_mean(method, [*ADVERSARIAL, *catalogue()])}"
                f"expected {' or '.join(ADVERSARIAL)}, or an attack that follows a gradient "
                "(fluoroscope attacks lists them)"
            )
        return attack_loss(method, eps, steps=steps, targeted=targeted, ramp=ramp)
    if targeted:
        raise InvalidParameterError(
            f"targeted is True, and {method} moves pictures away from what they are; expected an "
            "attack that can be led to a class beside it, such as pgd"
        )
    latent = method == "latent"
    if eps is None:
        raise InvalidParameterError(
            f"eps is missing; {method} training expects how far "
            + (
                "a picture may move in L2, such as 1.5 for MNIST or 0.5 for colour pictures"
                if latent
                else "a pixel may move, such as 0.3 for MNIST or 8/255 for colour pictures"
            )
        )
    if method in ("fgsm", "latent") and steps is not None:
        raise InvalidParameterError(
            f"adversarial steps are {steps}, but {method} makes one; leave them out, or take pgd"
        )
    settings = {} if steps is None else {"steps": steps}
    return ADVERSARIAL[method](threat=L2(eps) if latent else Linf(eps), ramp=ramp, **settings)
