"""Pictures that show none of the classes: a network that learnt to exclude, and one that did not.

After Suhail and Sethi 2025 (2505.23448), whose table and a co-author's numbers stand beside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.files import atomic_path
from fluoroscope.inversion.exclusion.detection import SCORES, detection
from fluoroscope.inversion.exclusion.exclude import ExclusionRecipe, exclude_stream
from fluoroscope.inversion.exclusion.garbage import Inverting
from fluoroscope.models.builtin import build_architecture, digits_classifier
from fluoroscope.models.checkpoints import load_checkpoint
from fluoroscope.models.labels import NONE_OF_THESE
from fluoroscope.training.trainer.recipe import Recipe
from reproductions import inversion_networks
from reproductions.cifar import CIFAR, LABELS, augment, cifar
from reproductions.inversion_kept import folder
from reproductions.sources import IMAGENET, PAGE, SHARED, held, mnist

SEED = 0
OTHERS = 2000
"""Pictures of each other set at the most."""
EPOCHS = {"MNIST": 6, "CIFAR-10": 6}
INVERTING = Inverting(steps=60)
PUBLISHED = {("MNIST", "CIFAR-10"): 0.994, ("CIFAR-10", "MNIST"): 0.978}
"""Of 2505.23448 v2: the share of the other set that is sent to the garbage."""
ACCURACY = {"MNIST": 0.991, "CIFAR-10": 0.855}
README = {("MNIST", "CIFAR-10"): (0.9704, 0.1137)}
"""AUROC and FPR95 of a co-author's repository."""


@dataclass(frozen=True)
class Known:
    """What a network learns, and the plain network beside it."""

    name: str
    train: Callable[[], tuple[Tensor, Tensor]]
    test: Callable[[], tuple[Tensor, Tensor]]
    make: Callable[[], nn.Module]
    wrap: Callable[[nn.Module], fs.Classifier]
    plain: Callable[[], fs.Classifier]
    recipe: Recipe


def _cifar_classifier(module: nn.Module) -> fs.Classifier:
    labels = (*LABELS, NONE_OF_THESE)
    return fs.Classifier(module, labels=labels, name="cifar-exclude", input_size=32)


def _digits_classifier(module: nn.Module) -> fs.Classifier:
    return digits_classifier("digits-exclude", module, (*"0123456789", NONE_OF_THESE))


KNOWN = {
    "MNIST": Known(
        "MNIST",
        lambda: _bytes(*mnist("train")),
        lambda: mnist("test"),
        partial(build_architecture, "digits-cnn", 11),
        _digits_classifier,
        lambda: fs.load_model("digits-cnn"),
        Recipe(epochs=EPOCHS["MNIST"], learning_rate=3e-3, weight_decay=0.02),
    ),
    "CIFAR-10": Known(
        "CIFAR-10",
        lambda: cifar("train"),
        lambda: (cifar("test")[0] / 255, cifar("test")[1]),
        partial(inversion_networks.strided, 11),
        _cifar_classifier,
        inversion_networks.plain,
        Recipe(epochs=EPOCHS["CIFAR-10"], learning_rate=5e-3, weight_decay=0.02, augment=augment),
    ),
}


