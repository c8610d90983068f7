"""The generator ``G(z, code)``: noise and a code in, pictures in ``[0, 1]`` out.

Noise and the embedded code make a small map, which grows in stages to the size of the pictures; a
hot matrix comes in beside the channels of the stage of its size. Two things differ from a usual
generator. Dropout takes its masks from keys, one for each sample, so that a picture is the same
alone and in a batch: with keys it works, without it does nothing, whatever the module's mode. And
the normalisation is over groups of a picture's own channels by default, for a batch's mean would
tie a picture to those beside it and to the size of a batch; batch normalisation, the papers', is
there by name and uses running means when pictures are sampled.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.conditioning import DRAW_DROPOUT, DRAW_NOISE, Conditioning

GROWTHS = ("resize", "transposed", "lab")
NORMS = ("group", "batch")
_SMALLEST = 4  # side of the first map, at least
_MOST_CHANNELS = 4  # times the width, in the first stages
_FEWEST = 8  # channels
_MAP_CHANNELS = 16  # of a hot matrix, where its places have numbers of their own
_LAB_SIZE, _LAB_CLASSES = (28, 28), 10
# Of each stage of the laboratory's: side, channels in widths, stride and padding.
_LAB = ((4, 1, 1, 0), (7, 2, 1, 0), (10, 4, 1, 0), (11, 8, 1, 1),
        (12, 4, 1, 1), (24, 2, 2, 1), (27, 1, 1, 0))  # fmt: skip
MOST_WEIGHTS = 200_000_000
"""Of a generator: with their gradients and the two moments of Adam they take 3.2 GB as float32. All
that is made here has some millions; beyond this memory is full before anybody can say so."""


@dataclass(frozen=True)
class Shape:
    """All that a generator's layers follow from."""

    channels: int
    height: int
    width: int
    """Of the pictures."""
    features: int = 32
    """Channels of the last stage but that of large pictures; the first has four times as many."""
    noise: int = 64
    """Numbers of noise that a picture is made of."""
    embedded: int = 64
    """Numbers that a code is embedded in."""
    growth: str = "resize"
    """How a stage grows: ``resize`` (nearest pixel, then a convolution), ``transposed`` (a
    transposed convolution), or ``lab``, the layers of the laboratory's own notebook."""
    norm: str = "group"
    """``group`` or ``batch``."""
    dropout: float = 0.3
    """The share of a stage's channels that are dropped."""
    everywhere: bool = False
    """Whether channels are dropped in all stages; else in the second half alone."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class KeyedDropout(nn.Module):
    """Drops whole channels by masks that are hashed from a key for each sample."""

    def __init__(self, rate: float, number: int) -> None:
        super().__init__()
        self.rate, self.number = rate, number

    def forward(self, maps: Tensor, keys: Tensor | None) -> Tensor:
        """The maps ``(N, C, H, W)``, with channels dropped where there are keys ``(N,)``."""
        if keys is None or not self.rate:
            return maps
        drawn = randomness.uniform(keys, DRAW_DROPOUT + self.number, (maps.shape[1], 1, 1))
        kept = (drawn >= self.rate).to(maps.dtype) / (1 - self.rate)
        return maps * kept

    def extra_repr(self) -> str:
        """Its rate."""
        return f"rate={self.rate}"


class _Stage(nn.Module):
    """Grow to a size, convolve, normalise, drop; and modulate by the code where that is how."""

    def __init__(
        self,
        convolve: nn.Conv2d | nn.ConvTranspose2d,
        size: tuple[int, int],
        shape: Shape,
        modulated: int,
        drops_as: int | None,
    ) -> None:
        super().__init__()
        self.size, self.convolve = size, convolve
        out = convolve.out_channels
        self.norm = _norm(shape.norm, out)
        self.modulation = nn.Linear(modulated, 2 * out) if modulated else None
        drops = drops_as is not None and shape.dropout > 0
        self.dropout = KeyedDropout(shape.dropout, drops_as or 0) if drops else None

    def forward(self, maps: Tensor, code: Tensor, keys: Tensor | None) -> Tensor:
        """The maps ``(N, C, H, W)`` of the next stage; ``code`` ``(N, E)`` is embedded."""
        if isinstance(self.convolve, nn.Conv2d) and tuple(maps.shape[2:]) != self.size:
            maps = F.interpolate(maps, self.size, mode="nearest")
        maps = self.norm(_centre(self.convolve(maps), self.size))
        if self.modulation is not None:
            scale, shift = self.modulation(code)[:, :, None, None].chunk(2, 1)
            maps = maps * (1 + scale) + shift
        maps = F.relu(maps)
        return maps if self.dropout is None else self.dropout(maps, keys)


class Generator(nn.Module):
    """Pictures ``(N, C, H, W)`` in ``[0, 1]`` from noise ``(N, Z)`` and codes.

    Args:
        shape: what its layers follow from.
        conditioning: how it is told the class.

    Raises:
        InvalidParameterError: a shape that cannot be.
    """

    def __init__(self, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        _check(shape)
        _check_weights(shape, conditioning)
        self.shape, self.conditioning = shape, conditioning
        name, count = conditioning.name, conditioning.count
        if shape.growth == "lab" and is_not_of_lab(shape, count):
            raise InvalidParameterError(
                f"growth is 'lab', whose layers make 28 × 28 pictures of 10 classes; expected "
                f"'resize' or 'transposed' for {shape.height} × {shape.width} and {count}"
            )
        self.embed: nn.Module | None = None
        if name in ("label", "embedding"):
            self.embed = nn.Embedding(count, shape.embedded)
        elif name != "matrix":  # where the map alone tells the class
            self.embed = nn.Linear(count, shape.embedded)
        modulated = shape.embedded if name == "embedding" else 0
        given = shape.noise + (0 if self.embed is None else shape.embedded)
        make = _lab_layers if shape.growth == "lab" else _layers
        self.first, stages, self.last, self.at_map = make(shape, conditioning, given, modulated)
        self.stages = nn.ModuleList(stages)
        side = conditioning.map_side
        # Convolutions are blind to where in a map something is, and learn it late; so each place
        # of ours has numbers of its own, and the papers' have one channel of ones.
        self.places: nn.Parameter | None = None
        if side is not None and shape.growth == "resize":
            drawn = torch.randn(_MAP_CHANNELS, side, side, dtype=torch.float32, device="cpu")
            self.places = nn.Parameter(drawn)

    def noise(self, keys: Tensor) -> Tensor:
        """``(N, Z)``, standard normal, for the keys ``(N,)`` of samples."""
        return randomness.normal(keys, DRAW_NOISE, (self.shape.noise,))

    def forward(
        self, noise: Tensor, classes: Tensor, asked: Tensor, keys: Tensor | None = None
    ) -> Tensor:
        """Pictures of the classes ``(N,)`` by the codes ``(N, K)``; with ``keys`` dropout works."""
        dtype = next(self.parameters()).dtype
        name = self.conditioning.name
        told = noise.to(dtype)
        code = told[:, :0]
        if self.embed is not None:
            by_class = name in ("label", "embedding")
            code = self.embed(classes if by_class else asked.to(dtype))
            told = torch.cat([told, code], 1)
        maps = self.first(told)
        for number, stage in enumerate(self.stages):
            if number == self.at_map:
                hot = self.conditioning.map(classes).to(maps)
                hot = hot if self.places is None else hot * self.places
                maps = torch.cat([maps, hot], 1)
            maps = stage(maps, code, keys)
        # tanh in [-1, 1], brought to [0, 1], as the papers': the same as a sigmoid of the double.
        return torch.sigmoid(self.last(maps) * (2 if self.shape.growth == "lab" else 1))


class _First(nn.Module):
    """From noise and code to the first map."""

    def __init__(self, given: int, out: int, size: tuple[int, int], norm: str) -> None:
        super().__init__()
        self.map = nn.Linear(given, out * size[0] * size[1])
        self.norm = _norm(norm, out)
        self.size = (out, *size)

    def forward(self, told: Tensor) -> Tensor:
        """``(N, C, H, W)`` of ``(N, D)``."""
        return F.relu(self.norm(self.map(told).view(-1, *self.size)))


def is_not_of_lab(shape: Shape, classes: int) -> bool:
    """Whether pictures or classes are other than those the laboratory's layers are made for."""
    return (shape.height, shape.width) != _LAB_SIZE or classes != _LAB_CLASSES


