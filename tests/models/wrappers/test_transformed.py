"""Input transformations: against slow formulas, peers, finite differences; draws by image."""

from collections.abc import Callable
from itertools import product
from math import exp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import CROSS_ENTROPY
from fluoroscope.models.wrappers import transformed
from fluoroscope.models.wrappers.around import Surrogate
from fluoroscope.models.wrappers.transformed import (
    Admix,
    DiverseInput,
    ScaleInvariant,
    TranslationInvariant,
)

SIDE = 20
IMAGES = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
CLASSES = torch.tensor([0, 1, 2, 3, 0])
POOL = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()


class Network(nn.Module):
    """A smooth one that keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 4)
        )
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        logits: Tensor = 4 * self.body(x)
        return logits


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Network().double(), input_size=SIDE, resize=SIDE + 2)


def seen(model: fs.Classifier) -> list[Tensor]:
    assert isinstance(model.module, Network)
    return model.module.seen


WRAPPERS: dict[str, Callable[[fs.Classifier], Surrogate]] = {
    "di": lambda m: DiverseInput(m, 1.0),
    "ti": lambda m: TranslationInvariant(m, 5),
    "si": lambda m: ScaleInvariant(m, 3),
    "admix": lambda m: Admix(m, POOL, copies=2),
}
wrapped = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)


# DiverseInput


def shrunk(image: Tensor, side: int, top: int, left: int) -> Tensor:
    """As torchattacks does it: interpolate, then pad with zeros."""
    small = F.interpolate(image[None], (side, side), mode="bilinear", align_corners=False)[0]
    return F.pad(small, (left, SIDE - side - left, top, SIDE - side - top))


def test_each_image_is_shrunk_and_padded_by_its_own_draw(model: fs.Classifier) -> None:
    images = torch.rand(150, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()
    places = [
        place for side in (17, 18, 19) for place in product([side], *2 * [range(SIDE - side + 1)])
    ]
    DiverseInput(model, 1.0, resize=0.85)(images)
    found = []
    for image, view in zip(images, seen(model)[0], strict=True):
        fits = [p for p in places if torch.allclose(shrunk(image, *p), view, atol=1e-12)]
        assert len(fits) == 1
        found += fits
    assert set(found) == set(places)  # 29 of them, in 150 draws
    counts = [sum(side == p[0] for p in found) for side in (17, 18, 19)]
    assert min(counts) > 30


def test_the_probability_is_that_of_each_image(model: fs.Classifier) -> None:
    images = torch.rand(400, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()
    for probability, low, high in ((0.0, 0, 0), (0.3, 80, 160), (1.0, 400, 400)):
        DiverseInput(model, probability)(images)
        changed = (seen(model)[-1] != images).flatten(1).any(1)
        assert low <= int(changed.sum()) <= high


def test_a_picture_that_is_not_square_keeps_its_proportions() -> None:
    network = fs.Classifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)))
    views: list[Tensor] = []
    network.module.register_forward_pre_hook(lambda _, given: views.append(given[0]))
    DiverseInput(network, 1.0, resize=0.5)(0.1 + 0.9 * torch.rand(200, 3, 10, 40))
    inside = views[-1][:, 0] > 0
    high, wide = inside.any(2).sum(1), inside.any(1).sum(1)
    assert torch.equal(wide, 4 * high)
    assert set(high.tolist()) == {5, 6, 7, 8, 9}
    assert torch.equal(inside.flatten(1).sum(1), high * wide)


def test_the_resizing_has_a_true_gradient() -> None:
    part, share = torch.tensor([3.0, 4.0]), torch.tensor([0.9, 0.1])
    images = torch.rand(2, 1, 5, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: transformed._padded(x, part, part + 1, share, share), images
    )


@pytest.mark.parametrize("wrap", [WRAPPERS["di"], WRAPPERS["admix"]], ids=["di", "admix"])
def test_draws_are_the_images_own(
    wrap: Callable[[fs.Classifier], Surrogate], model: fs.Classifier
) -> None:
    asked, before = wrap(model), torch.get_rng_state()
    whole = asked(IMAGES)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(asked(IMAGES.flip(0)).flip(0), whole, atol=1e-12)
    for row, image in enumerate(IMAGES):
        assert torch.allclose(asked(image[None])[0], whole[row], atol=1e-12)
    # A step that moves an image brings another draw, and so does another seed.
    moved = torch.stack([asked(IMAGES + step * 1e-9) for step in range(12)])
    assert (moved - whole).abs().amax((0, 2)).amin() > 1e-3


# TranslationInvariant


def gradient(model: fs.Classifier, images: Tensor) -> Tensor:
    found = evaluate(model, images, CLASSES[: len(images)], CROSS_ENTROPY, gradient=True).gradient
    assert found is not None
    return found


def smoothed(slope: Tensor, size: int, deviations: float) -> Tensor:
    """Pixel by pixel, with zeros beyond the border."""
    reach = size // 2
    bell = [exp(-((deviations * i / reach) ** 2) / 2) for i in range(-reach, reach + 1)]
    result = torch.zeros_like(slope)
    for i, j in product(range(-reach, reach + 1), repeat=2):
        weight = bell[i + reach] * bell[j + reach] / sum(bell) ** 2
        for y in range(max(0, i), min(SIDE, SIDE + i)):
            low, high = max(0, j), min(SIDE, SIDE + j)
            result[..., y, low:high] += weight * slope[..., y - i, low - j : high - j]
    return result


@pytest.mark.parametrize(("size", "deviations"), [(15, 3.0), (5, 1.5), (41, 2.0)])
def test_answers_stay_and_gradients_are_smoothed(
    size: int, deviations: float, model: fs.Classifier
) -> None:
    asked = TranslationInvariant(model, size, deviations=deviations)
    assert torch.equal(asked(IMAGES), model(IMAGES))
    expected = smoothed(gradient(model, IMAGES), size, deviations)
    torch.testing.assert_close(gradient(asked, IMAGES), expected)


@given(st.integers(0, 999), st.floats(-3, 3), st.integers(1, 7))
@settings(max_examples=20)
def test_smoothing_is_linear_and_its_own_transpose(seed: int, factor: float, reach: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    one, two = torch.randn(2, 2, 3, 9, 11, generator=rng).double()
    pixels = torch.zeros_like(one).requires_grad_()
    bell = torch.hann_window(2 * reach + 3, periodic=False, dtype=torch.double)[1:-1]

    def smooth(slope: Tensor) -> Tensor:
        shown = transformed._Smoothed.apply(pixels, bell)
        return torch.autograd.grad(shown, pixels, slope)[0]

    torch.testing.assert_close(smooth(one + factor * two), smooth(one) + factor * smooth(two))
    torch.testing.assert_close((smooth(one) * two).sum(), (one * smooth(two)).sum())


# ScaleInvariant and Admix


def losses(model: fs.Classifier, images: Tensor) -> Tensor:
    return F.cross_entropy(model(images), CLASSES[: len(images)], reduction="none")


def test_the_loss_is_the_mean_over_scales(model: fs.Classifier) -> None:
    pixels = IMAGES.clone().requires_grad_()
    mean = sum(losses(model, pixels / 2**i) for i in range(5)) / 5
    assert isinstance(mean, Tensor)
    found = evaluate(ScaleInvariant(model), IMAGES, CLASSES, CROSS_ENTROPY, gradient=True)
    torch.testing.assert_close(found.objective, mean)
    torch.testing.assert_close(found.gradient, torch.autograd.grad(mean.sum(), pixels)[0])


def test_the_loss_is_the_mean_over_mixtures_and_scales(model: fs.Classifier) -> None:
    asked = Admix(model, POOL, seed=4)
    found = evaluate(asked, IMAGES, CLASSES, CROSS_ENTROPY)
    views = torch.stack(seen(model)[-15:]).view(5, 3, *IMAGES.shape)
    others = (views[0] - IMAGES) / 0.2
    drawn = (others[:, :, None] - POOL).flatten(3).abs().amax(3) < 1e-9  # (mixture, image, pool)
    assert (drawn.sum(2) == 1).all()
    assert (drawn.sum(0) <= 1).all()  # no picture twice in one image
    assert len({tuple(row.nonzero().flatten().tolist()) for row in drawn.any(0)}) > 1
    expected = [
        losses(model, (IMAGES + 0.2 * other) / 2**power) for power in range(5) for other in others
    ]
    torch.testing.assert_close(found.objective, torch.stack(expected).mean(0))


@pytest.mark.parametrize(
    "wrap",
    [WRAPPERS["si"], lambda m: Admix(m, POOL[:3], mixtures=3), lambda m: DiverseInput(m, 0.0)],
    ids=["si", "admix", "di"],
)
def test_true_gradients(wrap: Callable[[fs.Classifier], Surrogate], model: fs.Classifier) -> None:
    # Of a pool that is mixed in whole every draw is the same.
    pixels = IMAGES[:2].clone().requires_grad_()
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3)).double()
    asked = wrap(model)
    (found,) = torch.autograd.grad(losses(asked, pixels).sum(), pixels)
    ahead, behind = (losses(asked, IMAGES[:2] + sign * 1e-5 * direction) for sign in (1, -1))
    torch.testing.assert_close(
        (found * direction).sum(), (ahead - behind).sum() / 2e-5, rtol=1e-6, atol=1e-8
    )


# All of them


@wrapped
def test_the_network_itself_judges_and_is_left_alone(
    wrap: Callable[[fs.Classifier], Surrogate], model: fs.Classifier
) -> None:
    fast = fs.prepare(model)
    asked = wrap(fast)
    assert asked.plain is model
    assert wrap(asked).plain is model
    assert asked.model is fast
    model.module.train()
    asked(IMAGES.requires_grad_(False))
    assert model.module.training
    assert asked.passes == len(seen_by(asked)) * model.passes
    assert wrap(asked).passes == asked.passes**2
    assert type(asked).__name__ in asked.name
    assert asked.preprocessing.resize == model.preprocessing.resize
    with pytest.raises(fs.FluoroscopeError, match=r"expected one to prepare inside"):
        fs.prepare(asked)


def seen_by(asked: Surrogate) -> list[Tensor]:
    """What one answer shows the network."""
    network = asked.module.network.network if hasattr(asked.module, "network") else None
    assert isinstance(network, Network)
    network.seen.clear()
    asked(IMAGES)
    return network.seen


@wrapped
def test_copies_in_another_precision_and_fingerprints(
    wrap: Callable[[fs.Classifier], Surrogate], model: fs.Classifier
) -> None:
    asked = wrap(model)
    single = asked.to(dtype=torch.float32)
    assert (single.dtype, asked.dtype, model.dtype) == (torch.float32, torch.double, torch.double)
    answer = single(IMAGES.float())
    assert answer.dtype == torch.float32
    if not isinstance(asked, DiverseInput | Admix):  # whose draws follow from other bits
        assert torch.allclose(answer.double(), asked(IMAGES), atol=1e-4)
    assert asked.fingerprint() == wrap(model).fingerprint()
    prints = {asked.fingerprint(), model.fingerprint(), wrap(asked).fingerprint()}
    assert len(prints) == 3


def test_every_parameter_counts_in_the_fingerprint(model: fs.Classifier) -> None:
    others = [
        DiverseInput(model),
        DiverseInput(model, 0.7),
        DiverseInput(model, resize=0.8),
        DiverseInput(model, seed=1),
        TranslationInvariant(model),
        TranslationInvariant(model, 7),
        TranslationInvariant(model, deviations=2),
        ScaleInvariant(model),
        ScaleInvariant(model, 4),
        Admix(model, POOL),
        Admix(model, POOL[:5]),
        Admix(model, POOL, mixtures=2),
        Admix(model, POOL, copies=2),
        Admix(model, POOL, share=0.3),
        Admix(model, POOL, seed=1),
    ]
    assert len({one.fingerprint() for one in others}) == len(others)


def test_they_go_around_each_other_and_around_ensembles(model: fs.Classifier) -> None:
    other = model.restated(mean=(0.9, 0.1, 0.5))
    both = ScaleInvariant(fs.Ensemble([model, other], average="loss"), 3)
    found = evaluate(both, IMAGES, CLASSES, CROSS_ENTROPY).objective
    # The mean loss over both and over scales: log-probabilities are not normalised again.
    each = [losses(one, IMAGES / 2**power) for one in (model, other) for power in range(3)]
    torch.testing.assert_close(found, torch.stack(each).mean(0))
    assert both.passes == 6
    nested = TranslationInvariant(ScaleInvariant(model, 3), 5)
    inner = gradient(ScaleInvariant(model, 3), IMAGES)
    torch.testing.assert_close(gradient(nested, IMAGES), smoothed(inner, 5, 3.0))


def test_pictures_of_another_size_are_brought_to_the_networks_once(model: fs.Classifier) -> None:
    large = torch.rand(2, 3, 30, 26, generator=torch.Generator().manual_seed(5)).double()
    assert torch.equal(TranslationInvariant(model, 5)(large), model(large))
    Admix(model, large.repeat(2, 1, 1, 1))(large)
    assert seen(model)[-1].shape[2:] == (SIDE, SIDE)


def test_wrong_use(model: fs.Classifier) -> None:
    anywhere = fs.Classifier(model.module)
    for make, message in (
        (lambda: DiverseInput(model, 1.1), r"probability is 1.1; expected 0 to 1"),
        (lambda: DiverseInput(model, resize=1), r"resize is 1; expected"),
        (lambda: DiverseInput(model, resize=float("nan")), r"resize is nan; expected"),
        (lambda: TranslationInvariant(model, 4), r"size is 4; expected an odd"),
        (lambda: TranslationInvariant(model, 1), r"size is 1; expected an odd"),
        (lambda: TranslationInvariant(model, deviations=0), r"deviations is 0; expected"),
        (lambda: ScaleInvariant(model, 1), r"copies is 1; expected a whole number of 2"),
        (lambda: Admix(model, POOL, copies=0), r"copies is 0; expected a whole number of 1"),
        (lambda: Admix(model, POOL, mixtures=0), r"mixtures is 0; expected a whole number of 1"),
        (lambda: Admix(model, POOL, share=0), r"share is 0; expected"),
        (lambda: Admix(model, POOL[:2]), r"holds 2 images to mix in; expected at least 3"),
        (lambda: Admix(model, 255 * POOL), r"images hold values"),
        (lambda: Admix(anywhere, POOL[..., :9])(IMAGES), r"expected the same shape"),
        (lambda: ScaleInvariant("model"), r"network is a str; expected a"),  # type: ignore[arg-type]
        (lambda: Admix("model", POOL), r"network is a str; expected a"),  # type: ignore[arg-type]
    ):
        with pytest.raises(fs.FluoroscopeError, match=message):
            make()
