"""What the toys are made of: one short class or line for each stumbling block.

Parts draw their weights from the global generator, which :func:`tests.attribution.zoo.toy` seeds.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 4
WIDTH = 6
"""Channels between the first convolution and the head."""


def conv(inputs: int = WIDTH, outputs: int = WIDTH, **options: Any) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, **{"kernel_size": 3, "padding": 1, **options})


def network(
    *parts: nn.Module, colours: int = 3, side: int = 8, first: nn.Module | None = None
) -> nn.Sequential:
    """A first convolution, the parts, and a linear head over all that is left."""
    body = nn.Sequential(conv(colours) if first is None else first, *parts, nn.Flatten()).eval()
    with torch.no_grad():
        width = body(torch.zeros(1, colours, side, side)).shape[1]
    return nn.Sequential(*body, nn.Linear(width, CLASSES))


def with_activation(make: Callable[[], nn.Module]) -> nn.Sequential:
    """Two layers, with an activation behind each."""
    return network(make(), conv(), make())


class Do(nn.Module):
    """A function where others have a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class ReusedReLU(nn.Module):
    """One ReLU that stands in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = conv(), conv(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.relu(self.first(x))))


class BasicBlock(nn.Module):
    """A block of a ResNet as torchvision writes it: the sum is written into what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(bias=False), nn.BatchNorm2d(WIDTH)
        self.conv2, self.bn2 = conv(bias=False), nn.BatchNorm2d(WIDTH)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Skip(nn.Module):
    """``x + f(x)``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ReLU(), conv())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x


class Gate(nn.Module):
    """Squeeze and excitation: a product of two tensors that both come from the picture."""

    def __init__(self, squash: Callable[[Tensor], Tensor], in_place: bool = False) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Conv2d(WIDTH, 3, 1), nn.Conv2d(3, WIDTH, 1)
        self.squash, self.in_place = squash, in_place

    def forward(self, x: Tensor) -> Tensor:
        gate = self.squash(self.widen(F.relu(self.narrow(F.adaptive_avg_pool2d(x, 1)))))
        return x.mul_(gate) if self.in_place else x * gate


class Tokens(nn.Module):
    """Places as tokens ``(N, H·W, C)``, something done to them, and the mean of them."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x.flatten(2).transpose(1, 2)).mean(1)