def sizes_to(height: int, width: int, side: int | None = None) -> list[tuple[int, int]]:
    """The sizes of the maps on the way to a picture: each about twice the one before.

    With the ``side`` of a hot matrix one of them is of that size.
    """
    sizes = [(height, width)]
    while max(sizes[0]) > 2 * _SMALLEST - 1:
        sizes.insert(0, (math.ceil(sizes[0][0] / 2), math.ceil(sizes[0][1] / 2)))
    if side is not None and (side, side) not in sizes[:-1]:
        at = sum(rows * columns < side * side for rows, columns in sizes[:-1])
        sizes.insert(at, (side, side))
    return sizes


def _layers(
    shape: Shape, conditioning: Conditioning, given: int, modulated: int
) -> tuple[nn.Module, list[nn.Module], nn.Module, int | None]:
    side = conditioning.map_side
    sizes = sizes_to(shape.height, shape.width, side)
    if len(sizes) == 1:
        sizes = sizes * 2  # pictures so small that there is nothing to grow
    many = [_channels(shape, size) for size in sizes]
    at_map = None if side is None else sizes.index((side, side))
    first = _First(given, many[0], sizes[0], shape.norm)
    stages: list[nn.Module] = []
    of_map = _MAP_CHANNELS if shape.growth == "resize" else 1
    for number, (start, size) in enumerate(pairwise(sizes)):
        late = shape.everywhere or number >= (len(sizes) - 1) // 2
        taken, out = many[number] + of_map * (number == at_map), many[number + 1]
        convolve = _growing(taken, out, start, size, shape.growth)
        stages.append(_Stage(convolve, size, shape, modulated, number if late else None))
    last = nn.Conv2d(many[-1], shape.channels, 3, padding=1)
    return first, stages, last, at_map


