"""Priors on layers: each against the papers' formulas, written out; who is told what, and when."""

from pathlib import Path

import pytest
import torch
from portrait_toys import normed, views
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.inversion.portraits.priors.prior import LayerPrior
from fluoroscope.inversion.portraits.priors.statistics import (
    batch_norm_statistics,
    batch_norm_trouble,
    layer_statistics,
    measured,
)
from fluoroscope.inversion.portraits.priors.vital import sorted_values
from fluoroscope.inversion.portraits.recipe import Weighted

NORMS = ("1", "4")


def _given(module: nn.Sequential, pictures: Tensor) -> dict[str, Tensor]:
    """What each batch norm is given."""
    found, x = {}, pictures
    for name, part in module.named_children():
        if name in NORMS:
            found[name] = x
        x = part(x)
    return found


def _deepinversion(module: nn.Sequential, pictures: Tensor, first: float = 1.0) -> Tensor:
    """The loss of Yin et al. over a batch, layer by layer."""
    total = pictures.new_zeros(())
    for number, (name, x) in enumerate(_given(module, pictures).items()):
        norm = module.get_submodule(name)
        mean = x.mean((0, 2, 3))
        variance = x.transpose(0, 1).flatten(1).var(1, unbiased=False)
        away = (norm.running_var - variance).norm() + (norm.running_mean - mean).norm()
        total = total + (first if number == 0 else 1) * away
    return total


def _penalty(prior: LayerPrior, model: fs.Classifier, pictures: Tensor, **how: object) -> Tensor:
    found = _given(model.module, pictures)  # type: ignore[arg-type]
    return prior.penalty(views({Place(n, True): x for n, x in found.items()}, **how))  # type: ignore[arg-type]


