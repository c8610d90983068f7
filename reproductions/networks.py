"""Networks of full size with seeded weights: eighteen of torchvision and eight families of timm.

Nothing is downloaded. Weights are drawn as the layers draw them; what would then be constant (zeros
and ones of biases, norms, tokens, layer scales and of the heads of transformers) is moved off it,
and batch norms take their statistics from pictures of noise. So every path of a network carries a
signal, and an identity that a method breaks is seen to break. How good a map is, such weights
cannot tell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import fluoroscope as fs

CLASSES = 10
"""How many classes each of them tells apart."""
_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class Specimen:
    """A network, and pictures ``(2, 3, H, W)`` in ``[0, 1]`` of a size that it takes."""

    name: str
    model: fs.Classifier
    images: Tensor


_TORCHVISION: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (64, {}),
    "vgg11": (64, {}),
    "vgg11_bn": (64, {}),
    "resnet18": (64, {}),
    "resnet50": (64, {}),
    "squeezenet1_1": (64, {}),
    "densenet121": (64, {}),
    "googlenet": (64, {"aux_logits": False, "init_weights": False}),
    "inception_v3": (96, {"aux_logits": False, "init_weights": False}),
    "shufflenet_v2_x0_5": (64, {}),
    "mobilenet_v2": (64, {}),
    "mobilenet_v3_small": (64, {}),
    "mnasnet0_5": (64, {}),
    "regnet_y_400mf": (64, {}),
    "efficientnet_b0": (64, {}),
    "convnext_tiny": (64, {}),
    "vit_b_16": (224, {}),
    "swin_t": (64, {}),
}
"""Side of the pictures, and what the maker is told."""
_TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet18": (64, {}),
    "efficientnet_b0": (64, {}),
    "mobilenetv3_small_050": (64, {}),
    "convnext_atto": (64, {}),
    "vit_tiny_patch16_224": (64, {"img_size": 64}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64}),
    "regnety_002": (64, {}),
    "mixer_s32_224": (64, {"img_size": 64}),
}
TORCHVISION = tuple(f"torchvision:{name}" for name in _TORCHVISION)
TIMM = tuple(f"timm:{name}" for name in _TIMM)
NETWORKS = TORCHVISION + TIMM
"""All twenty-six."""
SMALL = (
    "torchvision:squeezenet1_1",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:mobilenet_v3_small",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224",
    "timm:mixer_s32_224",
)
"""Those that the tests have the time for; the whole sweep is a reproduction."""


@cache
def specimen(name: str) -> Specimen:
    """One of :data:`NETWORKS`, made when it is first asked for; the same ever after."""
    source, _, kind = name.partition(":")
    side, options = {"torchvision": _TORCHVISION, "timm": _TIMM}[source][kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(NETWORKS.index(name))
        module = _makers()[source](kind, options)
        awaken(module)
        take_statistics(module, torch.rand(16, 3, min(side, 96), min(side, 96)))
        images = torch.rand(2, 3, side, side)
    return Specimen(name, fs.Classifier(module.eval(), input_size=side, name=name), images)


def _makers() -> dict[str, Callable[[str, dict[str, Any]], nn.Module]]:
    def torchvision(kind: str, options: dict[str, Any]) -> nn.Module:
        from torchvision.models import get_model

        return get_model(kind, weights=None, num_classes=CLASSES, **options)

    def timm(kind: str, options: dict[str, Any]) -> nn.Module:
        from timm import create_model

        return create_model(kind, pretrained=False, num_classes=CLASSES, **options)

    return {"torchvision": torchvision, "timm": timm}


def awaken(module: nn.Module) -> None:
    """Move every parameter that is the same throughout off its value, by the global generator."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.numel() > 1 and weight.min() == weight.max():
                around = weight.flatten()[0].abs()
                if around < 0.1:  # biases, tokens, heads of zeros; the smallest layer scales
                    weight.add_(torch.randn_like(weight), alpha=0.05)
                else:
                    weight.mul_(1 + 0.1 * torch.randn_like(weight))


def take_statistics(module: nn.Module, images: Tensor) -> None:
    """Set the statistics of batch norms to those of ``images``; dropout stays off."""
    module.eval()
    norms = [each for each in module.modules() if isinstance(each, _NORMS)]
    norms = [each for each in norms if each.track_running_stats]
    if not norms:
        return
    momenta = [each.momentum for each in norms]
    for each in norms:
        each.momentum = None  # the mean over all batches
        each.reset_running_stats()
        each.train()
    with torch.no_grad():
        module(images)
    for each, momentum in zip(norms, momenta, strict=True):
        each.momentum = momentum
        each.eval()
