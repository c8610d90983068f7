"""The metrics by name."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from fluoroscope.attribution.metrics.again import (
    entropy_rise_of_randomisation,
    max_sensitivity,
    parameter_randomisation,
    random_logit,
)
from fluoroscope.attribution.metrics.flipping import Flipping, Order, area
from fluoroscope.attribution.metrics.infidelity import infidelity
from fluoroscope.attribution.metrics.maps import Maps, as_maps
from fluoroscope.attribution.metrics.metric import Metric
from fluoroscope.attribution.metrics.of_the_map import completeness, complexity, sparseness
from fluoroscope.attribution.metrics.replacing import Replace
from fluoroscope.attribution.metrics.setting import Setting
from fluoroscope.attribution.metrics.subsets import Scores, faithfulness_correlation, mufidelity
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean

_TENTHS = tuple(tenth / 10 for tenth in range(1, 10))


def _deletion(setting: Setting, *, steps: int = 32, replace: Replace = "black") -> Scores:
    flips = Flipping(setting, steps=steps, replace=replace)
    return lambda maps: area(flips.curve(maps, "most"), flips.fractions)


def _insertion(setting: Setting, *, steps: int = 32, replace: Replace = "blur") -> Scores:
    flips = Flipping(setting, steps=steps, replace=replace)
    return lambda maps: area(flips.curve(maps, "least"), flips.fractions)


def _srg(setting: Setting, *, steps: int = 32, replace: Replace = "mean") -> Scores:
    flips = Flipping(setting, steps=steps, replace=replace)
    return lambda maps: flips(maps).srg


def _road(setting: Setting, *, fractions: Sequence[float] = _TENTHS, noise: float = 0.01) -> Scores:
    flips = Flipping(setting, fractions=fractions, replace="linear", noise=noise)

    def scores(maps: Maps) -> Tensor:
        curves = flips(maps)
        return curves.least.mean(1) - curves.most.mean(1)

    return scores


def _road_of(
    order: Order,
    setting: Setting,
    *,
    fractions: Sequence[float] = _TENTHS,
    noise: float = 0.01,
) -> Scores:
    flips = Flipping(setting, fractions=fractions, replace="linear", noise=noise)
    return lambda maps: flips.curve(maps, order).mean(1)


def _sparseness(setting: Setting) -> Scores:
    return lambda maps: sparseness(as_maps(maps, setting.images))


def _complexity(setting: Setting) -> Scores:
    return lambda maps: complexity(as_maps(maps, setting.images))


_TIES = "of equally relevant pixels the seed draws which goes first"
_RISE = "Petsiuk, Das, Saenko 2018 (1806.07421), section 4.2"
_ROAD_PAPER = "Rong, Leemann, Borisov, Kasneci, Kasneci 2022 (2202.00449), section 4.2"
_YEH = "Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019 (1901.09392)"
_BHATT = "Bhatt, Weller, Moura 2020 (2005.00631)"
_ADEBAYO = "Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018 (1810.03292)"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "deletion",
            "lower is better",
            "any map",
            "mean probability of the class while the most relevant pixels turn black, in 32 "
            f"steps by default; {_TIES}",
            _RISE,
            _deletion,
        ),
        Metric(
            "insertion",
            "higher is better",
            "any map",
            "mean probability of the class while the most relevant pixels come into a blur, "
            f"in 32 steps by default; {_TIES}",
            _RISE,
            _insertion,
        ),
        Metric(
            "srg",
            "higher is better",
            "any map",
            "area with the least relevant pixels away first, minus that with the most relevant, "
            f"in 32 steps by default; {_TIES}",
            "Bluecher, Vielhaben, Strodthoff 2024 (2401.06654)",
            _srg,
        ),
        Metric(
            "road",
            "higher is better",
            "any map",
            "probability with the least relevant pixels imputed, minus with the most relevant; "
            f"{_TIES}",
            _ROAD_PAPER,
            _road,
        ),
        Metric(
            "road-most-first",
            "lower is better",
            "any map",
            f"probability of the class with the most relevant pixels imputed; {_TIES}",
            _ROAD_PAPER,
            partial(_road_of, "most"),
        ),
        Metric(
            "road-least-first",
            "higher is better",
            "any map",
            f"probability of the class with the least relevant pixels imputed; {_TIES}",
            _ROAD_PAPER,
            partial(_road_of, "least"),
        ),
        Metric(
            "faithfulness-correlation",
            "higher is better",
            "signed maps",
            "correlation of the relevance of random pixels and what the logit loses with them",
            f"{_BHATT}, definition 3",
            faithfulness_correlation,
        ),
        Metric(
            "mufidelity",
            "higher is better",
            "signed maps",
            "rank correlation of the relevance of random cells and what the logit loses with them",
            f"{_BHATT}, definition 3, on a grid and by ranks as in Xplique",
            mufidelity,
        ),
        Metric(
            "infidelity",
            "lower is better",
            "signed maps",
            "squared error of the change of the logit that the map predicts for a perturbation",
            f"{_YEH}, definition 2.1, with the scaling of the authors' code",
            infidelity,
        ),
        Metric(
            "completeness",
            "lower is better",
            "methods with a promise",
            "relative error of the map's sum against f(x) - f(baseline)",
            "Sundararajan, Taly, Yan 2017 (1703.01365), proposition 1",
            completeness,
        ),
        Metric(
            "max-sensitivity",
            "lower is better",
            "methods that can be run again",
            "largest relative change of the map in a small ball around the picture",
            f"{_YEH}, definition 3.1",
            max_sensitivity,
        ),
        Metric(
            "random-logit",
            "lower is better",
            "methods that can be run again",
            "similarity to the map of another class",
            "Sixt, Granz, Landgraf 2020 (1912.09818)",
            random_logit,
        ),
        Metric(
            "parameter-randomisation",
            "lower is better",
            "methods that can be run again",
            "similarity to the map of the network with random weights",
            _ADEBAYO,
            parameter_randomisation,
        ),
        Metric(
            "entropy-rise",
            "higher is better",
            "methods that can be run again",
            "relative rise of the map's entropy when the weights become random (efficient MPRT)",
            "Hedström, Weber, Lapuschkin, Höhne 2024 (2401.06465)",
            entropy_rise_of_randomisation,
        ),
        Metric(
            "sparseness",
            "higher is better",
            "any map",
            "Gini's index of the absolute relevances: how few pixels hold them",
            "Chalasani, Chen, Chowdhury, Jha, Wu 2020 (1810.06583), section 5",
            _sparseness,
        ),
        Metric(
            "complexity",
            "lower is better",
            "any map",
            "entropy of the shares of the absolute relevance",
            f"{_BHATT}, definition 4",
            _complexity,
        ),
    )
}


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        InvalidParameterError: none has it.
    """
    if name not in METRICS:
        raise InvalidParameterError(
            f"no metric is called {name!r}; {did_you_mean(str(name), METRICS)}expected one of "
            f"{', '.join(METRICS)}"
        )
    return METRICS[name]
