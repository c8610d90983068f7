"""What is measured of pictures, against slow formulas and published numbers; files; refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, ResultFormatError
from fluoroscope.inversion import DataPrior, fit_prior
from fluoroscope.inversion.portraits.priors.statistics import fitted_statistics
from fluoroscope.inversion.portraits.recipe import Weighted
from fluoroscope.inversion.prior_files import prior_for, shipped
from fluoroscope.inversion.prior_fitting import decay_of


def _pictures(count: int = 7, channels: int = 3, height: int = 9, width: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(count, channels, height, width, generator=generator)
    mixed = torch.tensor([[0.5, 0.3, 0.0], [0.5, 0.0, 0.2], [0.4, -0.2, 0.1]])[:, :channels]
    return torch.einsum("dc,nchw->ndhw", mixed[:channels], smooth).clamp(0, 1)


def test_everything_measured_is_what_slow_formulas_give_however_it_is_read() -> None:
    images = _pictures()
    found = fit_prior(images)
    x = images.double().numpy()
    np.testing.assert_allclose(found.mean, x.mean((0, 2, 3)), atol=1e-6)
    assert found.gain == pytest.approx(
        math.sqrt(np.mean([x[:, c].var() for c in range(3)])), abs=1e-6
    )
    within = np.mean([np.cov(one.reshape(3, -1), bias=True) for one in x], 0)
    values, vectors = np.linalg.eigh(within)
    root = (vectors * np.sqrt(values / values.max()))[:, ::-1]
    root = root * np.sign(root[0])
    np.testing.assert_allclose(found.colour, root, atol=1e-5)
    apart = np.linalg.inv(root) @ (x - x.mean((0, 2, 3))[:, None, None]).reshape(7, 3, -1)
    spectra = np.abs(np.fft.rfft2(apart.reshape(x.shape), norm="ortho"))
    assert found.magnitude is not None
    np.testing.assert_allclose(found.magnitude, spectra.mean(0), rtol=1e-3, atol=1e-4)
    assert found.size == (9, 12)
    parts = fit_prior(images, batch_size=3)
    torch.testing.assert_close(parts.magnitude, found.magnitude)
    torch.testing.assert_close(parts.colour, found.colour)
    assert parts.gain == pytest.approx(found.gain)


@pytest.mark.parametrize("decay", [0.5, 1.0, 1.4])
@pytest.mark.parametrize("size", [(64, 64), (48, 81)])
def test_a_decay_is_found_again(decay: float, size: tuple[int, int]) -> None:
    down, across = torch.fft.fftfreq(size[0]), torch.fft.rfftfreq(size[1])
    length = torch.hypot(down[:, None], across[None]).clamp(min=1e-3)
    assert decay_of(length**-decay, size) == pytest.approx(decay, abs=0.05)
    # what falls faster where resizing has cut off is not asked
    bent = torch.where(length > 0.25, length**-6, length**-decay)
    assert decay_of(bent, size) == pytest.approx(decay, abs=0.05)
    assert decay_of(torch.ones(2, 2), (2, 2)) == 1.0


def test_layers_are_measured_as_by_hand_over_parts_and_lead_portraits() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 10, 5))
    model = fs.Classifier(module, channels=3, input_size=(9, 12), mean=[0.0] * 3, std=[1.0] * 3)
    images = _pictures()
    found = fit_prior(images, model, layers=["1"], batch_size=3)
    with torch.no_grad():
        maps = module[:2](images).transpose(0, 1).flatten(1)
    (layer,) = found.layers
    assert layer.place == Place("1")
    torch.testing.assert_close(layer.mean, maps.mean(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.variance, maps.var(1, correction=0), atol=1e-5, rtol=1e-4)
    assert found.record["model_sha256"] == model.fingerprint()
    made = fs.portrait(
        model, [1], method="pixels", steps=3, prior=found,
        priors=(Weighted(fitted_statistics(found)),),
    )  # fmt: skip
    assert made.record["prior"] == found.name
    with pytest.raises(InvalidParameterError, match="knows no layers"):
        fitted_statistics(fit_prior(images))


def test_saved_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    model = fs.load_model("digits-cnn")
    digits = fs.load_images("digits", channels=1).take(20)
    found = fit_prior(digits, model, layers="stages", name="mine")
    for path in (tmp_path / "a.json", tmp_path / "b", tmp_path / "c.safetensors"):
        written = found.save(path)
        assert [file.suffix for file in written] == [".safetensors", ".json"]
        again = DataPrior.load(path)
        assert again.record == found.record
        for name in ("mean", "colour", "magnitude"):
            assert torch.equal(getattr(again, name), getattr(found, name))
        assert (again.gain, again.decay, again.size) == (found.gain, found.decay, found.size)
        assert [each.place for each in again.layers] == [each.place for each in found.layers]
        assert torch.equal(again.layers[0].variance, found.layers[0].variance)
        assert prior_for(model, str(path), (28, 28)).name == "mine"
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ResultFormatError):
        DataPrior.load(tmp_path / "a.json")


def test_the_packages_own_are_of_their_pictures_and_found_for_networks() -> None:
    natural, digits = shipped("natural"), shipped("digits")
    assert natural.size == (224, 224)
    assert 0.35 < float(natural.mean.min()) < float(natural.mean.max()) < 0.52
    # light first, by far; then red against blue; then green against magenta
    light, second, third = natural.colour.unbind(1)
    assert bool((light > 0.5).all())
    assert light.norm() == pytest.approx(1, abs=1e-3)
    assert second[0] > 0 > second[2]
    assert third[1] < 0 < third[0]
    assert 0.3 > float(second.norm()) > float(third.norm()) > 0.1
    assert 1.0 < natural.decay < 1.6
    found = fit_prior("digits", fs.load_model("digits-cnn"))
    torch.testing.assert_close(found.mean, digits.mean)
    assert found.magnitude is not None
    torch.testing.assert_close(digits.magnitude, found.magnitude, rtol=2e-3, atol=1e-3)
    assert prior_for(fs.load_model("digits-linear"), None, (28, 28)) is digits
    assert prior_for(_colour(3), None, (40, 30)) is natural  # for any size
    assert prior_for(_colour(1), None, (8, 8)).name == "grey"
    assert prior_for(_colour(5), None, (8, 8)).mean.tolist() == [0.5] * 5


def test_published_numbers_of_natural_pictures_are_met(shared: Path) -> None:
    pictures = fs.load_images(shared / "data" / "imagenet_sample").take(40, first=True)
    found = fit_prior(pictures, size=64)
    lucid = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    lucid = lucid / lucid.norm(dim=0).max()
    torch.testing.assert_close(found.colour[:, 0], lucid[:, 0], atol=0.06, rtol=0)
    torch.testing.assert_close(found.colour[:, 1], lucid[:, 1], atol=0.08, rtol=0)
    assert 0.9 < found.decay < 1.7  # magnitudes of natural pictures fall about as 1 / f


def _colour(channels: int) -> fs.Classifier:
    return fs.Classifier(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)),
        channels=channels,
        labels=list("abc"),
    )


def test_what_cannot_be_measured_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImagesError, match="holds 1 pictures; expected 2"):
        fit_prior(_pictures(1))
    with pytest.raises(InvalidImagesError, match="one colour throughout"):
        fit_prior(torch.rand(4, 3, 1, 1).expand(4, 3, 8, 8))
    with pytest.raises(InvalidParameterError, match="without a network"):
        fit_prior(_pictures(), layers=["0"])
    with pytest.raises(InvalidParameterError, match="size is 1"):
        fit_prior(_pictures(), size=1)
    with pytest.raises(InvalidParameterError, match="digits-cnn sees 28×28"):
        fit_prior("digits", fs.load_model("digits-cnn"), size=8)
    fitted, model = fit_prior(_pictures()), _colour(3)
    with pytest.raises(InvalidParameterError, match="fitted to pictures of 9×12, and the portrait"):
        prior_for(model, fitted, (12, 9))
    with pytest.raises(InvalidParameterError, match="of 3 channels, and digits-cnn takes 1"):
        prior_for(fs.load_model("digits-cnn"), fitted, (9, 12))
    with pytest.raises(InvalidParameterError, match=r"prior is 'natrual'; expected one of digits"):
        prior_for(model, "natrual", (9, 12))
    with pytest.raises(InvalidParameterError, match="prior is a int"):
        prior_for(model, 3, (9, 12))
    with pytest.raises(ResultFormatError, match="holds no prior"):
        prior_for(model, str(tmp_path / "none.json"), (9, 12))
    # What is there is named as it was given, and other JSON is no broken prior.
    (tmp_path / "names.txt").write_text("cat")
    with pytest.raises(ResultFormatError, match=r"names\.txt holds no prior; expected the JSON"):
        prior_for(model, str(tmp_path / "names.txt"), (9, 12))
    (tmp_path / "other.json").write_text('{"accuracy": 1}')
    with pytest.raises(ResultFormatError, match=r"other\.json holds no prior; expected the JSON"):
        prior_for(model, str(tmp_path / "other.json"), (9, 12))
    with pytest.raises(InvalidParameterError, match="size was not given, and Sequential takes"):
        fs.portrait(_free(), [0])


def _free() -> fs.Classifier:
    """A network of pictures of any size."""
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    return fs.Classifier(pooled, channels=3)


def test_a_prior_of_the_package_at_another_size_says_so() -> None:
    torch.manual_seed(0)
    model = fs.Classifier(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), channels=1, input_size=8
    )
    words = "prior digits was measured on pictures of 28x28, and these are of 8x8"
    for method in ("pixels", "maco"):
        notes = fs.portrait(model, [0], method=method, prior="digits", steps=1).notes
        assert [words in note for note in notes].count(True) == 1, notes
    assert "magnitudes were measured on pictures of 28x28 and are interpolated" in str(notes)
    usual = fs.portrait(model, [0], method="pixels", steps=1).notes
    assert not any("was measured" in note for note in usual)
    own = fs.portrait(fs.load_model("digits-cnn"), [0], prior="digits", steps=1).notes
    assert not any("was measured" in note for note in own)


def test_grey_pictures_in_colour_keep_a_root_that_can_be_undone() -> None:
    grey = _pictures(channels=1).expand(-1, 3, -1, -1)
    found = fit_prior(grey)
    assert torch.linalg.svdvals(found.colour)[-1] > 5e-4
    assert found.magnitude is not None
    assert bool(found.magnitude.isfinite().all())
