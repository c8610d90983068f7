"""The door of network inversion: it checks what is given, trains a generator, and judges it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.classes import class_values
from fluoroscope.engine.first_look import notes_of, remind
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import user_path
from fluoroscope.inversion.generator.conditioning import (
    MOST_OF_A_MATRIX,
    Conditioning,
    conditioning,
)
from fluoroscope.inversion.generator.features import feature_places, last_linear
from fluoroscope.inversion.generator.fitting import Fitting, InversionStep
from fluoroscope.inversion.generator.network import Generator, Shape, is_not_of_lab
from fluoroscope.inversion.generator.network_pass import NetworkPass
from fluoroscope.inversion.generator.result import Inversion, once_each
from fluoroscope.inversion.generator.settings import SOURCES, Settings, as_settings
from fluoroscope.inversion.picture_size import picture_size
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.notices import distinct, tell_all
from fluoroscope.process import random_state_lock
from fluoroscope.training.trainer.checkpoint import sha256

# A class is to be seen once in so many steps, or many are not learnt: on a small network of 1,000
# classes 6.8 % of the samples were predicted as asked after batches of 64, and 92.2 % after 256.
_TURNS = 4
# Batches grow up to so many pictures, and of the presets only where nobody else stated them.
_LARGEST, _GROWS = 256, (None, "ours")


def invert(
    model: Classifier | nn.Module,
    *,
    preset: str | None = None,
    conditioning: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    classes: Sequence[int | str] | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    start: Inversion | None = None,
    at_once: int | None = None,
    checkpoint: str | Path | None = None,
    on_step: Callable[[InversionStep], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **settings: Any,
) -> Inversion:
    """Train a generator of pictures that a network classifies as asked.

    :class:`InversionRun` for those who want its result alone; arguments and errors are that one's.

    Args:
        model: the network under study; never changed.
        preset: ``ours`` (the default), ``paper``, ``lab`` or ``toward-data``.
        conditioning: how the generator is told the class: ``label``, ``vector``, ``one-hot``,
            ``matrix``, ``vector-matrix`` or ``embedding``.
        steps: batches that are learnt from.
        batch_size: pictures in each; by default the preset's, and with ``ours`` up to four times as
            many where there are more than four classes for each.
        classes: those to learn, by name or index; by default all.
        size: of the pictures, ``(height, width)`` or one side; by default the network's own.
        seed: for everything random.
        start: an inversion to go on from.
        at_once: pictures that go through the network at once; the result does not depend on it.
        checkpoint: a file that the training is kept in while it goes on.
        on_step: called with every step.
        cancelled: asked after every step; the result is then what there is.
        settings: any other field of :class:`.Settings`, its weights and its forms.
    """
    run = InversionRun(
        model, preset=preset, conditioning=conditioning, steps=steps, batch_size=batch_size,
        classes=classes, size=size, seed=seed, start=start, at_once=at_once,
        checkpoint=checkpoint, **settings,
    )  # fmt: skip
    for step in run:
        if on_step is not None:
            on_step(step)
        if cancelled is not None and cancelled():
            run.cancel()
            break
    return run.result


class InversionRun:
    """One inversion of a network: iterate for its steps, then take its ``result``.

    Args:
        model: the network under study; never changed.
        preset: ``ours`` (the default), ``paper``, ``lab`` or ``toward-data``; what of each is
            whose stands in ``SOURCES`` of :mod:`.settings`.
        conditioning: how the generator is told the class: ``label``, ``vector``, ``one-hot``,
            ``matrix``, ``vector-matrix`` or ``embedding``.
        classes: those to learn, by name or index; by default all.
        size: of the pictures, ``(height, width)`` or one side; by default the network's own.
        seed: for everything random.
        start: an inversion to go on from, whose generator has the same layers.
        at_once: pictures that go through the network at once; halved when memory runs out.
        checkpoint: a file that the training is kept in. If it is there the training goes on from
            it, to the bytes of one that was never broken off.
        options: any field of :class:`.Settings`, its weights and its forms.

    Raises:
        UnknownLabelError: a class that the network does not have.
        InvalidParameterError: settings out of range or that do not go together, a network without
            features that can be read, terms or pictures that are not finite, or the checkpoint of
            another training.
        ModelFormatError: a checkpoint that cannot be read.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """

    def __init__(
        self,
        model: Classifier | nn.Module,
        *,
        preset: str | None = None,
        classes: Sequence[int | str] | None = None,
        size: int | tuple[int, int] | None = None,
        seed: int = 0,
        start: Inversion | None = None,
        at_once: int | None = None,
        checkpoint: str | Path | None = None,
        **options: Any,
    ) -> None:
        model = as_classifier(model)
        self._model, self._seed = model, randomness.as_seed(seed)
        height, width = picture_size(model, size)
        by_default = options.get("conditioning") is None
        settings = as_settings(preset, **{k: v for k, v in options.items() if v is not None})
        if by_default:
            settings = for_so_many(settings, model.num_classes)
        told, self._notes = conditioning(
            settings.conditioning, model.num_classes, settings.temperature, settings.confidence
        )
        wanted = range(model.num_classes) if classes is None else classes
        self._classes = _classes(model, wanted)
        settings, more = _batches(
            settings, len(self._classes), options.get("batch_size") is None and preset in _GROWS
        )
        tell_all(more, stacklevel=2)
        self._notes += more
        shape, more = _shape(settings, model.channels, height, width, told)
        self._notes += more
        self._preset, self.settings = preset or "ours", settings
        remind(model)
        blank = torch.full(
            (1, model.channels, height, width), 0.5, dtype=model.dtype, device=model.device
        )
        self.generator = _made(shape, told, self._seed, model)
        # A generator learns from the network alone, unless it goes on from one that did not.
        self._needs_data = start is not None and start.record.get("needs_data") is True
        if start is not None:
            _load_start(self.generator, start)
        through = _through(model, settings, blank, at_once)
        path = None if checkpoint is None else user_path(checkpoint)
        if path is not None and not path.parent.is_dir():
            raise InvalidParameterError(
                f"checkpoint is {path}, and {path.parent} is no directory; expected a file in one "
                "that is there"
            )
        identity = {
            "fluoroscope": version("fluoroscope"),
            "model_sha256": model.fingerprint(),
            **_flat(settings),
            "seed": self._seed,
            "size": [height, width],
            "classes": self._classes.tolist(),
            "start": None if start is None else sha256(*start.generator.state_dict().values()),
        }
        self.fitting = Fitting(
            model, self.generator, settings, self._classes.to(model.device), self._seed, through,
            path, identity,
        )  # fmt: skip
        self._through, self._cancelled = through, False

    def __len__(self) -> int:
        """Steps that there will be yet, unless it ends early."""
        return 0 if self.fitting.stopped else self.settings.steps - self.fitting.behind

    def __iter__(self) -> Iterator[InversionStep]:
        yield from self.fitting

    def cancel(self) -> None:
        """Let the result be what there is; a checkpoint keeps it."""
        self.fitting.keep()
        self._cancelled = True

    @property
    def result(self) -> Inversion:
        """The generator as it stands, judged by the network that it was made for."""
        fitting, model = self.fitting, self._model
        if not fitting.curve:
            raise InvalidParameterError(
                "the generator learnt nothing yet; expected a step at least"
            )
        short = fitting.behind < self.settings.steps and not fitting.stopped
        ended = f"broken off after step {fitting.behind} of {self.settings.steps}" if short else ""
        record = {
            "preset": self._preset,
            "source": SOURCES[self._preset],
            "settings": asdict(self.settings),
            "temperature": self.generator.conditioning.temperature,
            "shape": self.generator.shape.describe(),
            "classes": self._classes.tolist(),
            "needs_data": self._needs_data,
            "seed": self._seed,
            "steps": fitting.behind,
            "stopped": fitting.stopped or ended,
            "seconds": round(fitting.seconds, 1),
            "features": [str(place) for place in self._through.places],
            "forwards": self._through.forwards,
            "backwards": self._through.backwards,
            **provenance(model),
        }
        notes = distinct([*self._notes, *notes_of(model), fitting.stopped or ended])
        return Inversion(
            generator=self.generator.eval().requires_grad_(False),
            curve=tuple(fitting.curve),
            labels=model.labels,
            record=record,
            notes=tuple(note for note in notes if note),
        ).judged(model)


def _flat(settings: Settings) -> dict[str, Any]:
    """Every setting under its own name, so that the one that differs can be named."""
    told = asdict(settings)
    return {**told.pop("weights"), **told.pop("how"), **told}


def for_so_many(settings: Settings, classes: int) -> Settings:
    """The settings, with an embedding in place of a matrix where there are too many classes."""
    if classes <= MOST_OF_A_MATRIX or not settings.conditioning.endswith("matrix"):
        return settings
    return replace(settings, conditioning="embedding", temperature=None, confidence=None)


def _batches(settings: Settings, classes: int, grows: bool) -> tuple[Settings, tuple[str, ...]]:
    """The settings with a batch for so many classes, and what to say of it."""
    if classes <= _TURNS * settings.batch_size:
        return settings, ()
    usual = settings.batch_size
    if grows:
        wanted = usual * math.ceil(classes / (_TURNS * usual))
        settings = replace(settings, batch_size=min(wanted, _LARGEST))
    if classes <= _TURNS * settings.batch_size:
        return settings, (
            f"{classes:,} classes are learnt, so batches are of {settings.batch_size} pictures in "
            f"place of {usual}; give batch_size={usual} for the usual ones, which are faster",
        )
    enough = math.ceil(classes / _TURNS)
    return settings, (
        f"{classes:,} classes are learnt in batches of {settings.batch_size}, so each is seen once "
        f"in {math.ceil(classes / settings.batch_size)} steps: where samples are not predicted as "
        f"asked, give batch_size={enough} or more, more steps, or fewer classes",
    )


def _shape(
    settings: Settings, channels: int, height: int, width: int, told: Conditioning
) -> tuple[Shape, tuple[str, ...]]:
    """The generator's shape, and what to say where a preset's layers do not make such pictures."""
    shape = Shape(
        channels=channels, height=height, width=width, features=settings.features,
        noise=settings.noise, embedded=settings.embedded, growth=settings.growth,
        norm=settings.norm, dropout=settings.dropout, everywhere=settings.everywhere,
    )  # fmt: skip
    if settings.growth != "lab" or not is_not_of_lab(shape, told.count):
        return shape, ()
    note = (
        f"the laboratory's layers make 28 × 28 pictures of 10 classes, and these are of {height} × "
        f"{width} and {told.count}: other transposed convolutions make them"
    )
    return replace(shape, growth="transposed"), (note,)


def _classes(model: Classifier, classes: Sequence[int | str]) -> Tensor:
    """``(K,)``, each once."""
    asked = [classes] if isinstance(classes, int | str) else list(classes)
    if not asked:
        raise InvalidParameterError("classes is empty; expected one or more of the network's")
    return once_each(class_values(asked, len(asked), model.labels, model.name), model.labels)


def _made(shape: Shape, told: Conditioning, seed: int, model: Classifier) -> Generator:
    """A generator whose weights depend on the seed alone."""
    with (
        random_state_lock,
        torch.random.fork_rng([]),
        torch.inference_mode(False),
        torch.device("cpu"),
    ):
        torch.default_generator.manual_seed(seed)
        return Generator(shape, told).to(model.device, model.dtype)


def _load_start(generator: Generator, start: Inversion) -> None:
    try:
        generator.load_state_dict(start.generator.state_dict())
    except RuntimeError as problem:
        raise InvalidParameterError(
            "start is an inversion whose generator has other layers; expected one of the same "
            "preset, conditioning, classes and size"
        ) from problem


def _through(
    model: Classifier, settings: Settings, blank: Tensor, at_once: int | None
) -> NetworkPass:
    weights = settings.weights
    pairs = weights.cosine or weights.orthogonality
    places = (
        feature_places(model, blank, settings.layer, many=settings.feature_layers) if pairs else ()
    )
    last = last_linear(model, blank) if weights.gradient_penalty else None
    room = None if at_once is None else whole_number("at_once", at_once)
    return NetworkPass(model, places, last, settings.how, room)
