"""Ghost networks: a network eroded a little, in another way each time it is asked.

Li, Bai, Zhou, Xie, Zhang and Yuille 2020, "Learning Transferable Adversarial Examples via Ghost
Networks" (1812.03413). A perturbation that fools many eroded versions of one network is more likely
to fool a network of another kind:

* skip erosion, where there are residual blocks: ``lambda * skip(x) + F(x)``, with a ``lambda`` for
  each channel from ``U[1 - magnitude, 1 + magnitude]``;
* dropout erosion, where there are none: ``r * x`` before each layer with weights, with
  ``r ~ Bernoulli(1 - magnitude) / (1 - magnitude)``; but not before the first, which sees pixels,
  nor before depthwise convolutions, which make one block with the layer that mixes the channels.

Where the blocks are is seen while the network runs, whatever its classes are called: a residual
block ends in a sum of two tensors of one shape that have passed different numbers of layers with
weights, and the one that has passed fewer is the skip. So a projection on the skip is eroded as
well as an identity.

In the paper each iteration draws a new ghost (the longitudinal ensemble, which costs no more than
the plain attack). Here the draws follow from the seed and the pixels, so a step's ghost is another
than the last one's, and no image's ghost depends on its neighbours.
"""

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fluoroscope.errors import InvalidParameterError, ModelFormatError, ModelOutputError
from fluoroscope.hashing import as_seed, uniform
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wording import first_line
from fluoroscope.models.wrappers.around import Asking, Surrogate
from fluoroscope.models.wrappers.draws import row_keys
from fluoroscope.models.wrappers.ensemble import Average, averaged, check_average
from fluoroscope.models.wrappers.prepared import tensors_in
from fluoroscope.models.wrappers.randomised import random_state_aside

Erosion = Literal["skip", "dropout"]

_MAGNITUDES: dict[Erosion, float] = {"skip": 0.22, "dropout": 0.006}
_SUMS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
_IN_PLACE = {"add_", "__iadd__"}
_MAPS = {"linear", "matmul", "mm", "bmm", "addmm", "multi_head_attention_forward", "convolution"}
_SOUGHT: dict[Erosion, str] = {
    "skip": "sums of two tensors of one shape, one of which has passed fewer layers with weights",
    "dropout": "convolutions and linear layers that mix channels, behind a first one",
}
# The attribute of a tensor that depends on the images: layers passed, and the last one's width.
_MARK = "_layers_passed"
_UNMARKED = (-1, 0)
# Draws are numbered through: so many belong to each of several ghosts.
_MOST_BLOCKS = 2**20
# So many places in the pool of dropped values where a window may begin.
_STARTS = 2**20


class Ghost(Surrogate):
    """A network that answers as an eroded version of itself; the plain one judges.

    Nothing is hung on the network. What runs outside Python's sight, such as scripted or compiled
    modules, and custom autograd functions, hides the blocks behind it.

    Args:
        model: the network; prepared for speed or not, but not compiled.
        erosion: which blocks are eroded; by default ``"skip"`` where there are residual blocks and
            else ``"dropout"``.
        magnitude: how much, from 0 up to 1; best where the eroded network's own accuracy begins to
            fall. By default the paper's: 0.22 for skips (ResNet v2) and 0.006 for dropout
            (Inception). On pictures of ImageNet MobileNet v2 reads 88 % with skips eroded so as it
            does whole; with dropout MobileNet v1 reads 76 % so (width 0.75) or 44 % (0.25), and at
            0.001 94 % and 80 %: a small network has less to spare.
        samples: ghosts whose mean each answer is (the standard ensemble).
        average: what the mean is taken of, as for an
            :class:`~fluoroscope.models.wrappers.ensemble.Ensemble`.
        seed: what all draws follow from, together with the images.

    Raises:
        ModelFormatError: the model is no classifier, or has no blocks to erode.
        InvalidParameterError: an unknown erosion or average, a magnitude out of range, or fewer
            than 1 sample.
    """

    blocks: int
    """How many blocks are eroded."""

    def __init__(
        self,
        model: Classifier | nn.Module,
        *,
        erosion: Erosion | None = None,
        magnitude: float | None = None,
        samples: int = 1,
        average: Average = "logits",
        seed: int = 0,
    ) -> None:
        model = as_classifier(model)
        check_erosion(erosion, magnitude)
        if not isinstance(samples, int) or samples < 1:
            raise InvalidParameterError(f"samples is {samples}; expected a whole number above 0")
        chosen, self.blocks = _blocks(model, erosion)
        super().__init__(
            model, _Ghosts, samples,
            erosion=chosen,
            magnitude=_MAGNITUDES[chosen] if magnitude is None else magnitude,
            samples=samples,
            average=check_average(average),
            seed=seed,
        )  # fmt: skip
        self.log_probabilities = average == "loss"

    @property
    def erosion(self) -> Erosion:
        """Which blocks are eroded."""
        return cast(Erosion, self._options["erosion"])

    @property
    def magnitude(self) -> float:
        """How much they are eroded."""
        return float(self._options["magnitude"])


