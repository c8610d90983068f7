"""The training of a generator, as a stream of steps.

A step makes pictures, sends them through the network and back (:class:`.NetworkPass`), goes back
through the generator with what came of it, and lets Adam move the generator's weights. All that is
random is hashed from the seed and the number of the picture, so a training that was broken off goes
on to the same bytes, and no global random state is touched.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.memory import out_of_memory
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.conditioning import Codes, sample_keys
from fluoroscope.inversion.generator.losses import (
    OF_NETWORK,
    OF_NOISE,
    OF_PICTURES,
    TERMS,
    cross_entropy,
    divergence,
    magnitude,
)
from fluoroscope.inversion.generator.network import Generator
from fluoroscope.inversion.generator.network_pass import NetworkPass
from fluoroscope.inversion.generator.settings import Settings
from fluoroscope.inversion.variation import total_variation
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures import html
from fluoroscope.training.trainer.checkpoint import load_checkpoint, read_step, save_checkpoint
from fluoroscope.training.trainer.recipe import half_cosine
from fluoroscope.words import as_percent, count, duration, percent

# Seconds after which a checkpoint is written.
CHECKPOINT_EVERY = 30.0
# The numbers of training pictures are hashed beside this, those of samples beside their class.
_TRAINING = -1
_DRAW_SIGNS = 1000
# Better by less than this share is no longer better.
_BETTER = 0.01
# So many neighbours are of one class where pairs within a class are told apart.
_TOGETHER = 4

Row = dict[str, float]
"""Of one step: ``step``, ``loss``, ``accuracy``, ``confidence``, and each term, unweighted."""


@dataclass(frozen=True, repr=False)
class InversionStep(html.Shown):
    """What one batch taught the generator; its pictures were made before the update."""

    number: int
    """From 1."""
    steps: int
    """That there will be, unless it ends early."""
    row: Row
    """Accuracy and mean confidence of the batch, the loss and each of its terms, unweighted."""
    learning_rate: float
    seconds: float
    """Since the start; of a training that went on, without the pause."""
    pictures: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, the batch, on the network's device."""
    classes: Tensor
    """``(N,)``, what each is to be predicted as."""

    def _line(self) -> str:
        row = self.row
        return (
            f"{self.number} of {self.steps}: loss {row['loss']:.4g}, {percent(row['accuracy'])} of "
            f"the batch predicted as asked at {as_percent(row['confidence'])} on average, "
            f"{duration(self.seconds)}"
        )


