"""NES and SPSA: the papers' steps by hand, estimates of a known gradient, the box, a peer."""

import math
from typing import Any

import pytest
import torch
from linear_networks import grey, linear
from score_networks import begin, network, paths, pictures
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.score.finite_differences import NES, SPSA, FiniteDifferences
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import LOG_PROBABILITY, MARGIN
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

both = pytest.mark.parametrize("kind", [NES, SPSA])


def by_hand(
    attack: Any, model: fs.Classifier, image: Tensor, label: int, key: Tensor, sign: float
) -> Tensor:
    """All images one search looks at, from the papers."""
    objective = LOG_PROBABILITY if isinstance(attack, NES) else MARGIN

    def value(at: Tensor) -> float:
        looked.append(at)
        return sign * float(objective(model(at[None]), torch.tensor([label])))

    looked: list[Tensor] = []
    x, mean, square, query = image, torch.zeros_like(image), torch.zeros_like(image), 0
    for step in range(1, attack.queries // (attack.samples + 1) + 1):
        estimates = []
        for _ in range(attack.samples // 2):
            if isinstance(attack, NES):
                u = randomness.normal(key, query, tuple(image.shape))[0].to(image)
            else:
                u = (randomness.uniform(key, query, tuple(image.shape))[0] < 0.5) * 2.0 - 1
            ahead = value((x + attack.width * u).clamp(0, 1))
            behind = value((x - attack.width * u).clamp(0, 1))
            estimates.append((ahead - behind) / (2 * attack.width) * u)
            query += 2
        estimate = torch.stack(estimates).mean(0)
        if isinstance(attack, NES):
            mean = attack.momentum * mean + (1 - attack.momentum) * estimate
            move = mean.sign()
            if attack.threat.name == "l2":
                move = mean / mean.norm() * math.sqrt(mean.numel())
        else:
            mean = 0.9 * mean + 0.1 * estimate
            square = 0.999 * square + 0.001 * estimate**2
            move = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        x = attack.threat.project((x + attack.lr * move)[None], image[None])[0]
        value(x)
        query += 1
    return torch.stack(looked)


@both
@pytest.mark.parametrize("threat", [fs.Linf(0.1), fs.L2(0.6)], ids=["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_every_image_it_looks_at_is_the_papers(
    kind: type[FiniteDifferences], threat: Threat, targeted: bool
) -> None:
    model, images = network(), pictures(2)
    attack = kind(threat=threat, samples=6, queries=36, lr=0.04)  # type: ignore[call-arg]
    labels = torch.tensor([0, 3])
    _, looked = paths(attack, model, images, labels, targeted=targeted, keep="last")
    for row in range(2):
        key = randomness.keys(0, torch.tensor([row]))
        expected = by_hand(
            attack, model, images[row], int(labels[row]), key, 1.0 if targeted else -1.0
        )
        assert len(expected) == 35  # a sixth step would be cut short
        torch.testing.assert_close(looked[row], expected, rtol=0, atol=1e-7)


def estimate(attack: Any, model: fs.Classifier, images: Tensor) -> Tensor:
    """What the first step takes for the gradient."""
    state = begin(attack, images)
    for _ in range(attack.samples):
        query = attack.ask_within(state, 1)
        before = state
        answer = evaluate(model, query.images, query.classes, query.objective)
        state = attack.tell_all(state, query, answer)
    assert (before.probe == attack.samples - 1).all()
    return state.mean / (1 - attack.momentum if isinstance(attack, NES) else 0.1)


@both
@pytest.mark.parametrize("keep", ["first", "last"])
def test_many_probes_at_once_find_what_one_by_one_do(
    kind: type[FiniteDifferences], keep: Any
) -> None:
    model, images = network(), pictures(6)
    classes = model(images).argmax(1)
    attack = kind(threat=fs.Linf(0.1), samples=10, queries=66, lr=0.05)  # type: ignore[call-arg]
    alone, one_by_one = paths(attack, model, images, classes, batch_size=6, keep=keep)
    assert 0 < alone.success.sum() < 6
    for size in (13, 23, 200):
        crowd, seen = paths(attack, model, images, classes, batch_size=size, keep=keep)
        assert torch.equal(crowd.forwards, alone.forwards)
        assert torch.equal(crowd.success, alone.success)
        for together, apart in zip(seen, one_by_one, strict=True):
            torch.testing.assert_close(together, apart, atol=1e-9, rtol=0)


@both
def test_the_estimate_tends_to_the_gradient(kind: type[FiniteDifferences]) -> None:
    # The margin of two classes of a linear network has the gradient w0 - w1; the error of each
    # value of the estimate is |w| / sqrt(pairs), a little more with normal directions.
    model, weight = linear(0, 2, 12)
    gradient = weight[1] - weight[0]
    images = grey(0, 3, 12)
    if kind is NES:  # the slope of the log-probability is that of the margin, times 1 - p
        gradient = gradient * (1 - model(images).softmax(1)[:, :1])
    for samples in (20, 400):
        attack = kind(threat=fs.Linf(0.5), samples=samples, width=0.01)  # type: ignore[call-arg]
        error = estimate(attack, model.to(dtype=torch.float64), images.double()).flatten(1)
        error = error - gradient
        size = gradient.expand(3, -1).norm(dim=1) / math.sqrt(samples / 2)
        ratio = error.square().mean(1).sqrt() / size
        assert (ratio > 0.5).all()
        assert (ratio < 2).all()


@both
def test_at_the_edge_of_the_box_the_estimate_is_half_the_gradient(
    kind: type[FiniteDifferences],
) -> None:
    model, weight = linear(0, 2, 3)
    model = model.to(dtype=torch.float64)
    attack = kind(threat=fs.Linf(0.5), samples=40, width=0.001)  # type: ignore[call-arg]
    images = torch.tensor([0.0, 1.0, 0.0]).double().expand(200, 1, 1, 3)
    found = estimate(attack, model, images).mean(0).flatten()
    gradient = (weight[1] - weight[0]).double()
    if kind is NES:
        gradient = gradient * (1 - model(images).softmax(1)[0, 0])
    torch.testing.assert_close(found, gradient / 2, rtol=0, atol=0.06 * float(gradient.norm()))


@both
def test_a_linear_network_is_left_along_the_signs(kind: type[FiniteDifferences]) -> None:
    model, weight = linear(0, 2, 12)
    images = grey(0, 3, 12)
    classes = model(images).argmax(1)
    attack = kind(threat=fs.Linf(0.1), samples=60, queries=61 * 12, lr=0.03)  # type: ignore[call-arg]
    result = attack(model, images, classes, keep="last")
    away = (1.0 - 2 * classes)[:, None] * (weight[1] - weight[0])
    clear = away.abs() > 0.3 * away.abs().amax()
    moved = (result.images - images).flatten(1)
    torch.testing.assert_close(moved[clear], 0.1 * away.sign()[clear], rtol=0, atol=0.04)


@both
def test_only_images_between_the_steps_are_finds(kind: type[FiniteDifferences]) -> None:
    # Steps that lead nowhere, and probes that are misclassified within a wide ball.
    model, images = network(), pictures(6)
    classes = model(images).argmax(1)
    attack = kind(threat=fs.Linf(1.0), samples=4, queries=20, width=0.9, lr=1e-9)  # type: ignore[call-arg]
    result, looked = paths(attack, model, images, classes)
    assert any((model(path).argmax(1) != label).any()
               for path, label in zip(looked, classes, strict=True))  # fmt: skip
    assert not result.success.any()


@both
def test_probes_do_not_count_as_finds(kind: type[FiniteDifferences]) -> None:
    # With a ball much smaller than the probes' reach nearly every image looked at is outside.
    model, images = network(), pictures(6)
    classes = model(images).argmax(1)
    attack = kind(threat=fs.Linf(0.01), samples=4, queries=40, width=0.5)  # type: ignore[call-arg]
    result, looked = paths(attack, model, images, classes)
    assert any((model(path).argmax(1) != label).any()
               for path, label in zip(looked, classes, strict=True))  # fmt: skip
    assert (result.distance <= 0.01 + 1e-9).all()


@both
@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.L1(1)},
        {"threat": fs.Linf(math.inf)},
        {"queries": 0},
        {"queries": 4},
        {"samples": 0},
        {"samples": 3},
        {"width": 0.0},
        {"lr": 0.0},
        {"lr": math.nan},
    ],
)
def test_unusable_parameters(kind: type[FiniteDifferences], wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect") as caught:
        kind(**({"threat": fs.Linf(0.1), "samples": 4} | wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_unusable_momentum(momentum: float) -> None:
    with pytest.raises(InvalidParameterError, match="momentum"):
        NES(threat=fs.Linf(0.1), momentum=momentum)


def test_defaults_are_the_papers() -> None:
    nes, spsa = NES(threat=fs.Linf(0.05)), SPSA(threat=fs.Linf(0.05))
    assert (nes.samples, nes.width, nes.lr, nes.momentum) == (50, 0.001, 0.01, 0.9)
    assert (spsa.samples, spsa.width, spsa.lr) == (128, 0.01, 0.01)


@both
def test_as_good_as_torchattacks(reader: Any, kind: type[FiniteDifferences]) -> None:
    # Its SPSA, 8 steps of 16 pairs: at most 2 digits of 20 behind.
    torchattacks = pytest.importorskip("torchattacks")
    model, images, classes = reader
    images, classes = images[:20], classes[:20]
    ours = kind(threat=fs.Linf(0.2), samples=32, queries=8 * 33, lr=0.04)  # type: ignore[call-arg]
    found = ours(model, images, classes).success.sum()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = torchattacks.SPSA(
            model.module.eval(), eps=0.2, nb_iter=8, nb_sample=16, lr=0.04, max_batch_size=16
        )
        theirs = (model(peer(images, classes)).argmax(1) != classes).sum()
    assert theirs > 2
    assert found >= theirs - 2
