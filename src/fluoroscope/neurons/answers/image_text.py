"""What an image-text network says of pictures: how present each of some labels is.

A network of the Hugging Face format with images and texts (CLIP, SigLIP), from a local directory,
or ``hf/OWNER/NAME`` where the hub's cache has it: nothing is fetched. Of CLIP a label's presence is
its probability among all labels; of networks trained with a sigmoid, such as SigLIP, its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import InvalidParameterError, ModelFormatError, UnknownModelError
from fluoroscope.files import user_path
from fluoroscope.models.directories import check_config, no_larger_than, read_json, weight_files
from fluoroscope.models.hub import require
from fluoroscope.models.huggingface import quiet
from fluoroscope.models.wording import first_line
from fluoroscope.pictures.write import to_pil

TEMPLATE = "a photo of a {}"
_BATCH = 32


def label_presence(
    network: str | Path,
    images: ImageSet,
    labels: Sequence[str],
    *,
    template: str = TEMPLATE,
    batch_size: int = _BATCH,
    on_share: Callable[[float], None] | None = None,
) -> NDArray[np.float32]:
    """How present each label is in each picture, ``(N, L)``, from 0 to 1.

    Args:
        network: a local directory, or ``hf/OWNER/NAME`` of the hub's cache.
        images: the pictures, at their own size.
        labels: at least two.
        template: what a label is put into, at ``{}``.
        batch_size: pictures at once.
        on_share: told the share that lies behind.

    Raises:
        MissingExtraError: transformers is not installed.
        UnknownModelError: it is not there.
        ModelFormatError: it has no images and texts, or cannot be loaded.
        InvalidParameterError: fewer than two labels, or a template without ``{}``.
    """
    if len(labels) < 2 or "{}" not in template:
        what = f"labels are {len(labels)}" if len(labels) < 2 else f"template is {template!r}"
        raise InvalidParameterError(f"{what}; expected two labels or more, and {{}} for each")
    folder = find_network(str(network))
    with quiet():
        model, processor = _loaded(folder)
    sigmoid = "siglip" in type(model).__name__.lower()
    texts = [template.replace("{}", label) for label in labels]
    found: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            positions = range(start, min(start + batch_size, len(images)))
            pictures = [to_pil(images[place].image).convert("RGB") for place in positions]
            try:
                given = processor(
                    text=texts, images=pictures, return_tensors="pt", truncation=True,
                    padding="max_length" if sigmoid else True,
                )  # fmt: skip
                logits = model(**given).logits_per_image
            # Whatever a stranger's files make transformers raise.
            except Exception as problem:
                raise _unusable(folder, problem) from problem
            rows = logits.sigmoid() if sigmoid else logits.softmax(1)
            found.append(rows.float().numpy())
            if on_share is not None:
                on_share(positions.stop / len(images))
    made = np.concatenate(found)
    if made.shape != (len(images), len(labels)) or not np.isfinite(made).all():
        raise ModelFormatError(
            f"{folder} gives {made.shape} for {len(images)} pictures and {len(labels)} labels, or "
            "numbers that are not finite; expected an image-text network such as CLIP"
        )
    return made


def find_network(network: str) -> Path:
    """The directory of an image-text network.

    Raises:
        MissingExtraError, UnknownModelError: see :func:`label_presence`.
    """
    require("transformers", network)
    if not network.startswith("hf/"):
        folder = user_path(network)
        if not folder.is_dir():
            raise UnknownModelError(
                f"{network} is no folder; expected a directory in the Hugging Face format with an "
                "image-text network, or hf/OWNER/NAME of one in the hub's cache"
            )
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = network.removeprefix("hf/").partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except Exception as problem:
        raise UnknownModelError(
            f"{network} is not in the hub's cache of this machine ({first_line(problem)}), and "
            "nothing is fetched for names of units; expected one that is there, or a local "
            "directory"
        ) from problem


def _loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoProcessor

    if not weight_files(folder):
        raise ModelFormatError(
            f"{folder} lacks model.safetensors; expected a directory in the Hugging Face format "
            "with an image-text network"
        )
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            check_config(read_json(folder / name), folder / name, pictures=name != "config.json")
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        with no_larger_than(weight_files(folder)):
            model, report = AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
                **options,
            )  # fmt: skip
        processor = AutoProcessor.from_pretrained(folder, **options)
    except ModelFormatError:
        raise
    except Exception as problem:
        raise _unusable(folder, problem) from problem
    if report["missing_keys"]:
        raise ModelFormatError(
            f"{folder}: model.safetensors lacks {len(report['missing_keys'])} weights of "
            f"{type(model).__name__}; expected a whole image-text network"
        )
    return model.eval(), processor


def _unusable(folder: Path, problem: Exception) -> ModelFormatError:
    return ModelFormatError(
        f"{folder} cannot be used by transformers ({first_line(problem)}); expected an image-text "
        "network such as CLIP or SigLIP, with its tokenizer and image processor"
    )
