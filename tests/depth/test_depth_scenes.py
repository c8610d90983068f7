"""Rendered scenes: exact depth against geometry, and one seed, one scene."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import fluoroscope as fs
from fluoroscope.depth.scenes import OBJECTS, World, draw, render, render_scenes

SIZE = (24, 32)
FOCAL = 32 / (2 * math.tan(math.radians(30)))


def empty(tilt: float = 0.0) -> World:
    """One scene without objects: a camera at 1.5 m, a wall at 6 m."""
    one = torch.ones(1, dtype=torch.float64)
    some = torch.ones(1, OBJECTS, 3, dtype=torch.float64)
    return World(
        height=1.5 * one, tilt=tilt * one, wall=6 * one,
        light=torch.tensor([[0.0, 1.0, 0.0]]).double(),
        there=torch.zeros(1, OBJECTS, dtype=torch.bool),
        sphere=torch.zeros(1, OBJECTS, dtype=torch.bool),
        centre=3 * some, half=0.5 * some, turn=0 * some[..., 0],
        colour=torch.full((1, OBJECTS + 2, 3), 0.5).double(),
        pattern=torch.zeros(1, OBJECTS + 2, 3).double(),
        dim=torch.tensor([[0.5, 1.0]]).double(),
    )  # fmt: skip


def with_object(sphere: bool, centre: list[float], half: list[float], turn: float = 0.0) -> World:
    world = empty()
    world.there[0, 1], world.sphere[0, 1] = True, sphere
    world.centre[0, 1] = torch.tensor(centre, dtype=torch.float64)
    world.half[0, 1] = torch.tensor(half, dtype=torch.float64)
    world.turn[0, 1] = turn
    return world


def ray(row: int, column: int) -> Tensor:
    v, u = (row + 0.5 - SIZE[0] / 2) / FOCAL, (column + 0.5 - SIZE[1] / 2) / FOCAL
    return torch.tensor([u, -v, 1.0], dtype=torch.float64)


def test_the_floor_row_by_row_and_the_wall_behind_it() -> None:
    depth = render(empty(), SIZE)[1][0].double()
    for row in range(SIZE[0]):
        v = (row + 0.5 - SIZE[0] / 2) / FOCAL
        expected = min(6.0, 1.5 / v) if v > 0 else 6.0
        torch.testing.assert_close(depth[row], torch.full((SIZE[1],), expected).double())


def test_a_tilted_camera_sees_the_same_room() -> None:
    tilt = 0.2
    depth = render(empty(tilt), SIZE)[1][0].double()
    for row in (1, 9, 15, 23):
        v = (row + 0.5 - SIZE[0] / 2) / FOCAL
        down, ahead = v * math.cos(tilt) + math.sin(tilt), math.cos(tilt) - v * math.sin(tilt)
        floor = 1.5 / down if down > 0 else math.inf
        torch.testing.assert_close(depth[row, 5].item(), min(floor, 6 / ahead), rtol=1e-6, atol=0)


def test_a_sphere_where_its_equation_says() -> None:
    centre, radius = torch.tensor([0.1, 1.6, 3.0], dtype=torch.float64), 0.7
    depth = render(with_object(True, centre.tolist(), [radius] * 3), SIZE)[1][0].double()
    seen = 0
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            along = ray(row, column)
            origin = torch.tensor([0, 1.5, 0]).double() - centre
            roots = [(along @ along).item(), 2 * (along @ origin).item(),
                     (origin @ origin).item() - radius**2]  # fmt: skip
            inside = roots[1] ** 2 - 4 * roots[0] * roots[2]
            if inside > 0:
                seen += 1
                expected = (-roots[1] - math.sqrt(inside)) / (2 * roots[0])
                assert depth[row, column].item() == pytest.approx(expected, rel=1e-6)
    assert seen > 30
    # Its nearest point, on the way to the centre, is a radius nearer than that.
    fine = render(with_object(True, [0, 1.5, 3.0], [radius] * 3), (97, 129))[1]
    assert fine.min().item() == pytest.approx(3.0 - radius, abs=1e-6)


def test_a_box_by_its_front_and_its_corner() -> None:
    front = render(with_object(False, [0, 1.5, 3.0], [0.5, 0.4, 0.6]), SIZE)[1][0]
    half_wide, half_high = 0.5 / (3 - 0.6) * FOCAL, 0.4 / (3 - 0.6) * FOCAL
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            x, y = column + 0.5 - SIZE[1] / 2, row + 0.5 - SIZE[0] / 2
            on_front = abs(x) < half_wide and abs(y) < half_high
            assert (abs(front[row, column].item() - 2.4) < 1e-6) == on_front
    # Turned by 45 degrees its edge comes first, at half a diagonal.
    turned = with_object(False, [0, 1.5, 3.0], [0.5, 0.4, 0.5], math.pi / 4)
    nearest = render(turned, (33, 129))[1].min().item()
    assert nearest == pytest.approx(3 - 0.5 * math.sqrt(2), abs=1e-6)


def test_what_is_nearer_hides_what_is_behind() -> None:
    world = with_object(False, [0, 1.5, 3.0], [0.5, 0.4, 0.6])
    world.there[0, 2], world.sphere[0, 2] = True, True
    world.centre[0, 2], world.half[0, 2] = torch.tensor([0, 1.5, 1.5]), torch.tensor([0.2] * 3)
    middle = render(world, (97, 129))[1][0, 48, 64].item()
    assert middle == pytest.approx(1.3, abs=1e-6)
    hidden = replace(world, there=torch.zeros_like(world.there))
    assert render(hidden, (97, 129))[1][0, 48, 64].item() == pytest.approx(6.0)


def test_light_follows_the_angle_to_the_lamp() -> None:
    world = empty()
    image = render(world, SIZE)[0][0].float() / 255
    # The lamp is above: the floor has all of its light, the wall the light that is everywhere.
    torch.testing.assert_close(image[:, -1], torch.full((3, SIZE[1]), 0.5), atol=2e-3, rtol=0)
    torch.testing.assert_close(image[:, 0], torch.full((3, SIZE[1]), 0.25), atol=2e-3, rtol=0)


def test_a_scene_is_the_same_whatever_is_rendered_beside_it() -> None:
    whole = render_scenes(6, size=(16, 24), seed=3)
    parts = [render_scenes(2, size=(16, 24), seed=3, first=first) for first in (0, 2, 4)]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert torch.equal(whole.depth, torch.cat([part.depth for part in parts]))
    other = render_scenes(6, size=(16, 24), seed=4)
    assert not torch.equal(whole.depth, other.depth)


def test_rows_of_a_large_picture_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render_scenes(2, size=(20, 16), seed=1)
    monkeypatch.setattr("fluoroscope.depth.scenes._AT_ONCE", 16 * 3)
    strips = render_scenes(2, size=(20, 16), seed=1)
    assert torch.equal(whole.images, strips.images)
    assert torch.equal(whole.depth, strips.depth)


def test_depth_is_bounded_and_is_not_brightness() -> None:
    found = fs.depth.render_scenes(100, size=(16, 24), seed=0)
    assert 0.5 < found.depth.min() < 1
    assert 8 < found.depth.max() <= 10
    both = torch.stack([found.images.float().mean(1).flatten(), found.depth.flatten()])
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.2
    world = draw(torch.arange(100), 0)
    assert 1.5 < world.there.sum(1).double().mean() < OBJECTS
    assert "100 scenes of 16×24" in repr(found)
    assert found._repr_html_().count("<img") == 8


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": 0}, "scenes are 0"),
        ({"count": 1, "first": -1}, "from number -1"),
        ({"count": 1, "size": (4, 16)}, "size is 4x16; expected sides from 8"),
        ({"count": 10**6, "size": (480, 640)}, "expected at most 1,024 MiB"),
        ({"count": 1, "seed": 0.5}, "seed is 0.5"),
    ],
)
def test_what_cannot_be_rendered_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        render_scenes(**given)  # type: ignore[arg-type]