def section(scale: Scale) -> Section:
    """Trained on MNIST and on CIFAR-10, against the others."""
    page = Section(PAGE, "inversion-ood", "Pictures of something else, by train–invert–exclude")
    summary, rows = [], []
    for known in KNOWN.values():
        model = excluding(known, scale)
        outside = {
            name: others(model, name) for name in ("MNIST", "CIFAR-10", "ImageNet", "noise")
            if name != known.name
        }  # fmt: skip
        found = detection(model, known.test(), outside, batch_size=250)
        plain = detection(known.plain(), known.test(), outside, batch_size=250)
        assert found.accuracy is not None
        assert found.excluded is not None
        assert plain.accuracy is not None
        summary.append(
            [known.name, percent(found.accuracy.value), percent(ACCURACY[known.name]),
             percent(plain.accuracy.value), percent(found.excluded.value)]
        )  # fmt: skip
        for one, other in zip(found.outside, plain.outside, strict=True):
            rows.append(_row(known.name, one, other))
    first = KNOWN["MNIST"]
    page.text(
        "A class for none of the others is learnt from Gaussian noise and, after every epoch, from "
        f"pictures that a generator makes of all classes in {INVERTING.steps} steps of "
        f"{INVERTING.batch_size}, beginning with what it had learnt; the classes of the training "
        f"set weigh the same. {first.recipe.epochs} epochs of MNIST by the layers of `digits-cnn` "
        f"and {KNOWN['CIFAR-10'].recipe.epochs} of CIFAR-10 by those of `inversion-plain`, against "
        f"up to {OTHERS:,} pictures of the others, brought to the network's size and channels. "
        "*Plain* is the network that learnt the classes alone."
    )
    page.table(
        ["trained on", "accuracy>", "the paper's>", "plain accuracy>",
         "familiar pictures excluded>"],
        summary,
    )  # fmt: skip
    page.text(
        "AUROC / FPR95 (familiar pictures against the others; the share of the others that is let "
        "through with 95 % of the familiar) by the uncertainty UE of all outputs, by the "
        f"probability of {NONE_OF_THESE!r}, and by the largest probability of a class; of the "
        "plain network by its UE and its largest probability. UE is small for what is excluded "
        "with certainty, so that it tells strangers only where the network is in doubt. "
        "*Published*: the share excluded in the paper, and AUROC / FPR95 of a co-author's program."
    )
    page.table(
        ["trained on", "pictures of", "excluded>", "published>", "within 10 points",
         *(f"{name}>" for name in SCORES), "published>", "plain, UE>",
         "plain, largest probability>"],
        rows,
    )  # fmt: skip
    return page


def excluding(known: Known, scale: Scale) -> fs.Classifier:
    """The network with a class more, trained now if it was not before."""
    images, labels = known.train()
    if scale.limit is not None:
        images, labels = images[: scale.limit], labels[: scale.limit]
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        module = known.make()
    made: dict[str, Any] = {
        "recipe": repr(known.recipe.epochs), "inverting": repr(INVERTING), "limit": scale.limit,
    }  # fmt: skip
    place = folder(f"exclusion-{known.name}", known.wrap(module), **made)
    weights = place / "network.safetensors"
    if not weights.is_file():
        checkpoint = place / "network.checkpoint.safetensors"
        recipe = ExclusionRecipe(known.recipe, INVERTING)
        for step in exclude_stream(
            module, images, labels, recipe, seed=SEED, checkpoint=checkpoint,
            held_out=(images[-1000:], labels[-1000:]),
        ):  # fmt: skip
            if step.held_out is not None:
                print(f"{known.name}: {step}", flush=True)
        with atomic_path(weights) as draft:
            save_file(module.state_dict(), draft)
        for file in ("network.checkpoint.safetensors", "network.garbage.safetensors"):
            (place / file).unlink(missing_ok=True)
    load_checkpoint(module, weights)
    return known.wrap(module.eval().requires_grad_(False))


def others(model: fs.Classifier, name: str) -> Tensor:
    """Pictures of something else, as the network takes them."""
    height, width = model.input_size or (0, 0)
    if name == "noise":
        generator = torch.Generator().manual_seed(SEED)
        drawn = torch.randn(1000, model.channels, height, width, generator=generator)
        return (0.5 + 0.25 * drawn).clamp(0, 1)
    place = {"MNIST": SHARED / "data" / "mnist", "CIFAR-10": CIFAR, "ImageNet": IMAGENET}[name]
    split = "validation" if name == "ImageNet" else "test"
    images = fs.load_images(place, split, channels=model.channels).take(OTHERS, first=True)
    return torch.cat([batch.images for batch in images.batches(500, fit=model, workers=0)])


def _row(name: str, one: Any, plain: Any) -> list[str]:
    pair = name, one.name
    excluded = one.excluded.value
    share = PUBLISHED.get(pair)
    theirs = README.get(pair)
    return [
        name,
        one.name,
        percent(excluded),
        "–" if share is None else percent(share),
        "–" if share is None else held(abs(excluded - share) <= 0.1),
        *(_numbers(one.scores[score].auroc, one.scores[score].fpr95) for score in SCORES),
        "–" if theirs is None else _numbers(*theirs),
        *(_numbers(plain.scores[s].auroc, plain.scores[s].fpr95) for s in ("uncertainty", "msp")),
    ]


def _numbers(auroc: float, fpr95: float) -> str:
    return f"{auroc:.4f} / {fpr95:.3f}"


def _bytes(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return (images * 255).round().to(torch.uint8), labels