class TorchAttention(nn.Module):
    """PyTorch's own attention module, whose inference path goes another way."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.attention(y, y, y, need_weights=False)[0]


class HandAttention(nn.Module):
    """Attention written out, or by the one function that does all of it."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.fused = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), fused

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        q, k, v = self.qkv(x).reshape(count, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        if self.fused:
            seen = F.scaled_dot_product_attention(q, k, v)
        else:
            seen = ((q @ k.transpose(-2, -1)) * (width // 2) ** -0.5).softmax(-1) @ v
        return x + self.out(seen.transpose(1, 2).reshape(count, length, width))


class EncoderLayer(nn.Module):
    """PyTorch's transformer layer, which has a fused path for evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, activation="gelu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class ChannelsLastNorm(nn.Module):
    """The layer norm of a ConvNeXt: over channels, between two permutations."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormDefinedFirst(nn.Module):
    """A batch norm that is defined before the layer behind which it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(WIDTH)
        self.last, self.first = conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.last(F.relu(self.norm(self.first(x)))))


class OddSequential(nn.Sequential):
    """A Sequential of another name."""


class ViewInPlace(nn.Module):
    """Half of the channels are rectified through a view of them."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        x[:, WIDTH // 2 :].add_(0.1)
        x[:, : WIDTH // 2].relu_()
        return x


class Branches(nn.Module):
    """Two ways side by side, as in a GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(), conv(kernel_size=1, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([F.relu(self.left(x)), F.relu(self.right(pooled))], 1)


class Chunks(nn.Module):
    """One half passes, the other is worked on, and the channels are shuffled: a ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.work = conv(WIDTH // 2, WIDTH // 2)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, dim=1)
        joined = torch.cat((kept, F.relu(self.work(worked))), 1)
        return joined.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class SplitGate(nn.Module):
    """One half of the channels times the other."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(x, WIDTH // 2, dim=1)
        return left * right


class _Cubed(torch.autograd.Function):
    """A function that PyTorch knows nothing of, with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * slope


class Einsum(nn.Module):
    """A linear layer and a gram matrix, both by ``einsum``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, WIDTH) / 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(torch.einsum("nchw,oc->nohw", x, self.weight))
        return torch.einsum("nihw,njhw->nij", x, x) / 64


class Recurrent(nn.Module):
    """Rows of a picture, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.permute(0, 2, 1, 3).flatten(2))[0]


class Cosine(nn.Module):
    """A head of cosines, as networks that tell faces apart have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return 5 * F.linear(F.normalize(x.mean((2, 3)), dim=1), F.normalize(self.weight, dim=1))


class Sides(nn.Module):
    """Convolutions along one axis and over three."""

    def __init__(self) -> None:
        super().__init__()
        self.along, self.over = nn.Conv1d(WIDTH, WIDTH, 3), nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.along(x.flatten(2))).unflatten(2, (2, -1))
        return F.relu(self.over(x[:, None])).mean(1)


def _relu_in_place(x: Tensor) -> Tensor:
    return x.relu_()


def _function_in_place(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


MAKERS: dict[str, Callable[[], nn.Module]] = {
    # One ReLU, written in every way that people write it.
    "relu-module": lambda: with_activation(nn.ReLU),
    "relu-function": lambda: with_activation(lambda: Do(F.relu)),
    "relu-of-torch": lambda: with_activation(lambda: Do(torch.relu)),
    "relu-method-in-place": lambda: with_activation(lambda: Do(_relu_in_place)),
    "relu-function-in-place": lambda: with_activation(lambda: Do(_function_in_place)),
    "relu-modules-in-place": lambda: with_activation(lambda: nn.ReLU(inplace=True)),
    "reused-relu": lambda: network(ReusedReLU()),
    "clamp-at-zero": lambda: with_activation(lambda: Do(lambda x: x.clamp(min=0))),
    "where-positive": lambda: with_activation(lambda: Do(lambda x: torch.where(x > 0, x, 0.0))),
    # Sums and products.
    "in-place-addition": lambda: network(nn.ReLU(), BasicBlock(), BasicBlock()),
    "skip-addition": lambda: network(Skip(), Skip(), Skip(), Skip()),
    "squeeze-and-excitation": lambda: network(nn.ReLU(), Gate(torch.sigmoid)),
    "gate-in-place": lambda: network(nn.ReLU(), conv(), Gate(F.hardsigmoid, in_place=True)),
    "split-gate": lambda: network(conv(), SplitGate()),
    "einsum": lambda: network(Einsum()),
    # Pools.
    "max-pool-after-relu": lambda: network(nn.ReLU(), nn.MaxPool2d(2)),
    "max-pool-before-relu": lambda: network(nn.MaxPool2d(2), nn.ReLU()),
    "overlapping-max-pool": lambda: network(nn.ReLU(), nn.MaxPool2d(3, 2, 1), conv(), nn.ReLU()),
    "adaptive-max-pool": lambda: network(nn.ReLU(), nn.AdaptiveMaxPool2d(3)),
    "maximum-over-places": lambda: network(nn.ReLU(), Do(lambda x: x.amax((2, 3)))),
    "average-pool": lambda: network(
        nn.AvgPool2d(3, 2, 1), nn.ReLU(), conv(), nn.AdaptiveAvgPool2d(1)
    ),
    # Activations that are no ReLU.
    "gelu": lambda: with_activation(nn.GELU),
    "gelu-tanh": lambda: with_activation(lambda: nn.GELU(approximate="tanh")),
    "silu": lambda: with_activation(lambda: nn.SiLU(inplace=True)),
    "hardswish": lambda: with_activation(lambda: nn.Hardswish(inplace=True)),
    "relu6": lambda: network(Do(lambda x: 6 * x), nn.ReLU6(inplace=True), conv(), nn.ReLU6()),
    "hardtanh": lambda: with_activation(nn.Hardtanh),
    "leaky-relu": lambda: with_activation(lambda: nn.LeakyReLU(0.1)),
    "elu": lambda: with_activation(nn.ELU),
    "mish": lambda: with_activation(nn.Mish),
    "prelu": lambda: with_activation(lambda: nn.PReLU(WIDTH)),
    "softplus": lambda: with_activation(nn.Softplus),
    "sigmoid-and-tanh": lambda: network(nn.Sigmoid(), conv(), nn.Tanh()),
    "clamp": lambda: with_activation(lambda: Do(lambda x: torch.clamp(x, -0.2, 0.3))),
    "where": lambda: with_activation(lambda: Do(lambda x: torch.where(x > 0, x, 0.5 * x))),
    # Heads.
    "softmax-head": lambda: nn.Sequential(network(nn.ReLU()), nn.Softmax(dim=1)),
    "log-softmax-head": lambda: nn.Sequential(network(nn.ReLU()), nn.LogSoftmax(dim=1)),
    "cosine-head": lambda: network(nn.ReLU(), Cosine()),
    # Norms.
    "batch-norm": lambda: network(nn.BatchNorm2d(WIDTH), nn.ReLU(), conv(), nn.BatchNorm2d(WIDTH)),
    "batch-norm-no-affine": lambda: network(nn.BatchNorm2d(WIDTH, affine=False), nn.ReLU()),
    "batch-norm-out-of-order": lambda: network(NormDefinedFirst()),
    "layer-norm": lambda: network(nn.ReLU(), nn.LayerNorm([WIDTH, 8, 8])),
    "layer-norm-over-channels": lambda: network(ChannelsLastNorm(), nn.GELU(), conv()),
    "group-norm": lambda: network(nn.GroupNorm(2, WIDTH), nn.ReLU()),
    "instance-norm": lambda: network(nn.InstanceNorm2d(WIDTH, affine=True), nn.ReLU()),
    "rms-norm": lambda: network(nn.ReLU(), Tokens(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WIDTH))),
    "local-response-norm": lambda: network(nn.ReLU(), nn.LocalResponseNorm(3)),
    # Attention.
    "attention-module": lambda: network(Tokens(TorchAttention())),
    "attention-by-hand": lambda: network(Tokens(HandAttention(fused=False))),
    "attention-fused": lambda: network(Tokens(HandAttention(fused=True))),
    "transformer-layer": lambda: network(Tokens(EncoderLayer())),
    # Linear layers of other shapes.
    "grouped-convolution": lambda: network(nn.ReLU(), conv(groups=3), nn.ReLU()),
    "depthwise-convolution": lambda: network(
        nn.ReLU(), conv(groups=WIDTH), nn.ReLU(), conv(kernel_size=1, padding=0), nn.ReLU()
    ),
    "transposed-convolution": lambda: network(
        nn.ReLU(), nn.ConvTranspose2d(WIDTH, WIDTH, 2, stride=2), nn.ReLU()
    ),
    "one-and-three-dimensions": lambda: network(nn.ReLU(), Sides()),
    "upsampling": lambda: network(nn.ReLU(), nn.Upsample(scale_factor=2), conv(), nn.ReLU()),
    "interpolation": lambda: network(
        nn.ReLU(), Do(lambda x: F.interpolate(x, size=(5, 5), mode="bilinear")), conv(), nn.ReLU()
    ),
    # The shapes of code.
    "odd-containers": lambda: network(
        nn.Identity(), OddSequential(nn.ReLU(), OddSequential(conv(), nn.Identity())), nn.ReLU()
    ),
    "view-in-place": lambda: network(ViewInPlace(), conv(), nn.ReLU()),
    "concatenation": lambda: network(nn.ReLU(), Branches()),
    "chunks": lambda: network(nn.ReLU(), Chunks(), Chunks()),
    "dropout": lambda: network(nn.ReLU(), nn.Dropout(0.5), conv(), nn.Dropout2d(0.5), nn.ReLU()),
    "custom-function": lambda: network(Do(_Cubed.apply), nn.ReLU()),
    "recurrent": lambda: network(Recurrent(), first=nn.Identity()),
    # Pictures of other shapes, and with a preprocessing of their own.
    "one-pixel-input": lambda: network(nn.ReLU(), Skip(), Skip(), side=1),
    "grey-input": lambda: network(nn.ReLU(), nn.MaxPool2d(2), colours=1),
    "mean-and-deviation": lambda: network(nn.ReLU(), nn.MaxPool2d(2), conv(), nn.ReLU()),
}
"""Every toy by name; the last one's pictures are normalised before it."""
