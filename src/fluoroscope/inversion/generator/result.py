"""A generator that inverts a network: what it makes, how it learnt, and what the network says."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.classes import class_values
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.memory import out_of_memory
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.conditioning import Codes, sample_keys
from fluoroscope.inversion.generator.losses import divergence
from fluoroscope.inversion.generator.network import Generator
from fluoroscope.inversion.measures.flags import SAME_PIXELS
from fluoroscope.inversion.measures.pictures import spread
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import tell
from fluoroscope.pictures import html
from fluoroscope.words import as_percent, count, percent, shortened, some

_AT_ONCE = 64
_JUDGED = 1000  # pictures at the most that a generator is judged by
_MOST = 2**31  # values of the pictures that are made by one call
_SHOWN_CLASSES, _SHOWN = 10, 3
CAUTION = (
    "Samples show what this network answers to, not what the classes look like, nor what it "
    "learnt from: it may be sure of pictures that mean nothing to anyone else."
)
"""What stands beside samples that are shown."""


@dataclass(frozen=True, repr=False)
class Samples(html.Shown):
    """``N`` pictures of a generator; all tensors are on the CPU."""

    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, class by class."""
    classes: Tensor
    """``(N,)``, what each was asked to be."""
    codes: Tensor
    """``(N, K)``, the distribution that was asked for."""
    labels: tuple[str, ...]

    def _line(self) -> str:
        names = [shortened(self.labels[one]) for one in dict.fromkeys(self.classes.tolist())]
        return f"{count(len(self.images), 'picture')} of {some(names)}"

    def _view(self) -> Iterator[html.Html]:
        yield html.cards(gallery(self.images, self.classes, self.labels))


