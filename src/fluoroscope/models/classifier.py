"""The network under study: images in ``[0, 1]`` go in, logits come out."""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, SupportsIndex, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_pre_hooks

from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ModelFormatError,
    ModelOutputError,
)
from fluoroscope.models.first_layer import channels_of, flattened_shape, stated_shape
from fluoroscope.models.frozen import frozen
from fluoroscope.models.labels import find_class, printable
from fluoroscope.models.outputs import Outputs, check_outputs, logits_of
from fluoroscope.models.passes import fixed_size, in_batches, out_of_memory, run_module
from fluoroscope.models.preprocessing import ChannelOrder, Interpolation, Preprocessing, Size
from fluoroscope.models.wording import first_line
from fluoroscope.pictures import html
from fluoroscope.words import count, some

# What networks compute in; others, such as 8 bits, belong to weights alone.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


# Sides of the pictures that most networks were trained on.
_SIDES = (32, 28, 224, 64, 96, 299)


class Look(Protocol):
    """What a first look at a network found."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its results should know, a sentence each."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""


@dataclass
class _Found:
    """What was learnt of a module while it was used; shared by those who wrap it alike."""

    look: Look | None = None
    batch_size: int | None = None
    """How many images it takes at a time, if it takes no other number."""

    def for_a_twin(self) -> "_Found":
        """What stays true of a module in another precision, or with other preprocessing."""
        return _Found(batch_size=self.batch_size)


class Classifier(html.Shown):
    """Any module that maps images to logits, with its preprocessing inside.

    Images are float tensors ``(N, C, H, W)`` in ``[0, 1]``, RGB or grey. The module is never
    changed: during a call it is held in evaluation mode without parameter gradients, and afterwards
    its modes, flags, hooks, gradients, weights and buffers are what they were.

    Args:
        module: maps ``(N, C, H, W)`` to ``(N, classes)`` logits, or to a mapping or object that
            holds them under ``logits``.
        labels: one name for each class, in order.
        mean, std: one number for each channel on the ``[0, 1]`` scale.
        input_size: ``(height, width)`` or one side; ``None`` where any size will do.
        channels: 3 for colour, 1 for grey; read from the first layer by default, or 3 where it does
            not tell.
        channel_order: the order the module wants; images stay RGB outside.
        resize: length of the shorter side, or ``(height, width)``, before the centre crop to
            ``input_size``.
        interpolation: how pictures of another size are resized.
        outputs: what the module returns: ``"logits"``, ``"logit"`` (one number for each image,
            above 0 for the second of two classes), ``"probabilities"``, ``"log-probabilities"``.
        name: how messages and results call the network.
        preprocessing: all of the above at once, for loaders that read it from a source.
    """

    log_probabilities: bool = False
    """Whether its answers are to be taken as log-probabilities, which need not add up to 1."""
    weights_from: str | None = None
    """Where its weights were read from: ``""`` where nothing was loaded into it, ``None`` where
    nobody knows, since the module came as it is."""
    files: tuple[Path, ...] = ()
    """The files of this machine that its weights were read from, where a user named them."""
    _asks: bool = False
    """Whether the module asks other classifiers, which look after themselves."""
    passes: int = 1
    """Passes through a network that one answer costs; more where it is a mean of several."""

    def __init__(
        self,
        module: nn.Module,
        *,
        labels: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        input_size: Size | None = None,
        channels: int | None = None,
        channel_order: ChannelOrder = "rgb",
        resize: Size | None = None,
        interpolation: Interpolation = "bilinear",
        outputs: Outputs = "logits",
        name: str | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ModelFormatError(
                f"the network is a {type(module).__name__}; expected a torch.nn.Module"
            )
        self.module = module
        self.name = name or type(module).__name__
        self.outputs: Outputs = check_outputs(outputs)
        """What the module returns; the classifier itself answers with logits in any case."""
        size = (input_size, input_size) if isinstance(input_size, int) else input_size
        told = flat = None
        if preprocessing is None and channels is None:
            told = channels_of(module)
        if preprocessing is None and (stated := stated_shape(module)) is not None:
            told, size = stated[0] if channels is None else told, size or stated[1:]
        if preprocessing is None and told is None and size is None:
            flat = flattened_shape(module, channels)
            if flat is not None:
                told, size = flat[0], (flat[1], flat[1])
        self.preprocessing = preprocessing or Preprocessing(
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
            input_size=size,
            channels=told or (3 if mean is None else len(mean)) if channels is None else channels,
            stated_by="the caller" if told is None else "the caller and the first layer",
            flattened=flat is not None,
            channel_order=channel_order,
            resize=resize,
            interpolation=interpolation,
        )
        if outputs == "logit" and labels is not None and len(labels) != 2:
            raise InvalidParameterError(
                f"labels holds {count(len(labels), 'name')}, and outputs is 'logit'; expected two: "
                "of a logit below 0, and of one above"
            )
        self._labels = None if labels is None else tuple(map(printable, labels))
        self._classes: int | None = None
        self._found = _Found()

    def __repr__(self) -> str:
        return f"<Classifier {self._line()}>"

    def _line(self) -> str:
        size = self.preprocessing.input_size
        shape = f"{self.channels}×{size[0]}×{size[1]}" if size else f"{self.channels}×any size"
        return f"{self.name}: {shape}"

    def _view(self) -> Iterator[html.Html]:
        how, asked = self.preprocessing, self.knows_classes
        scaled = [
            f"{name} {', '.join(f'{value:.4g}' for value in values)}"
            for name, values in (("mean", how.mean), ("std", how.std))
            if values is not None
        ]
        sized = (
            "" if how.resize is None else f"to {how.resize}, then the centre ({how.interpolation})"
        )
        yield html.facts(
            [
                ("kind", "" if type(self) is Classifier else type(self).__name__),
                ("module", type(self.module).__name__),
                (
                    "channels",
                    f"{self.channels}"
                    + (", in the order BGR" if how.channel_order == "bgr" else ""),
                ),
                (
                    "input size",
                    "any" if how.input_size is None else "{}×{}".format(*how.input_size),
                ),
                (
                    "classes",
                    f"{self.num_classes:,}: {some(self.labels)}" if asked else "not asked yet",
                ),
                ("normalised", "; ".join(scaled) or "no"),
                ("resized", sized),
                ("stated by", how.stated_by),
                ("returns", self.outputs),
                ("weights", self.weights_from or ""),
                ("computes in", f"{str(self.precision).removeprefix('torch.')} on {self.device}"),
            ]
        )
        yield html.notes(dict.fromkeys([*self.notes, *(self.look.notes if self.look else ())]))

    @property
    def channels(self) -> int:
        """Colour channels of the images it takes."""
        return self.preprocessing.channels

    @property
    def input_size(self) -> tuple[int, int] | None:
        """``(height, width)`` of the images it sees, or ``None`` where any size will do."""
        return self.preprocessing.input_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        anchor = self._anchor()
        return torch.device("cpu") if anchor is None else anchor.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the images it takes and of its logits: float32, or float64 as its weights."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    @property
    def precision(self) -> torch.dtype:
        """The floating-point type it computes in: that of its weights."""
        anchor = self._anchor()
        return torch.float32 if anchor is None else anchor.dtype

    @property
    def batch_size(self) -> int | None:
        """How many images the module takes at a time, where it takes no other number.

        Stated by a source that knows it, or found when another number was refused. The classifier
        itself takes any.
        """
        return self._found.batch_size

    @batch_size.setter
    def batch_size(self, size: int | None) -> None:
        self._found.batch_size = size

    @property
    def notes(self) -> tuple[str, ...]:
        """What was learnt of it on the way, a sentence each."""
        size = self._found.batch_size
        if size is None:
            return ()
        return (
            f"{self.name} takes {count(size, 'image')} at a time and no other number; they go "
            "through it in batches of that size, the last one filled up",
        )

    @property
    def plain(self) -> "Classifier":
        """The network that a verdict is read from: itself, unless it was prepared for speed."""
        return self

    @property
    def passes_back(self) -> int:
        """Passes back through a network that one gradient costs."""
        return self.passes

    @property
    def logits_first(self) -> int | None:
        """How many columns of an answer are logits, where others follow; ``None`` if all are."""
        return None

    @property
    def look(self) -> Look | None:
        """What the first look at it found; ``None`` before."""
        return self._found.look

    @look.setter
    def look(self, look: Look | None) -> None:
        self._found.look = look

    @property
    def knows_classes(self) -> bool:
        """Whether its classes have been named, or counted in an earlier answer."""
        return self._labels is not None or self._classes is not None

    @property
    def num_classes(self) -> int:
        """How many logits it returns; asked of the network once where no label says so.

        Raises:
            ModelOutputError: no logits, or nobody said for what input size to ask.
        """
        if self._classes is None and self._labels is not None:
            return len(self._labels)
        if self._classes is None:
            self._count_classes()
        assert self._classes is not None
        return self._classes

    def _count_classes(self) -> None:
        """Ask it about a black picture; of several sizes, where nobody said which it takes."""
        first: BaseException | None = None
        for size in [self.input_size] if self.input_size else [(side, side) for side in _SIDES]:
            shape = (1, self.channels, *size)
            try:
                with torch.no_grad():
                    self(torch.zeros(shape, dtype=self.dtype, device=self.device))
            except ModelOutputError as problem:
                if problem.__cause__ is None or self.input_size is not None:
                    raise
                first = first or problem.__cause__
            else:
                return
        assert first is not None
        raise ModelOutputError(
            f"{self.name} cannot be asked how many classes it has, since nobody stated what "
            f"pictures it takes and it answers none of {count(self.channels, 'channel')} and a "
            f"usual size ({first_line(first)}); pass the right input_size= and channels=, or "
            "labels="
        ) from first

    @property
    def labels(self) -> tuple[str, ...]:
        """One name for each class; its index where nobody named it."""
        if self._labels is None:
            self._labels = _unnamed(self.num_classes)
        return self._labels

    def find_class(self, wanted: str | SupportsIndex) -> int:
        """The index of a class given by label, unique prefix or index."""
        return find_class(wanted, self.labels)

    def restated(
        self,
        labels: Sequence[str] | None = None,
        *,
        outputs: Outputs | None = None,
        **preprocessing: Any,
    ) -> Self:
        """The same module with other labels, outputs or preprocessing; ``None`` leaves it as it is.

        Raises:
            InvalidParameterError: another number of labels than classes, or impossible numbers.
        """
        twin = copy.copy(self)
        twin._found = self._found.for_a_twin()
        twin.preprocessing = self.preprocessing.overridden(**preprocessing)
        if outputs is not None and outputs != self.outputs:
            if self._asks:
                raise InvalidParameterError(
                    f"outputs was given for {self.name}, which answers with the logits of others; "
                    "expected it to be stated where these are made: Classifier(..., outputs=...)"
                )
            twin.outputs, twin._classes = check_outputs(outputs), None
            if twin._labels is not None and twin._labels == _unnamed(len(twin._labels)):
                twin._labels = None  # they were counted, not given
        if labels is not None:
            known = twin._classes if twin._labels is None else len(twin._labels)
            if known not in (None, len(labels)):
                raise InvalidParameterError(
                    f"labels holds {len(labels)} names; {self.name} has {known} classes: expected "
                    "one name for each"
                )
            twin._labels = tuple(map(printable, labels))
        return twin

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy on another device or in another precision; this one stays as it is.

        Raises:
            ModelFormatError: the module cannot be copied.
        """
        twin = copy.copy(self)
        twin._found = self._found.for_a_twin()
        # Weights made under inference mode could never be differentiated through.
        with torch.inference_mode(False):
            twin.module = copied(self).to(device=device, dtype=dtype)
        return twin

    def fingerprint(self) -> str:
        """SHA-256 of weights, buffers and preprocessing in hexadecimal, computed on each call."""
        digest = hashlib.sha256()
        for name, value in sorted(self.module.state_dict().items()):
            if isinstance(value, Tensor):
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
                digest.update(tensor_bytes(value))
        stated = self.preprocessing.describe()
        del stated["stated_by"]  # where the numbers come from does not change what they do
        if self.outputs != "logits":
            stated["outputs"] = self.outputs
        digest.update(json.dumps(stated, sort_keys=True).encode())
        return digest.hexdigest()

    def fit(self, pictures: Tensor) -> Tensor:
        """Resize and crop ``(..., H, W)`` pictures to what the network sees, in 8-bit levels."""
        return self.preprocessing.fit(pictures)

    def held(self) -> AbstractContextManager[None]:
        """Hold the module still for a forward and a backward pass; undone after the block."""
        return frozen(self.module)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, C, H, W)``; differentiable in the images.

        Raises:
            InvalidImagesError: no batch ``(N, C, H, W)`` of its channels, device and float type.
            ModelOutputError: no logits tensor, another number of classes than labels, or whatever
                the module's own code raised.
            NoGradientError: the module leaves PyTorch, and pixels that want a gradient went in.
        """
        anchor = self._anchor()
        self._check(images, anchor)
        with self.held():
            return self._counted(self._batched(self._inputs(images, anchor)))

    def _inputs(self, images: Tensor, anchor: Tensor | None) -> Tensor:
        """What the module is given for images: a copy of its own, unless it writes in none."""
        inputs = self.preprocessing.normalize(self.preprocessing.resample(images))
        if anchor is not None and anchor.dtype in _FLOATS and not self._asks:
            inputs = inputs.to(anchor.dtype)
        # A first layer that works in place must not write into the images.
        return images.clone() if inputs is images and not _only_reads(self.module) else inputs

    def _batched(self, inputs: Tensor) -> Tensor:
        """The answer to inputs of any number, also of a module that takes but one number."""
        size = self._found.batch_size
        if size is not None:
            return in_batches(self._answer, inputs, size)
        try:
            return self._answer(inputs)
        except ModelOutputError as problem:
            if self._asks:
                raise
            size = fixed_size(self._answer, inputs, problem)
            if size is None:
                raise
            self._found.batch_size = size
        return in_batches(self._answer, inputs, size)

    def _answer(self, inputs: Tensor) -> Tensor:
        output = run_module(self.module, inputs, self.name)
        return logits_of(output, self.outputs, len(inputs), self.name)

    def _check(self, images: Tensor, anchor: Tensor | None) -> None:
        if not isinstance(images, Tensor):
            raise InvalidImagesError(
                f"images are a {type(images).__name__}; {self.name} expects a float tensor "
                f"(N, {self.channels}, H, W)"
            )
        if images.dim() != 4 or images.shape[1] != self.channels:
            raise InvalidImagesError(
                f"images have shape {tuple(images.shape)}; {self.name} expects "
                f"(N, {self.channels}, H, W)"
            )
        if anchor is None:
            fits = images.is_floating_point()
        else:
            wanted = torch.float64 if anchor.dtype == torch.float64 else torch.float32
            fits = images.dtype == wanted and images.device == anchor.device
        if not fits:
            raise InvalidImagesError(
                f"images are {images.dtype} on {images.device}; {self.name} expects {self.dtype} "
                f"on {self.device}, values in [0, 1]: images.to(model.device, model.dtype)"
            )

    def _counted(self, logits: Tensor) -> Tensor:
        self._classes = logits.shape[1]
        if self._labels is not None and len(self._labels) != self._classes:
            raise ModelOutputError(
                f"{self.name} returned {self._classes} classes but has {len(self._labels)} labels; "
                "expected one label for each class: pass the right labels"
            )
        return logits

    def _anchor(self) -> Tensor | None:
        for tensors in (self.module.parameters(), self.module.buffers()):
            for tensor in tensors:
                if tensor.is_floating_point():
                    return tensor
        return None


_found: "WeakKeyDictionary[nn.Module, _Found]" = WeakKeyDictionary()


def as_classifier(model: Classifier | nn.Module) -> Classifier:
    """The classifier itself, or a module in one; what is learnt of a module is learnt once.

    Raises:
        ModelFormatError: neither of the two.
    """
    if isinstance(model, Classifier):
        return model
    if not isinstance(model, nn.Module):
        raise ModelFormatError(
            f"the network is a {type(model).__name__}; expected a fluoroscope.Classifier or a "
            "torch.nn.Module: a name is loaded by fluoroscope.load_model"
        )
    made = Classifier(model)
    made._found = _found.setdefault(model, made._found)
    return made


def copied(model: Classifier, kept: dict[int, Any] | None = None) -> nn.Module:
    """A copy of its module, in which the tensors ``kept`` by id are the very same.

    Raises:
        ModelFormatError: it cannot be copied, for it holds what cannot.
    """
    try:
        # A scripted module notes that it is copied, else, and its weights cannot be held still.
        with torch.no_grad():
            twin = copy.deepcopy(model.module, kept)
        for weight, own in zip(twin.parameters(), model.module.parameters(), strict=False):
            if weight.is_leaf:
                weight.requires_grad_(own.requires_grad)
        return twin
    # Whatever copying the user's own objects raises.
    except Exception as problem:
        if out_of_memory(problem):
            raise
        raise ModelFormatError(
            f"{model.name} cannot be copied ({type(problem).__name__}: {first_line(problem)}); "
            "expected a module that copy.deepcopy can copy: keep locks, open files and results of "
            "computations out of its attributes, or change the module itself and wrap it anew"
        ) from problem


def _only_reads(module: nn.Module) -> bool:
    """Whether what a module does first is a convolution: which leaves its input as it is."""
    while type(module) in (nn.Sequential, nn.Conv2d):
        if module._forward_pre_hooks or "forward" in vars(module):
            return False
        if isinstance(module, nn.Conv2d):
            return not _global_forward_pre_hooks
        first = next(iter(cast(nn.Sequential, module)), None)
        if first is None:
            return False
        module = first
    return False


def _unnamed(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def tensor_bytes(tensor: Tensor) -> bytes:
    """The numbers of a tensor, in order, whatever its device, layout and gradient."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
