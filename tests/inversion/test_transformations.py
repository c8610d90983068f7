"""Views against slow ones made one by one; each is of its own numbers, alone as in a batch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor
from torchvision.transforms import functional as slow

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits import known_transformations, resampling
from fluoroscope.inversion.portraits.distributions import Fade, Normal, OneOf, Uniform
from fluoroscope.inversion.portraits.transformations import Colour, Crop, Transformations

BILINEAR = slow.InterpolationMode.BILINEAR
KNOWN = [
    known_transformations.lucid,
    known_transformations.captum,
    known_transformations.xplique,
    known_transformations.maco,
    known_transformations.maco_paper,
    known_transformations.faccent,
    known_transformations.deepinversion,
    known_transformations.vital,
    known_transformations.vit,
    known_transformations.direct_ascent,
]


def _pictures(count: int, height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, channels, height, width, dtype=torch.float64, generator=generator)


def _views(
    how: Transformations,
    pictures: Tensor,
    *,
    step: int = 0,
    share: float = 0.0,
    size: tuple[int, int] | None = None,
    first: int = 0,
) -> Tensor:
    count = len(pictures)
    return how.views(
        pictures,
        randomness.keys(3, torch.arange(first, first + count)),
        torch.full((count,), step),
        torch.full((count,), share),
        size or (pictures.shape[-2], pictures.shape[-1]),
    )


@given(some.integers(1, 3), some.integers(1, 9), some.integers(1, 9), some.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_what_changes_nothing_gives_the_very_same_numbers(
    copies: int, height: int, width: int, channels: int
) -> None:
    pictures = _pictures(2, height, width, channels).float()
    for how in (
        Transformations(copies),
        Transformations(
            copies, jitter=(Uniform(0, 0),), scale=OneOf((1,)), rotate=Uniform(0, 0), flip=0,
            crop=Crop(Uniform(1, 1)), blur=Uniform(0, 0), noise=(Normal(0, Fade(0, 1)),),
        ),
    ):  # fmt: skip
        assert torch.equal(_views(how, pictures), pictures.repeat_interleave(copies, 0))


@pytest.mark.parametrize("known", KNOWN)
def test_a_view_is_the_same_alone_in_a_batch_and_again_but_not_at_another_step(known) -> None:
    how, pictures = known(copies=3), _pictures(4, 40, 40)
    together = _views(how, pictures, step=5, share=0.3)
    torch.testing.assert_close(
        _views(how, pictures[2:3], step=5, share=0.3, first=2), together[6:9]
    )
    assert torch.equal(_views(how, pictures, step=5, share=0.3), together)
    others = _views(how, pictures, step=6, share=0.3)
    # of 40 pixels few can be moved by, so that one view in some hundred stays as it was
    assert int((others - together).flatten(1).abs().amax(1).gt(0).sum()) >= 10
    kinds = together - together[:, None]
    assert int(kinds.flatten(2).abs().amax(2).gt(0).sum()) >= 10 * 11  # nor are two of them alike


@given(
    some.floats(-180, 180),
    some.floats(0.75, 2),
    some.integers(-5, 5),
    some.integers(-5, 5),
    some.sampled_from([0.0, 0.5]),
)
@settings(max_examples=30, deadline=None)
def test_turned_scaled_and_moved_as_torchvision_does_it(
    angle: float, scale: float, down: int, right: int, outside: float
) -> None:
    picture, sides = _pictures(1, 16, 22), torch.tensor([16.0, 22.0])
    # torchvision moves last what has been turned; a window is moved first, the other way
    turn = math.radians(angle)
    after = (
        -scale * (right * math.cos(turn) + down * math.sin(turn)),
        -scale * (-right * math.sin(turn) + down * math.cos(turn)),
    )
    expected = slow.affine(
        picture - outside, -angle, after, scale, [0.0, 0.0], interpolation=BILINEAR
    )
    found = resampling.sampled(
        picture, 1, 0.5 + torch.tensor([[down, right]]) / sides, torch.tensor([1 / scale]),
        torch.tensor([angle]), torch.tensor([False]), outside, (16, 22),
    )  # fmt: skip
    torch.testing.assert_close(found, expected + outside, atol=2e-4, rtol=0)


@pytest.mark.parametrize("outside", [0.0, 0.25, "edge", "wrap"])
def test_whole_pixels_move_as_slowly_pixel_by_pixel_and_as_resampled(outside) -> None:
    pictures = _pictures(3, 7, 10)
    shifts = torch.tensor([[0, 0], [2, -3], [-1, 4], [6, 9], [-9, 0], [1, 1]])
    flips = torch.tensor([False, True, False, False, True, True])
    found = resampling.moved(pictures, 2, shifts, flips, outside)
    resampled = resampling.sampled(
        pictures, 2, 0.5 + shifts / torch.tensor([7.0, 10.0]), torch.ones(6), torch.zeros(6),
        flips, outside, (7, 10),
    )  # fmt: skip
    for row, view in enumerate(found):
        down, right = shifts[row].tolist()
        for y in range(7):
            for x in range(10):
                u, v = y + down, (9 - x if flips[row] else x) + right
                if outside == "wrap":
                    u, v = u % 7, v % 10
                elif outside == "edge":
                    u, v = min(max(u, 0), 6), min(max(v, 0), 9)
                inside = 0 <= u < 7 and 0 <= v < 10
                expected = pictures[row // 2, :, u, v] if inside else torch.full((3,), outside)
                assert torch.equal(view[:, y, x], expected.to(view.dtype))
    torch.testing.assert_close(resampled, found, atol=1e-4, rtol=0)


def test_crops_are_those_cut_out_and_resized_by_hand() -> None:
    picture = _pictures(1, 32, 32)
    for top, left, side in [(0, 0, 16), (5, 9, 16), (16, 16, 16), (3, 8, 8)]:
        centre = torch.tensor([[top + side / 2, left + side / 2]]) / 32
        found = resampling.sampled(
            picture, 1, centre, torch.tensor([side / 32]), torch.zeros(1),
            torch.tensor([False]), "edge", (16, 16),
        )  # fmt: skip
        cut = picture[:, :, top : top + side, left : left + side]
        expected = torch.nn.functional.interpolate(cut, (16, 16), mode="bilinear")
        inner = slice(1, -1) if side < 16 else slice(None)  # a crop sees what lies around it
        torch.testing.assert_close(
            found[..., inner, inner], expected[..., inner, inner], atol=1e-5, rtol=0
        )


def test_a_large_window_is_averaged_before_it_is_shrunk() -> None:
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::2] = 1
    how = Transformations(8, crop=Crop(Uniform(0.9, 1.0)))
    found = _views(how, stripes, size=(16, 16))
    assert found.sub(0.5).abs().max() < 0.1
    # levels of each view's own: the same in a batch of mixed ones
    mixed = Transformations(8, crop=Crop(Uniform(0.1, 1.0)))
    pictures = _pictures(2, 64, 64)
    together = _views(mixed, pictures, size=(16, 16))
    torch.testing.assert_close(_views(mixed, pictures[1:], size=(16, 16), first=1), together[8:])


def test_crops_lie_where_their_distributions_say_and_shrink_with_the_steps() -> None:
    ramp = torch.linspace(0, 1, 200, dtype=torch.float64).expand(1, 1, 200, 200)
    how = Transformations(400, crop=Crop(Normal(Fade(0.5, 0.05), 0.05, 0.05, 1), Normal(0.5, 0.15)))
    for share, expected in [(0.0, 0.5), (1.0, 0.07)]:
        views = _views(how, ramp, share=share, size=(8, 8))
        side = (views[..., 0, -1] - views[..., 0, 0]) * 8 / 7
        centre = (views[..., 0, -1] + views[..., 0, 0]) / 2
        assert abs(float(side.mean()) - expected) < 0.01
        assert float(side.min()) > 0.04
        assert float(views.min()) >= 0
        assert float(views.max()) <= 1
        assert abs(float(centre.mean()) - 0.5) < 0.03
        assert (centre.std() - 0.15).abs() < 0.03


def test_blur_is_torchvisions_and_each_view_has_its_own() -> None:
    pictures = _pictures(1, 24, 18)
    found = resampling.blurred(pictures.expand(2, -1, -1, -1), torch.tensor([1.0, 2.0]))
    for view, deviation in zip(found, [1.0, 2.0], strict=True):
        expected = slow.gaussian_blur(pictures[0], [13, 13], [deviation, deviation])
        torch.testing.assert_close(view[:, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], atol=1e-6, rtol=0)


def test_noise_tint_and_colour_are_spread_as_they_say_and_fade() -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)
    how = Transformations(16, noise=(Normal(0.0, Fade(0.2, 0.0, 0.5)), Uniform(-0.1, 0.1)))
    early, late = (_views(how, grey, share=share) - 0.5 for share in (0.0, 0.75))
    assert abs(float(early.std()) - math.hypot(0.2, 0.2 / math.sqrt(12))) < 2e-3
    assert abs(float(early.mean())) < 2e-3
    assert float(late.abs().max()) <= 0.1
    assert abs(float(late.std()) - 0.2 / math.sqrt(12)) < 1e-3
    pixels = early.flatten(1)
    alike = torch.corrcoef(pixels) - torch.eye(len(pixels))
    assert float(alike.abs().max()) < 0.06  # no view has another's noise
    lit = _views(
        Transformations(64, colour=Colour(Uniform(-1, 1), Uniform(-1, 1)), tint=(Uniform(0, 0),)),
        grey,
    )
    assert torch.equal(lit.amin((2, 3)), lit.amax((2, 3)))
    assert float(lit.min()) >= (0.5 - 1) * math.e
    assert float(lit.max()) <= (0.5 + 1) * math.e
    assert len(lit[:, :, 0, 0].unique()) == 64 * 2 * 3
    clipped = _views(Transformations(4, noise=(Uniform(0.0, 0.2),), clip=True), grey + 0.45)
    assert float(clipped.max()) == 1


@pytest.mark.parametrize("known", KNOWN)
def test_gradients_are_those_of_small_differences(known) -> None:
    pictures = _pictures(1, 9, 8).requires_grad_()
    how = known(copies=2)
    along = _pictures(2, 6, 6)
    value = (_views(how, pictures, size=(6, 6)) * along).sum()
    (found,) = torch.autograd.grad(value, pictures)
    step = 1e-4 * _pictures(1, 9, 8).sub(0.5)
    there, back = ((_views(how, pictures.detach() + way * step, size=(6, 6)) * along).sum()
                   for way in (1, -1))  # fmt: skip
    torch.testing.assert_close(
        (found * step).sum(), (there - back).detach() / 2, atol=1e-7, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"copies": 0}, "copies is 0"),
        ({"padding": -0.5}, "padding is -0.5"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"outside": "mirror"}, "outside is 'mirror'"),
    ],
)
def test_what_cannot_be_is_refused(options, word) -> None:
    with pytest.raises(InvalidParameterError, match=word):
        Transformations(**options)
    with pytest.raises(InvalidParameterError, match="until is 0"):
        Fade(1, 0, 0)
    with pytest.raises(InvalidParameterError, match="values is empty"):
        OneOf(())
