"""Two small networks for CIFAR-10, plain and adversarially trained, that nothing was tuned on.

The evaluation's plans were measured on digits and on MobileNets; these say whether what was found
there holds elsewhere. They are trained here, in minutes on one processor core, and kept in ``KEPT``
as safetensors with a record beside them; delete the folder to train anew. On the command line they
are ``python:reproductions.cifar:plain`` and ``python:reproductions.cifar:robust``.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.threats import Linf
from fluoroscope.files import atomic_path
from fluoroscope.models.checkpoints import load_checkpoint
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.trainer.fitting import cross_entropy, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Loss
from reproductions.sources import PAGE, SHARED

SEED = 0
CIFAR = SHARED / "data" / "cifar10"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
KEPT = Path("out/cifar")
EPS = "8/255"
"""The robust one's radius, and the largest at which both are attacked."""
SHIFT = 2
"""Pixels by which a training picture may be moved."""
ATTACKED = 1000
"""The first test pictures, on which both are attacked."""
RADII = ("1/255", "2/255", "4/255", EPS)


def network() -> nn.Module:
    """Four convolutions with batch norm, 132,426 weights."""
    widths = ((3, 32, 4, 2), (32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2))
    layers: list[nn.Module] = []
    for before, after, side, stride in widths:
        convolution = nn.Conv2d(before, after, side, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


@dataclass(frozen=True)
class Training:
    """How a network is made."""

    recipe: Recipe
    loss: Loss = cross_entropy
    make: Callable[[], nn.Module] = network
    seed: int = SEED

    def describe(self) -> dict[str, Any]:
        """As plain values, for the record."""
        stated = asdict(self.recipe) | {"augment": f"mirrored, moved by up to {SHIFT} pixels"}
        loss = self.loss.describe() if isinstance(self.loss, PGDLoss) else "cross-entropy"
        return {"recipe": stated, "loss": loss, "seed": self.seed, "layers": str(self.make())}


def augment(images: Tensor, labels: Tensor) -> Tensor:
    """Half of the pictures ``(N, C, H, W)`` mirrored, each moved by up to ``SHIFT`` pixels."""
    count, channels, height, width = images.shape
    images = torch.where((torch.rand(count) < 0.5)[:, None, None, None], images.flip(3), images)
    wide = F.pad(images, [SHIFT] * 4, mode="reflect")
    down, across = torch.randint(2 * SHIFT + 1, (2, count, 1))
    rows, columns = down + torch.arange(height), across + torch.arange(width)
    batch, plane = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return wide[batch, plane, rows[:, None, :, None], columns[:, None, None, :]]


_FAST = Recipe(epochs=3, learning_rate=5e-3, weight_decay=0.02, augment=augment)
TRAININGS = {
    "cifar-plain": Training(_FAST),
    "cifar-robust": Training(
        replace(_FAST, epochs=2, weight_decay=0.0), PGDLoss(threat=Linf(EPS), steps=2, ramp=0.3)
    ),
}


def plain() -> fs.Classifier:
    """The one that was trained on clean pictures."""
    return cifar_network("cifar-plain")


def robust() -> fs.Classifier:
    """The one that was trained on pictures moved by PGD within ``EPS``."""
    return cifar_network("cifar-robust")


def cifar_network(name: str, training: Training | None = None) -> fs.Classifier:
    """``cifar-plain`` or ``cifar-robust``, or one of another training; made now if it was not."""
    training = training or TRAININGS[name]
    weights = KEPT / f"{name}.safetensors"
    if not weights.is_file() or record(name)["training"] != _plain(training.describe()):
        _train(name, training)
    module = training.make()
    load_checkpoint(module, weights)
    return _classifier(name, module)


def section() -> Section:
    """How they were made, and how good they are."""
    page = Section(PAGE, "cifar-networks", "Two CIFAR-10 networks that nothing was tuned on")
    images, labels = cifar("test")
    images = images / 255
    rows, attacked = [], []
    for name in TRAININGS:
        model, noted = cifar_network(name), record(name)
        right = int((fs.predict(model, images, batch_size=500).winners == labels).sum())
        rows.append(
            [f"`{name}`", f"{noted['parameters']:,}", noted["training"]["recipe"]["epochs"],
             f"{noted['seconds']:.0f}", rate(right, len(images))]
        )  # fmt: skip
        row = [f"`{name}`"]
        for method, options in (("fgsm", {}), ("pgd", {"steps": 50})):
            for eps in RADII if method == "pgd" else RADII[-1:]:
                attack = fs.attack(method, eps=eps, **options)
                result = attack(model, images[:ATTACKED], labels[:ATTACKED], seed=SEED)
                row.append(rate(int((~result.success).sum()), ATTACKED))
        attacked.append(row)
    page.text(
        "Four convolutions with batch norm, trained on all 50,000 training pictures (mirrored and "
        f"moved by up to {SHIFT} pixels, seed {SEED}) with one thread: `cifar-plain` on clean "
        f"pictures, `cifar-robust` on what two steps of PGD within {EPS} make of them. They are as "
        "good as minutes on a processor core allow, far below what large networks reach, and the "
        "pictures are decoded from JPEG copies. The seconds are a crowded machine's. In brackets "
        "the 95 % interval of Wilson."
    )
    page.table(["network", "weights>", "epochs>", "seconds>", "right, 10,000 test pictures>"], rows)
    page.text(
        f"Still right under attack, of the first {ATTACKED:,} test pictures. If FGSM left far more "
        "than PGD, a network would only have learnt to bend its gradient:"
    )
    page.table(["network", f"FGSM {EPS}>", *(f"PGD, 50 steps, {eps}>" for eps in RADII)], attacked)
    return page


@cache
def cifar(split: str) -> tuple[Tensor, Tensor]:
    """8-bit pictures ``(N, 3, 32, 32)`` and labels ``(N,)``."""
    images, labels = [], []
    for batch in fs.load_images(CIFAR, split).batches(1000, workers=0):
        assert batch.labels is not None
        images.append((batch.images * 255).round().to(torch.uint8))
        labels.append(batch.labels)
    return torch.cat(images), torch.cat(labels)


def _train(name: str, training: Training) -> None:
    began = time.perf_counter()
    images, labels = cifar("train")
    KEPT.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng([]):
        torch.manual_seed(training.seed)
        module = training.make()
    checkpoint = KEPT / f"{name}.checkpoint.safetensors"
    steps = fit_stream(
        module,
        images,
        labels,
        training.recipe,
        seed=training.seed,
        loss=training.loss,
        checkpoint=checkpoint,
    )
    per_epoch, seen = training.recipe.steps(len(images)) // training.recipe.epochs, 0.0
    for step in steps:
        seen += step.accuracy / per_epoch
        if step.number % per_epoch == 0:
            print(f"{name}, epoch {step.epoch}: {seen:.3f} right, {step.seconds:.0f} s", flush=True)
            seen = 0.0
    module.eval().requires_grad_(False)
    noted = {
        "training": training.describe(),
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "pictures": len(images),
        "seconds": round(step.seconds, 1),
        "threads": torch.get_num_threads(),
        "sha256": _classifier(name, module).fingerprint(),
    }
    weights, about = KEPT / f"{name}.safetensors", KEPT / f"{name}.json"
    with atomic_path(weights) as draft, atomic_path(about) as about_draft:
        save_file(module.state_dict(), draft)
        about_draft.write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")
    checkpoint.unlink()
    print(f"{name}: {time.perf_counter() - began:.0f} s with loading, {weights}")


def _classifier(name: str, module: nn.Module) -> fs.Classifier:
    # No mean and deviation: the first batch norm makes up for what the pixels lack.
    module = module.eval().requires_grad_(False)
    return fs.Classifier(module, labels=LABELS, name=name, input_size=32)


def record(name: str) -> dict[str, Any]:
    """What was noted of a network when it was trained."""
    noted: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8"))
    return noted


def _plain(value: dict[str, Any]) -> Any:
    """As it comes back from a file."""
    return json.loads(json.dumps(value))


def rate(right: int, count: int) -> str:
    """A share with its interval, for a table."""
    low, high = wilson(right, count)
    return f"{percent(right / count)} ({100 * low:.1f} to {100 * high:.1f})"
