"""Pictures that a program holds: pairs, labels beside arrays, data sets of torch and loaders."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torchvision import transforms
from torchvision.datasets import FakeData, ImageFolder

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.errors import (
    FluoroscopeError,
    InvalidImagesError,
    InvalidParameterError,
    UnknownDataError,
)

Paint = Callable[..., Path]
PIXELS = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def labels(images: ImageSet) -> list[int | None]:
    return [one.label for one in images]


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    for number, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        paint(tmp_path / name, number)
    return tmp_path


def test_files_with_labels(folder: Path) -> None:
    files = [folder / "dog/c.png", folder / "cat/a.png"]
    pairs = load_images([(file, name) for file, name in zip(files, ("dog", "cat"), strict=True)])
    beside = load_images(files, labels=np.array(["dog", "cat"]))
    for images in (pairs, beside):
        assert images.labels == ("cat", "dog")
        assert labels(images) == [1, 0]
        assert images[0].image[0, 0, 0] == 2 / 255
        assert images.names() == tuple(map(str, files))
    assert labels(load_images(files, labels=[5, 2])) == [5, 2]


def test_arrays_with_labels() -> None:
    for given in ([1, 0], torch.tensor([1, 0]), np.array([1.0, 0.0]), torch.eye(2)[[1, 0]]):
        assert labels(load_images(PIXELS[:2], labels=given)) == [1, 0]
    assert labels(load_images([PIXELS[0], PIXELS[1]], labels=["b", "a"])) == [1, 0]
    assert labels(load_images([(PIXELS[0], 3), (PIXELS[1], 4)])) == [3, 4]
    thirteen = load_images(torch.rand(2, 13, 4, 4), labels=[0, 1], channels=13)
    assert thirteen[1].image.shape == (13, 4, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], r"labels= has 1 for 2 pictures"),
        (3, "labels= has int for 2 pictures"),
        ("ab", "labels= has 2 for 2 pictures"),
        ([0.5, 1], r"labels= holds numbers that are not whole \(0.5\); expected one class number"),
        (["a", 1], "labels= holds labels of several kinds"),
        ([-1, 1], "labels= holds -1, which is no class number; expected one class number from 0"),
        (torch.tensor([[1.0], [-1.0]]), "labels= holds -1, which is no class number"),
    ],
)
def test_other_labels_are_refused(given: object, message: str) -> None:
    with pytest.raises(InvalidImagesError, match=message):
        load_images(PIXELS[:2], labels=given)


def test_a_data_set_whose_labels_are_below_0_is_not_halved() -> None:
    images = load_images(torch.utils.data.TensorDataset(PIXELS[:2], torch.tensor([-1, 1])))
    assert images.class_counts() is None
    assert images.why_unlabelled == "its label holds -1, which is no class number"


@pytest.mark.parametrize("given", [[0, 1], np.arange(2)])
def test_labels_in_the_place_of_the_split(given: object) -> None:
    with pytest.raises(InvalidParameterError, match=r"^split is of type .{4,7}; .*go in labels=$"):
        load_images(PIXELS[:2], given)  # type: ignore[arg-type]


def test_labels_go_with_what_has_none(folder: Path) -> None:
    for source in (folder, "digits", TensorDataset(PIXELS, torch.arange(6))):
        with pytest.raises(UnknownDataError, match="labels were given beside"):
            load_images(source, labels=[1])
    with pytest.raises(UnknownDataError, match="pairs of a picture and its label"):
        load_images([(PIXELS[0], 1)], labels=[1])


def test_torchvisions_folders(folder: Path) -> None:
    data = ImageFolder(str(folder))
    images = load_images(data)
    assert images.labels == ("cat", "dog")
    assert labels(images) == [0, 0, 1]
    assert images.names() == ("cat/a.png", "cat/b.png", "dog/c.png")
    assert images[2].image[0, 0, 0] == 2 / 255
    part = load_images(Subset(ImageFolder(str(folder), transforms.ToTensor()), [2, 0]))
    assert (labels(part), part.names()) == ([1, 0], ("dog/c.png", "cat/a.png"))
    assert part.labels == ("cat", "dog")
    both = load_images(ConcatDataset([data, data]))
    assert (labels(both), both.labels) == ([0, 0, 1] * 2, ("cat", "dog"))


def test_labels_are_those_of_the_items(folder: Path) -> None:
    other = ImageFolder(str(folder), target_transform=lambda label: 5 - label)
    assert labels(load_images(other)) == [5, 5, 4]

    class Odd(Dataset[Any]):
        targets = (0, 0, 0)  # of something else

        def __len__(self) -> int:
            return 3

        def __getitem__(self, position: int) -> dict[str, Any]:
            return {"image": PIXELS[position], "label": ["b", "a", "c"][position]}

    images = load_images(Odd())
    assert (labels(images), images.labels) == ([1, 0, 2], ("a", "b", "c"))
    assert torch.equal(images[1].image, PIXELS[1])


class Bare(Dataset[Any]):
    """Pictures of several kinds without labels."""

    items = (
        PIXELS[0],
        PIXELS[1].numpy(),
        PIXELS[2].movedim(0, -1),
        Image.new("L", (5, 4), 51),
        torch.full((4, 5), 0.2),
        (np.full((4, 5, 3), 51, np.uint8),),
    )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        return self.items[position]


def test_items_of_several_kinds() -> None:
    images = load_images(Bare())
    assert images.labels is None
    assert labels(images) == [None] * 6
    for position, expected in enumerate([*PIXELS[:3], *[torch.full((3, 4, 5), 0.2)] * 3]):
        assert torch.allclose(images[position].image, expected)
    assert images[5].name == "Bare:5"


def test_loaders_are_taken_for_their_data() -> None:
    data = TensorDataset(PIXELS, torch.arange(6))
    plain = load_images(DataLoader(data, batch_size=4))
    assert (labels(plain), plain.notes) == (list(range(6)), ())
    assert torch.equal(next(plain.batches(6)).images, PIXELS)
    shuffled = load_images(DataLoader(data, batch_size=4, shuffle=True))
    assert labels(shuffled) == list(range(6))
    assert "the DataLoader shuffles" in shuffled.notes[0]
    own = load_images(DataLoader(data, collate_fn=lambda items: items))
    assert "collate_fn is not used" in own.notes[0]
    for sampler in (SubsetRandomSampler([1, 2]), WeightedRandomSampler([1.0] * 6, 6)):
        with pytest.raises(InvalidImagesError, match="chooses among its pictures"):
            load_images(DataLoader(data, sampler=sampler))


def test_unusable_data_sets_are_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    scaled = TensorDataset((PIXELS - 0.5) / 0.2, torch.arange(6))
    for source, message in {
        Stream(): "no length and no order of its own",
        DataLoader(Stream()): "no length and no order of its own",
        scaled: r"values from .*: leave Normalize out of its transform",
        TensorDataset(PIXELS[:0], torch.arange(0)): "has no pictures",
        TensorDataset(torch.arange(6)): r"is \(Tensor\); expected \(image, label\)",
        FakeData(4, (3, 8, 8), transform=transforms.RandomCrop(3)): "another picture for",
    }.items():
        with pytest.raises(InvalidImagesError, match=message) as caught:
            load_images(source)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownDataError, match="no split 'test'"):
        load_images(TensorDataset(PIXELS, torch.arange(6)), "test")
    for odd in (3, None, object()):
        with pytest.raises(FluoroscopeError):
            load_images(odd)  # type: ignore[arg-type]


def test_looking_at_a_data_set_leaves_chance_as_it_was() -> None:
    class Drawing(Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, position: int) -> Any:
            torch.rand(1), np.random.rand(), random.random()
            return PIXELS[position], position

    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    images = load_images(Drawing())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert labels(images) == [0, 1, 2]


def test_data_sets_of_the_hubs_library(data_cache: Path, folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {
        "image": [str(folder / "cat/a.png"), str(folder / "dog/c.png")] * 2,
        "label": ["b", "a", "b", "c"],
    }
    data = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    images = load_images(data)
    assert (labels(images), images.labels) == ([1, 0, 1, 2], ("a", "b", "c"))
    assert images[1].image[0, 0, 0] == 2 / 255
    assert images[1].name == "c.png"
    chosen = load_images(data.select([3, 0]).with_format("torch"))
    assert labels(chosen) == [1, 0]
    parts = datasets.DatasetDict(train=data, test=data.select([1]))
    assert len(load_images(parts)) == 1
    assert len(load_images(parts, "train")) == 4
    remote = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": "http://h/a.png"}]})
    with pytest.raises(UnknownDataError, match="nothing was opened"):
        load_images(remote)[0]
    with pytest.raises(InvalidImagesError, match="streamed"):
        load_images(data.to_iterable_dataset())
