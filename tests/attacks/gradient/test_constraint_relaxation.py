"""Constraint relaxation against a slow version for one sample, and what must always hold."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.attacks.gradient.constraint_relaxation import ConstraintRelaxation, _scale
from fluoroscope.engine import randomness
from fluoroscope.engine.stream import Step
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

SHAPE = (3, 2, 2)
CLASSES = 5


def network(seed: int = 0, classes: int = CLASSES, by: float = 1.0) -> fs.Classifier:
    """Curved, and in double precision, so that paths can be compared to the end."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, classes))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    for parameter in module[3].parameters():
        parameter.data *= by
    return fs.Classifier(module.double())


def pictures(count: int, seed: int = 0) -> Tensor:
    """With pixels at exactly 0 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand(count, *SHAPE, generator=generator) - 0.2).clamp(0, 1).double()


def paths(attack: Any, model: fs.Classifier, images: Tensor, classes: Tensor, **how: Any) -> Any:
    """The images each sample was evaluated at, ``[(evaluations, C, H, W), ...]``; the result."""
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    result = attack(model, images, classes, keep="last", on_step=note, **how)
    return [torch.stack(path) for path in seen], result


# The method, for one image.


@dataclass
class Slow:
    """One sample of one network; ``seen`` are the images it looked at, in order.

    ``lengths`` are the steps of each search.
    """

    model: fs.Classifier
    x: Tensor
    y: int
    threat: Threat
    number: int
    targeted: bool = False
    targets: int = 3
    steps: int = 150
    repeats: int = 4
    seen: list[Tensor] = field(default_factory=list)
    backwards: int = 0
    lengths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.eps = float(self.threat.eps)
        self.key = randomness.keys(0, torch.tensor([self.number]))

    def margin(self, at: Tensor) -> float:
        """Above 0 where nothing is found; the image counts as seen."""
        self.seen.append(at)
        z = self.model(at[None]).detach()[0].tolist()
        lead = z[self.y] - max(value for k, value in enumerate(z) if k != self.y)
        return -lead if self.targeted else lead

    def step(self, at: Tensor, size: float, height: Any) -> Tensor:
        """``size`` times the radius uphill."""
        self.backwards += 1
        x = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(height(self.model(x[None])[0]), x)
        along = slope.sign() if self.threat.name == "linf" else slope / slope.norm()
        return at + size * self.eps * along

    def ball(self, at: Tensor, times: float) -> Tensor:
        radius = times * self.eps
        if self.threat.name == "linf":
            return at.clamp(self.x - radius, self.x + radius).clamp(0, 1)
        away = at.clamp(0, 1) - self.x
        return self.x + away * min(1.0, radius / max(float(away.norm()), 1e-30))

    def numbers(self, search: int, draw: int) -> Tensor:
        """In ``[-1, 1]``, or of length 1."""
        keys = randomness.keys(0, self.key, search)
        if self.threat.name == "linf":
            return 2 * randomness.uniform(keys, draw, SHAPE)[0].double() - 1
        found = randomness.normal(keys, draw, SHAPE)[0].double()
        return found / found.norm()

    def corner(self, search: int) -> Tensor:
        noise = self.numbers(search, 0)
        noise = noise.sign() if self.threat.name == "linf" else noise
        return self.ball(self.x + self.eps * noise, 1)

    def run(self) -> None:
        sign = -1 if self.targeted else 1
        self.clean = abs(self.margin(self.x))
        self.backwards += 1  # for who judges the search
        at = self.corner(0)
        for k in range(10):
            self.seen.append(at)
            up = self.step(at, 2 * 0.75**k, lambda z: -sign * F.log_softmax(z, 0)[self.y])
            at = self.ball(up, 1)
        self.seen.append(at)
        z = self.model(at[None]).detach()[0]
        ranked = [k for k in z.argsort(descending=True).tolist() if k != self.y]
        self.ranked = ranked[: 1 if self.targeted else self.targets]
        for number, target in enumerate(self.ranked):
            for repeat in range(self.repeats + 1):
                search = (number + 1) * (self.repeats + 1) + repeat
                begin = at if repeat == 0 else self.corner(search)
                if self.search(begin, target, search) >= 0.05:
                    break

    def search(self, at: Tensor, target: int, search: int) -> float:
        """The smallest margin inside the ball, as a share of the clean one."""

        def lead(z: Tensor) -> Tensor:
            if self.targeted:
                return z[self.y] - max(z[k] for k in range(len(z)) if k != self.y)
            return z[target] - z[self.y]

        least = float("inf")
        for k in range(self.steps + 1):
            share = self.margin(at) / self.clean
            if not 1 <= k % 30 <= 10:  # the step that led here could not leave the ball
                least = min(least, share)
            cycle, place = divmod(k, 30)
            scale = max(0.5 / 2**cycle, 0.05)
            if k == self.steps:
                break
            if place in (10, 20) and (share if place == 10 else least) > 0.2 * scale:
                self.backwards += 1  # asked for before that was known
                break
            third, within = divmod(place, 10)
            size = (2 if third == 0 else 1) * 0.8**within / 2**cycle
            at = self.ball(self.step(at, size, lead), (1 + scale, 1, 1 - scale)[third])
            if third == 2:
                at = self.ball(at + scale * self.eps * self.numbers(search, 1 + k), 1)
        self.lengths.append(k)
        return least


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("threat", [fs.Linf(0.05), fs.L2(0.13)], ids=["linf", "l2"])
def test_the_searches_are_those_of_the_slow_version(threat: Threat, targeted: bool) -> None:
    model, images = network(), pictures(3)
    classes = (model(images).detach().argmax(1) + targeted) % CLASSES
    # The last step leads outside the ball.
    few = {"targets": 2, "steps": 35, "repeats": 1}
    attack = ConstraintRelaxation(threat=threat, **few)
    found, result = paths(attack, model, images, classes, targeted=targeted)
    slows = []
    for row, path in enumerate(found):
        slow = Slow(model, images[row], int(classes[row]), threat, row, targeted, **few)
        slow.run()
        slows.append(slow)
        assert len(path) == len(slow.seen)
        torch.testing.assert_close(path, torch.stack(slow.seen), rtol=0, atol=1e-7)
        assert result.forwards[row] == 1 + len(slow.seen)
        assert result.backwards[row] == slow.backwards
    lengths = {length for slow in slows for length in slow.lengths}
    assert {10, 35} <= lengths


@pytest.mark.parametrize("by", [1000, 1e-3])
def test_no_search_towards_a_class_depends_on_the_scale_of_the_logits(by: float) -> None:
    # Of two classes the log-odds are the lead, so the ascent does not either.
    images = pictures(6)
    attack = ConstraintRelaxation(threat=fs.Linf(0.07), steps=32, repeats=1)
    classes = network(classes=2)(images).argmax(1)
    found, _ = paths(attack, network(classes=2), images, classes)
    scaled, _ = paths(attack, network(classes=2, by=by), images, classes)
    assert len({len(path) for path in found}) > 1
    for one, other in zip(found, scaled, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_the_ball_changes_by_half_and_then_by_less() -> None:
    steps = torch.tensor([0, 29, 30, 60, 90, 119, 120, 149])
    scales = [0.5, 0.5, 0.25, 0.125, 0.0625, 0.0625, 0.05, 0.05]
    assert _scale(steps).tolist() == scales


@pytest.mark.parametrize(
    # Given up after the first third if even the larger ball comes no nearer than 0.2 times the
    # scale, or after the second of the cycle in which that is less; below 0.05 it is made again.
    ("share", "repeats", "backwards"),
    [(0.5, 2, 11), (0.35, 2, 21), (0.06, 2, 51), (0.04, 0, 81), (0.04, 2, 243), (0.008, 1, 300)],
)
def test_how_close_a_search_came_says_how_long_it_is_and_if_it_is_made_again(
    share: float, repeats: int, backwards: int
) -> None:
    layer = nn.Linear(12, 2).double()
    layer.weight.data = torch.tensor([[1.0], [0.0]]).double().repeat(1, 12)
    layer.bias.data = torch.tensor([-5.0, 0.0]).double()  # the margin is 1 where all pixels are 0.5
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer))
    attack = ConstraintRelaxation(threat=fs.Linf((1 - share) / 12), repeats=repeats)
    result = attack(model, torch.full(SHAPE, 0.5).double(), [0])
    assert not result.success.any()
    assert result.backwards.tolist() == [11 + backwards]


def test_far_from_the_border_it_costs_what_is_stated() -> None:
    model, images = network(), pictures(3)
    classes = model(images).argmax(1)
    result = ConstraintRelaxation(threat=fs.Linf(1e-4))(model, images, classes)
    assert result.forwards.tolist() == [13 + 11 * 3] * 3
    assert result.backwards.tolist() == [11 + 11 * 3] * 3
    # Two other classes there are, and three would be tried.
    model = network(classes=3)
    result = ConstraintRelaxation(threat=fs.Linf(1e-4))(model, images, model(images).argmax(1))
    assert result.forwards.tolist() == [13 + 11 * 2] * 3


def test_a_half_precision_network_is_searched_in_single_precision() -> None:
    model, images = network(), pictures(6).float()
    half = fs.Classifier(network().module.half())
    classes = model(images.double()).argmax(1)
    attack = ConstraintRelaxation(threat=fs.Linf(0.1), repeats=0)
    found = attack(half, images, classes)
    assert found.images.dtype == torch.float32
    assert found.success.any()
    assert bool((found.distance <= 0.1 + 1e-6).all())


@st.composite
def attacks(draw: st.DrawFn) -> Any:
    threat = draw(
        st.one_of(st.builds(fs.Linf, st.floats(1e-4, 0.5)), st.builds(fs.L2, st.floats(1e-4, 2)))
    )
    return ConstraintRelaxation(
        threat=threat,
        targets=draw(st.sampled_from([1, 9])),
        steps=draw(st.sampled_from([1, 15, 25])),
        repeats=draw(st.integers(0, 1)),
    )


@settings(max_examples=6)
@given(attacks(), st.integers(0, 1000), st.booleans(), st.integers(2, 4))
def test_what_it_looks_at_is_near_and_what_it_finds_is_inside(
    attack: Any, seed: int, targeted: bool, count: int
) -> None:
    model, images = network(seed, count), pictures(3, seed)
    classes = torch.arange(3) % count
    found, _ = paths(attack, model, images, classes, targeted=targeted, seed=seed)
    wide = attack.within(type(attack.threat)(1.5 * float(attack.threat.eps))).threat
    for image, path in zip(images, found, strict=True):
        assert wide.allows(path, image[None]).all()
        assert path.min() >= 0
        assert path.max() <= 1
    result = attack(model, images, classes, targeted=targeted, seed=seed)
    assert attack.threat.allows(result.images, images).all()
    assert torch.equal(model(result.images).argmax(1) == classes, result.success ^ (not targeted))


@settings(max_examples=4)
@given(attacks(), st.integers(0, 1000), st.booleans())
def test_neighbours_do_not_matter(attack: Any, seed: int, targeted: bool) -> None:
    model, images = network(seed, 3), pictures(5, seed)
    classes = torch.arange(5) % 3
    how = {"targeted": targeted, "seed": seed, "restarts": 2}
    whole = attack(model, images, classes, **how)
    parts = attack(model, images, classes, batch_size=2, **how)
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=1e-9)
    assert torch.equal(whole.success, parts.success)
    assert torch.equal(whole.forwards, parts.forwards)


def test_noise_of_one_leaves_the_others_outside_the_ball() -> None:
    """In one batch searches that are in different thirds, or in the ascent, go on as alone."""
    model, images = network(), pictures(3)
    classes = model(images).argmax(1)
    # In L2, where no corner holds what is moved once more.
    attack = ConstraintRelaxation(threat=fs.L2(0.13), targets=2, steps=35, repeats=0)
    together, _ = paths(attack, model, images, classes, batch_size=2)
    thirds = {len(path) for path in together}
    assert len(thirds) > 1
    for row, path in enumerate(together):
        own, _ = paths(
            attack, model, images[row : row + 1], classes[row : row + 1],
            numbers=torch.tensor([row]),
        )  # fmt: skip
        torch.testing.assert_close(path, own[0], rtol=0, atol=1e-9)


def test_it_repeats_itself_to_the_byte() -> None:
    model, images = network(), pictures(3)
    classes = model(images).argmax(1)
    attack = ConstraintRelaxation(threat=fs.L2(0.13), targets=1, steps=25, repeats=1)
    one, other = (attack(model, images, classes, keep="last") for _ in range(2))
    assert torch.equal(one.images, other.images)
    assert not torch.equal(one.images, attack(model, images, classes, keep="last", seed=1).images)


def test_unusable_parameters() -> None:
    for bad in (
        lambda: ConstraintRelaxation(threat=fs.Unbounded()),
        lambda: ConstraintRelaxation(threat=fs.Linf(0.1), targets=0),
        lambda: ConstraintRelaxation(threat=fs.Linf(0.1), steps=0),
        lambda: ConstraintRelaxation(threat=fs.Linf(0.1), repeats=-1),
    ):
        with pytest.raises(InvalidParameterError, match="expected"):
            bad()
