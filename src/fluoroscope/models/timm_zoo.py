"""Networks of timm, by name or from a directory in its format, with their data configuration."""

from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from fluoroscope.errors import ModelFormatError, UnknownModelError
from fluoroscope.files import looking_up
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.directories import check_config, no_larger_than, read_json
from fluoroscope.models.hub import fetch_file, fetch_repository, require
from fluoroscope.models.preprocessing import Preprocessing, Size
from fluoroscope.models.wording import did_you_mean, first_line


def load_timm(name: str, *, pretrained: bool = True, classes: int | None = None) -> Classifier:
    """A network of timm with its published weights.

    Args:
        name: as timm spells it, such as ``resnet18`` or ``resnet18.a1_in1k``.
        pretrained: ``False`` leaves the weights random and fetches nothing; labels and transforms
            are those of the published weights all the same.
        classes: another number of classes than the published weights have; random weights only.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownModelError: no network of that name, or none with published weights.
        HubUnreachableError: the weights cannot be fetched and are not in the cache.
        ModelFormatError: not a classifier, or a configuration that cannot be followed.
    """
    require("timm", f"timm/{name}")
    if name not in timm_names():
        raise UnknownModelError(
            f"timm/{name} is not in timm; {did_you_mean(name, timm_names(), 'timm/')}expected "
            "a name such as timm/resnet18"
        )
    changes = _weights(name) if pretrained else None
    options = {"num_classes": classes} if classes else {}
    module = _create(
        name,
        f"timm/{name}",
        pretrained=pretrained,
        pretrained_cfg_overlay=changes,
        **options,
    )
    return _classifier(module, f"timm/{name}", "timm's pretrained_cfg", imagenet=True)


def load_timm_directory(folder: Path, name: str) -> Classifier:
    """A network from a directory with timm's ``config.json`` and safetensors.

    Raises:
        MissingExtraError: timm is not installed.
        ModelFormatError: missing or unreadable files, not a classifier, or a configuration that
            cannot be followed.
    """
    require("timm", name)
    _check_config(folder)
    weights = folder / "model.safetensors"
    with looking_up(weights, ModelFormatError):
        if not weights.is_file():
            raise ModelFormatError(
                f"{folder} lacks model.safetensors; expected config.json and model.safetensors"
            )
    with no_larger_than([weights]):
        module = _create(f"local-dir:{folder}", name, pretrained=True)
    _check_classes(module, folder)
    try:
        return _classifier(module, name, f"config.json in {folder.name}", imagenet=False)
    except ModelFormatError:
        raise
    # Whatever a stranger's numbers and names are not.
    except Exception as problem:
        raise ModelFormatError(
            f"{folder / 'config.json'} states its pictures or labels in a way that is not "
            f"understood ({first_line(problem)}); expected timm's format"
        ) from problem


def _check_config(folder: Path) -> None:
    path = folder / "config.json"
    config = read_json(path)
    check_config(config, path)
    arguments, stated = (config.get(key) or {} for key in ("model_args", "pretrained_cfg"))
    if not isinstance(arguments, dict) or not isinstance(stated, dict):
        raise ModelFormatError(f"{path}: model_args and pretrained_cfg are no objects")
    # These lead timm to other files, or let it leave weights random.
    for key in arguments:
        if key.startswith("pretrained") or key in ("checkpoint_path", "cache_dir"):
            raise ModelFormatError(
                f"{path} sets {key!r} in model_args; expected arguments of the architecture alone"
            )
    size = stated.get("input_size", config.get("input_size"))
    check_config({"size": size, **arguments}, path, pictures=True)


def _check_classes(module: nn.Module, folder: Path) -> None:
    """timm leaves the classifier random where the weights are for another number of classes."""
    described = getattr(module, "pretrained_cfg", {}).get("num_classes")
    if described != getattr(module, "num_classes", None):
        raise ModelFormatError(
            f"{folder / 'config.json'} states {described} classes for the weights and "
            f"{getattr(module, 'num_classes', None)} for the network; expected the same number"
        )


@cache
def timm_names() -> tuple[str, ...]:
    """The networks timm can build, with and without the tags of their weights."""
    from timm import list_models

    return (*list_models(), *list_models(pretrained=True))


def _weights(name: str) -> dict[str, Any]:
    """The changes to a pretrained_cfg that make timm read a local file, fetched beforehand."""
    from timm.models import get_pretrained_cfg

    stated = get_pretrained_cfg(name)
    if stated is None or not stated.has_weights:
        raise UnknownModelError(
            f"timm publishes no weights for {name}; expected a name with weights, or "
            "pretrained=False"
        )
    if not stated.hf_hub_id:
        return {"file": str(fetch_file(stated.url))}
    found = sorted(fetch_repository(stated.hf_hub_id).glob("*.safetensors"))
    if not found:
        raise ModelFormatError(
            f"{stated.hf_hub_id} on the Hugging Face hub holds no safetensors; expected "
            "model.safetensors: pickled weights are not read"
        )
    best = next((file for file in found if file.name == "model.safetensors"), found[0])
    # The hub's copy is in PyTorch's format whatever the original was in.
    return {"file": str(best), "custom_load": False}


def _create(what: str, name: str, **options: Any) -> nn.Module:
    from timm import create_model

    try:
        module: nn.Module = create_model(what, **options)
    except ModelFormatError:
        raise
    # Whatever a configuration and weights from elsewhere make timm raise.
    except Exception as problem:
        raise ModelFormatError(
            f"{name} cannot be built by timm ({first_line(problem)}); expected an architecture "
            "that timm knows and weights that fit it"
        ) from problem
    return module


def _classifier(module: nn.Module, name: str, source: str, *, imagenet: bool) -> Classifier:
    from timm.data import resolve_model_data_config

    classes = getattr(module, "num_classes", 0)
    if not classes:
        raise ModelFormatError(
            f"{name} has no classifier (it returns features); expected a network with classes"
        )
    stated = resolve_model_data_config(module)
    return Classifier(
        module,
        labels=_labels(module, classes, imagenet),
        name=name,
        preprocessing=_preprocessing(stated, name, source),
    )


def _labels(module: Any, classes: int, imagenet: bool) -> list[str] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    names = module.pretrained_cfg.get("label_names")
    if names and len(names) == classes:
        described = module.pretrained_cfg.get("label_descriptions") or {}
        return [described.get(name, name) for name in names]
    subset = infer_imagenet_subset(module) if imagenet else None
    labels: list[str] | None = ImageNetInfo(subset).label_descriptions() if subset else None
    return labels


def _preprocessing(stated: dict[str, Any], name: str, source: str) -> Preprocessing:
    channels, height, width = stated["input_size"]
    return Preprocessing(
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
        input_size=(height, width),
        channels=channels,
        resize=_resize(stated, name),
        interpolation=stated["interpolation"],
        stated_by=source,
    )


def _resize(stated: dict[str, Any], name: str) -> Size:
    _, height, width = stated["input_size"]
    kept = float(stated["crop_pct"])
    tall, wide = (int(side / kept) for side in (height, width))
    if stated["crop_mode"] == "squash":
        return tall, wide
    if stated["crop_mode"] == "center" and height == width:
        return tall
    raise ModelFormatError(
        f"{name} fits pictures by crop_mode {stated['crop_mode']!r} to {height}×{width}, which is "
        "not supported; expected 'squash', or 'center' with a square input"
    )
