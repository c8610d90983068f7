"""An invertible classifier: an i-ResNet with a linear head on all of its latent.

``y = x + g(x)`` with ``Lip(g) <= c < 1`` can be undone, and changes distances by no less than
``1 - c`` and no more than ``1 + c`` (Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen 2019,
1811.00995; ``c = .9`` as there). A step down writes the pixels of a square beside each other, as
channels, which loses nothing either. So the latent ``z`` has as many numbers as the picture, and

``(1 - c)^L ||x - x'|| <= ||z - z'|| <= (1 + c)^L ||x - x'||``

for ``L`` blocks. The logits are ``W z + b``: what the network decides by is all linear in ``z``.
Where this differs from their classifier: pictures are continued around their edges, so that the
bound is exact (:mod:`.bounded`); nothing normalises activations, for that would have to be counted
into ``c``; the three convolutions of a block share ``c``, where theirs are bounded by it each; and
between them are ReLUs, which learnt more in the same time than ELUs.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.frozen import frozen
from fluoroscope.models.invertible.bounded import BoundedConvolution
from fluoroscope.models.invertible.fixed_point import fixed_point

# Rounds of one block's fixed point, at most: at c = .9 they come nearer by .9^200 = 7e-10.
ROUNDS = 200
# A step down takes together squares of this side, or of another if the picture has no such.
_FACTORS = (2, 3, 5, 7)
# A head or a layer of more weights is no sane wish, least of all of a stranger's file.
_MOST_WEIGHTS = 2**28
_MOST = {
    "channels": 16, "height": 1024, "width": 1024, "classes": 100_000, "scales": 8, "blocks": 64,
    "hidden": 1024,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What an invertible network is made of.

    ``scales`` times the picture is squeezed, and ``blocks`` blocks follow, whose middle has
    ``hidden`` channels; ``contraction`` is their ``c``.

    Raises:
        InvalidParameterError: numbers that make no network.
    """

    channels: int
    height: int
    width: int
    classes: int
    scales: int = 2
    blocks: int = 4
    hidden: int = 32
    contraction: float = 0.9

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            least = 2 if name == "classes" else 1
            if type(value) is not int or not least <= value <= most:
                raise InvalidParameterError(
                    f"{name} is {value!r}; expected a whole number from {least} to {most:,}"
                )
        if type(self.contraction) not in (int, float) or not 0 < self.contraction < 1:
            raise InvalidParameterError(
                f"contraction is {self.contraction!r}; expected a number above 0 and below 1, "
                "such as 0.9"
            )
        widest = max(channels for channels, _, _ in self.steps())
        weights = self.scales * self.blocks * (2 * 9 * widest + self.hidden) * self.hidden
        if self.numbers * self.classes + weights > _MOST_WEIGHTS:
            raise InvalidParameterError(
                f"a network for {self.channels}×{self.height}×{self.width} pixels and "
                f"{self.classes:,} classes would have {self.numbers * self.classes + weights:,} "
                f"weights; expected at most {_MOST_WEIGHTS:,}: smaller pictures, or fewer classes"
            )

    @property
    def numbers(self) -> int:
        """Of a picture, and of its latent."""
        return self.channels * self.height * self.width

    @property
    def depth(self) -> int:
        """How many blocks there are in all, ``L``."""
        return self.scales * self.blocks

    def steps(self) -> Iterator[tuple[int, tuple[int, int], int]]:
        """Of each scale its channels, its size and the factor that it was squeezed by."""
        channels, height, width = self.channels, self.height, self.width
        for _ in range(self.scales):
            fitting = (side for side in _FACTORS if height % side == 0 == width % side)
            factor = next(fitting, 1)
            channels, height, width = channels * factor**2, height // factor, width // factor
            yield channels, (height, width), factor

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Inverse:
    """Pictures found behind latents."""

    images: Tensor
    """``(N, C, H, W)``, as the network would have to see them; they may lie outside ``[0, 1]``."""
    residual: Tensor
    """``(N,)``, how far what the network makes of each is from the latent, in L2."""
    rounds: Tensor
    """``(N,)``, of the fixed points of all blocks, added up."""


