"""What labels mean for a network: those that a user gives, and those of a data set."""

from typing import Any

import numpy as np
import pytest
import torch

import fluoroscope as fs
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.engine.classes import as_classes
from fluoroscope.engine.labels import Seen, Truth, labelled

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
CLASSES = ["cat", "hen, chicken", "räv"]


def network(labels: list[str] | None = None, classes: int = 3) -> fs.Classifier:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, classes))
    return fs.Classifier(module, channels=1, input_size=2, labels=labels)


def numbers(images: ImageSet) -> list[int | None]:
    return [sample.label for sample in images]


@pytest.mark.parametrize(
    "given",
    [
        [2, 0, 1],
        (2, 0, 1),
        torch.tensor([2, 0, 1], dtype=torch.uint8),
        np.array([2, 0, 1], dtype=np.int16),
        [np.int64(2), 0, torch.tensor(1)],
        ["räv", "cat", "chicken"],
        np.array(["Räv", "CAT", "hen"]),
        ["2", "0", "1"],
        torch.eye(3)[[2, 0, 1]],
        np.eye(3, dtype=bool)[[2, 0, 1]],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    ],
)
def test_labels_as_people_have_them(given: Any) -> None:
    assert numbers(labelled(network(CLASSES), IMAGES, given)) == [2, 0, 1]
    assert as_classes(network(CLASSES), given, IMAGES).tolist() == [2, 0, 1]


def test_booleans_tell_two_classes_apart() -> None:
    given = [True, False, np.bool_(True)]
    assert numbers(labelled(network(classes=2), IMAGES, given)) == [1, 0, 1]
    with pytest.raises(fs.errors.UnknownLabelError, match=r"booleans, which tell two apart.*has 3"):
        labelled(network(CLASSES), IMAGES, torch.tensor(given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 1], r"labels of shape \(2,\) for 3 images"),
        (None, "none for 3 images"),
        ([0.0, 1.0, 2.0], "a class is 0.0; expected a whole number"),
        (np.array([0.5, np.nan, 1]), "a class is 0.5"),
        (torch.tensor([0.0, 1.0, 2.0]), "float32 .*expected whole numbers"),
        (torch.eye(4)[:3], "one-hot rows"),
        (torch.full((3, 3), 1 / 3), "one-hot rows"),
        (torch.tensor([[0], [1], [2]]), r"shape \(3, 1\)"),
        ([0, -1, 2], "has the label -1"),
        ([0, 3, 2], "has the label 3, and .* has 3 classes"),
        ([0, "cat", 1], "indices and names mixed"),
        ([0, True, 1], "booleans and indices mixed"),
        ([None, 0, 1], "a class is a NoneType"),
        ([b"cat", b"cat", b"cat"], "a class is a bytes"),
        ([[0], [1, 2], [2]], "a class is a list"),
        (["cat", "dog", "cat"], "'dog' is none of its"),
        # A target may be given by its beginning, a truth may not.
        (["ca", "cat", "cat"], "'ca' is none of its"),
    ],
)
def test_what_is_no_label_is_refused(given: Any, message: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=message):
        labelled(network(CLASSES), IMAGES, given)


def test_three_names_in_their_own_order_are_no_places() -> None:
    with pytest.raises(fs.errors.UnknownLabelError, match="'a' is none"):
        labelled(network(CLASSES), IMAGES, ["a", "b", "c"])


def test_one_class_for_all() -> None:
    assert as_classes(network(CLASSES), np.str_("hen"), IMAGES).tolist() == [1, 1, 1]
    assert as_classes(network(CLASSES), np.int32(2), IMAGES).tolist() == [2, 2, 2]
    assert as_classes(network(CLASSES), torch.tensor(2), IMAGES).tolist() == [2, 2, 2]


def data(labels: list[int] | None, names: list[str] | None = None) -> ImageSet:
    source = ArraySource(IMAGES, "array", None if labels is None else torch.tensor(labels))
    return ImageSet(source, "some", labels=names, channels=1)


def test_the_datas_numbers_become_the_networks() -> None:
    truth = Truth.of(network(CLASSES), data([0, 1, 1], ["rav", "Cat"]))
    (batch,) = data([0, 1, 1]).batches(3)
    assert truth.labels(batch).tolist() == [2, 0, 0]
    assert truth.notes == ()


def test_no_labels_is_said_where_there_are_none() -> None:
    truth = Truth.of(network(CLASSES), data(None))
    (batch,) = data(None).batches(3)
    with pytest.raises(fs.errors.InvalidImagesError, match="some has no labels, and"):
        truth.labels(batch)


def test_which_classes_were_seen() -> None:
    seen = Seen.of(network(CLASSES), torch.tensor([2, 2, 0]))
    assert str(seen) == "3 pictures of 2 of 3 classes; none of 'hen, chicken'"
    assert seen.notes == (str(seen),)
    assert seen.describe()["by_class"] == [["cat", 1], ["räv", 2]]
    assert Seen.of(network(CLASSES), torch.tensor([0, 1, 2])).notes == ()
