"""Networks by name: what each form of name means, and what came out of it."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import user_path
from fluoroscope.models.checkpoints import load_checkpoint, nothing_loaded, stated_labels
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.names import BUILTIN, builtin_record, find_source, source_of
from fluoroscope.models.outputs import Outputs
from fluoroscope.models.preprocessing import ChannelOrder, Interpolation, Size
from fluoroscope.models.wording import first_line


def load_model(
    name: str | Path | nn.Module | Classifier,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_key: str | None = None,
    pretrained: bool = True,
    labels: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: Size | None = None,
    channels: int | None = None,
    channel_order: ChannelOrder | None = None,
    resize: Size | None = None,
    interpolation: Interpolation | None = None,
    outputs: Outputs | None = None,
    device: str | torch.device | None = None,
) -> Classifier:
    """The network of a name, with the preprocessing and labels that its source states.

    What is loaded by name is in evaluation mode and its weights collect no gradients. Nothing that
    was downloaded is unpickled freely or run as code; only ``python:`` runs code, the user's own.

    Args:
        name: ``digits-cnn`` or another that is built in, ``torchvision/NAME``, ``timm/NAME``,
            ``hf/OWNER/NAME`` (``@REVISION`` may follow), a local directory in the Hugging Face
            format or timm's, a ``.pt2`` file,
            ``python:package.module:function``, or a module, which is wrapped and left as it is.
        checkpoint: weights to put into the network instead of the published ones: safetensors, or
            what a training script saved by ``torch.save``; they are found at any depth and behind
            any prefix.
        checkpoint_key: where in the checkpoint they lie, such as ``"state_dict_ema"``, where
            several sets of weights fit.
        pretrained: ``False`` leaves a ``torchvision/`` or ``timm/`` network with random weights and
            needs no network connection; it is meant for sanity checks.
        labels: one name for each class, in order. With ``checkpoint`` or without ``pretrained``,
            their number is the number of classes of a ``torchvision/`` or ``timm/`` network. By
            default those that a safetensors ``checkpoint`` states in its head, as that of
            ``fluoroscope train`` does.
        mean, std: one number for each channel on the ``[0, 1]`` scale, in place of the source's.
        input_size: ``(height, width)`` or one side, in place of the source's.
        channels: 3 for colour, 1 for grey.
        channel_order: the order the network wants, ``"rgb"`` or ``"bgr"``.
        resize: length of the shorter side, or ``(height, width)``, before the centre crop.
        interpolation: how pictures of another size are resized.
        outputs: what the network returns, where it is not ``"logits"``: ``"logit"`` (one number,
            above 0 for the second of two classes), ``"probabilities"`` or ``"log-probabilities"``.
        device: ``"cpu"``, ``"cuda"``, ``"auto"`` (a GPU if there is one); by default where it is.

    Raises:
        UnknownModelError: the name leads to no network; the message has the nearest names.
        ModelFormatError: files that cannot be read, or a checkpoint that does not fit.
        HubUnreachableError: published weights that cannot be fetched from here.
        MissingExtraError: the source needs a library that is not installed.
        InvalidParameterError: an override or a device that makes no sense.
    """
    place = _device(device)
    if isinstance(name, str | Path):
        holds_its_own = ("built-in", "exported program")
        if labels is None and checkpoint is not None and find_source(name)[1] not in holds_its_own:
            labels = stated_labels(checkpoint)
        classifier = _by_name(
            user_path(name) if str(name).startswith("~") else name,
            place,
            checkpoint=checkpoint,
            checkpoint_key=checkpoint_key,
            pretrained=pretrained,
            classes=None if labels is None else len(labels),
        )
    elif checkpoint is not None or checkpoint_key is not None or not pretrained:
        raise InvalidParameterError(
            "checkpoint= or pretrained=False was given with a module; expected a name: fill the "
            "module by its own load_state_dict"
        )
    else:
        classifier = name if isinstance(name, Classifier) else Classifier(name)
    classifier = classifier.restated(
        labels,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        input_size=_as_sides(input_size),
        channels=channels,
        channel_order=channel_order,
        resize=resize if isinstance(resize, int) else _as_sides(resize),
        interpolation=interpolation,
        outputs=outputs,
    )
    return classifier if place in (None, classifier.device) else classifier.to(place)


def describe_model(model: str | Path | nn.Module | Classifier) -> dict[str, Any]:
    """What ``fluoroscope models show`` prints: plain values, ready for JSON.

    Raises:
        FluoroscopeError: as ``load_model``.
    """
    classifier = load_model(model)
    look = model.look if isinstance(model, Classifier) else classifier.look
    return {
        "name": classifier.name,
        "source": source_of(classifier.name) or "module",
        "architecture": type(classifier.module).__name__,
        "parameters": sum(weight.numel() for weight in classifier.module.parameters()),
        "precision": str(classifier.precision).removeprefix("torch."),
        "outputs": classifier.outputs,
        "classes": classifier.num_classes,
        "labels": list(classifier.labels[:10]),
        **classifier.preprocessing.describe(),
        "sha256": classifier.fingerprint(),
        "first_look": None if look is None else look.describe(),
        "training": builtin_record(classifier.name) if classifier.name in BUILTIN else None,
    }


def _by_name(
    name: str | Path,
    device: torch.device | None,
    *,
    checkpoint: str | Path | None,
    checkpoint_key: str | None,
    pretrained: bool,
    classes: int | None,
) -> Classifier:
    name, source = find_source(name)
    if not pretrained and source not in ("torchvision", "timm"):
        raise InvalidParameterError(
            f"pretrained=False was given with {name}; expected a torchvision/ or timm/ name"
        )
    if checkpoint is not None and source == "exported program":
        raise InvalidParameterError(f"checkpoint was given with {name}, which holds its weights")
    if checkpoint_key is not None and checkpoint is None:
        raise InvalidParameterError(
            f"checkpoint_key was given without checkpoint; expected both, or neither for {name}"
        )
    published = pretrained and checkpoint is None
    # A process may have chosen another type and place for tensors that do not say theirs.
    usual = torch.get_default_device().type == "cpu" or source == "python"
    with nullcontext() if usual else torch.device("cpu"):
        if source == "built-in" and checkpoint is not None:
            from fluoroscope.models.builtin import load_builtin

            classifier = load_builtin(str(name), checkpoint)
        else:
            classifier = _from_source(
                source, name, device, published, None if published else classes
            )
    own = source in ("python", "exported program")  # which say themselves what they compute in
    if not own and classifier.precision == torch.get_default_dtype() != torch.float32:
        classifier.module.to(torch.float32)
    if checkpoint is not None:
        load_checkpoint(classifier.module, checkpoint, checkpoint_key)
    classifier.weights_from = _weights_from(classifier, checkpoint, pretrained)
    classifier.files = _files(source, name, checkpoint)
    classifier.module.eval()
    for weight in classifier.module.parameters():  # one by one, for a scripted module's own refuses
        weight.requires_grad_(False)
    if device is not None:
        classifier.module.to(device)
    return classifier


def _weights_from(
    classifier: Classifier, checkpoint: str | Path | None, pretrained: bool
) -> str | None:
    if checkpoint is not None:
        return f"checkpoint {checkpoint}"
    if not pretrained or nothing_loaded(classifier.module):
        return ""
    python = classifier.name.startswith("python:")
    return classifier.weights_from if python else classifier.name


def _files(source: str, name: str | Path, checkpoint: str | Path | None) -> tuple[Path, ...]:
    """The files that hold the weights, of those that the user named."""
    if checkpoint is not None:
        return (user_path(checkpoint),)
    if source == "exported program":
        return (Path(name),)
    if source == "directory":
        from fluoroscope.models.directories import weight_files

        return tuple(weight_files(Path(name)))
    return ()


def _from_source(
    source: str, name: str | Path, device: torch.device | None, published: bool, classes: int | None
) -> Classifier:
    # Each source is imported where it is used: most bring a heavy library.
    text, rest = str(name), str(name).partition("/")[2]
    match source:
        case "built-in":
            from fluoroscope.models.builtin import load_builtin

            return load_builtin(text)
        case "torchvision":
            from fluoroscope.models.torchvision_zoo import load_torchvision

            return load_torchvision(rest, pretrained=published, classes=classes)
        case "timm":
            from fluoroscope.models.timm_zoo import load_timm

            return load_timm(rest, pretrained=published, classes=classes)
        case "hf":
            from fluoroscope.models.huggingface import load_hub

            return load_hub(rest)
        case "directory":
            from fluoroscope.models.huggingface import load_directory

            return load_directory(Path(name), text)
        case "exported program":
            from fluoroscope.models.exported import load_exported

            return load_exported(Path(name), device or torch.device("cpu"))
        case _:
            from fluoroscope.models.python_function import load_python

            return load_python(text.removeprefix("python:"))


def _device(device: str | torch.device | None) -> torch.device | None:
    if device is None:
        return None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device, dtype=torch.float32).device
    except (RuntimeError, AssertionError, TypeError, ImportError) as problem:
        raise InvalidParameterError(
            f"device {str(device)!r} is not here ({first_line(problem)}); expected cpu, cuda or "
            "auto"
        ) from problem


def _as_sides(size: Size | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise InvalidParameterError(f"size is {size}; expected one side or (height, width)")
    return sides