class Fitting:
    """One training of a generator: iterate for its steps.

    Args:
        model: the network under study, which is not changed.
        generator: what is trained, in place, on the network's device.
        settings: how.
        classes: ``(K,)``, those that are learnt.
        seed: for everything random.
        through: how batches go through the network.
        checkpoint: a file that the training is kept in while it goes on; it goes on from it.
        identity: what makes two trainings the same, as plain values.

    Raises:
        InvalidParameterError: the checkpoint of another training.
        ModelFormatError: a checkpoint that cannot be read.
    """

    def __init__(
        self,
        model: Classifier,
        generator: Generator,
        settings: Settings,
        classes: Tensor,
        seed: int,
        through: NetworkPass,
        checkpoint: Path | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.generator, self.settings = generator, settings
        self.curve: list[Row] = []
        self.stopped: str = ""
        """Why it ended before its last step; ``""`` if it did not."""
        self._model, self._classes, self._seed, self._through = model, classes, seed, through
        self._optimiser = torch.optim.Adam(
            generator.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._checkpoint, self._identity = checkpoint, identity or {}
        self._kept = 0
        self.seconds = 0.0
        """That the training took, without pauses."""
        found = None if checkpoint is None else read_step(checkpoint, self._identity)
        if found is not None and checkpoint is not None:
            load_checkpoint(checkpoint, generator, self._optimiser)
            self._resume(found, checkpoint)

    def _resume(self, found: dict[str, Any], path: Path) -> None:
        from fluoroscope.errors import ModelFormatError

        try:
            self.curve = [{key: float(row[key]) for key in row} for row in found["curve"]]
            self.seconds, self.stopped = float(found["seconds"]), str(found["stopped"])
            self._through.forwards = int(found["forwards"])
            self._through.backwards = int(found["backwards"])
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise ModelFormatError(
                f"{path} cannot be read as a checkpoint of a generator; expected one that this "
                "training left: delete it to begin anew"
            ) from problem
        self._kept = len(self.curve)

    @property
    def behind(self) -> int:
        """Steps that are made."""
        return len(self.curve)

    def __iter__(self) -> Iterator[InversionStep]:
        began = perf_counter() - self.seconds
        written = perf_counter()
        while self.behind < self.settings.steps and not self.stopped:
            number = self.behind + 1
            # Not over the yield: whoever watches has grad and inference modes of their own.
            with torch.inference_mode(False), torch.enable_grad():
                pictures, classes, row, rate = self._step(number)
            self.curve.append(row)
            self.seconds = perf_counter() - began
            self.stopped = self._enough()
            if perf_counter() - written >= CHECKPOINT_EVERY:
                self.keep()
                written = perf_counter()
            yield InversionStep(
                number, self.settings.steps, row, rate, self.seconds, pictures, classes
            )
        self.keep()

    def keep(self) -> None:
        """Write where it stands, if there is a place for it and the weights are finite."""
        if self._checkpoint is None or self._kept == self.behind:
            return
        if not all(bool(one.isfinite().all()) for one in self.generator.parameters()):
            return
        step = {
            "curve": self.curve, "seconds": self.seconds, "stopped": self.stopped,
            "forwards": self._through.forwards, "backwards": self._through.backwards,
        }  # fmt: skip
        save_checkpoint(self._checkpoint, self.generator, self._optimiser, (), self._identity, step)
        self._kept = self.behind

    def _step(self, number: int) -> tuple[Tensor, Tensor, Row, float]:
        settings, generator = self.settings, self.generator
        keys, classes = self._batch(number)
        codes = generator.conditioning.codes(classes, keys)
        generator.train()
        try:
            pictures = generator(generator.noise(keys), classes, codes.asked, keys)
        except Exception as problem:  # in whatever way the device says it
            raise self._too_large(problem) from problem
        made = pictures.detach().to(self._model.dtype)
        self._finite("the generator's pictures", made.sum(), number)
        losses, gradient, logits = self._losses(made, codes, keys)
        pull = gradient.to(pictures.dtype)
        total = (pictures * pull).sum()
        for name, weight in settings.weights.given(OF_PICTURES).items():
            if name == "magnitude":
                found = magnitude(pictures, self._model.preprocessing.mean).mean()
            else:
                found = total_variation(pictures).mean()
            total = total + weight * found
            losses[name] = found.detach().double()
        logs = logits if self._model.log_probabilities else logits.double().log_softmax(1)
        row = self._row(number, losses, logs, codes)
        self._optimiser.zero_grad()
        try:
            total.backward()
        except Exception as problem:
            raise self._too_large(problem) from problem
        slopes = [one.grad for one in generator.parameters() if one.grad is not None]
        length = torch.stack(torch._foreach_norm(slopes)).sum()
        self._finite("the gradient at the generator's weights", length, number)
        rate = settings.learning_rate
        if settings.falling:
            rate *= half_cosine(number, settings.steps)
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.step()
        return made, classes, row, rate

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Keys and classes ``(N,)`` of the pictures of a step: every class as often as the next."""
        size, device = self.settings.batch_size, self._classes.device
        own = torch.arange(size, device=device) + (number - 1) * size
        keys = sample_keys(self._seed, torch.full_like(own, _TRAINING), own)
        within = self.settings.how.within and size < _TOGETHER * len(self._classes)
        turn = own // (_TOGETHER if within else 1)
        return keys, self._classes[turn % len(self._classes)]

    def _losses(
        self, made: Tensor, codes: Codes, keys: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        weights = self.settings.weights
        of_network, of_noise = weights.given(OF_NETWORK), weights.given(OF_NOISE)
        losses: dict[str, Tensor] = {}
        gradient = torch.zeros_like(made)
        logits = None
        if of_network:
            found = self._through(made, codes, of_network)
            losses, gradient, logits = dict(found.losses), found.gradient, found.logits
        if of_noise:
            signs = randomness.uniform(keys, _DRAW_SIGNS, tuple(made.shape[1:])) < 0.5
            strength = self.settings.noise_strength
            moved = made + torch.where(signs, -strength, strength).to(made.dtype)
            found = self._through(moved.clamp(0, 1), codes, of_noise)
            losses |= found.losses
            gradient = gradient + found.gradient * ((moved >= 0) & (moved <= 1))
            logits = found.logits if logits is None else logits
        assert logits is not None
        return losses, gradient, logits

    def _row(self, number: int, losses: dict[str, Tensor], logs: Tensor, codes: Codes) -> Row:
        """The numbers of a step; the divergence and the cross-entropy stand in every one."""
        plain = {
            "kl": divergence(codes.asked, logs).mean(),
            "cross_entropy": cross_entropy(codes.classes, logs).mean(),
        }
        given = asdict(self.settings.weights)
        values = {**plain, **losses}
        row: Row = {"step": number}
        for name in TERMS:
            if name in values:
                row[name] = self._finite(f"the term {name}", values[name], number)
        total = sum(given[name] * row[name] for name in losses)
        row["loss"] = self._finite("the weighted sum of the terms", total, number)
        own = logs.gather(1, codes.classes[:, None])[:, 0].exp()
        row["accuracy"] = float((logs.argmax(1) == codes.classes).double().mean())
        row["confidence"] = float(own.mean())
        return row

    def _finite(self, what: str, value: Tensor | float, number: int) -> float:
        found = float(value)
        if math.isfinite(found):
            return found
        where = "nothing was kept: give checkpoint= to keep the last good one"
        if self._checkpoint is not None:
            self.keep()
            where = (
                f"the generator after step {self._kept} stands in {self._checkpoint}"
                if self._kept
                else "no step before it was worth keeping"
            )
        raise InvalidParameterError(
            f"{what} became {found} at step {number}; expected a finite number: lower "
            f"learning_rate ({self.settings.learning_rate:g}) or the weights; {where}"
        )

    def _too_large(self, problem: Exception) -> Exception:
        if not out_of_memory(problem):
            return problem
        size = self.settings.batch_size
        return InvalidParameterError(
            f"memory ran out in the generator with {count(size, 'picture')} in a batch; expected a "
            f"smaller batch_size, such as {max(2, size // 2)}, or fewer features"
        )

    def _enough(self) -> str:
        """Why it may end now: nothing got better lately; ``""`` where it may not."""
        span = self.settings.patience
        if span is None or self.behind < 2 * span or self.behind % max(1, span // 4):
            return ""
        before, lately = self.curve[-2 * span : -span], self.curve[-span:]

        def mean(rows: list[Row], name: str) -> float:
            return math.fsum(row[name] for row in rows) / len(rows)

        for name in ("loss", "kl"):
            was, now = mean(before, name), mean(lately, name)
            if was - now > _BETTER * abs(was):
                return ""
        if mean(lately, "accuracy") - mean(before, "accuracy") > _BETTER:
            return ""
        return (
            f"stopped after step {self.behind} of {self.settings.steps}: in the last "
            f"{span} steps neither the loss, nor the divergence, nor the accuracy got better by "
            f"{percent(_BETTER, 0)} over the {span} before"
        )
