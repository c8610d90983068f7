"""The first look at a network: what can go wrong silently is looked for when it is first used.

With up to four of the first pictures: does an answer come again, does each picture alone get the
same one as among others, are they logits, does anything at all depend on the picture, does a
gradient come back and is it finite, do the pictures lie where the normalisation expects them, are
they not the negatives of those it learnt from, and was anything loaded into the weights. It costs
at most 16 pictures' passes, or 20 where they are dark ink on white, once for a network; what
was found stays with it (:attr:`.Classifier.look`) and is warned of in one go.

It is looked at the networks behind a classifier, not at what is wrapped around them: what a wrapper
does it is meant to do. Only what BPDA puts in a layer's place belongs to the network.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fluoroscope.engine.memory import out_of_memory
from fluoroscope.engine.weights import untouched
from fluoroscope.errors import FluoroscopeError, NoGradientError
from fluoroscope.models.builtin import STATED_BY
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.preprocessing import Preprocessing
from fluoroscope.models.wrappers.around import Around
from fluoroscope.models.wrappers.bpda import BPDA
from fluoroscope.models.wrappers.ensemble import Ensemble
from fluoroscope.models.wrappers.likewise import Likewise
from fluoroscope.models.wrappers.prepared import Prepared
from fluoroscope.models.wrappers.randomised import EOT, random_state_aside
from fluoroscope.notices import tell, tell_all

Kind = Literal[
    "random",
    "batch",
    "constant",
    "outputs",
    "gradient",
    "zero",
    "finite",
    "scale",
    "weights",
    "negative",
]

TURN = "invert= shows it those; leave it out if it is given"
"""What to do where the negatives of the pictures are what a network learnt."""
PICTURES = 4
"""Pictures that are looked at, together and each alone."""
# An accelerator multiplies float32 in 11 bits where it may, in other ways for other batches.
_TF32 = 2.0**-10
# Where normalised pictures hardly ever lie: ordinary ones have means within 2.6 and deviations of
# about 1. A std of at most this says that the network wants 8-bit levels; those lie elsewhere.
_FARTHEST_MEAN, _WIDEST = 5.0, 20.0
_LEVELS = 1.5 / 255
_DARK = 0.01
# Ink on paper: at least so much of a picture is nearly white, and so much of it is dark.
_PAPER, _WHITE, _INK, _DARK_INK = 0.5, 0.9, 0.01, 0.5
# The mean of the digits that the networks within the package learnt from, in white ink on black.
_OWN_MEAN = 0.13
# By how much nearer to that mean negatives are, and how much surer of them (in logits of its
# confidence) a network of which no mean is known.
_NEARER, _SURER = 0.25, 2.0


@dataclass(frozen=True)
class Finding:
    """Something that makes the results of a network doubtful."""

    kind: Kind
    words: str
    """A sentence that names the network."""


@dataclass(frozen=True)
class Look:
    """What a first look at a network found."""

    findings: tuple[Finding, ...] = ()
    information: tuple[str, ...] = ()
    """What is worth knowing only where something is doubtful."""
    pictures: int = 0
    passes: int = 0
    """Pictures that went through the network for it, forward or backward."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the network's results should know, a sentence each."""
        words = tuple(finding.words for finding in self.findings)
        return (*words, *self.information) if words else ()

    def found(self, kind: Kind) -> bool:
        """Whether there is a finding of this kind."""
        return any(finding.kind == kind for finding in self.findings)

    def without(self, *kinds: Kind) -> "Look":
        """The same but for findings of these kinds."""
        kept = tuple(finding for finding in self.findings if finding.kind not in kinds)
        return replace(self, findings=kept)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "doubts": [finding.words for finding in self.findings],
            "information": list(self.information),
            "pictures": self.pictures,
            "passes": self.passes,
        }


_lock = threading.RLock()


def first_look(model: Classifier, images: Tensor) -> None:
    """Look at the networks behind a classifier that nobody has looked at, and warn once.

    Args:
        model: what is about to be used.
        images: ``(N, C, H, W)``, the first pictures it is used with.
    """
    for network, expected in _behind(model):
        look = network.look
        if isinstance(look, Look) and look.found("negative") and not _dark_on_white(images):
            network.look = look.without("negative")  # it is shown others by now
        if network.look is None and len(images):
            with _lock:
                if network.look is not None:  # another thread's, or this one's further up
                    continue
                network.look = Look()
                try:
                    network.look = look_at(network, images)
                except BaseException:
                    network.look = None
                    raise
            _warn(network, expected)


