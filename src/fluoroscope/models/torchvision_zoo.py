"""Networks of torchvision, with the labels and transforms that their published weights state."""

from functools import cache
from typing import Any

import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from fluoroscope.models.checkpoints import read_weights
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.hub import fetch_file
from fluoroscope.models.names import not_in_torchvision
from fluoroscope.models.preprocessing import Preprocessing


def load_torchvision(
    name: str, *, pretrained: bool = True, classes: int | None = None
) -> Classifier:
    """A classification network of torchvision with its default published weights.

    Args:
        name: as torchvision spells it, such as ``resnet18``.
        pretrained: ``False`` leaves the weights random and fetches nothing; labels and transforms
            are those of the published weights all the same.
        classes: another number of classes than the published weights have; random weights only.

    Raises:
        UnknownModelError: no network of that name, or one that does not classify images.
        HubUnreachableError: the weights cannot be fetched and are not in the cache.
        ModelFormatError: the weights hold more than tensors.
    """
    if name not in torchvision_names():
        what = "does not classify images" if name in list_models() else "is not in torchvision"
        raise not_in_torchvision(name, torchvision_names(), what)
    published = get_model_weights(name).DEFAULT
    labels = published.meta["categories"]
    if pretrained:
        # torchvision unpickles its files freely. A file that this reads holds tensors only.
        read_weights(fetch_file(published.url))
        module = get_model(name, weights=published, progress=False)
    else:
        module = _random(name, published, classes or len(labels))
    return Classifier(
        module,
        labels=labels if classes in (None, len(labels)) else None,
        name=f"torchvision/{name}",
        preprocessing=_preprocessing(published),
    )


@cache
def torchvision_names() -> tuple[str, ...]:
    """The classification networks that torchvision can build."""
    return tuple(list_models(module=torchvision.models))


def _random(name: str, published: Any, classes: int) -> nn.Module:
    options: dict[str, Any] = {"num_classes": classes}
    # What torchvision itself sets when it loads the published weights.
    if name in ("googlenet", "inception_v3"):
        options |= {"transform_input": True, "init_weights": True}
    elif name.startswith("vit_"):
        options["image_size"] = published.meta["min_size"][0]
    elif name.startswith("maxvit_"):
        options["input_size"] = published.meta["min_size"]
    module: nn.Module = get_model(name, weights=None, **options)
    return module


def _preprocessing(published: Any) -> Preprocessing:
    preset = published.transforms()
    size = preset.crop_size[0]
    return Preprocessing(
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        input_size=(size, size),
        resize=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        stated_by=f"torchvision's {type(published).__name__}.{published.name}",
    )