def check_erosion(erosion: Erosion | None, magnitude: float | None) -> None:
    """Refuse what no network can be eroded by.

    Raises:
        InvalidParameterError: an unknown erosion, or a magnitude out of range.
    """
    if erosion not in (None, *get_args(Erosion)):
        raise InvalidParameterError(f"erosion is {erosion!r}; expected 'skip', 'dropout' or None")
    if magnitude is not None and not 0 <= magnitude < 1:
        raise InvalidParameterError(
            f"magnitude is {magnitude}; expected 0 or more, and less than 1"
        )


class _Ghosts(Asking):
    def __init__(
        self,
        model: Classifier,
        erosion: Erosion,
        magnitude: float,
        samples: int,
        average: Average,
        seed: int,
    ) -> None:
        super().__init__(model)
        self.erosion, self.magnitude = erosion, magnitude
        self.samples, self.average, self.seed = samples, average, as_seed(seed)
        self._pool = torch.empty(0, dtype=torch.float32, device="cpu")

    def forward(self, images: Tensor) -> Tensor:
        keys = row_keys(images, self.seed)
        return averaged(
            [self._answer(images, keys, number) for number in range(self.samples)], self.average
        )

    def _answer(self, images: Tensor, keys: Tensor, number: int) -> Tensor:
        draw = self._faded if self.erosion == "skip" else self._thinned
        first = number * _MOST_BLOCKS

        def factor(block: int, shape: torch.Size, channels: int) -> Tensor:
            return draw(keys, first + block, shape, channels)

        watch = _Watch(self.erosion, factor)
        images = watch.marked(images)
        with watch:
            return self.model(images)

    def _faded(self, keys: Tensor, draw: int, shape: torch.Size, channels: int) -> Tensor:
        """A factor for each row and channel, shaped to go with the tensor."""
        away = uniform(keys, draw, (shape[channels],)).mul_(2).sub_(1)
        sizes = [1] * len(shape)
        sizes[0], sizes[channels] = shape[0], shape[channels]
        return away.mul_(self.magnitude).add_(1).view(sizes)

    def _thinned(self, keys: Tensor, draw: int, shape: torch.Size, _: int) -> Tensor:
        """A factor for each value: 0 if it is dropped.

        Each row reads a window of one pool of random numbers, from a place of its own: a hash for
        every value would take about as long as the network.
        """
        count = shape[1:].numel()
        if len(self._pool) < count + _STARTS or self._pool.device != keys.device:
            seed = torch.full_like(keys[:1], self.seed)
            dropped = uniform(seed, 0, (count + _STARTS,))[0] < self.magnitude
            self._pool = torch.where(dropped, 0, 1 / (1 - self.magnitude))
        starts = uniform(keys, draw, ()).mul_(_STARTS).long()
        return self._pool.unfold(0, count, 1)[starts].view(shape)


Factor = Callable[[int, torch.Size, int], Tensor]
"""From a block's number, a tensor's shape and which dimension its channels are: the factor."""