def remind(model: Classifier) -> None:
    """Warn again of what was found earlier, where another result is to be made.

    Not of the first pictures' ink: those that come now may be their negatives.
    """
    for network, expected in _behind(model):
        _warn(network, expected, "negative")


def notes_of(model: Classifier) -> tuple[str, ...]:
    """What a reader of a classifier's results should know of the networks behind it."""
    found = [note for network, expected in _behind(model) for note in _notes(network, expected)]
    return tuple(dict.fromkeys(found))


def is_found(model: Classifier, kind: Kind) -> bool:
    """Whether there is a finding of this kind of a network behind a classifier."""
    looks = [network.look for network, _ in _behind(model)]
    return any(isinstance(look, Look) and look.found(kind) for look in looks)


def remark(model: Classifier, kind: Kind, words: str) -> None:
    """Add what was found while a network was used, and warn of it, once."""
    networks = [network for network, _ in _behind(model)]
    network = networks[0] if len(networks) == 1 else model
    look = network.look or Look()
    assert isinstance(look, Look)
    if not look.found(kind):
        network.look = replace(look, findings=(*look.findings, Finding(kind, words)))
        tell(words)


def look_at(model: Classifier, images: Tensor) -> Look:
    """Look at a plain network with the first of some pictures ``(N, C, H, W)``; nothing is told.

    What the network refuses is no finding: who uses it hears of it in any case.
    """
    pictures = images[:PICTURES].detach()
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        model.held(),
        random_state_aside(images.device),
    ):
        pictures = pictures.clone()
        own = len(pictures)
        if own == 1:  # a neighbour, so that it is not alone
            pictures = torch.cat([pictures, pictures.flip(-1)])
        made = _Looking(model, pictures)
        try:
            made.all()
        except FluoroscopeError:
            pass
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
    return Look(tuple(made.findings), tuple(made.information), own, made.passes)