class InvertibleBlock(nn.Module):
    """``x + g(x)``, with a norm of ``g`` of at most ``contraction``."""

    def __init__(self, channels: int, size: tuple[int, int], shape: Shape) -> None:
        super().__init__()
        share = shape.contraction ** (1 / 3)
        hidden = shape.hidden
        self.residual = nn.Sequential(
            BoundedConvolution(channels, hidden, 3, size, share),
            nn.ReLU(),
            BoundedConvolution(hidden, hidden, 1, size, share),
            nn.ReLU(),
            BoundedConvolution(hidden, channels, 3, size, share),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The sum."""
        moved: Tensor = self.residual(images)
        return images + moved

    def contraction(self) -> float:
        """The bound of ``Lip(g)`` that its weights have in evaluation; a ReLU lengthens nothing."""
        layers = (part for part in self.residual if isinstance(part, BoundedConvolution))
        return math.prod(layer.norm() for layer in layers)


class Scale(nn.Sequential):
    """Pixels of squares written beside each other, and blocks."""

    def __init__(self, channels: int, size: tuple[int, int], factor: int, shape: Shape) -> None:
        blocks = [InvertibleBlock(channels, size, shape) for _ in range(shape.blocks)]
        super().__init__(nn.PixelUnshuffle(factor), *blocks)
        self._factor = factor

    @property
    def blocks(self) -> list[InvertibleBlock]:
        """In the order in which they are used."""
        return [part for part in self if isinstance(part, InvertibleBlock)]

    def undone(self, images: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """What becomes these ``(N, C, H, W)``, and how many rounds of fixed points that took
        ``(N,)``, of each block at most so many.
        """
        total = torch.zeros(len(images), dtype=torch.long, device=images.device)
        for block in reversed(self.blocks):
            images, taken = fixed_point(block.residual, images, most)
            total += taken
        return F.pixel_shuffle(images, self._factor), total


class InvertibleNetwork(nn.Module):
    """From images ``(N, C, H, W)`` to logits ``(N, classes)`` by way of a ``latent`` ``(N, D)`` of
    as many numbers; ``scales`` hold the blocks, ``head`` is linear.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.picture_shape = (shape.channels, shape.height, shape.width)
        self.scales = nn.Sequential(*(Scale(*step, shape) for step in shape.steps()))
        self.latent = nn.Flatten()
        self.head = nn.Linear(shape.numbers, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        found: Tensor = self.head(self.encode(images))
        return found

    def encode(self, images: Tensor) -> Tensor:
        """The latents ``(N, D)``, in the mode that the module is in."""
        check_size(self, images)
        found: Tensor = self.latent(self.scales(images))
        return found

    def decode(self, latents: Tensor, rounds: int = ROUNDS) -> Inverse:
        """The pictures of latents ``(N, D)``, in evaluation mode and without a graph.

        ``rounds`` is the most for each block's fixed point; what they left is the ``residual``.

        Raises:
            InvalidParameterError: latents of another shape.
        """
        if latents.dim() != 2 or latents.shape[1] != self.shape.numbers:
            raise InvalidParameterError(
                f"latents have shape {tuple(latents.shape)}; expected (N, {self.shape.numbers})"
            )
        with frozen(self), torch.inference_mode(False), torch.no_grad():
            latents = latents.detach().clone()
            images, total = self.undo(latents, rounds)
            residual = (self.encode(images) - latents).norm(dim=1)
        return Inverse(images, residual, total)

    def undo(self, latents: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        """The pictures of latents ``(N, D)`` and the rounds that they took ``(N,)``, in the mode
        that the module is in; how far they are off is not looked at.
        """
        *_, (channels, size, _) = self.shape.steps()
        images = latents.view(-1, channels, *size)
        total = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        for scale in reversed(self._scales()):
            images, taken = scale.undone(images, rounds)
            total += taken
        return images.contiguous(), total

    def blocks(self) -> list[InvertibleBlock]:
        """All of them, from the picture to the latent."""
        return [block for scale in self._scales() for block in scale.blocks]

    def lipschitz_bounds(self) -> tuple[float, float]:
        """Between what factors ``||z - z'|| / ||x - x'||`` lies in evaluation, of any two pictures.

        From the norms that the blocks have, which are at most ``c``: so they are at least as good
        as ``((1 - c)^L, (1 + c)^L)``.
        """
        found = [block.contraction() for block in self.blocks()]
        return math.prod(1 - each for each in found), math.prod(1 + each for each in found)

    def _scales(self) -> list[Scale]:
        return [part for part in self.scales if isinstance(part, Scale)]


def check_size(network: InvertibleNetwork, images: Tensor) -> None:
    """Refuse images of another size, which would be resized where nothing leads back.

    Raises:
        InvalidImagesError: they are.
    """
    wanted = network.picture_shape
    if tuple(images.shape[1:]) != wanted:
        raise InvalidImagesError(
            f"images have shape {tuple(images.shape)}; expected (N, {', '.join(map(str, wanted))}),"
            " the size of this invertible network: bring them to it by model.fit"
        )
