"""Twelve data sets as strangers have them: forty pictures with a bright side, put down in a folder.

Each function writes into an empty folder and says what ``load_images`` is given.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import torch
from PIL import Image
from pyarrow import parquet
from torch import Tensor

from tests.your_own_network.networks import SIDES

COUNT = 40


def pictures() -> tuple[Tensor, list[str]]:
    """Pictures ``(40, 1, 8, 8)`` on 8-bit levels, black in places, and the side that is bright."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(COUNT, 1, 8, 8, generator=rng) * 0.3
    names = [SIDES[number * len(SIDES) // COUNT] for number in range(COUNT)]
    for image, name in zip(images, names, strict=True):
        _side(image, name).add_(0.6)
        image[0, 0, 0] = image[0, 7, 7] = 0
    return (images * 255).round() / 255, names


def _side(image: Tensor, name: str) -> Tensor:
    match name:
        case "east":
            return image[:, :, 4:]
        case "west":
            return image[:, :, :4]
        case "north":
            return image[:, :4]
        case _:
            return image[:, 4:]


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray((image[0] * 255).round().byte().numpy())


def _put(folder: Path, called: Callable[[int, str], str]) -> Path:
    for number, (image, name) in enumerate(zip(*pictures(), strict=True)):
        file = folder / called(number, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        _picture(image).save(file)
    return folder


def class_folders(folder: Path) -> Path:
    return _put(folder, lambda number, name: f"{name}/{number}.png")


def things_beside(folder: Path) -> Path:
    (folder / "README.md").write_text("# Where these are from\n")
    (folder / "LICENSE").write_text("MIT")
    for name in (".git", "__MACOSX", "empty"):
        (folder / name).mkdir()
    return class_folders(folder)


def numbered_from_one(folder: Path) -> Path:
    return _put(folder, lambda number, name: f"{SIDES.index(name) + 1}/{number}.png")


def other_words(folder: Path) -> Path:
    swedish = {"east": "öster", "north": "norr", "south": "söder", "west": "väster"}
    return _put(folder, lambda number, name: f"{swedish[name]}/{number}.png")


def one_class(folder: Path) -> Path:
    """Forty of them: an untrained network may well read all of one class right."""
    images, names = pictures()
    north = [image for image, name in zip(images, names, strict=True) if name == "north"]
    (folder / "north").mkdir()
    for number in range(COUNT):
        image = north[number % len(north)].roll(number, 2)
        _picture(image).save(folder / "north" / f"{number}.png")
    return folder


def csv_of_names(folder: Path) -> Path:
    _put(folder, lambda number, name: f"{number}.png")
    lines = [f"{number}.png,{name}" for number, name in enumerate(pictures()[1])]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    return folder


def _parquet(folder: Path, labels: list[Any]) -> Path:
    encoded = []
    for image in pictures()[0]:
        file = io.BytesIO()
        _picture(image).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    parquet.write_table(pyarrow.table({"image": encoded, "label": labels}), folder / "all.parquet")
    return folder


def parquet_of_names(folder: Path) -> Path:
    return _parquet(folder, pictures()[1])


def parquet_of_fractions(folder: Path) -> Path:
    return _parquet(folder, [SIDES.index(name) + 0.5 for name in pictures()[1]])


def no_labels(folder: Path) -> Path:
    return _put(folder, lambda number, name: f"{number}.png")


def splits_beside_a_file(folder: Path) -> Path:
    _put(folder, lambda number, name: f"{'train' if number % 2 else 'test'}/{name}/{number}.png")
    (folder / "LICENSE").write_text("MIT")
    return folder


def a_class_too_many(folder: Path) -> Path:
    return _put(folder, lambda number, name: f"{name if number else 'zenith'}/{number}.png")


def lists(folder: Path) -> tuple[Tensor, list[str]]:
    return pictures()


DATA_SETS: dict[str, Callable[[Path], Path | tuple[Tensor, list[str]]]] = {
    "class folders": class_folders,
    "a README beside": things_beside,
    "numbered from 1": numbered_from_one,
    "other words": other_words,
    "one class": one_class,
    "CSV of names": csv_of_names,
    "Parquet of names": parquet_of_names,
    "fractions": parquet_of_fractions,
    "no labels": no_labels,
    "splits": splits_beside_a_file,
    "a class too many": a_class_too_many,
    "tensor and list": lists,
}
