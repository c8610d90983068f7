"""How the relevance of a layer's outputs is spread over its inputs: one rule each.

An input adds ``c_ij = x_i * w_ij`` to the output ``y_j = sum_i c_ij + b_j``, whose relevance
``R_j`` is to be handed to the inputs. ``z`` is the sum of all contributions, ``z+`` that of the
positive ones, ``S`` that of their sizes.

A bias keeps nothing, unless the rule epsilon is asked for as it was published: what it adds goes
to the inputs, too, so a map adds up to the logit by construction. Where all inputs of an output are
0, the bias (or the shift of the batch norm behind) is all there is of it, and what it holds goes to
the other outputs at the same place by size.

**Depthwise convolutions.** One input channel for each output often leaves no positive part, and
z-plus alone then loses what they hold. Sum over output of six networks (ShuffleNetV2 0.5,
MobileNetV2, MobileNetV3, MNASNet with random weights; pretrained MobileNet v1 0.25 and v2 1.0):

- z-plus alone: .19, .58, .89, .65; .01, .001
- z-plus, and where no part is positive the others: .89, .83, .99, .86; .67, .15
- signed, or gamma .25: within .02 of that
- any of these three, and dead outputs' relevance to their neighbours, as here: 1.000 on all
- epsilon likewise: 1.000 on three, but maps 20 to 30,000 times their sum, and 26 and -41 on the
  pretrained ones: sums of nine terms pass through 0
- flat needs a form that is not value × modified gradient, and was not tried

So z-plus it is, as elsewhere. What conserves there is a convention: of the pretrained v2 most of
the relevance comes through places where all that a depthwise convolution was given is 0.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fluoroscope.attribution.rules.lrp.back import divided, rehomed
from fluoroscope.attribution.rules.lrp.context import How, Limits
from fluoroscope.attribution.rules.lrp.layers import Applied

_TINY = 1e-30
_NOTHING = 1e-6
"""Parts that are a smaller share than this are rounding."""
Spread = Callable[[Applied, Tensor, How], Tensor]
"""From the relevance of the outputs to the modified gradient at the inputs."""


def epsilon(layer: Applied, relevance: Tensor, how: How) -> Tensor:
    """``R_i = sum_j (c_ij + |c_ij| / S_j * (b_j + e_j)) / (y_j + e_j) * R_j``, e with y's sign.

    What bias and epsilon add is shared in proportion to the size of the contributions, so that an
    output near 0 is conserved, too. Where they keep it (Bach et al. 2015, equation 58) it is
    ``R_i = sum_j c_ij / (y_j + e_j) * R_j``.
    """
    y, bias = layer.y, layer.layer.bias
    added = torch.where(y < 0, -how.epsilon, how.epsilon)
    if how.absorbed:
        return layer.back(divided(relevance, y + added))
    sizes = layer.through(layer.x.abs(), layer.layer.weights.abs())
    relevance = rehomed(relevance, layer.z, sizes.found == 0)
    share = divided(relevance, y + added)
    rest = share * (added if bias is None else added + bias)
    found = layer.back(share)
    return found.addcmul_(layer.x.sign(), sizes.back(divided(rest, sizes.found)))


def z_plus(layer: Applied, relevance: Tensor, how: How) -> Tensor:
    """``R_i = sum_j c_ij+ / z_j+ * R_j``; of an output without positive parts, by the others.

    What has one input channel for each output often has none: with nothing in their place 1.00 of
    the relevance becomes 0.00 on a network of depthwise convolutions.
    """
    x, weights = layer.x, layer.layer.weights
    if x.numel() and float(x.min()) < 0:
        # The positive parts are (c + |c|) / 2, which takes one convolution and not two.
        sizes = layer.through(x.abs(), weights.abs())
        plus = (layer.z + sizes.found).div_(2)
        share, whole = _of_either_sign(layer, relevance, plus, sizes.found)
        share = share.div_(2)
        found = layer.back(share + whole)
        return found.addcmul_(x.sign(), sizes.back(share))
    over = layer.through(x, weights.clamp(min=0))
    if layer.sign is None and float(over.found.min()) > _TINY:
        return over.back(relevance / over.found)
    share, whole = _of_either_sign(layer, relevance, over.found, None)
    return over.back(share).add_(layer.back(whole))


def _of_either_sign(
    layer: Applied, relevance: Tensor, plus: Tensor, sizes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What an output hands to its positive parts, and what to all, where the others are meant.

    The parts of one sign are the whole less those of the other. With the sum of their ``sizes``
    what is the rounding of that counts as none.
    """
    z = layer.z
    if layer.sign is None:
        by_plus = plus > (_TINY if sizes is None else _NOTHING * sizes)
        # Where nothing is positive the others are all there is.
        below = torch.where(by_plus, plus, z if sizes is None else z - plus)
    else:
        # Of what the batch norm behind turns round the negative parts are the positive ones.
        minus, turned = z - plus, layer.sign < 0
        by_plus = turned ^ (torch.where(turned, -minus, plus) > _NOTHING * (plus - minus))
        below = torch.where(by_plus, plus, minus)
    relevance = rehomed(relevance, z, below == 0)
    shares = (relevance / below).nan_to_num_(0, 0, 0)
    whole = shares.masked_fill(by_plus, 0)
    return shares.sub_(whole, alpha=2), whole


