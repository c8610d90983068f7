"""Small networks for digits on which the plans of evaluations are compared, each trained in a way
that makes attacks work harder.

Those of ``REPORTED`` are for the published tables alone; whoever chooses a plan's settings looks at
those of ``CHOSEN_ON``. They are trained here, in seconds to minutes on one processor core, and kept
in ``KEPT`` with a record beside them; one whose training is described otherwise is made anew.

* **Label smoothing** (Szegedy et al. 2016, 1512.00567, section 7): the truth counts ``1 - s`` and
  all classes share ``s``. Logits stay close together, and the cross-entropy has a floor.
* **Defensive distillation** (Papernot et al. 2016, 1511.04508): teacher and student learn from
  logits divided by ``T`` and answer undivided, so their logits are about ``T`` times as large, a
  softmax in float32 saturates, and the gradient of the cross-entropy vanishes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.threats import L2, Linf
from fluoroscope.files import atomic_set
from fluoroscope.models.builtin import build_architecture, digits_classifier
from fluoroscope.training.losses.adversarial import FGSMLoss, PGDLoss
from fluoroscope.training.trainer.fitting import cross_entropy, fit
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Loss, Moment
from reproductions.sources import mnist

KEPT = Path("out/reproductions/verdicts/networks")


@dataclass(frozen=True)
class Smoothed:
    """Cross-entropy to labels of which all classes have a share of ``smoothing``."""

    smoothing: float

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        logits = module(images)
        return F.cross_entropy(logits, labels, label_smoothing=self.smoothing), logits


@dataclass(frozen=True)
class Tempered:
    """Cross-entropy of logits that are divided by the temperature, to labels or to a teacher."""

    temperature: float
    taught: Tensor | None = None
    """``(pictures, classes)``, the teacher's probabilities."""

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        logits = module(images)
        targets = labels if self.taught is None else self.taught[moment.indices]
        return F.cross_entropy(logits / self.temperature, targets), logits


@dataclass(frozen=True)
class Training:
    """How a network is made: learning from a loss, or twice by distillation."""

    loss: Loss = cross_entropy
    distilled: bool = False
    """Whether a network so trained teaches another one of the same architecture."""
    architecture: str = "digits-cnn"
    epochs: int = 2
    learning_rate: float = 3e-3
    pictures: int = 20_000
    seed: int = 0

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        loss = self.loss
        settings = loss.describe() if isinstance(loss, FGSMLoss | PGDLoss) else _plain(loss)
        return {name: value for name, value in vars(self).items() if name != "loss"} | {
            "loss": settings
        }


REPORTED = {
    "label-smoothed": Training(Smoothed(0.1)),
    "distilled": Training(Tempered(100.0), distilled=True, learning_rate=5e-3),
    "against-one-step": Training(
        FGSMLoss(threat=Linf(0.3), alpha=0.0, ramp=0.35), architecture="digits-robust", epochs=4,
        learning_rate=5e-3, pictures=60_000,
    ),
}  # fmt: skip
CHOSEN_ON = {
    "other-label-smoothed": Training(Smoothed(0.2), seed=1),
    "other-distilled": Training(
        Tempered(20.0), distilled=True, learning_rate=5e-3, seed=1
    ),
    "against-many-steps": Training(
        PGDLoss(threat=Linf(0.2), steps=5, ramp=0.35), architecture="digits-robust", epochs=3,
        learning_rate=5e-3, seed=1,
    ),
    "against-l2": Training(
        PGDLoss(threat=L2(1.5), steps=5, ramp=0.35), architecture="digits-robust", epochs=3,
        learning_rate=5e-3, seed=1,
    ),
}  # fmt: skip
NETWORKS = REPORTED | CHOSEN_ON


def network(name: str) -> fs.Classifier:
    """One of ``NETWORKS``, trained now if it was not before."""
    training, weights, about = NETWORKS[name], *_files(name)
    if not weights.is_file() or json.loads(about.read_text("utf-8"))["training"] != _read_back(
        training.describe()
    ):
        _train(name, training)
    module = build_architecture(training.architecture)
    module.load_state_dict(load_file(weights))
    return digits_classifier(name, module.eval().requires_grad_(False))


def _train(name: str, training: Training) -> None:
    began = time.perf_counter()
    module = _taught(training, training.loss)
    if training.distilled:
        assert isinstance(training.loss, Tempered)
        temperature = training.loss.temperature
        images, _ = mnist("train", training.pictures)
        with torch.no_grad():
            logits = torch.cat([module(part) for part in images.split(1000)])
        lesson = Tempered(temperature, (logits / temperature).softmax(1))
        module = _taught(training, lesson)
    noted = {"training": training.describe(), "seconds": round(time.perf_counter() - began, 1)}
    KEPT.mkdir(parents=True, exist_ok=True)
    with atomic_set(*_files(name)) as (draft, about):
        save_file(module.state_dict(), draft)
        about.write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")


def _taught(training: Training, loss: Loss) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(training.seed)
        module = build_architecture(training.architecture)
    recipe = Recipe(training.epochs, batch_size=128, learning_rate=training.learning_rate)
    last = fit(module, *mnist("train", training.pictures), recipe, seed=training.seed, loss=loss)
    print(last, flush=True)
    return module.eval().requires_grad_(False)


def _files(name: str) -> tuple[Path, Path]:
    return KEPT / f"{name}.safetensors", KEPT / f"{name}.json"


def _plain(loss: Callable[..., Any]) -> Any:
    return asdict(loss) if isinstance(loss, Smoothed | Tempered) else "cross-entropy"


def _read_back(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value))
