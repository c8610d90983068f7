"""Networks in the Hugging Face format, from a local directory or the hub.

Labels come from ``config.json``. What a picture goes through comes from
``preprocessor_config.json`` as transformers applies it: some of its classes bend the numbers in the
file (ConvNeXT divides the size by a crop fraction, EfficientNet divides by the deviation twice), so
the processor is asked what it does to a few test pictures, and a reading that it does not confirm
is refused.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.files import looking_up
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.directories import (
    check_config,
    no_larger_than,
    read_json,
    weight_files,
)
from fluoroscope.models.hub import fetch_repository, no_progress_bars, require
from fluoroscope.models.preprocessing import Interpolation, Preprocessing, Size
from fluoroscope.models.timm_zoo import load_timm_directory
from fluoroscope.models.wording import first_line
from fluoroscope.words import count

# Pillow's numbers. Lanczos has no differentiable form here and differs little from bicubic.
_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
_NEEDED = ("config.json", "preprocessor_config.json")
# In units of the [0, 1] scale: processors round to 8 bits after resizing, we do not.
_CLOSE = 2 / 255


def load_hub(repository: str) -> Classifier:
    """A network of the Hugging Face hub, ``owner/name`` or ``owner/name@revision``.

    Raises:
        UnknownModelError: the hub has no such model.
        HubUnreachableError: no answer, and no copy in the cache.
        MissingExtraError, ModelFormatError: as ``load_directory``.
    """
    return load_directory(fetch_repository(repository), f"hf/{repository}")


def load_directory(folder: Path, name: str) -> Classifier:
    """A network from a directory with its configuration, preprocessor and safetensors.

    A directory in timm's own format is handed to timm.

    Raises:
        MissingExtraError: transformers (or timm) is not installed.
        ModelFormatError: missing or unreadable files, weights that do not fit, an architecture that
            does not classify or brings its own code, or a preprocessor that is no resize and crop.
    """
    with looking_up(folder, ModelFormatError):
        stated = (folder / "config.json").exists()
    config = read_json(folder / "config.json") if stated else {}
    if "architecture" in config:
        return load_timm_directory(folder, name)
    _check_files(folder)
    _check_configurations(config, folder)
    require("transformers", name)
    with quiet():
        module = _load_module(folder)
        processor = _load_processor(folder)
        preprocessing = _preprocessing(processor, module.config, folder)
    labels = getattr(module.config, "id2label", None) or {}
    return Classifier(
        module,
        labels=[labels[index] for index in sorted(labels)] or None,
        name=name,
        preprocessing=preprocessing,
    )


def _check_files(folder: Path) -> None:
    with looking_up(folder, ModelFormatError):
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if not weight_files(folder):
            missing.append("model.safetensors")
        pickled = [path.name for ending in ("*.bin", "*.pt*") for path in folder.glob(ending)]
        adapter = (folder / "adapter_config.json").exists()
    if missing:
        hint = f" (pickled weights such as {pickled[0]} are not read)" if pickled else ""
        raise ModelFormatError(
            f"{folder} lacks {', '.join(missing)}{hint}; expected a directory in the Hugging Face "
            "format: config.json, model.safetensors, preprocessor_config.json"
        )
    if adapter:
        raise ModelFormatError(
            f"{folder} holds adapter_config.json, whose network lies elsewhere and is not fetched; "
            "expected the whole network: merge the adapter into it and save that"
        )


def _check_configurations(config: dict[str, Any], folder: Path) -> None:
    check_config(config, folder / "config.json")
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.exists():
            check_config(read_json(path), path, pictures=True)


def _load_module(folder: Path) -> nn.Module:
    from transformers import AutoModelForImageClassification

    try:
        with no_larger_than(weight_files(folder)):
            module, report = AutoModelForImageClassification.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except ModelFormatError:
        raise
    # Whatever a stranger's files make transformers raise.
    except Exception as problem:
        raise ModelFormatError(
            f"{folder} cannot be loaded by transformers ({first_line(problem)}); expected an "
            "architecture of transformers that classifies images, with weights that fit"
        ) from problem
    # transformers fills what the file lacks with random numbers, and only warns.
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ModelFormatError(
            f"{folder}: model.safetensors lacks {count(len(lacking), 'weight')} of "
            f"{type(module).__name__}, first {lacking[0]}; expected a network trained to classify"
        )
    loaded: nn.Module = module
    return loaded


def _load_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    # Whatever a stranger's files make transformers raise.
    except Exception as problem:
        raise ModelFormatError(
            f"{folder / 'preprocessor_config.json'} cannot be read by transformers "
            f"({first_line(problem)}); expected the configuration of an image processor"
        ) from problem


def _preprocessing(processor: Any, config: Any, folder: Path) -> Preprocessing:
    channels = getattr(config, "num_channels", None) or 3
    where = f"preprocessor_config.json, as {type(processor).__name__} applies it"
    why = "no reading of its sizes gives what it makes of a test picture"
    try:
        scale = _scale(processor, channels)
        for resize, size in _geometries(processor):
            reading = Preprocessing(
                **scale,
                input_size=size,
                channels=channels,
                resize=resize,
                interpolation=_interpolation(processor),
                half_pixel="down",
                stated_by=where,
            )
            if _confirmed(processor, reading):
                return _with_fixed_size(reading, config)
    # A processor that wants another kind of picture, or that returns no pixel values.
    except Exception as problem:
        why = first_line(problem)
    raise ModelFormatError(
        f"{folder / 'preprocessor_config.json'}: what {type(processor).__name__} does to a picture "
        f"is not a resize, a centre crop and one mean and std per channel ({why}); wrap the "
        "network in a torch module and load that by python:package.module:function"
    )


def _scale(processor: Any, channels: int) -> dict[str, Any]:
    """Channel order, mean and std, from what black, white and red pictures come out as."""
    black, white, red = torch.zeros(3, channels, 512, 512, dtype=torch.uint8, device="cpu")
    white.fill_(255)
    red[0] = 255
    outputs = [_process(processor, picture) for picture in (black, white, red)]
    low, high, tinted = (
        pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].double() for pixels in outputs
    )
    std = 1 / (high - low)
    mean = _as_stated((-low * std).tolist(), getattr(processor, "image_mean", None))
    deviation = _as_stated(std.tolist(), getattr(processor, "image_std", None))
    return {
        "mean": mean if any(mean) else None,
        "std": deviation if any(value != 1 for value in deviation) else None,
        "channel_order": "bgr" if channels == 3 and tinted[0] == low[0] else "rgb",
    }


def _as_stated(measured: list[float], stated: Any) -> tuple[float, ...]:
    """The file's own decimals where the processor keeps to them, else six digits as measured."""
    if isinstance(stated, list | tuple) and len(stated) == len(measured):
        pairs = zip(measured, stated, strict=True)
        if all(math.isclose(value, given, rel_tol=1e-5, abs_tol=1e-5) for value, given in pairs):
            return tuple(map(float, stated))
    return tuple(float(f"{value:.6g}") for value in measured)