class _Watch(TorchFunctionMode):
    """Follows what depends on the images through a network, counts its blocks and erodes them.

    Each tensor on the way carries a mark: how many layers with weights it has passed, and the
    number of channels after the last of them.
    """

    def __init__(self, erosion: Erosion | None = None, factor: Factor | None = None) -> None:
        super().__init__()
        self._erosion, self._factor, self._rows = erosion, factor, 0
        self.blocks: dict[Erosion, int] = {"skip": 0, "dropout": 0}

    def marked(self, images: Tensor) -> Tensor:
        """The same images, as something to follow."""
        images, self._rows = images.view_as(images), len(images)
        setattr(images, _MARK, (0, images.shape[1]))
        return images

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        passed, width = max(map(_mark, given), default=_UNMARKED)
        if passed < 0:
            return function(*args, **kwargs)
        name = getattr(function, "__name__", "").partition(".")[0]
        # A map by weights, which do not depend on the images; attention multiplies two that do.
        layer = (name in _MAPS or name.startswith("conv")) and any(
            tensor.dim() > 1 and _mark(tensor) == _UNMARKED for tensor in given
        )
        if layer:
            args = self._layer(args)
        elif name in _SUMS:
            args = self._sum(args, in_place=name in _IN_PLACE)
        result = function(*args, **kwargs)
        for tensor in tensors_in(result):
            if layer:
                width = tensor.shape[1 if name.startswith("conv") else -1]
            setattr(tensor, _MARK, (passed + layer, width))
        return result

    def _layer(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a layer with weights, its input eroded where a block begins."""
        if len(args) < 2 or _mark(args[0])[0] < 1 or _depthwise(*args[:2]):
            return args
        return self._eroded("dropout", args, 0, 0)

    def _sum(self, args: tuple[Any, ...], *, in_place: bool) -> tuple[Any, ...]:
        """The terms of a sum, that one eroded which has passed fewer layers."""
        marks = [_mark(term) for term in args[:2]]
        least, most = min(marks, default=_UNMARKED), max(marks, default=_UNMARKED)
        if least[0] < 0 or least[0] == most[0] or args[0].shape != args[1].shape:
            return args
        # The width is that after the block's last layer: its channels are known by it.
        return self._eroded("skip", args, marks.index(least), most[1], in_place=in_place)

    def _eroded(
        self, kind: Erosion, args: tuple[Any, ...], at: int, width: int, *, in_place: bool = False
    ) -> tuple[Any, ...]:
        tensor: Tensor = args[at]
        if not tensor.is_floating_point() or len(tensor) != self._rows:
            return args
        block = self.blocks[kind]
        self.blocks[kind] += 1
        if self._factor is None or kind != self._erosion:
            return args
        factor = self._factor(block, tensor.shape, _channels(tensor, width)).to(tensor.dtype)
        scaled = tensor.mul_(factor) if in_place and at == 0 else tensor * factor
        return (*args[:at], scaled, *args[at + 1 :])


def _mark(value: Any) -> tuple[int, int]:
    found: tuple[int, int] = getattr(value, _MARK, _UNMARKED)
    return found


def _depthwise(given: Tensor, weight: Any) -> bool:
    """Whether a convolution reads each channel by itself."""
    return isinstance(weight, Tensor) and weight.dim() > 2 and weight.shape[1] == 1 < given.shape[1]


def _channels(tensor: Tensor, width: int) -> int:
    """Which dimension the channels are: the second of a map of features, the last of tokens."""
    last = tensor.dim() - 1
    order = (1, last) if tensor.dim() == 4 else (last, 1)
    return next((at for at in order if tensor.shape[at] == width), order[0])


def _blocks(model: Classifier, erosion: Erosion | None) -> tuple[Erosion, int]:
    """What is to be eroded, and how many blocks of it there are: seen in one pass."""
    height, width = model.input_size or (32, 32)
    images = torch.full(
        (1, model.channels, height, width), 0.5, dtype=model.dtype, device=model.device
    )
    watch = _Watch()
    images = watch.marked(images)
    try:
        with torch.no_grad(), random_state_aside(images.device, seed=0), watch:
            model(images)
    except ModelOutputError as problem:
        if problem.__cause__ is None or model.input_size is not None:
            raise
        raise ModelFormatError(
            f"{model.name} does not take pictures of shape {tuple(images.shape[1:])}, so its "
            f"blocks cannot be found ({first_line(problem.__cause__)}); pass the right "
            "input_size= and channels= to the classifier"
        ) from problem
    chosen: Erosion = erosion or ("skip" if watch.blocks["skip"] else "dropout")
    if not watch.blocks[chosen]:
        raise ModelFormatError(
            f"{model.name} has no blocks for the erosion {chosen!r}: looked for "
            f"{_SOUGHT[chosen]}, and found {watch.blocks['skip']} sums with a skip and "
            f"{watch.blocks['dropout']} layers after the first; expected a network that runs in "
            "Python, neither scripted nor compiled, or erosion=None, which takes what there is"
        )
    return chosen, watch.blocks[chosen]
