"""What a network says of images, in batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.engine.numbers import whole_number
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import as_percent, count, shortened

_MOST_AT_ONCE, _VALUES_AT_ONCE = 64, 2_500_000


@dataclass(frozen=True, repr=False)
class Prediction(html.Shown):
    """Logits and probabilities ``(N, classes)`` of ``N`` images, on the CPU."""

    logits: Tensor
    labels: tuple[str, ...]

    @property
    def probabilities(self) -> Tensor:
        """``(N, classes)``, each row adding to 1."""
        return self.logits.softmax(1)

    @property
    def winners(self) -> Tensor:
        """``(N,)``, the class with the largest logit."""
        return self.logits.argmax(1)

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """For each image its ``count`` most probable labels with their probabilities."""
        values, classes = self.probabilities.topk(min(count, len(self.labels)), dim=1)
        return [
            [(self.labels[c], p) for c, p in zip(row_c, row_p, strict=True)]
            for row_c, row_p in zip(classes.tolist(), values.tolist(), strict=True)
        ]

    def _line(self) -> str:
        pictures = count(len(self.logits), "picture")
        return f"{pictures} among {count(len(self.labels), 'class', 'classes')}{self._first()}"

    def _first(self) -> str:
        if not len(self.logits):
            return ""
        (label, probability), *_ = self.top(1)[0]
        of = "" if len(self.logits) == 1 else "the first "
        return f", {of}predicted as {shortened(label)} at {as_percent(probability)}"

    def _view(self) -> Iterator[html.Html]:
        shown = Prediction(self.logits[: html.ROWS], self.labels).top(3)
        words = [
            [str(row), *(f"{shortened(label)}, {as_percent(sure)}" for label, sure in best)]
            for row, best in enumerate(shown)
        ]
        yield html.table(
            ["picture", "predicted as", "second", "third"][: len(words[0]) if words else 0], words
        )
        left = len(self.logits) - len(words)
        yield html.paragraph(f"and {left:,} more" if left else "")


def predict(model: Classifier | nn.Module, images: Tensor, *, batch_size: int = 64) -> Prediction:
    """Evaluate images ``(N, C, H, W)`` or one ``(C, H, W)`` in ``[0, 1]``.

    Raises:
        InvalidImagesError: no batch of images in range.
        ModelOutputError: no finite logits.
    """
    model = as_classifier(model)
    batch = check_images(images, model.channels)
    logits = logits_of(model, batch, check_batch_size(batch_size))
    return Prediction(logits.cpu(), model.labels)


@torch.inference_mode(False)
def logits_of(model: Classifier, images: Tensor, batch_size: int, *, exact: bool = False) -> Tensor:
    """The logits ``(N, classes)`` of images ``(N, C, H, W)``, on the network's device.

    When memory runs out, the batch is halved. ``exact`` keeps one shape of all batches, the last
    one filled up.
    """
    found: list[Tensor] = []
    done = 0
    while done < len(images):
        part = images[done : done + batch_size].to(model.device, model.dtype)
        short = batch_size - len(part) if exact else 0
        padded = torch.cat([part, part[:1].expand(short, *part.shape[1:])]) if short else part
        try:
            found.append(evaluate(model, padded).logits[: len(part)])
        except RuntimeError as problem:
            batch_size = fewer_at_once(problem, len(padded))
            continue
        done += len(part)
    return torch.cat(found)


def suitable_batch(images: Tensor) -> int:
    """How many images of the size of these ``(N, C, H, W)`` to evaluate at once.

    On a processor no more than hold two and a half million pixel values: a MobileNet at 224×224
    takes 46 ms for each of 16 forward and backward, and 80 ms for each of 32, whose layers the
    memory is cleared for anew.
    """
    if images.device.type != "cpu":
        return _MOST_AT_ONCE
    return max(1, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // images[0].numel()))


def check_batch_size(batch_size: int) -> int:
    """The batch size, if it is one.

    Raises:
        InvalidParameterError: no whole number, or below 1.
    """
    return whole_number("batch_size", batch_size)