def _growing(
    given: int, out: int, start: tuple[int, int], size: tuple[int, int], growth: str
) -> nn.Conv2d | nn.ConvTranspose2d:
    if growth == "resize":
        return nn.Conv2d(given, out, 3, padding=1, bias=False)
    by = [max(1, math.ceil(to / at)) for at, to in zip(start, size, strict=True)]
    # At least as large as the size; a kernel of twice the stride covers all places alike.
    kernel = [3 if stride == 1 else 2 * stride for stride in by]
    padding = [max(1, stride // 2) for stride in by]
    return nn.ConvTranspose2d(
        given, out, (kernel[0], kernel[1]), (by[0], by[1]), (padding[0], padding[1]), bias=False
    )


def _channels(shape: Shape, size: tuple[int, int]) -> int:
    """Channels of a map: half as many where it is twice as large; 32 × 32 has the width itself."""
    wanted = shape.features * 32 / max(size)
    octave = 2.0 ** round(math.log2(wanted))
    return int(min(max(octave, _FEWEST), _MOST_CHANNELS * shape.features))


def _lab_layers(
    shape: Shape, conditioning: Conditioning, given: int, modulated: int
) -> tuple[nn.Module, list[nn.Module], nn.Module, int | None]:
    """Kernels, strides and paddings of the laboratory's notebook for MNIST, whose width is 64."""
    at_map = None if conditioning.map_side is None else 3
    stages: list[nn.Module] = []
    many = given
    for number, (side, widths, stride, padding) in enumerate(_LAB):
        out = widths * shape.features
        taken = many + (number == at_map)
        convolve = nn.ConvTranspose2d(taken, out, 4, stride, padding, bias=False)
        late = shape.everywhere or number >= 3
        stages.append(_Stage(convolve, (side, side), shape, modulated, number if late else None))
        many = out
    last = nn.ConvTranspose2d(shape.features, shape.channels, 4, 1, 1)
    return nn.Unflatten(1, (given, 1, 1)), stages, last, at_map


def weights_of(shape: Shape, conditioning: Conditioning) -> int:
    """About how many weights a generator would have, without making it."""
    told = 0 if conditioning.name == "matrix" else shape.embedded
    given = shape.noise + told
    if shape.growth == "lab":
        many, kernel = [widths * shape.features for _, widths, _, _ in _LAB], 4 * 4
        first = given * many[0] * kernel
    else:
        sizes = sizes_to(shape.height, shape.width, conditioning.map_side)
        many = [_channels(shape, size) for size in sizes]
        kernel = 3 * 3 if shape.growth == "resize" else 4 * 4
        first = given * many[0] * math.prod(sizes[0])
    between = kernel * sum(taken * out for taken, out in pairwise(many))
    modulation = 2 * told * sum(many[1:]) if conditioning.name == "embedding" else 0
    last = kernel * many[-1] * shape.channels
    return told * conditioning.count + first + between + modulation + last


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 8), channels)


def _centre(maps: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of maps that are larger than the size."""
    for dim, wanted in zip((2, 3), size, strict=True):
        maps = maps.narrow(dim, (maps.shape[dim] - wanted) // 2, wanted)
    return maps


def _check(shape: Shape) -> None:
    for name in ("channels", "height", "width", "features", "noise", "embedded"):
        value = getattr(shape, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidParameterError(f"{name} is {value!r}; expected a whole number, 1 or more")
        if value > MOST_WEIGHTS:
            raise InvalidParameterError(
                f"{name} is more than {MOST_WEIGHTS:,}; expected fewer, such as 64: a generator "
                "has at most so many weights"
            )
    for name, known in (("growth", GROWTHS), ("norm", NORMS)):
        if getattr(shape, name) not in known:
            raise InvalidParameterError(
                f"{name} is {getattr(shape, name)!r}; expected one of {', '.join(known)}"
            )
    if isinstance(shape.dropout, bool) or not 0 <= shape.dropout < 1:
        raise InvalidParameterError(
            f"dropout is {shape.dropout!r}; expected a share from 0 up to, not including, 1"
        )


def _check_weights(shape: Shape, conditioning: Conditioning) -> None:
    weights = weights_of(shape, conditioning)
    if weights > MOST_WEIGHTS:
        raise InvalidParameterError(
            f"features is {shape.features:,}, with noise {shape.noise:,} and embedded "
            f"{shape.embedded:,}, which makes a generator of some {weights:,} weights; expected at "
            f"most {MOST_WEIGHTS:,}, which take 3.2 GB while it learns: lower the largest of these"
        )
