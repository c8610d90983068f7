"""What can be said of a map by itself, or of its sum: sparseness, complexity, completeness."""

import torch
from torch import Tensor

from fluoroscope.attribution.baselines import Given, as_baseline
from fluoroscope.attribution.method import promise_error
from fluoroscope.attribution.metrics.maps import Maps, as_maps, pixels
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.attribution.metrics.subsets import Scores
from fluoroscope.engine.stream import take


def sparseness(maps: Maps) -> Tensor:
    """Gini's index of the absolute relevances of the pixels, ``(N,)`` from 0 to 1 - 1/P.

    Chalasani, Chen, Chowdhury, Jha, Wu 2020 (1810.06583), section 5, after Hurley and Rickard 2009:
    ``sum_i (2 i - P - 1) a_(i) / (P sum a)`` with the values in order. 0 where all are the same.
    """
    sizes = pixels(as_maps(maps)).abs().cpu().sort(1).values
    many = sizes.shape[1]
    places = torch.arange(1, many + 1, dtype=sizes.dtype, device=sizes.device)
    total = sizes.sum(1)
    return (sizes @ (2 * places - many - 1)) / (many * total.where(total > 0, 1.0))


def complexity(maps: Maps) -> Tensor:
    """The entropy of the pixels' shares of the absolute relevance, ``(N,)`` from 0 to ln P nats.

    Bhatt, Weller, Moura 2020 (2005.00631), definition 4. A map of zeros has equal shares.
    """
    sizes = pixels(as_maps(maps)).abs().cpu()
    total = sizes.sum(1, keepdim=True)
    shares = torch.where(total > 0, sizes / total.where(total > 0, 1.0), 1 / sizes.shape[1])
    found: Tensor = torch.special.entr(shares).sum(1)
    return found


def completeness(setting: Setting, *, baseline: Given = "black") -> Scores:
    """How far the sum of a map is from ``f(x) - f(b)``, as a share: the error of completeness.

    Sundararajan, Taly, Yan 2017 (1703.01365), proposition 1, divided by the larger of
    ``|f(x) - f(b)|`` and a thousandth of ``sum |map|``, so that a difference near zero does not
    fail on rounding. ``baseline`` is that of the method; of a set of pictures ``f(b)`` is the mean.
    """
    behind, samples = as_baseline(baseline), setting.samples
    behind.check(setting.images)
    whole = setting.ask(1, lambda rows, _: setting.images[rows], "logit")
    nothing = setting.ask(
        behind.count, lambda rows, numbers: behind.of(take(samples, rows), numbers), "logit"
    )
    wanted = (whole[:, 0] - nothing.mean(1)).cpu()

    def scores(maps: Maps) -> Tensor:
        return promise_error(as_maps(maps, setting.images).cpu(), wanted)

    return scores
