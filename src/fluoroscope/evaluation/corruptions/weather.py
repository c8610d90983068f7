"""Weather: snow, frost, fog, and the sun."""

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.evaluation.corruptions.filters import motion, plasma, plasma_side, zoomed
from fluoroscope.evaluation.corruptions.noise import Drawn

# Red, green and blue in grey, as television has it.
_GREY = (0.299, 0.587, 0.114)
# How bright drawn frost is, at least and at most, and its colour: about as much as photographs.
_DARK, _BRIGHT = 0.55, 0.9
_TINT = (0.9, 1.02, 1.08)
# Its needles point so many ways, and one begins at such a share of the pixels.
_WAYS, _SPARSE = 4, 0.02


def draw_snow(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    angles = 90 * randomness.uniform(keys, 1, (1,))[:, 0] - 135
    return randomness.normal(keys, 0, shape[1:]), angles


def snow(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """Flakes that fall two ways, and a whiter picture under them.

    ``numbers``: mean and deviation of the flakes, how far they are enlarged, from which brightness
    on they are seen, radius and deviation of their motion in pixels, and what is left of the
    picture's own colour.
    """
    mean, deviation, zoom, threshold, radius, sigma, own = numbers
    flakes = zoomed(mean + deviation * drawn[0].to(images)[:, None], zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    # In 8 bits, as a picture file between the two steps has it: cut before, rounded after.
    flakes = motion((flakes * 255).floor() / 255, radius, sigma, drawn[1])
    flakes = (flakes * 255).round() / 255
    white = torch.maximum(images, 1.5 * _grey(images) + 0.5)
    return own * images + (1 - own) * white + flakes + flakes.flip((2, 3))


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return sum(part * images[:, [place]] for place, part in enumerate(_GREY))  # type: ignore[return-value]


def draw_frost(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    """A texture of needles on a cloudy ground; **not** the authors' photographs."""
    channels, height, width = shape
    side = plasma_side((height, width))
    ground = plasma(2 * randomness.uniform(keys, 0, (side, side)).double() - 1, 1.8)
    light = _DARK + (_BRIGHT - _DARK) * randomness.uniform(keys, 1, (1, 1))
    long = max(2, side // 16)
    needles = torch.zeros_like(ground)
    for way in range(_WAYS):
        seeds = (randomness.uniform(keys, 2 + 2 * way, (side, side)) < _SPARSE).to(ground)
        angles = 360 * randomness.uniform(keys, 3 + 2 * way, (1,))[:, 0]
        smeared = motion(seeds[:, None], long, long / 2, angles)[:, 0]
        needles = torch.maximum(needles, smeared / smeared.amax((1, 2), keepdim=True).clamp(1e-6))
    # Needles grow where the ground is bright.
    frost = light + 0.5 * (ground - 0.5) + 0.5 * (needles * ground - 0.15)
    frost = frost[:, None, :height, :width]
    if channels == 3:
        frost = frost * torch.tensor(_TINT, dtype=frost.dtype, device=frost.device).view(3, 1, 1)
    return (frost.clamp(0, 1),)


def frost(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: what is left of the picture, and how much of the frost is laid over it."""
    return numbers[0] * images + numbers[1] * drawn[0].to(images)


def draw_fog(keys: Tensor, shape: tuple[int, ...]) -> Drawn:
    side = plasma_side((shape[1], shape[2]))
    return (2 * randomness.uniform(keys, 0, (side, side)) - 1,)


def fog(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """``numbers``: how thick it is, and how fast its detail fades."""
    thick, decay = numbers
    cloud = plasma(drawn[0].to(images), decay)[:, None, : images.shape[2], : images.shape[3]]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thick * cloud) * brightest / (brightest + thick)


def brightness(images: Tensor, numbers: tuple[float, ...], drawn: Drawn) -> Tensor:
    """More of the value of hue, saturation, value: the colour stays, and black turns grey."""
    value = images.amax(1, keepdim=True)
    colour = torch.where(value > 0, images / value.clamp(min=1e-12), 1.0)
    return colour * (value + numbers[0]).clamp(max=1)
