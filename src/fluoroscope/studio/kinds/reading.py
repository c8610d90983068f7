"""What of a network can be read at all, and how far its pictures usually go: asked once of each."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.threats import as_text, usual_threat
from fluoroscope.errors import FluoroscopeError, NoGradientError
from fluoroscope.notices import collected
from fluoroscope.studio.kinds.readable import readable_place
from fluoroscope.studio.kinds.usual_data import data_of
from fluoroscope.studio.own import origin

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.studio import Studio

_BESIDE = {
    "0.3": {"l2": "2", "l1": "10", "l0": "12"},
    "8/255": {"l2": "0.5", "l1": "12", "l0": "24"},
    "4/255": {"l2": "3", "l1": "60", "l0": "150"},
}
"""What is usual in the other norms: on MNIST, CIFAR-10 and ImageNet in RobustBench (L2), with APGD
in L1 (Croce and Hein 2021), and with Sparse-RS (Croce et al. 2022)."""
_why_not: "WeakKeyDictionary[Classifier, str]" = WeakKeyDictionary()


def check_gradient(studio: "Studio", model: "Classifier") -> None:
    """Refuse a network that gives no gradient at the pixels.

    Raises:
        NoGradientError: it does not.
    """
    model = origin(model)
    if model not in _why_not:
        image = _some_picture(studio, model)
        target = torch.zeros(1, dtype=torch.long, device=model.device)
        try:
            with collected():  # every job on the network says it again
                evaluate(model, image, target, LOG_PROBABILITY, gradient=True)
        except FluoroscopeError as problem:
            _why_not[model] = str(problem)
        else:
            _why_not[model] = ""
    if _why_not[model]:
        raise NoGradientError(_why_not[model])


def usual_bounds(studio: "Studio", model: "Classifier") -> dict[str, str]:
    """By norm a bound that the field uses for such pictures, such as ``8/255`` in Linf."""
    images = None
    if model.input_size is None:
        _, images = data_of(studio, model, None)
        images = images.select([readable_place(images)])
    linf = as_text(usual_threat(model, images)).partition(":")[2]
    return {"linf": linf, **_BESIDE[linf]}


def _some_picture(studio: "Studio", model: "Classifier") -> Tensor:
    """The first that is on offer, or noise where the network takes other channels."""
    for data in studio.pictures.data:
        try:
            return studio.picture(f"{data}:0", model)
        except FluoroscopeError:
            continue
    size = model.input_size or (224, 224)
    noise = torch.rand(
        (1, model.channels, *size), generator=torch.Generator().manual_seed(0),
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    return noise.to(model.device, model.dtype)
