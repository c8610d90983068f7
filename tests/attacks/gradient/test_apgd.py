"""Auto-PGD against a slow version for one sample, its schedule, and what must always hold."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.attacks.gradient.apgd import APGD, APGDT
from fluoroscope.data.digits import digits
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.stream import Query, Samples, Step
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

SHAPE = (3, 2, 2)
# So small that the ratio does not reach its ceiling of 1, where it has no slope to compare.
THREATS: list[Threat] = [fs.Linf(0.04), fs.L2(0.12)]
by_norm = pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2"])


def network(seed: int = 0, classes: int = 5) -> fs.Classifier:
    """Curved, and in double precision, so that paths can be compared to the end."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, classes))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return fs.Classifier(module.double())


def pictures(count: int, seed: int = 0) -> Tensor:
    """With pixels at exactly 0 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand(count, *SHAPE, generator=generator) - 0.2).clamp(0, 1).double()


def paths(attack: Any, model: fs.Classifier, images: Tensor, classes: Tensor, **how: Any) -> Any:
    """The images each sample was evaluated at, ``[(evaluations, C, H, W), ...]``."""
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    attack(model, images, classes, keep="last", on_step=note, **how)
    return [torch.stack(path) for path in seen]


# The paper's algorithm, for one image.


def ce(z: Tensor, y: int) -> Tensor:
    return -F.log_softmax(z, 0)[y]


def dlr(z: Tensor, y: int) -> Tensor:
    ranked = z.sort(descending=True).values
    rival = ranked[1] if z.argmax() == y else ranked[0]
    return -(z[y] - rival) / (ranked[0] - ranked[2])


def onto(x: Tensor, original: Tensor, threat: Threat) -> Tensor:
    eps = float(threat.eps)
    if threat.name == "linf":
        return x.clamp(original - eps, original + eps).clamp(0, 1)
    away = x.clamp(0, 1) - original
    return original + away * min(1.0, eps / max(float(away.norm()), 1e-12))


def slowly(
    height: Any, original: Tensor, start: Tensor, threat: Threat, steps: int
) -> tuple[Tensor, list[int]]:
    """The points, and the steps after which the step size was halved.

    At a point it has been to before, rounding says whether the loss rose: there the path ends.
    """

    def look(x: Tensor) -> tuple[float, Tensor]:
        x = x.clone().requires_grad_()
        value = height(x)
        (gradient,) = torch.autograd.grad(value, x)
        along = gradient.sign() if threat.name == "linf" else gradient / gradient.norm()
        return value.item(), along

    x, before, eta = start, start, 2 * float(threat.eps)
    value, gradient = look(x)
    points, values, halvings = [x], [value], []
    best = (value, x, gradient)
    checkpoint = window = max(int(0.22 * steps), 1)
    halved, checked = True, value
    for k in range(1, steps + 1):
        a = 1 if k == 1 else 0.75
        z = onto(x + eta * gradient, original, threat)
        new = onto(x + a * (z - x) + (1 - a) * (x - before), original, threat)
        before, x = x, new
        value, gradient = look(x)
        points.append(x)
        if min(abs(value - values[-1]), abs(value - best[0])) < 1e-12:
            break
        values.append(value)
        if value > best[0]:
            best = (value, x, gradient)
        if k == checkpoint:
            rises = sum(values[i + 1] > values[i] for i in range(k - window, k))
            halved = rises <= 0.75 * window or (not halved and best[0] <= checked)
            checked = best[0]
            if halved:
                eta /= 2
                _, x, gradient = best
                halvings.append(k)
            window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
            checkpoint += window
    return torch.stack(points), halvings


@pytest.mark.parametrize("threat", [fs.Linf(0.1), fs.L2(0.3)], ids=["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_the_path_over_a_rugged_surface_is_the_papers(threat: Threat, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    waves = 6 * torch.randn(20, 12, generator=generator).double()

    def height(x: Tensor) -> Tensor:
        return (waves @ x.flatten()).sin().sum()

    attack = APGD(threat=threat, steps=steps)
    number = torch.arange(2)
    images = pictures(2)
    state = attack.start(
        Samples(images, number, -torch.ones(2), number, randomness.keys(0, number), 0 * number)
    )
    path = []
    while not state.done.all():
        path.append(state.images)
        x = state.images.clone().requires_grad_()
        heights = torch.stack([height(one) for one in x])
        (gradient,) = torch.autograd.grad(heights.sum(), x)
        state = attack.tell(state, Answer(torch.zeros(2, 2), heights.detach(), gradient))
    assert len(path) == steps + 1
    for row in (0, 1):
        found = torch.stack([images[row] for images in path])
        expected, halvings = slowly(height, images[row], found[0], threat, steps)
        torch.testing.assert_close(found[: len(expected)], expected, rtol=0, atol=1e-7)
        assert len(expected) > 0.7 * steps
        assert steps < 100 or len(halvings) > 2


@by_norm
@pytest.mark.parametrize("loss", [ce, dlr])
def test_the_path_on_a_network_raises_the_loss(threat: Threat, loss: Any) -> None:
    model, images = network(), pictures(2)
    classes = model(images).detach().argmax(1)
    attack = APGD(threat=threat, steps=10, loss=loss.__name__)
    for row, path in enumerate(paths(attack, model, images, classes)):
        y = int(classes[row])
        check(path, lambda x, y=y: loss(model(x[None])[0], y), images[row], threat)


@by_norm
def test_targeted_the_path_lowers_the_cross_entropy_of_the_wanted_class(threat: Threat) -> None:
    model, images = network(), pictures(2)
    classes = (model(images).detach().argmax(1) + 1) % 5
    attack = APGD(threat=threat, steps=10)
    for row, path in enumerate(paths(attack, model, images, classes, targeted=True)):
        t = int(classes[row])
        check(path, lambda x, t=t: -ce(model(x[None])[0], t), images[row], threat)


@by_norm
def test_the_series_of_targets_runs_the_targeted_loss_from_a_fresh_start(threat: Threat) -> None:
    model, images = network(classes=6), pictures(2)
    clean = model(images).detach()
    classes = clean.argmax(1)
    attack = APGDT(threat=threat, steps=10, targets=3)
    for row, path in enumerate(paths(attack, model, images, classes)):
        assert torch.equal(path[0], images[row])
        runs = path[1:].unflatten(0, (3, 11))
        for run, target in zip(runs, clean[row].argsort(descending=True)[1:4], strict=True):

            def height(x: Tensor, y: int = int(classes[row]), t: int = int(target)) -> Tensor:
                z = model(x[None])[0]
                ranked = z.sort(descending=True).values
                return -(z[y] - z[t]) / (ranked[0] - (ranked[2] + ranked[3]) / 2)

            check(run, height, images[row], threat)
        assert not torch.equal(runs[0, 0], runs[1, 0])


def check(path: Tensor, height: Any, original: Tensor, threat: Threat) -> None:
    expected, _ = slowly(height, original, path[0], threat, len(path) - 1)
    assert len(expected) > 2
    torch.testing.assert_close(path[: len(expected)], expected, rtol=0, atol=1e-7)


# The schedule, with made-up losses.


def one_sample(attack: Any) -> Any:
    image = torch.full((1, *SHAPE), 0.5)
    number = torch.tensor([0])
    return attack.start(
        Samples(image, number, -torch.ones(1), number, randomness.keys(0, number), 0 * number)
    )


def halvings(values: list[float]) -> list[int]:
    attack = APGD(threat=fs.Linf(0.1), steps=100)
    state, found = one_sample(attack), []
    for k, value in enumerate(values):
        answer = Answer(torch.zeros(1, 5), torch.tensor([value]).double(), torch.zeros(1, *SHAPE))
        new = attack.tell(state, answer)
        if new.step_size < state.step_size:
            found.append(k)
            torch.testing.assert_close(new.previous, new.best_images)
        state = new
    assert state.done.all()
    return found


def test_a_loss_that_never_rises_halves_at_every_published_checkpoint() -> None:
    assert halvings([0.0] * 101) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_a_loss_that_always_rises_never_halves() -> None:
    assert halvings([float(k) for k in range(101)]) == []


def test_rises_below_the_best_halve_at_every_other_checkpoint() -> None:
    # Condition 2: the best is the start's, and the last checkpoint did not halve.
    assert halvings([1000.0] + [float(k) for k in range(100)]) == [41, 70, 87, 99]


def test_three_quarters_of_rises_in_a_window_halve() -> None:
    # The third window has 16 steps: 4 down, 12 up, and past the best.
    steps = [1.0] * 41 + [-0.5] * 4 + [1.0] * 55
    assert halvings([sum(steps[:k]) for k in range(101)]) == [57]


# Starts, ends and costs.


@by_norm
def test_the_start_lies_on_the_surface_and_belongs_to_the_sample(threat: Threat) -> None:
    model = network()
    images = torch.full((3, *SHAPE), 0.5).double()
    classes = model(images).detach().argmax(1)
    attack = APGD(threat=threat, steps=2)
    starts = torch.stack([path[0] for path in paths(attack, model, images, classes)])
    away = starts - images
    torch.testing.assert_close(threat.distance(away), torch.full((3,), float(threat.eps)).double())
    assert len({tuple(row.tolist()) for row in away.flatten(1)}) == 3
    again = paths(attack, model, images, classes, batch_size=1)
    assert torch.equal(starts, torch.stack([path[0] for path in again]))
    other = paths(attack, model, images, classes, seed=1)
    assert not torch.equal(starts[0], other[0][0])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    # With more classes the cross-entropy's steepest way is not the shortest to any one plane.
    ("kind", "classes"),
    [("ce", 2), ("dlr", 2), ("dlr", 3), ("targeted", 2), ("targeted", 3), ("targeted", 5)],
)
def test_on_a_linear_network_it_finds_what_there_is_and_no_more(
    norm: str, kind: Any, classes: int
) -> None:
    generator = torch.Generator().manual_seed(classes)
    layer = nn.Linear(12, classes).double()
    layer.weight.data = torch.randn(classes, 12, generator=generator).double()
    layer.bias.data.zero_()
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer))
    images = 0.5 + 0.02 * torch.randn(4, *SHAPE, generator=generator).double()
    logits = model(images).detach()
    own = logits.argmax(1)
    # The distance to the nearest of the planes, in the dual norm of their normals.
    normals = layer.weight.detach()[own][:, None] - layer.weight.detach()
    size = normals.abs().sum(2) if norm == "linf" else normals.norm(dim=2)
    gaps = logits.gather(1, own[:, None]) - logits
    nearest = (gaps / size).scatter(1, own[:, None], torch.inf).amin(1)
    assert nearest.max() < (0.4 if norm == "linf" else 1.6)
    for row, distance in enumerate(nearest.tolist()):
        for share in (0.98, 1.02):
            threat: Threat = (
                fs.Linf(share * distance) if norm == "linf" else fs.L2(share * distance)
            )
            attack = APGDT(threat=threat) if kind == "targeted" else APGD(threat=threat, loss=kind)
            result = attack(model, images[row], own[row : row + 1])
            assert result.success.item() == (share > 1)


@by_norm
def test_passes_are_the_published_budget(threat: Threat) -> None:
    model, images = network(), pictures(3)
    classes = model(images).detach().argmax(1)
    one = APGD(threat=threat)(model, images, classes, keep="best")
    # 101 points and the clean one; the gradient at the last is spared.
    assert one.forwards.tolist() == [102] * 3
    assert one.backwards.tolist() == [100] * 3
    # Four wrong classes there are, though nine are allowed; the clean image is looked at for them.
    all_of_them = APGDT(threat=threat)(model, images, classes, keep="best")
    assert all_of_them.forwards.tolist() == [4 * 101 + 2] * 3
    assert all_of_them.backwards.tolist() == [400] * 3


def test_targets_are_the_highest_wrong_classes_of_the_clean_image_in_turn() -> None:
    model, image = network(classes=12), pictures(1)
    order = model(image).detach()[0].argsort(descending=True).tolist()
    attack = APGDT(threat=fs.Linf(0.1), steps=2)
    number = torch.tensor([0])
    samples = Samples(
        image, torch.tensor([order[2]]), -torch.ones(1), number, randomness.keys(0, number),
        0 * number,
    )  # fmt: skip
    state, asked = attack.start(samples), []
    while not state.done.all():
        query: Query = attack.ask(state)
        asked.append(int(query.classes))
        answer = evaluate(
            model, query.images, query.classes, query.objective, gradient=bool(query.gradient.any())
        )
        state = attack.tell(state, answer)
    wrong = order[:2] + order[3:10]
    assert asked[1:] == [target for target in wrong for _ in range(3)]


@by_norm
def test_with_candidates_the_nearest_linearised_border_comes_first(threat: Threat) -> None:
    model, images = network(3, classes=8), pictures(6)
    classes = model(images).detach().argmax(1)
    classes[0] = (classes[0] + 1) % 8  # not classified correctly: leaves another class all the same
    attack = APGDT(threat=threat, steps=4, targets=3, candidates=5)
    reordered = 0
    for row, path in enumerate(paths(attack, model, images, classes)):
        x, y = images[row].clone().requires_grad_(), int(classes[row])
        z = model(x[None])[0]
        by_logit = [t for t in z.argsort(descending=True).tolist() if t != y]
        far = {}
        for t in by_logit[:5]:
            (slope,) = torch.autograd.grad(z[y] - z[t], x, retain_graph=True)
            size = slope.abs().sum() if threat.name == "linf" else slope.norm()
            far[t] = float((z[y] - z[t]).abs().detach() / size)
        nearest = sorted(far, key=lambda t: far[t])[:3]
        reordered += nearest != by_logit[:3]
        assert len(path) == 5 + 3 * 5
        assert all(torch.equal(look, images[row]) for look in path[:5])
        for run, target in zip(path[5:].unflatten(0, (3, 5)), nearest, strict=True):

            def height(x: Tensor, y: int = y, t: int = target) -> Tensor:
                z = model(x[None])[0]
                ranked = z.sort(descending=True).values
                return -(z[y] - z[t]) / (ranked[0] - (ranked[2] + ranked[3]) / 2)

            check(run, height, images[row], threat)
    assert reordered > 2


@by_norm
def test_looking_at_candidates_costs_a_pass_each_way(threat: Threat) -> None:
    model, images = network(), pictures(3)
    classes = model(images).detach().argmax(1)
    # Four wrong classes there are, and nine would be looked at.
    result = APGDT(threat=threat, steps=7, targets=2, candidates=9)(
        model, images, classes, keep="best"
    )
    assert result.forwards.tolist() == [1 + 4 + 2 * 8] * 3
    assert result.backwards.tolist() == [4 + 2 * 7] * 3
    towards = (classes + 2) % 5
    wanted = APGDT(threat=threat, steps=7, candidates=9)(
        model, images, towards, targeted=True, keep="last"
    )
    plain = APGDT(threat=threat, steps=7)(model, images, towards, targeted=True, keep="last")
    assert torch.equal(wanted.images, plain.images)
    assert torch.equal(wanted.forwards, plain.forwards)


@by_norm
def test_called_targeted_the_series_is_one_run_to_the_wanted_class(threat: Threat) -> None:
    model, images = network(), pictures(8)
    classes = (model(images).detach().argmax(1) + 2) % 5
    result = APGDT(threat=threat, steps=20)(model, images, classes, targeted=True)
    assert torch.equal(model(result.images).argmax(1) == classes, result.success)
    assert result.success.any()
    assert result.forwards.max() <= 1 + 1 + 21


# What must always hold.


@st.composite
def attacks(draw: st.DrawFn) -> Any:
    threat = draw(
        st.one_of(st.builds(fs.Linf, st.floats(1e-4, 0.5)), st.builds(fs.L2, st.floats(1e-4, 2)))
    )
    steps = draw(st.integers(1, 12))
    if draw(st.booleans()):
        targets = draw(st.integers(1, 9))
        candidates = draw(st.none() | st.integers(targets, 12))
        return APGDT(threat=threat, steps=steps, targets=targets, candidates=candidates)
    return APGD(threat=threat, steps=steps, loss=draw(st.sampled_from(["ce", "dlr"])))


@settings(max_examples=30)
@given(attacks(), st.integers(0, 1000), st.booleans(), st.integers(2, 5))
def test_all_it_looks_at_is_in_the_ball_and_the_box(
    attack: Any, seed: int, targeted: bool, classes: int
) -> None:
    model, images = network(seed, classes), pictures(3, seed)
    given_classes = torch.arange(3) % classes
    for row, path in enumerate(
        paths(attack, model, images, given_classes, targeted=targeted, seed=seed)
    ):
        assert path.isfinite().all()
        assert attack.threat.allows(path, images[row : row + 1]).all()
        assert path.min() >= 0
        assert path.max() <= 1


@settings(max_examples=12)
@given(attacks(), st.integers(0, 1000), st.booleans())
def test_neighbours_do_not_matter(attack: Any, seed: int, targeted: bool) -> None:
    model, images = network(seed), pictures(7, seed)
    classes = torch.arange(7) % 5
    how = {"targeted": targeted, "seed": seed, "restarts": 2}
    whole = attack(model, images, classes, **how)
    parts = attack(model, images, classes, batch_size=2, **how)
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=1e-9)
    assert torch.equal(whole.success, parts.success)
    assert torch.equal(whole.forwards, parts.forwards)
    again = attack(model, images, classes, **how)
    assert torch.equal(whole.images, again.images)


@by_norm
def test_pixels_at_the_ends_of_the_box_can_move(threat: Threat) -> None:
    model = network()
    images = pictures(4).round()
    classes = model(images).detach().argmax(1)
    for attack in (APGD(threat=threat, steps=5), APGDT(threat=threat, steps=5)):
        moved = attack(model, images, classes, keep="last").images - images
        assert (moved[images == 0] > 0).any()
        assert (moved[images == 1] < 0).any()


def test_unusable_parameters() -> None:
    for bad in (
        lambda: APGD(threat=fs.Unbounded()),
        lambda: APGDT(threat=fs.Unbounded()),
        lambda: APGD(threat=fs.Linf(0.1), steps=0),
        lambda: APGD(threat=fs.Linf(0.1), loss="hinge"),  # type: ignore[arg-type]
        lambda: APGDT(threat=fs.Linf(0.1), targets=0),
        lambda: APGDT(threat=fs.Linf(0.1), targets=3, candidates=2),
    ):
        with pytest.raises(InvalidParameterError, match="expected"):
            bad()


# Peers.


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.32), ("l2", 2.2)])
@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted"])
def test_as_strong_as_torchattacks(norm: str, eps: float, loss: str) -> None:
    """On a network that holds about half of them; tolerance: two pictures, the starts differ."""
    torchattacks = pytest.importorskip("torchattacks")
    model = fs.load_model("digits-robust")
    images, classes = (part[:40] for part in digits())
    right = model(images).argmax(1) == classes
    images, classes = images[right], classes[right]
    peers_norm = {"linf": "Linf", "l2": "L2"}[norm]
    plain = model.module.eval()
    if loss == "targeted":
        ours = fs.attack("apgd-t", eps=eps, norm=norm, steps=15, targets=4)
        # Theirs takes as many targets as there are classes but one.
        theirs = torchattacks.APGDT(plain, norm=peers_norm, eps=eps, steps=15, n_classes=5)
    else:
        ours = fs.attack("apgd", eps=eps, norm=norm, steps=25, loss=loss)
        theirs = torchattacks.APGD(plain, norm=peers_norm, eps=eps, steps=25, loss=loss)
    fooled = int((model(theirs(images, classes)).argmax(1) != classes).sum())
    assert 3 < fooled < len(classes) - 3
    assert int(ours(model, images, classes).success.sum()) >= fooled - 2