def _geometries(processor: Any) -> Iterator[tuple[Size | None, tuple[int, int] | None]]:
    """What the file's numbers may mean, likeliest first: what to resize to, what to cut out."""
    if not processor.do_resize:
        yield None, None
        return
    crop = _height_width(getattr(processor, "crop_size", None))
    if not getattr(processor, "do_center_crop", False):
        crop = None
    stretched = _height_width(processor.size)
    edge = getattr(processor.size, "shortest_edge", None) or (stretched[0] if stretched else 0)
    cut = crop or stretched or (edge, edge)
    fraction = getattr(processor, "crop_pct", None) or 1
    for shorter in (edge, int(edge / fraction), int(256 / 224 * edge)):
        if shorter >= min(cut):
            yield shorter, cut
    yield None, cut
    if stretched and stretched[0] >= cut[0] and stretched[1] >= cut[1]:
        yield stretched, cut


def _interpolation(processor: Any) -> Interpolation:
    stated = getattr(processor, "resample", None)
    return "bilinear" if stated is None else _FILTERS[int(stated)]


def _height_width(size: Any) -> tuple[int, int] | None:
    height, width = getattr(size, "height", None), getattr(size, "width", None)
    return (int(height), int(width)) if height and width else None


def _confirmed(processor: Any, reading: Preprocessing) -> bool:
    """Whether the processor makes the same of a picture that no wrong crop leaves alike."""
    down, across = (
        torch.linspace(0, 1, 331, dtype=torch.float32, device="cpu").view(-1, 1),
        torch.linspace(0, 1, 487, dtype=torch.float32, device="cpu"),
    )
    stretch = torch.linspace(1, 2, reading.channels, dtype=torch.float32, device="cpu").view(
        -1, 1, 1
    )
    waves = torch.sin(20 * down * stretch + 13 * across / stretch)
    picture = (127.5 + 127.5 * waves).to(torch.uint8)
    expected = _process(processor, picture)
    images = picture.unsqueeze(0) / 255
    ours = reading.normalize(reading.fit(images))[0]
    if ours.shape != expected.shape:
        return False
    std = torch.tensor(
        reading.std or (1.0,) * reading.channels, dtype=torch.float32, device="cpu"
    ).view(-1, 1, 1)
    return bool(((ours - expected) * std).abs().max() <= _CLOSE)


def _with_fixed_size(reading: Preprocessing, config: Any) -> Preprocessing:
    """Where the processor leaves the size alone, the network itself may still want just one."""
    side = getattr(config, "image_size", None)
    if reading.input_size is not None or not isinstance(side, int):
        return reading
    source = f"{reading.stated_by}, and image_size in config.json"
    return replace(reading, input_size=(side, side), stated_by=source)


def _process(processor: Any, picture: Tensor) -> Tensor:
    """Pixel values ``(C, H, W)`` of one 8-bit picture ``(C, H, W)``."""
    pixels: Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
    return pixels


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers; the caller's settings afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with no_progress_bars():
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