def gamma(layer: Applied, relevance: Tensor, how: How) -> Tensor:
    """``R_i = sum_j (c_ij + gamma * c_ij^s) / (z_j + gamma * z_j^s) * R_j``, s the sign of ``z_j``.

    The form for inputs of both signs (Andeol et al. 2021): what speaks for the output's own sign
    is favoured, so no denominator is smaller than what it divides.
    """
    return _favoured(layer, relevance, how.gamma)


def signed(layer: Applied, relevance: Tensor, how: How) -> Tensor:
    """``R_i = sum_j c_ij^s / z_j^s * R_j``, s the sign of ``z_j``: gamma without end."""
    return _favoured(layer, relevance, None)


def _favoured(layer: Applied, relevance: Tensor, favour: float | None) -> Tensor:
    # The parts of one sign are (|c| + s c) / 2, so sums of c and of |c| are all that is needed.
    x, z = layer.x, layer.z
    sizes = layer.through(x.abs(), layer.layer.weights.abs())
    plain, half = (0.5, 0.5) if favour is None else (1 + favour / 2, favour / 2)
    relevance = rehomed(relevance, z, sizes.found == 0)
    weight = divided(relevance, plain * z.abs() + half * sizes.found)
    found = layer.back(plain * weight.mul(torch.where(z < 0, -1.0, 1.0)))
    return found.addcmul_(x.sign(), sizes.back(half * weight))


SPREADS: Mapping[str, Spread] = {
    "epsilon": epsilon,
    "z-plus": z_plus,
    "gamma": gamma,
    "signed": signed,
}
"""Rules of the form value × modified gradient, by name."""


def at_picture(rule: str, layer: Applied, relevance: Tensor, how: How, limits: Limits) -> Tensor:
    """The relevance of a first layer's inputs, pixels, by any rule."""
    if limits is not None:
        return (
            flat(layer, relevance, limits[0]) if rule == "flat" else box(layer, relevance, *limits)
        )
    return layer.x * SPREADS[rule](layer, relevance, how)


def flat(layer: Applied, relevance: Tensor, inside: Tensor) -> Tensor:
    """``R_i = sum_j 1 / n_j * R_j``: all pixels of an output's window alike; padding is none."""
    ones = layer.through(inside, torch.ones_like(layer.layer.weights))
    return ones.back(divided(relevance, ones.found))


def box(layer: Applied, relevance: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``R_i = sum_j (x_i w_ij - l_i w_ij+ - h_i w_ij-) / (the sum of these) * R_j``.

    Montavon et al. 2017, of inputs between l and h: no contribution is negative.
    """
    weights, z = layer.layer.weights, layer.z
    turned = torch.zeros_like(z, dtype=torch.bool)
    if layer.sign is not None:  # where the batch norm behind turns an output round
        turned = turned | (layer.sign < 0)
    ways = [(turned, high, low)] if bool(turned.any()) else []
    found = torch.zeros_like(layer.x)
    for passed, first, second in [(~turned, low, high), *ways]:
        below = layer.through(first, weights.clamp(min=0))
        above = layer.through(second, weights.clamp(max=0))
        share = divided(relevance, z - below.found - above.found).masked_fill(~passed, 0)
        found += layer.x * layer.back(share)
        found -= first * below.back(share) + second * above.back(share)
    return found