@dataclass(frozen=True, kw_only=True, repr=False)
class Inversion(html.Shown):
    """A conditioned generator of pictures that a network classifies as asked."""

    generator: Generator
    """A module: pictures from noise and codes; see :class:`.Generator`."""
    curve: tuple[dict[str, float], ...]
    """A row for each step: ``step``, ``loss``, ``accuracy``, ``confidence`` and each term,
    unweighted; of the batch before the update."""
    labels: tuple[str, ...]
    """Of the network's classes."""
    record: dict[str, Any]
    """How it was made, as plain values; under ``judged`` what the network says of samples."""
    notes: tuple[str, ...] = ()
    shown: Samples | None = field(default=None, compare=False)
    """A few samples, for eyes."""

    def sample(
        self,
        classes: int | str | Sequence[int | str] | None = None,
        n: int = 1,
        seed: int = 0,
        *,
        temperature: float | None = None,
        dropout: bool = True,
    ) -> Samples:
        """``n`` pictures of each class.

        What is drawn for a picture depends on the seed, its class and its number alone; the picture
        is the same, but for the rounding of sums, alone and among others.

        Args:
            classes: by name or index, each once; by default all that were learnt.
            n: of each class.
            seed: for noise, codes and dropout.
            temperature: of soft vectors, in place of the one that was trained with.
            dropout: whether it works, as it did in training; without it the pictures of a class
                differ less.

        Raises:
            UnknownLabelError: a class that the network does not have.
            InvalidParameterError: a class twice or that was not learnt, or other numbers that
                cannot be.
        """
        n, seed = whole_number("n", n), randomness.as_seed(seed)
        asked_for = self._wanted(classes)
        shape = self.generator.shape
        values = len(asked_for) * shape.channels * shape.height * shape.width
        if n * values > _MOST:
            raise InvalidParameterError(
                f"n is {n:,}, and {count(len(asked_for), 'class', 'classes')} of so many pictures "
                f"fill any memory; expected at most {max(1, _MOST // values):,} at once: other "
                "seeds give others"
            )
        wanted = asked_for.repeat_interleave(n)
        numbers = torch.arange(n, device="cpu").repeat(len(wanted) // n)
        parts: list[Tensor] = []
        asked: list[Tensor] = []
        room, done = _AT_ONCE, 0
        while done < len(wanted):
            rows = slice(done, done + room)
            try:
                images, codes = self._make(wanted[rows], numbers[rows], seed, temperature, dropout)
            # In whatever way the device says it.
            except Exception as problem:
                if not out_of_memory(problem) or room == 1:
                    raise
                many = min(room, len(wanted) - done)
                room = max(1, many // 2)
                tell(f"memory ran out with {count(many, 'sample')} at once; going on with {room}")
                continue
            parts.append(images.cpu())
            asked.append(codes.asked.cpu())
            done += room
        return Samples(torch.cat(parts), wanted, torch.cat(asked), self.labels)

    def _make(
        self,
        classes: Tensor,
        numbers: Tensor,
        seed: int,
        temperature: float | None,
        dropout: bool,
    ) -> tuple[Tensor, Codes]:
        generator = self.generator
        device = next(generator.parameters()).device
        keys = sample_keys(seed, classes, numbers).to(device)
        wanted = classes.to(device)
        with torch.inference_mode(False), torch.no_grad():
            codes = generator.conditioning.codes(wanted, keys, temperature)
            modes = {part: part.training for part in generator.modules()}
            generator.eval()
            try:
                made = generator(
                    generator.noise(keys), wanted, codes.asked, keys if dropout else None
                )
            finally:
                for part, mode in modes.items():
                    part.training = mode
        return made, codes

    def _wanted(self, classes: int | str | Sequence[int | str] | None) -> Tensor:
        learnt = self.record["classes"]
        if classes is None:
            return torch.tensor(learnt, device="cpu")
        asked = [classes] if isinstance(classes, int | str) else list(classes)
        if not asked:
            raise InvalidParameterError("classes is empty; expected one or more")
        found = once_each(class_values(asked, len(asked), self.labels), self.labels)
        strange = [self.labels[one] for one in found.tolist() if one not in set(learnt)]
        if strange:
            raise InvalidParameterError(
                f"{strange[0]} is no class that this generator learnt; expected one of "
                f"{some([self.labels[one] for one in learnt])}"
            )
        return found

    def judged(self, model: Classifier, seed: int = 1) -> "Inversion":
        """The same, with what the network says of samples that it did not learn from.

        ``record["judged"]``: ``pictures``, ``accuracy`` (share predicted as asked),
        ``confidence`` (mean probability of the class), ``kl`` (mean divergence from what was asked,
        in nats), ``spread`` (mean over classes of a pixel's standard deviation, as ``assess`` takes
        it), ``collapsed`` (the classes whose pictures are all the same, by name).
        """
        each = max(2, min(100, _JUDGED // len(self.record["classes"])))
        made = self.sample(n=each, seed=seed)
        logs = []
        for part in made.images.split(_AT_ONCE):
            said = evaluate(model, part.to(model.device, model.dtype)).logits.double().cpu()
            logs.append(said if model.log_probabilities else said.log_softmax(1))
        answers = torch.cat(logs)
        own = answers.gather(1, made.classes[:, None])[:, 0].exp()
        spreads = [spread(mine) for mine in made.images.split(each)]
        judged = {
            "pictures": len(answers),
            "accuracy": float((answers.argmax(1) == made.classes).double().mean()),
            "confidence": float(own.mean()),
            "kl": float(divergence(made.codes, answers).mean()),
            "spread": math.fsum(spreads) / len(spreads),
            "collapsed": [
                self.labels[one]
                for one, own in zip(self.record["classes"], spreads, strict=True)
                if own < SAME_PIXELS
            ],
        }
        few = self.record["classes"][:_SHOWN_CLASSES]
        chosen = [(made.classes == one).nonzero()[:_SHOWN, 0] for one in few]
        rows = torch.cat(chosen)
        shown = Samples(made.images[rows], made.classes[rows], made.codes[rows], self.labels)
        return replace(self, record=self.record | {"judged": judged}, shown=shown)

    def describe(self) -> dict[str, Any]:
        """All that is known of it but its weights, as plain values."""
        return {**self.record, "labels": list(self.labels), "notes": list(self.notes)}

    def save(self, directory: str | Path) -> list[Path]:
        """Write ``generator.safetensors`` and ``generator.json`` into a directory.

        Raises:
            InvalidParameterError: the directory cannot be made or written to.
        """
        from fluoroscope.inversion.generator.generator_files import save_generator

        few = self.shown
        shown = (
            {}
            if few is None
            else {"images": few.images, "classes": few.classes, "codes": few.codes}
        )
        return save_generator(directory, self.generator, self.curve, self.describe(), shown)

    @classmethod
    def load(cls, directory: str | Path, model: Classifier | None = None) -> "Inversion":
        """What :meth:`save` wrote, for the network that it was made for, where that is given.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
            InvalidParameterError: it was made for another network.
        """
        from fluoroscope.inversion.generator.generator_files import load_generator

        generator, curve, record, shown = load_generator(directory)
        labels, notes = tuple(record.pop("labels")), tuple(record.pop("notes"))
        if model is not None:
            if model.fingerprint() != record["model_sha256"]:
                raise InvalidParameterError(
                    f"{directory} holds a generator for another network ({record['model']}) than "
                    f"{model.name}, or for the same with other weights; expected its own"
                )
            generator = generator.to(model.device, model.dtype)
        samples = None if shown is None else Samples(*shown, labels)
        return cls(
            generator=generator, curve=curve, labels=labels, record=record, notes=notes,
            shown=samples,
        )  # fmt: skip

    def _line(self) -> str:
        judged = self.record["judged"]
        said = (
            f", {percent(judged['accuracy'])} of {judged['pictures']:,} samples predicted as "
            f"asked at {as_percent(judged['confidence'])} on average"
        )
        return f"generator for {self.record['model']}{said}"

    def _view(self) -> Iterator[html.Html]:
        record, judged = self.record, self.record["judged"]
        settings = record["settings"]
        weights = [f"{name} {value:g}" for name, value in settings["weights"].items() if value]
        yield html.facts(
            [
                ("told the class by", settings["conditioning"]),
                ("lowered", ", ".join(weights)),
                ("dropout", f"{record['shape']['dropout']:g} of the channels, also in samples"),
                ("learnt in", f"{record['steps']} steps of {settings['batch_size']}"),
                ("divergence from what was asked", f"{judged['kl']:.3g} nats"),
                ("spread of a pixel within a class", f"{judged['spread']:.3g}"),
                ("preset", record["preset"]),
            ]
        )
        if self.shown is not None:
            yield html.cards(gallery(self.shown.images, self.shown.classes, self.labels))
        yield html.notes(self.notes)


def once_each(classes: Tensor, labels: Sequence[str]) -> Tensor:
    """The classes ``(K,)``.

    Raises:
        InvalidParameterError: one of them is there twice.
    """
    seen: set[int] = set()
    for one in classes.tolist():
        if one in seen:
            raise InvalidParameterError(
                f"the class {labels[one]} is given twice; expected each once"
            )
        seen.add(one)
    return classes


def gallery(
    images: Tensor, classes: Tensor, labels: Sequence[str]
) -> Iterator[Sequence[html.Html]]:
    """Pictures ``(N, C, H, W)`` side by side, a few of each class under its name."""
    for one in list(dict.fromkeys(classes.tolist()))[:_SHOWN_CLASSES]:
        rows = (classes == one).nonzero()[:_SHOWN, 0]
        name = shortened(labels[one])
        yield [
            html.picture(images[row], name if k == 0 else "", side=56)
            for k, row in enumerate(rows.tolist())
        ]