class _Looking:
    """One look under way."""

    def __init__(self, model: Classifier, pictures: Tensor) -> None:
        self.model, self.pictures = model, pictures
        self.findings: list[Finding] = []
        self.information: list[str] = []
        self.passes = 0

    def all(self) -> None:
        self._weights()
        self._scale()
        try:
            logits = self._answer(self.pictures, gradient=True)
        except NoGradientError:  # it leaves PyTorch on the way
            self._cut()
            logits = self._answer(self.pictures)
        if not bool(logits.isfinite().all()):
            return  # refused by whoever asked
        self._outputs(logits)
        self._negative(logits)
        alone = [self._answer(picture[None]) for picture in self.pictures]
        again = self._answer(self.pictures[:1])
        if bool(((alone[0] - again).abs() > _noise(self.model, logits)).any()):
            self._doubt(
                "random",
                "answers the same picture differently each time: a success here may be luck, and "
                "so may what survives. Take the expectation over its randomness: "
                "EOT(model, samples=20)",
            )
            return
        self._constant(logits)
        if bool(((logits - torch.cat(alone)).abs() > batch_noise(self.model, logits)).any()):
            self._doubt(
                "batch",
                "answers otherwise when a picture lies in a batch with others than when it is "
                "alone: a success need not be one for the picture by itself. Give its batch norm "
                "running statistics, or show it one picture at a time (batch_size=1)",
            )

    def _doubt(self, kind: Kind, words: str) -> None:
        self.findings.append(Finding(kind, f"{self.model.name} {words}"))

    def _answer(self, pictures: Tensor, *, gradient: bool = False) -> Tensor:
        """The logits; with ``gradient`` that of the winners' lead is looked at as well."""
        self.passes += len(pictures) * self.model.passes
        with torch.set_grad_enabled(gradient):
            pixels = pictures.clone().requires_grad_(gradient)
            logits = self.model(pixels)
            if gradient:
                self._gradient(pixels, logits)
        return logits.detach()

    def _gradient(self, pixels: Tensor, logits: Tensor) -> None:
        best = logits.topk(min(2, logits.shape[1]), dim=1).values
        slope = None
        if logits.requires_grad:
            self.passes += len(pixels) * self.model.passes
            try:
                (slope,) = torch.autograd.grad(
                    (2 * best[:, 0] - best.sum(1)).sum(), pixels, allow_unused=True
                )
            # Whatever the backward pass of the user's own code raises.
            except (Exception, SystemExit) as problem:
                if out_of_memory(problem):
                    raise
        if slope is None:
            self._cut()
            return
        rows = slope.flatten(1)
        if not bool(rows.isfinite().all()):
            everywhere = not bool(rows.isfinite().any())
            self.findings.append(Finding("finite", not_finite(self.model, everywhere)))
        flat = int((~rows.any(1)).sum())
        if 2 * flat > len(rows):
            self.findings.append(Finding("zero", zero_gradient(self.model, flat, len(rows))))

    def _cut(self) -> None:
        self._doubt(
            "gradient",
            "lets no gradient through to the pixels: only methods that need none, such as square, "
            "can be used, and what they leave may not be robust",
        )

    def _outputs(self, logits: Tensor) -> None:
        if logits.shape[1] < 2 or self.model.outputs != "logits":
            return
        if bool((logits >= 0).all()) and _adds_to_one(logits):
            self._doubt(
                "outputs",
                "seems to return probabilities, not logits: each answer adds up to 1. State it "
                '(outputs="probabilities"); taken for logits they show other probabilities than '
                "its own, and blunt every attack",
            )
        elif bool((logits <= 0).all()) and _adds_to_one(logits.exp()):
            self.information.append(
                f"{self.model.name} returns log-probabilities, which do as logits"
            )

    def _constant(self, logits: Tensor) -> None:
        others = (self.pictures[1:] != self.pictures[0]).flatten(1).any(1)
        changes = (logits[1:] - logits[0]).abs()[others]
        # Not of what it computes in: pictures of one class come close to each other in bfloat16.
        noise = 10 * torch.finfo(logits.dtype).eps * logits.abs().amax()
        if len(changes) and bool((changes <= noise).all()):
            self._doubt("constant", "gives the same answer whatever the picture")

    def _negative(self, logits: Tensor) -> None:
        """Pictures in dark ink on white, for a network that learnt white ink on black."""
        if not _dark_on_white(self.pictures):
            return
        name, mean = self.model.name, float(self.pictures.mean())
        learnt = _learnt_mean(_inner(self.model))
        if learnt is not None:
            if abs(mean - learnt) > abs(1 - mean - learnt) + _NEARER:
                self._doubt(
                    "negative",
                    f"was given dark ink on white, with a mean of {mean:.2f}; what it learnt from "
                    f"has one of {learnt:.2f}, as the negatives have: {TURN}",
                )
            return
        turned = self._answer(1 - self.pictures)
        own, other = (rows.softmax(1).amax(1).double() for rows in (logits, turned))
        apart = logits.argmax(1) != turned.argmax(1)
        surer = float((apart * (other.logit(1e-6) - own.logit(1e-6))).mean())
        if surer > _SURER:
            self.findings.append(
                Finding(
                    "negative",
                    f"the pictures are dark ink on white, and {name} is far surer of their "
                    f"negatives ({other.mean():.1%} on average, and not {own.mean():.1%}): if it "
                    f"learnt white ink on black, {TURN}",
                )
            )

    def _scale(self) -> None:
        inner = _inner(self.model)
        stated, name = inner.preprocessing, self.model.name
        brightest = float(self.pictures.amax())
        if 0 < brightest <= _DARK:
            self._doubt(
                "scale",
                f"was given pictures that reach {brightest:.2g} of 1 at the brightest: expected "
                "[0, 1]; were they divided by 255 twice?",
            )
        if stated.mean is None and stated.std is None:
            if stated.stated_by.startswith(Preprocessing.stated_by) and not _normalises(inner):
                self.information.append(
                    f"no mean and std are stated for {name}: it sees pictures in [0, 1] as they are"
                )
            return
        seen = stated.normalize(self.pictures)
        mean, deviation = float(seen.mean()), float(seen.std())
        levels = stated.std is not None and max(stated.std) <= _LEVELS
        if (abs(mean) > _FARTHEST_MEAN or deviation > _WIDEST) and not levels:
            self._doubt(
                "scale",
                f"sees pictures with a mean of {mean:.3g} and a deviation of {deviation:.3g} once "
                "they are normalised; expected about 0 and 1: check mean and std, which are on the "
                "[0, 1] scale",
            )

    def _weights(self) -> None:
        layers, whole = untouched(_inner(self.model).module)
        if whole:
            self._doubt(
                "weights",
                "holds the numbers that a network is made with: nothing was learnt or loaded",
            )
        elif layers:
            named = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if layers[3:] else "")
            self._doubt(
                "weights",
                f"has layers with the numbers that they are made with ({named}): nothing was "
                "learnt there or loaded into them",
            )


