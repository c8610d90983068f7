"""Few of many pictures: from every class where these lie in order, else the first ones."""

import time

import pytest
import torch

from fluoroscope.data.drawing import by_class, draw_evenly
from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.data.sources import ArraySource


def labelled(labels: list[int], names: list[str] | None = None) -> ImageSet:
    source = ArraySource(torch.rand(len(labels), 1, 2, 2), "array", torch.tensor(labels))
    return ImageSet(source, "array", labels=names, channels=1)


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ([0] * 50 + [1] * 50, True),
        ([1] * 50 + [0] * 3, True),
        (list(range(20)), True),  # one of each, in order
        ([3, 1, 2, 0, 4], False),
        ([0, 1, 2, 3] * 25, False),
        ([0] * 20 + [1] * 20 + [0] * 20 + [1] * 20, True),  # sorted within parts
        ([0] * 30, False),
        ([0], False),
        ([], False),
    ],
)
def test_order_of_class_is_seen(labels: list[int], ordered: bool) -> None:
    assert by_class(torch.tensor(labels)) is ordered


def test_a_mixed_order_is_mixed_whatever_the_shares() -> None:
    rng = torch.Generator().manual_seed(0)
    for share in (0.5, 0.9, 0.99):
        labels = (torch.rand(2000, generator=rng) > share).long()
        assert not by_class(labels)
        assert by_class(labels.sort().values)


def test_the_draw_is_even_seeded_and_in_order() -> None:
    labels = torch.tensor([0] * 500 + [1] * 300 + [2] * 4 + [3] * 196)
    drawn = draw_evenly(labels, torch.arange(1000), 100, seed=0)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert sorted(labels[drawn].bincount().tolist()) == [4, 32, 32, 32]
    assert torch.equal(drawn, draw_evenly(labels, torch.arange(1000), 100, seed=0))
    assert not torch.equal(drawn, draw_evenly(labels, torch.arange(1000), 100, seed=1))
    # Not the first of each class, and every picture has its chance.
    assert drawn[:32].max() > 400
    hits = torch.zeros(1000)
    for seed in range(200):
        hits[draw_evenly(labels, torch.arange(1000), 100, seed)] += 1
    assert hits[:500].mean().item() == pytest.approx(200 * 32 / 500, rel=0.05)
    assert hits[:500].std() < 2 * (200 * 0.064 * 0.936) ** 0.5
    few = [tuple(labels[draw_evenly(labels, torch.arange(1000), 2, s)].tolist()) for s in range(40)]
    assert {one for pair in few for one in pair} == {0, 1, 2, 3}


def test_take_on_sorted_data_sees_every_class() -> None:
    images = labelled([0] * 100 + [1] * 100 + [2] * 100, ["a", "b", "c"])
    few = images.take(30)
    assert few.class_counts() == {"a": 10, "b": 10, "c": 10}
    assert list(few.indices) == sorted(few.indices)
    assert "drawn evenly" in few.notes[0]
    assert few.describe_classes() == "30 pictures, drawn evenly over the classes, of all 3 classes"
    assert few.indices == images.take(30).indices != images.take(30, seed=1).indices
    first = images.take(30, first=True)
    assert first.indices == tuple(range(30))
    assert "which lie in order of class" in first.notes[0]
    assert (
        first.describe_classes()
        == "30 pictures, the first ones, of 1 of 3 classes, none of 'b', 'c'"
    )
    assert images.take(1000).notes == ()


def test_take_on_mixed_data_takes_the_first() -> None:
    digits = load_images("digits", channels=1)
    assert digits.take(100).indices == tuple(range(100))
    assert digits.take(100).notes == ()
    # Ten digits in order of class are still the first of a mixed set.
    assert digits.take(10).take(5).indices == tuple(range(5))
    assert digits.select(range(20, 300)).take(4).indices == (20, 21, 22, 23)
    assert load_images(torch.rand(5, 3, 2, 2)).take(2).indices == (0, 1)
    by_label = digits.select(torch.tensor([one.label or 0 for one in digits]).argsort(stable=True))
    assert set(by_label.take(20).class_counts().values()) == {2}


def test_pictures_without_labels_are_not_drawn_and_can_be_left_out() -> None:
    images = labelled([0] * 10 + [-1] * 5 + [1] * 10)
    assert images.take(6).class_counts() == {"0": 3, "1": 3}
    some = images.with_labels()
    assert len(some) == 20
    assert some.notes == ("left out 5 of 25 pictures without a label",)
    assert some.with_labels() is some
    assert images.take(22).class_counts() == {"0": 10, "1": 10}


def test_counts_name_what_is_missing() -> None:
    images = labelled([4, 0, 4], ["crane", "a", "b", "c", "crane", "d"])
    assert images.class_counts() == {"crane": 1, "a": 0, "b": 0, "c": 0, "crane (4)": 2, "d": 0}
    assert images.describe_classes() == (
        "3 pictures of 2 of 6 classes, none of 'a', 'b', 'c' and 1 more"
    )
    assert images.take(1).describe_classes() == "1 picture of class 'crane (4)'"
    assert load_images(torch.rand(1, 3, 2, 2)).class_counts() is None
    assert load_images(torch.rand(1, 3, 2, 2)).describe_classes() == "1 picture, without labels"


def test_a_million_pictures_are_drawn_at_once() -> None:
    labels = torch.arange(1000).repeat_interleave(1000)
    started = time.perf_counter()
    assert by_class(labels)
    drawn = draw_evenly(labels, torch.arange(len(labels)), 1000, 0)
    assert len(labels[drawn].unique()) == 1000
    assert time.perf_counter() - started < 5
