"""The whole job behind ``fluoroscope train``: load, fit, judge, write.

The weights in the package are the product of this; the record beside them says of what. They are
from when the last training pictures were held out, not a share of every class.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from fluoroscope.attacks.gradient.gradient_sign import FGSM, PGD, FixedStep
from fluoroscope.data.imageset import load_images
from fluoroscope.engine.labels import Truth, labelled
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.threats import Linf
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_set, output_directory
from fluoroscope.hashing import as_seed
from fluoroscope.models.builtin import DIGITS, build_architecture, digits_classifier
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures import html
from fluoroscope.process import random_state_lock
from fluoroscope.training.augmentation import rewrite
from fluoroscope.training.checkpoint import describe, read_step, sha256
from fluoroscope.training.classification import accuracy
from fluoroscope.training.fitting import cross_entropy, fit_stream, training_identity
from fluoroscope.training.losses.adversarial import AdversarialLoss, PGDLoss
from fluoroscope.training.losses.by_name import adversarial_loss
from fluoroscope.training.recipe import Recipe
from fluoroscope.training.shares import share_of_each
from fluoroscope.training.step import FitStep, Loss
from fluoroscope.words import percent

RECIPES = {
    "digits-linear": Recipe(epochs=30, batch_size=256, learning_rate=4e-3, augment=rewrite),
    "digits-cnn": Recipe(
        epochs=12,
        batch_size=128,
        learning_rate=3e-3,
        weight_decay=0.02,
        augment=partial(rewrite, coarse=0.5, shake=0.5),
    ),
    "digits-robust": Recipe(epochs=12, batch_size=64, learning_rate=4e-3),
}
# What the recipes lower where it is not the plain cross-entropy.
LOSSES: dict[str, AdversarialLoss] = {
    "digits-robust": PGDLoss(threat=Linf(0.3), steps=7, ramp=0.35)
}
# Training pictures are held in memory as 8-bit pixels, up to this many bytes.
MEMORY = 2**30
# At most so many of the training pictures, and at most a tenth, judge each epoch instead: of every
# class the same share, drawn at random.
HELD_OUT = 2000
# At most so many of these are attacked after each epoch, with so many steps.
HELD_OUT_ATTACKED = 500
HELD_OUT_STEPS = 20
# At most so many of the test pictures, drawn likewise, are attacked at the end.
TEST_ATTACKED = 1000
# The share of the steps over which the radius grows, where nobody says another.
RAMP = 0.35

NOTE = (
    "The weights were learnt from the training split alone, never from the test split or the "
    "built-in pictures; the recipe was chosen with the accuracy on both in view."
)


@dataclass(frozen=True, repr=False)
class Trained(html.Shown):
    """A trained network, and where it was written."""

    classifier: Classifier
    record: dict[str, Any]
    """How it was made and what it reached, as plain values."""
    weights: Path
    """``NAME.safetensors``; the record lies beside it as ``NAME.json``."""

    def _line(self) -> str:
        reached = self.record.get("accuracy", {}).get("test")
        accuracy = "" if reached is None else f", accuracy {percent(reached)} on the test split"
        return f"{self.classifier.name}{accuracy}: {self.weights}"

    def _view(self) -> Iterator[html.Html]:
        record = self.record
        reached, recipe, data = (record.get(name, {}) for name in ("accuracy", "recipe", "data"))
        yield html.facts(
            [
                ("trained on", f"{data.get('train', 0):,} pictures of {data.get('name', '')}"),
                *(
                    (f"accuracy, {name.replace('_', ' ')}", percent(share))
                    for name, share in reached.items()
                ),
                ("epochs", str(recipe.get("epochs", ""))),
                ("against", str(record.get("adversarial", {}).get("method", ""))),
                ("again by", str(record.get("command", ""))),
            ]
        )
        yield html.paragraph(str(record.get("note", "")))


def train(
    architecture: str,
    data: str | Path,
    *,
    out: str | Path,
    epochs: int | None = None,
    seed: int = 0,
    adversarial: str | None = None,
    eps: float | str | None = None,
    adversarial_steps: int | None = None,
    ramp: float | None = None,
) -> Trained:
    """Train a built-in architecture and write it; `TrainingRun` with nobody watching."""
    run = TrainingRun(
        architecture,
        data,
        out=out,
        epochs=epochs,
        seed=seed,
        adversarial=adversarial,
        eps=eps,
        adversarial_steps=adversarial_steps,
        ramp=ramp,
    )
    for _ in run:
        pass
    return run.result


class TrainingRun:
    """One training of a built-in architecture: iterate for its steps, then take its ``result``.

    After the last step the network is judged on the test split and on the built-in pictures, and
    written to ``out``. A run that is broken off leaves ``NAME.checkpoint.safetensors`` there, and
    the same run goes on from it, to the weights of one that was never broken off.

    Args:
        architecture: ``digits-linear``, ``digits-cnn`` or ``digits-robust``.
        data: labelled pictures with the splits ``train`` and ``test``, as `load_images` finds them.
        out: the directory for ``NAME.safetensors`` and ``NAME.json``.
        epochs: how often every picture is seen; by default what the recipe says.
        seed: for everything random.
        adversarial: ``fgsm``, ``pgd`` or ``trades``, to learn from pictures moved against the
            network; by default what the recipe says: ``pgd`` within 0.3 for ``digits-robust``, and
            clean pictures for the others.
        eps: how far a pixel may move, such as 0.3 or ``"8/255"``; none without ``adversarial``.
        adversarial_steps: of the search for each moved picture; by default the method's own.
        ramp: share of the steps over which ``eps`` grows from 0; by default 0.35.

    Raises:
        UnknownModelError: no such architecture.
        UnknownDataError: no such data or split.
        InvalidImagesError, UnknownLabelError: labels that are missing or not the network's.
        InvalidParameterError: fewer epochs than one, more pictures than memory should hold, a
            directory that cannot be written to, settings that do not go together, or the checkpoint
            of another run.
        ModelFormatError: a checkpoint that cannot be read.
    """

    labels: tuple[str, ...] = DIGITS
    """Of the network's outputs."""

    def __init__(
        self,
        architecture: str,
        data: str | Path,
        *,
        out: str | Path,
        epochs: int | None = None,
        seed: int = 0,
        adversarial: str | None = None,
        eps: float | str | None = None,
        adversarial_steps: int | None = None,
        ramp: float | None = None,
    ) -> None:
        seed = as_seed(seed)
        with random_state_lock, torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            module = build_architecture(architecture, len(self.labels))
        self.classifier = digits_classifier(architecture, module, self.labels)
        recipe = RECIPES[architecture]
        self.recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
        self.adversarial: AdversarialLoss | None = LOSSES.get(architecture)
        settings = {"--eps": eps, "--adversarial-steps": adversarial_steps, "--ramp": ramp}
        if adversarial is not None:
            self.adversarial = adversarial_loss(
                adversarial, eps, steps=adversarial_steps, ramp=RAMP if ramp is None else ramp
            )
        elif given := [name for name, value in settings.items() if value is not None]:
            raise InvalidParameterError(
                f"{given[0].strip('-')} is {settings[given[0]]}, but no adversarial training was "
                "asked for; expected --adversarial pgd, fgsm or trades beside it"
            )
        self.seed = seed
        self.out = output_directory(out)
        options = [
            ("--data", data),
            ("--epochs", epochs),
            ("--seed", seed),
            ("--adversarial", adversarial),
            *settings.items(),
            *self._more_options(),
            ("--out", out),
        ]
        said = [str(part) for pair in options if pair[1] is not None for part in pair]
        self.command = shlex.join(["fluoroscope", "train", architecture, *said])
        self._data = str(data)
        images, labels = _read(self.classifier, data, "train")
        self._train_sha256 = sha256(images, labels)
        judges = share_of_each(labels, min(HELD_OUT, len(labels) // 10), seed)
        learnt = torch.ones_like(labels, dtype=torch.bool).index_fill(0, judges, False)
        order = torch.cat([learnt.nonzero()[:, 0], judges])
        self._judges = len(judges)
        # Those that judge come last.
        self._train = images[order], labels[order]
        self._test = _read(self.classifier, data, "test")
        self._result: Trained | None = None
        self._checkpoint = self.out / f"{architecture}.checkpoint.safetensors"
        found = read_step(
            self._checkpoint,
            training_identity(self.classifier.module, *self._kept, self.recipe, seed, self._loss),
        )
        self.behind: int = 0 if found is None else found["number"]
        """Steps that an earlier run of the same training made."""

    def __len__(self) -> int:
        """How many steps there will be; the last of an earlier run is seen again."""
        total = self.recipe.steps(len(self._kept[0]))
        return total - self.behind + 1 if self.behind else total

    def __iter__(self) -> Iterator[FitStep]:
        module, seconds = self.classifier.module, 0.0
        held_out = self._held_out
        for step in self._steps(held_out):
            seconds = step.seconds
            if self.adversarial is not None and held_out is not None and step.held_out is not None:
                images, labels = (part[:HELD_OUT_ATTACKED] for part in held_out)
                attack = PGD(threat=self.adversarial.threat, steps=HELD_OUT_STEPS)
                resisted = _resists(self.classifier, images, labels, attack)
                step = replace(step, held_out_adversarial=resisted / len(images))
            yield step
        module.eval().requires_grad_(False)
        self._result = self._write(seconds)
        self._checkpoint.unlink(missing_ok=True)
        self._ended()

    @property
    def result(self) -> Trained:
        """The trained network; there is one after the last step."""
        if self._result is None:
            raise InvalidParameterError(
                "the network is not trained yet; iterate over the run first"
            )
        return self._result

    # What another way of training says differently.

    @property
    def _loss(self) -> Loss:
        return self.adversarial or cross_entropy

    def _steps(self, held_out: tuple[Tensor, Tensor] | None) -> Iterator[FitStep]:
        return fit_stream(
            self.classifier.module,
            *self._kept,
            self.recipe,
            seed=self.seed,
            held_out=held_out,
            loss=self._loss,
            checkpoint=self._checkpoint,
        )

    def _ended(self) -> None:
        """The result is written."""

    def _more_options(self) -> list[tuple[str, Any]]:
        """Options of the command."""
        return []

    def _more_record(self) -> dict[str, Any]:
        """Of the record."""
        return {}

    def _about_weights(self) -> dict[str, str] | None:
        """What the file of the weights states in its head."""
        return None

    @property
    def _kept(self) -> tuple[Tensor, Tensor]:
        """What is learnt from."""
        images, labels = self._train
        kept = len(images) - self._judges
        return images[:kept], labels[:kept]

    @property
    def _held_out(self) -> tuple[Tensor, Tensor] | None:
        images, labels = self._train
        kept = len(images) - self._judges
        return (images[kept:], labels[kept:]) if self._judges else None

    @property
    def held_out_of_each(self) -> dict[str, int]:
        """By class, how many training pictures judge each epoch and are not learnt from."""
        held_out = self._held_out
        if held_out is None:
            return {}
        many = held_out[1].bincount(minlength=len(self.labels)).tolist()
        return {label: each for label, each in zip(self.labels, many, strict=True) if each}

    def _write(self, seconds: float) -> Trained:
        name = self.classifier.name
        weights, record_path = self.out / f"{name}.safetensors", self.out / f"{name}.json"
        content = save(self.classifier.module.state_dict(), self._about_weights())
        record = self._record(seconds) | {"sha256": hashlib.sha256(content).hexdigest()}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        with atomic_set(record_path, weights) as (record_draft, weights_draft):
            weights_draft.write_bytes(content)
            record_draft.write_text(text, encoding="utf-8")
        return Trained(self.classifier, record, weights)

    def _record(self, seconds: float) -> dict[str, Any]:
        module = self.classifier.module
        pictures = _read(self.classifier, "digits", None)
        recipe = asdict(self.recipe) | {"augment": describe(self.recipe.augment)}
        adversarial = self._adversarial_record()
        return {
            "name": self.classifier.name,
            "command": self.command,
            "seed": self.seed,
            "recipe": recipe,
            **({} if adversarial is None else {"adversarial": adversarial}),
            **self._more_record(),
            "data": {
                "name": self._data,
                "train": len(self._train[0]),
                "held_out": self._judges,
                "held_out_of_each": self.held_out_of_each,
                "test": len(self._test[0]),
                "train_sha256": self._train_sha256,
            },
            "accuracy": {
                "test": accuracy(module, *self._test),
                "built_in_pictures": accuracy(module, *pictures),
            },
            "note": NOTE,
            "parameters": sum(weight.numel() for weight in module.parameters()),
            "seconds": round(seconds, 1),
            "date": datetime.now(UTC).date().isoformat(),
            **provenance(self.classifier),
        }

    def _adversarial_record(self) -> dict[str, Any] | None:
        """How the moved pictures were made, and how the network fares under attack."""
        if self.adversarial is None:
            return None
        images, labels = self._test
        if len(labels) > TEST_ATTACKED:
            chosen = share_of_each(labels, TEST_ATTACKED, self.seed)
            images, labels = images[chosen], labels[chosen]
        threat = self.adversarial.threat
        judged = []
        for attack, steps, restarts in (
            (FGSM(threat=threat), 1, 1),
            (PGD(threat=threat, steps=100), 100, 10),
        ):
            right = _resists(self.classifier, images, labels, attack, restarts)
            judged.append(
                {
                    "attack": type(attack).__name__,
                    "steps": steps,
                    "restarts": restarts,
                    "pictures": len(images),
                    "right": right,
                    "accuracy": right / len(images),
                }
            )
        return {**self.adversarial.describe(), "test": judged}


def _resists(
    classifier: Classifier, images: Tensor, labels: Tensor, attack: FixedStep, restarts: int = 1
) -> int:
    """How many of the 8-bit images are classified correctly, and still are after the attack."""
    result = attack(classifier, images / 255, labels, keep="first", restarts=restarts)
    return int((~result.success).sum())


def _read(classifier: Classifier, data: str | Path, split: str | None) -> tuple[Tensor, Tensor]:
    """A whole split: 8-bit images ``(N, 1, 28, 28)`` and labels ``(N,)``."""
    pictures = labelled(classifier, load_images(data, split, channels=classifier.channels))
    height, width = classifier.input_size or (0, 0)
    size = len(pictures) * height * width
    if size > MEMORY:
        raise InvalidParameterError(
            f"{data} has {len(pictures)} pictures, {size / 2**20:.0f} MiB at {height}×{width}; "
            f"expected at most {MEMORY / 2**20:.0f} MiB: take a part of them"
        )
    images, labels = [], []
    truth = Truth.of(classifier, pictures)
    for batch in pictures.batches(1000, fit=classifier):
        images.append((batch.images * 255).round().to(torch.uint8))
        labels.append(truth.labels(batch))
    return torch.cat(images), torch.cat(labels)
