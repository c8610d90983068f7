"""The whole job behind ``fluoroscope train``: load, fit, judge, write.

The weights in the package are the product of exactly this; the record beside them says of what.
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

from fluoroscope.data.imageset import load_images
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError, UnknownDataError
from fluoroscope.files import atomic_path, output_directory
from fluoroscope.models.builtin import build_architecture, digits_classifier
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.augmentation import rewrite
from fluoroscope.training.fit import FitStep, Recipe, accuracy, fit_stream

RECIPES = {
    "digits-linear": Recipe(epochs=30, batch_size=256, learning_rate=4e-3, augment=rewrite),
    "digits-cnn": Recipe(
        epochs=12,
        batch_size=128,
        learning_rate=3e-3,
        weight_decay=0.02,
        augment=partial(rewrite, coarse=0.5, shake=0.5),
    ),
}
# Training pictures are held in memory as 8-bit pixels, up to this many bytes.
MEMORY = 2**30
# At most so many of the last training pictures, and at most a tenth, judge each epoch instead.
HELD_OUT = 2000

NOTE = (
    "The weights were learnt from the training split alone, never from the test split or the "
    "built-in pictures; the recipe was chosen with the accuracy on both in view."
)


@dataclass(frozen=True)
class Trained:
    """A trained network, and where it was written."""

    classifier: Classifier
    record: dict[str, Any]
    """How it was made and what it reached, as plain values."""
    weights: Path
    """``NAME.safetensors``; the record lies beside it as ``NAME.json``."""


def train(
    architecture: str,
    data: str | Path,
    *,
    out: str | Path,
    epochs: int | None = None,
    seed: int = 0,
) -> Trained:
    """Train a built-in architecture and write it; `TrainingRun` with nobody watching."""
    run = TrainingRun(architecture, data, out=out, epochs=epochs, seed=seed)
    for _ in run:
        pass
    return run.result


class TrainingRun:
    """One training of a built-in architecture: iterate for its steps, then take its ``result``.

    After the last step the network is judged on the test split and on the built-in pictures, and
    written to ``out``; a run that is broken off writes nothing.

    Args:
        architecture: ``digits-linear`` or ``digits-cnn``.
        data: labelled pictures with the splits ``train`` and ``test``, as `load_images` finds them.
        out: the directory for ``NAME.safetensors`` and ``NAME.json``.
        epochs: how often every picture is seen; by default what the recipe says.
        seed: for everything random.

    Raises:
        UnknownModelError: no such architecture.
        UnknownDataError: no such data or split, or pictures without labels.
        InvalidParameterError: fewer epochs than one, more pictures than memory should hold, or a
            directory that cannot be written to.
    """

    def __init__(
        self,
        architecture: str,
        data: str | Path,
        *,
        out: str | Path,
        epochs: int | None = None,
        seed: int = 0,
    ) -> None:
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            self.classifier = digits_classifier(architecture, build_architecture(architecture))
        recipe = RECIPES[architecture]
        self.recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
        self.seed = seed
        self.out = output_directory(out)
        options = {"--data": data, "--epochs": epochs, "--seed": seed, "--out": out}
        given = [str(part) for pair in options.items() if pair[1] is not None for part in pair]
        self.command = shlex.join(["fluoroscope", "train", architecture, *given])
        self._data = str(data)
        self._train = _read(self.classifier, data, "train")
        self._test = _read(self.classifier, data, "test")
        self._result: Trained | None = None

    def __len__(self) -> int:
        """How many steps there will be."""
        return self.recipe.steps(len(self._train[0]) - self._held_out)

    def __iter__(self) -> Iterator[FitStep]:
        images, labels = self._train
        kept = len(images) - self._held_out
        module, seconds = self.classifier.module, 0.0
        for step in fit_stream(
            module,
            images[:kept],
            labels[:kept],
            self.recipe,
            seed=self.seed,
            held_out=(images[kept:], labels[kept:]) if self._held_out else None,
        ):
            yield step
            seconds = step.seconds
        module.eval().requires_grad_(False)
        self._result = self._write(seconds)

    @property
    def result(self) -> Trained:
        """The trained network; there is one after the last step."""
        if self._result is None:
            raise InvalidParameterError(
                "the network is not trained yet; iterate over the run first"
            )
        return self._result

    @property
    def _held_out(self) -> int:
        return min(HELD_OUT, len(self._train[0]) // 10)

    def _write(self, seconds: float) -> Trained:
        name = self.classifier.name
        weights, record_path = self.out / f"{name}.safetensors", self.out / f"{name}.json"
        content = save(self.classifier.module.state_dict())
        record = self._record(seconds) | {"sha256": hashlib.sha256(content).hexdigest()}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        with atomic_path(weights) as weights_draft, atomic_path(record_path) as record_draft:
            weights_draft.write_bytes(content)
            record_draft.write_text(text, encoding="utf-8")
        return Trained(self.classifier, record, weights)

    def _record(self, seconds: float) -> dict[str, Any]:
        module = self.classifier.module
        pictures = _read(self.classifier, "digits", None)
        recipe = asdict(self.recipe) | {"augment": _describe(self.recipe.augment)}
        return {
            "name": self.classifier.name,
            "command": self.command,
            "seed": self.seed,
            "recipe": recipe,
            "data": {
                "name": self._data,
                "train": len(self._train[0]),
                "held_out": self._held_out,
                "test": len(self._test[0]),
                "train_sha256": _sha256(*self._train),
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


def _read(classifier: Classifier, data: str | Path, split: str | None) -> tuple[Tensor, Tensor]:
    """A whole split: 8-bit images ``(N, 1, 28, 28)`` and labels ``(N,)``."""
    pictures = load_images(data, split, channels=classifier.channels)
    height, width = classifier.input_size or (0, 0)
    size = len(pictures) * height * width
    if size > MEMORY:
        raise InvalidParameterError(
            f"{data} has {len(pictures)} pictures, {size / 2**20:.0f} MiB at {height}×{width}; "
            f"expected at most {MEMORY / 2**20:.0f} MiB: take a part of them"
        )
    images, labels = [], []
    for batch in pictures.batches(1000, fit=classifier):
        if batch.labels is None:
            raise UnknownDataError(f"{data} has pictures without a label; expected one for each")
        images.append((batch.images * 255).round().to(torch.uint8))
        labels.append(batch.labels)
    return torch.cat(images), torch.cat(labels)


def _sha256(images: Tensor, labels: Tensor) -> str:
    return hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()


def _describe(augment: Any) -> str | None:
    if augment is None:
        return None
    if isinstance(augment, partial):
        options = ", ".join(f"{name}={value!r}" for name, value in augment.keywords.items())
        return f"{_describe(augment.func)}({options})"
    return f"{augment.__module__}.{augment.__qualname__}"