def _dark_on_white(pictures: Tensor) -> bool:
    """Whether these are grey, mostly nearly white, and have some ink."""
    if pictures.shape[1] != 1:
        return False
    paper, ink = (pictures >= _WHITE).float().mean(), (pictures < _DARK_INK).float().mean()
    return bool((paper >= _PAPER) & (ink >= _INK))


def _learnt_mean(network: Classifier) -> float | None:
    """The mean of the pictures that a network learnt from, where it is stated and says anything."""
    stated = network.preprocessing
    if stated.stated_by == STATED_BY:
        return _OWN_MEAN
    mean = stated.mean[0] if stated.mean else 0.5
    return None if abs(mean - 0.5) < _NEARER / 2 else mean


def not_finite(model: Classifier, everywhere: bool = False) -> str:
    """What is said of a gradient that is not finite at some pixels, or ``everywhere``."""
    where = "every pixel of the first pictures" if everywhere else "some pixels"
    return (
        f"{model.name} has a gradient that is NaN or infinite at {where}, as a root has at "
        "black: there it is taken a hair further inside the box, which costs a second pass, or as "
        "0 where that does not help, so that attacks do not move those pixels"
    )


def batch_noise(model: Classifier, logits: Tensor) -> float:
    """By how much rounding may change logits ``(N, classes)`` with the pictures beside."""
    noise = _noise(model, logits)
    if logits.device.type == "cuda":
        noise = max(noise, math.sqrt(_TF32) * float(logits.abs().amax()))
    return noise


def _noise(model: Classifier, logits: Tensor) -> float:
    return math.sqrt(_epsilon(model, logits)) * float(logits.abs().amax())


def zero_gradient(model: Classifier, flat: int, seen: int) -> str:
    """What is said of a gradient that is zero at every pixel of so many pictures."""
    return (
        f"{model.name} has a gradient of zero at every pixel where {flat} of {seen} searches "
        "begin: what survives there says nothing. Try a method that needs no gradient, "
        "such as square, or replace the layer that hides it (BPDA)"
    )


def _behind(model: Classifier, expected: bool = False) -> Iterator[tuple[Classifier, bool]]:
    """The networks behind a classifier, and whether the expectation of each is taken."""
    match model:
        case Prepared():
            yield from _behind(model.plain, expected)
        case Likewise():
            yield from _behind(model.model, expected)
        case Ensemble():
            for member in model.members:
                yield from _behind(member, expected)
        case Around() if not isinstance(model, BPDA):
            yield from _behind(model.model, expected or isinstance(model, EOT))
        case _:
            yield model, expected


def _inner(model: Classifier) -> Classifier:
    """The network itself, without what BPDA puts around it."""
    while isinstance(model, Around | Prepared):
        model = model.model if isinstance(model, Around) else model.plain
    return model


def _notes(network: Classifier, expected: bool, *others: Kind) -> tuple[str, ...]:
    """What was found but for these kinds, and for randomness whose expectation is taken."""
    look = network.look
    if not isinstance(look, Look):
        return ()
    return look.without(*others, *(("random",) if expected else ())).notes


def _warn(network: Classifier, expected: bool, *but: Kind) -> None:
    tell_all(_notes(network, expected, *but), stacklevel=3)


def _epsilon(model: Classifier, logits: Tensor) -> float:
    """The rounding of what the network computes in."""
    return max(torch.finfo(kind).eps for kind in (logits.dtype, model.precision))


def _adds_to_one(rows: Tensor) -> bool:
    return float((rows.double().sum(1) - 1).abs().max()) < 1e-3


def _normalises(model: Classifier) -> bool:
    """Whether the network's first layer is a normalisation of its own."""
    for part in model.module.modules():
        if not any(part.children()):
            return "norm" in type(part).__name__.lower()
    return False