def test_batch_norm_s_prior_is_deep_inversion_s() -> None:
    model = normed()
    pictures = torch.rand(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    prior = batch_norm_statistics(model, first=10)
    found = _penalty(prior, model, pictures)
    expected = _deepinversion(model.module, pictures, first=10)  # type: ignore[arg-type]
    torch.testing.assert_close(found.detach(), expected.detach().expand(4))
    # Each portrait is led as by the loss of the batch, times how many there are.
    (slope,) = torch.autograd.grad(found.sum(), pictures, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, pictures, retain_graph=True)
    torch.testing.assert_close(slope, 4 * wanted)
    # And a weight of its own acts on it alone.
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    (slope,) = torch.autograd.grad((found * weights).sum(), pictures)
    torch.testing.assert_close(slope, 4 * wanted * weights[:, None, None, None])
    assert prior.penalty.together


def test_portraits_for_and_against_are_batches_of_their_own() -> None:
    model = normed()
    pictures = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    found = _penalty(batch_norm_statistics(model), model, pictures, towards=[1, 1, -1, -1])
    for part in (slice(2), slice(2, 4)):
        alone = _deepinversion(model.module, pictures[part])  # type: ignore[arg-type]
        torch.testing.assert_close(found[part], alone.expand(2))


def test_of_each_portrait_only_its_own_views_count() -> None:
    model = normed()
    pictures = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    prior = batch_norm_statistics(model, over_batch=False)
    found = _penalty(prior, model, pictures, copies=2)
    for part in (slice(2), slice(2, 4)):
        alone = _deepinversion(model.module, pictures[part])  # type: ignore[arg-type]
        torch.testing.assert_close(found[part], alone.expand(2))
    assert not prior.penalty.together


def test_measured_statistics_are_those_of_the_pictures() -> None:
    model, pictures = normed(), torch.rand(5, 3, 8, 8, dtype=torch.float64)
    outputs = model.module[:3](pictures).detach()  # type: ignore[index]
    found = measured(model, pictures, ["2"], batch_size=2)[Place("2")]
    torch.testing.assert_close(found.mean.double(), outputs.mean((0, 2, 3)))
    flat = outputs.transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.variance.double(), flat.var(1, unbiased=False))
    prior = layer_statistics(model, pictures, ["2"])
    assert prior.needs_data
    # Of the pictures themselves it is nothing, of others it is something.
    torch.testing.assert_close(
        prior.penalty(views({"2": outputs})), torch.zeros(5, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert float(prior.penalty(views({"2": outputs + 1}))[0]) == pytest.approx(2)
    # By default: the last map of each size.
    assert layer_statistics(model, pictures).penalty.places == (Place("2"), Place("5"))


def test_sorted_values_by_hand() -> None:
    class Two(nn.Module):
        """Gives out its picture."""

        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Conv2d(1, 1, 1, bias=False)
            self.last = nn.Linear(4, 2)
            self.same.weight.data.fill_(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.same(x).flatten(1))

    model = fs.Classifier(Two().double(), channels=1, input_size=2)
    real = torch.tensor([[[[0.1, 0.9], [0.5, 0.3]]], [[[0.3, 0.1], [0.7, 0.5]]]]).double()
    prior = sorted_values(model, real, ["same"], weights=[2])
    # Ranks of the first: .1 .3 .5 .9, of the second: .1 .3 .5 .7; on average .1 .3 .5 .8.
    made = torch.tensor([[[[0.9, 0.2], [0.3, 0.5]]], [[[0.8, 0.1], [0.5, 0.3]]]]).double()
    made.requires_grad_()
    found = prior.penalty(views({"same": made}))
    assert found.tolist() == pytest.approx([2 * (0.1**2 + 0.1**2) / 4, 0], abs=1e-7)
    (slope,) = torch.autograd.grad(found[0], made)
    expected = torch.tensor([[[0.1, 0.1], [0.0, 0.0]]]).double()  # each towards that of its rank
    torch.testing.assert_close(slope[0], expected, atol=1e-7, rtol=0)
    assert prior.needs_data
    assert not prior.penalty.together


def test_a_prior_on_layers_makes_portraits_more_alike_to_real_ones() -> None:
    model = normed()
    real = torch.rand(6, 3, 8, 8, dtype=torch.float64) * 0.3
    for prior in (sorted_values(model, real, ["2"]), batch_norm_statistics(model)):
        free = fs.portrait(model, [0, 1], method="pixels", steps=20)
        led = fs.portrait(model, [0, 1], method="pixels", steps=20, priors=(Weighted(prior, 5.0),))
        far = []
        for made in (free, led):
            given = {place: _read(model, place, made.images) for place in prior.penalty.places}
            far.append(float(prior.penalty(views(given)).detach().mean()))
        assert far[1] < 0.9 * far[0]


def _read(model: fs.Classifier, place: Place, pictures: Tensor) -> Tensor:
    x = pictures.to(model.dtype)
    for name, part in model.module.named_children():
        if name == place.layer and place.given:
            return x
        x = part(x)
        if name == place.layer:
            return x
    raise AssertionError(place)


def test_neutral_and_missing_batch_norm_is_refused() -> None:
    plain = normed()
    assert batch_norm_trouble(plain) is None
    with pytest.raises(InvalidParameterError, match=r"its plain network \(\.plain\)"):
        batch_norm_statistics(fs.prepare(plain))
    neutral = normed()
    for norm in (neutral.module[1], neutral.module[4]):  # type: ignore[index]
        norm.running_mean.zero_()
        norm.running_var.fill_(0.999)
    with pytest.raises(InvalidParameterError, match=r"all 2 batch norms of .* are neutral"):
        batch_norm_statistics(neutral)
    neutral.module[4].running_mean[0] = 0.5  # type: ignore[index]
    assert batch_norm_trouble(neutral) is None
    neutral.module[4].running_mean[0] = 0  # type: ignore[index]
    neutral.module[4].running_var[0] = 0.5  # type: ignore[index]
    assert batch_norm_trouble(neutral) is None
    bare = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), channels=1, input_size=2)
    with pytest.raises(InvalidParameterError, match="has no batch norm"):
        batch_norm_statistics(bare)


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("mobilenet_v2_1.0_224", False),
        ("mobilenet_v1_0.50_160", False),
        ("mobilenet_v1_0.25_128", False),
        ("mobilenet_v1_0.75_224", True),
    ],
)
def test_pretrained_networks_are_judged_by_their_statistics(
    name: str, sound: bool, shared: Path
) -> None:
    model = fs.load_model(shared / "models" / name)
    trouble = batch_norm_trouble(model)
    assert (trouble is None) == sound
    if trouble is not None:
        assert "neutral" in trouble


def test_impossible_wishes_are_named() -> None:
    model, real = normed(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(InvalidParameterError, match="layer is 'nine'"):
        sorted_values(model, real, ["nine"])
    with pytest.raises(InvalidParameterError, match=r"weights are \[1\]"):
        sorted_values(model, real, ["2", "5"], weights=[1])
    with pytest.raises(InvalidImagesError, match="pictures are 9×9"):
        layer_statistics(model, torch.rand(2, 3, 9, 9, dtype=torch.float64))
    with pytest.raises(InvalidImagesError, match="no pixels"):
        sorted_values(model, real[:0])
