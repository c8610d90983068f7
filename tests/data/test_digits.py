"""The built-in digits look like MNIST's and keep scikit-learn's order."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from fluoroscope.data.digits import _mnist_frame, digits, write_source
from fluoroscope.data.imageset import load_images


def test_all_are_there_in_order() -> None:
    images, labels = digits()
    assert images.shape == (1797, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert labels.tolist() == load_digits().target.tolist()
    assert digits()[0] is images  # converted once


def test_the_source_is_scikit_learns_to_the_byte(tmp_path: Path) -> None:
    with np.load(files("fluoroscope.data") / "digits.npz") as ours:
        assert (ours["ink"] == load_digits().images).all()
        assert ours["labels"].tolist() == load_digits().target.tolist()
        write_source(tmp_path / "anew.npz")
        with np.load(tmp_path / "anew.npz") as anew:
            assert all(ours[name].tobytes() == anew[name].tobytes() for name in ("ink", "labels"))


def test_a_few_at_a_time_are_drawn_as_all_at_once() -> None:
    ink = torch.from_numpy(load_digits().images).float() / 16
    assert torch.allclose(digits()[0][:, 0], _mnist_frame(ink), atol=1e-6)


def test_they_are_ink_in_range_on_a_black_margin() -> None:
    images, _ = digits()
    assert images.min() == 0
    assert images.max() == 1
    margin = torch.ones(28, 28, dtype=torch.bool)
    margin[1:-1, 1:-1] = False
    # MNIST's own digits reach its margin now and then, for the same centring.
    assert (images[:, 0, margin].amax(1) > 0).float().mean() < 0.01


def test_each_fills_a_20_by_20_box_about_its_centre_of_mass() -> None:
    images = digits()[0][:, 0].double()
    places = torch.arange(28, dtype=torch.double)
    for axis in (1, 2):
        profile = images.sum(axis)
        centre = profile @ places / profile.sum(1)
        assert (centre - 14).abs().max() < 0.05
    tall = (images.amax(2) > 0.02).sum(1)
    wide = (images.amax(1) > 0.02).sum(1)
    longer = torch.maximum(tall, wide).double()
    assert 19 < longer.mean() < 21
    assert longer.max() <= 22


def test_each_resembles_the_source_it_came_from() -> None:
    """Laid over the source, plainly enlarged, at the place where the two agree best."""
    images = digits()[0][:200]
    source = torch.from_numpy(load_digits().images[:200]).float().unsqueeze(1)
    enlarged = functional.interpolate(source, size=(20, 20), mode="bilinear")
    enlarged = enlarged / enlarged.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    agreement = functional.conv2d(images.transpose(0, 1), enlarged, groups=200)[0]
    alike = agreement.amax((1, 2)) / images.flatten(1).norm(dim=1)
    assert alike.min() > 0.85
    assert alike.median() > 0.92


def test_their_ink_is_mnists(shared: Path, data_cache: Path) -> None:
    ours = digits()[0]
    mnist = load_images(shared / "data" / "mnist", "train", channels=1)
    theirs = next(mnist.select(range(0, 60_000, 30)).batches(2000)).images
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), rel=0.05)
    assert (ours > 0.9).float().mean().item() == pytest.approx(
        (theirs > 0.9).float().mean().item(), rel=0.1
    )
    between = [((x > 0.1) & (x < 0.9)).float().mean().item() for x in (ours, theirs)]
    assert between[0] == pytest.approx(between[1], rel=0.2)


def test_a_folder_of_the_same_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_images("digits").notes == ()
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "the folder of that name here is ./digits" in load_images("digits").notes[0]
