"""How far a map is from the change that it predicts.

Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, "On the (In)fidelity and Sensitivity of Explanations"
(1901.09392), definition 2.1: the mean of ``(I · map - (f(x) - f(x - I)))²`` over perturbations
``I``. As in the authors' code the predictions are first scaled by ``β = mean(Δ·e) / mean(e²)``,
the factor that serves the map best: otherwise a map loses to another of a better scale.
"""

from typing import Literal

import torch
from torch import Tensor

from fluoroscope.attribution.metrics.maps import Maps, as_maps, pixels
from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.attribution.metrics.replacing import Replace, replacement
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.attribution.metrics.subsets import Scores, lost, part_of, subsets
from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError


def infidelity(
    setting: Setting,
    *,
    samples: int = 100,
    perturbation: Literal["noise", "removal"] = "noise",
    sigma: float = 0.2,
    share: float = 0.1,
    replace: Replace = "black",
    scaled: bool = True,
) -> Scores:
    """In squared logits.

    Args:
        setting: the network, pictures and classes.
        samples: perturbations of each picture; the paper draws thousands.
        perturbation: ``noise``, of which a map predicts the effect as a derivative would; or
            ``removal`` of random pixels, for maps whose values are contributions that add up.
        sigma: of the normal noise, in units of ``[0, 1]``; pixels stay within, and what counts is
            the change that was made.
        share: of the pixels that are removed.
        replace: what stands in their place.
        scaled: whether predictions are scaled first.
    """
    samples = whole_number("samples", samples)
    if perturbation not in ("noise", "removal"):
        raise InvalidParameterError(f"perturbation is {perturbation!r}; expected noise or removal")
    if not 0 < sigma < float("inf"):
        raise InvalidParameterError(f"sigma is {sigma}; expected a number above 0")
    keys, images, shape = setting.keys(Purpose.PERTURBING), setting.images, setting.images.shape[1:]
    total, many = setting.pixels, part_of(setting.pixels, share)

    def noisy(rows: Tensor, numbers: Tensor) -> Tensor:
        drawn = randomness.normal(keys[rows], numbers, tuple(shape)).to(images)
        return (images[rows] - sigma * drawn).clamp(0, 1)

    if perturbation == "noise":
        whole = setting.ask(1, lambda rows, _: images[rows], "logit")
        drops = (whole - setting.ask(samples, noisy, "logit")).double()
    else:
        drops = lost(
            setting,
            samples,
            lambda rows, numbers: subsets(keys[rows], numbers, total, many).view(-1, *shape[1:]),
            replacement(setting, replace),
        )

    def predicted(values: Tensor, rows: Tensor, numbers: Tensor) -> Tensor:
        if perturbation == "noise":
            change = (images[rows] - noisy(rows, numbers)).to(wide(images))
            return (change * values[rows]).flatten(1).sum(1)
        gone = subsets(keys[rows], numbers, total, many)
        return (pixels(values[rows]) * gone).sum(1)

    def scores(maps: Maps) -> Tensor:
        values = as_maps(maps, images)
        everyone = torch.arange(len(setting) * samples, device=images.device)
        said = torch.cat(
            [
                predicted(values, part // samples, part % samples)
                for part in everyone.split(setting.batch_size)
            ]
        ).view(len(setting), samples)
        return _distance(said.double().cpu(), drops.cpu(), scaled)

    return scores


def _distance(said: Tensor, drops: Tensor, scaled: bool) -> Tensor:
    if scaled:
        square = (said**2).mean(1)
        factor = (drops * said).mean(1) / square.where(square > 0, 1.0)
        said = said * factor[:, None]
    return ((said - drops) ** 2).mean(1)
