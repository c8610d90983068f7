"""The peers' attacks, called alike: images and their classes in, images out.

Each peer gets the bare network in evaluation mode with frozen parameters, which saves it the
parameters' gradients, and the batch size named; its randomness is seeded before every call.
"""

from collections.abc import Callable, Iterable
from contextlib import chdir
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import fluoroscope as fs

Search = Callable[[Tensor, Tensor], Tensor]
"""From images ``(N, C, H, W)`` and their classes ``(N,)`` to what was made of the images."""

DISTRIBUTIONS = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "ART": "adversarial-robustness-toolbox",
    "secml-torch": "secml-torch",
}


class Bare(nn.Module):
    """Pixels to logits: the module and its normalisation, frozen, and nothing else."""

    def __init__(self, model: fs.Classifier) -> None:
        super().__init__()
        self.module = model.module.requires_grad_(False)
        self._normalize, self._dtype = model.preprocessing.normalize, model.dtype
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits ``(N, classes)``."""
        # Some of ART's attacks compute in float64.
        output = self.module(self._normalize(pixels.to(self._dtype)))
        return output if isinstance(output, Tensor) else output.logits


def passes(
    network: nn.Module, images: Tensor, classes: Tensor, steps: int, batch: int, looks: int = 0
) -> None:
    """The floor: so many times forward and back to the pixels, and nothing else.

    ``looks`` are forward passes alone on top.
    """
    for part, wanted in zip(images.split(batch), classes.split(batch), strict=True):
        rows = torch.arange(len(part))
        for _ in range(steps):
            pixels = part.detach().requires_grad_()
            torch.autograd.grad(network(pixels)[rows, wanted].sum(), pixels)
        with torch.no_grad():
            for _ in range(looks):
                network(part)


def by_torchattacks(network: nn.Module, name: str, batch: int, **parameters: Any) -> Search:
    """An attack of torchattacks."""
    import torchattacks

    return _batched(getattr(torchattacks, name)(network, **parameters), batch)


def by_foolbox(network: nn.Module, attack: Any, batch: int, **call: Any) -> Search:
    """An attack of Foolbox, its search alone, without the verdict that a call adds.

    Repeated ones can only be called.
    """
    import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")

    def search(images: Tensor, classes: Tensor) -> Tensor:
        misclassified = foolbox.criteria.Misclassification(classes)
        if not hasattr(attack, "run"):
            _, repeated, _ = attack(model, images, misclassified, epsilons=call["epsilon"])
            return cast(Tensor, repeated)
        return cast(Tensor, attack.run(model, images, misclassified, **call))

    return _batched(search, batch)


def by_art(
    network: nn.Module,
    name: str,
    like: Tensor,
    batch: int,
    *,
    one_hot: bool = False,
    towards_next: bool = False,
    **parameters: Any,
) -> Search:
    """An attack of the Adversarial Robustness Toolbox, on images like these.

    ``one_hot`` is for those of its attacks that take the classes no other way, ``towards_next`` for
    those that only go towards one: each class plus 1.
    """
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        count = network(like[:1]).shape[1]
    estimator = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), tuple(like.shape[1:]), count,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    kind = getattr(evasion, name)
    known = {"batch_size": batch, "verbose": False}
    known = {name: value for name, value in known.items() if name in kind.attack_params}

    def search(images: Tensor, classes: Tensor) -> Tensor:
        classes = (classes + 1) % count if towards_next else classes
        given = np.eye(count, dtype=np.float32)[classes] if one_hot else classes.numpy()
        # Made anew: some keep what they found, and would answer a second call with it.
        attack = kind(estimator, **known, **parameters)
        with TemporaryDirectory() as aside, chdir(aside):  # GeoDA leaves a file where it stands
            return torch.from_numpy(attack.generate(images.numpy(), given))

    return _seeded(search)


def by_secml(network: nn.Module, steps: int, step: float, eps: float, batch: int) -> Search:
    """The native PGD of secml-torch."""
    from secmlt.adv.backends import Backends
    from secmlt.adv.evasion.perturbation_models import LpPerturbationModels
    from secmlt.adv.evasion.pgd import PGD
    from secmlt.models.pytorch.base_pytorch_nn import BasePyTorchClassifier
    from torch.utils.data import DataLoader, TensorDataset

    attack = PGD(
        perturbation_model=LpPerturbationModels.LINF, epsilon=eps, num_steps=steps, step_size=step,
        random_start=True, backend=Backends.NATIVE,
    )  # fmt: skip
    model = BasePyTorchClassifier(network)

    def search(images: Tensor, classes: Tensor) -> Tensor:
        loader = DataLoader(TensorDataset(images, classes), batch_size=batch)
        return torch.cat([found for found, _ in attack(model, loader)]).detach()

    return _seeded(search)


def pgd_by_all(
    network: nn.Module, like: Tensor, *, eps: float, step: float, steps: int, batch: int
) -> dict[str, Search]:
    """PGD in Linf from a random start, by every peer that has it."""
    import foolbox

    fixed = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
    return {
        "torchattacks": by_torchattacks(network, "PGD", batch, eps=eps, alpha=step, steps=steps),
        "foolbox": by_foolbox(network, fixed, batch, epsilon=eps),
        "ART": by_art(
            network, "ProjectedGradientDescent", like, batch,
            norm=np.inf, eps=eps, eps_step=step, max_iter=steps, num_random_init=1,
        ),
        "secml-torch": by_secml(network, steps, step, eps, batch),
    }  # fmt: skip


def versions(names: Iterable[str]) -> str:
    """The peers among the names, with the version measured."""
    known = [name for name in DISTRIBUTIONS if name in names]
    return ", ".join(f"{name} {version(DISTRIBUTIONS[name])}" for name in known)


def _batched(attack: Search, batch: int) -> Search:
    def search(images: Tensor, classes: Tensor) -> Tensor:
        parts = zip(images.split(batch), classes.split(batch), strict=True)
        return torch.cat([attack(*part).detach() for part in parts])

    return _seeded(search)


def _seeded(attack: Search) -> Search:
    def search(images: Tensor, classes: Tensor) -> Tensor:
        torch.manual_seed(0)
        np.random.seed(0)
        return attack(images, classes)

    return search
