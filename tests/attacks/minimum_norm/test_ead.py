"""EAD: the smallest L1 distance on linear networks, the paper's FISTA for one image, and peers."""

import math
from typing import Any

import pytest
import torch
from l2_networks import curved, path
from linear_networks import boxed_optimum, linear
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.ead import EAD
from fluoroscope.errors import InvalidParameterError

# Closed forms.


@pytest.mark.parametrize("values", [12, 100])
def test_on_linear_networks_it_comes_near_the_smallest_l1_distance(values: int) -> None:
    model, weight = linear(3, 2, values)
    images = torch.rand(4, 1, 1, values, generator=torch.Generator().manual_seed(values))
    own = model(images).argmax(1)
    result = EAD(steps=100, beta=0.01)(model, images, own)
    best = torch.tensor([boxed_optimum(model, weight, image, "l1") for image in images])
    assert result.success.all()
    ratio = result.distance / best
    assert ratio.min() >= 0.999
    assert ratio.max() <= 1.2
    assert ratio.median() <= 1.1


# The paper's step.


def slow(
    attack: EAD, model: fs.Classifier, image: Tensor, label: Tensor, sign: float, count: int
) -> list[Tensor]:
    """The images that the paper's algorithm looks at for one image, ``count`` at most."""
    seen: list[Tensor] = []
    c, lower, upper = attack.c, 0.0, math.inf

    def lead(at: Tensor) -> Tensor:
        seen.append(at.detach())
        z = model(at[None])[0]
        return sign * (z[label] - torch.cat([z[:label], z[label + 1 :]]).max())

    for _ in range(attack.searches):
        x, y, found, last = image, image, False, math.inf
        for k in range(attack.steps):
            at = y.clone().requires_grad_()
            now = lead(at)
            loss = c * (attack.confidence - now).clamp(min=0) + (at - image).square().sum()
            (gradient,) = torch.autograd.grad(loss, at)
            if attack.rule == "l1" and now > attack.confidence:
                gradient = torch.zeros_like(gradient)
            z = y - attack.lr * math.sqrt(1 - k / attack.steps) * gradient
            new = image.clone()
            up, down = z - image > attack.beta, z - image < -attack.beta
            new[up] = (z - attack.beta).clamp(max=1)[up]
            new[down] = (z + attack.beta).clamp(min=0)[down]
            now = lead(new)
            found |= bool((now > 0) & (now >= attack.confidence))
            y = (new + k / (k + 3) * (new - x)).clamp(0, 1)
            x = new
            away = new - image
            total = c * (attack.confidence - now).clamp(min=0) - c * attack.confidence
            total = float(total + away.square().sum() + attack.beta * away.abs().sum())
            if (k + 1) % max(1, attack.steps // 10) == 0:
                stuck = total > 0.9999 * last
                last = total
                if attack.early_abort and stuck and not found:
                    break
        lower, upper = (lower, c) if found else (c, upper)
        c = (lower + upper) / 2 if upper < math.inf else 10 * c
    return seen[:count]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("confidence", [0.0, 0.5])
@pytest.mark.parametrize("rule", ["l1", "en"])
@pytest.mark.parametrize("early_abort", [False, True])
def test_it_looks_at_the_same_images_as_the_paper_one_by_one(
    targeted: bool, confidence: float, rule: Any, early_abort: bool
) -> None:
    model, images, own = curved()
    classes = (own + 1) % 4 if targeted else own
    attack = EAD(
        searches=4, steps=12, c=0.05, lr=0.03, beta=0.004,
        confidence=confidence, rule=rule, early_abort=early_abort,
    )  # fmt: skip
    _, points = path(attack, model, images, classes, targeted=targeted)
    for image, label, found in zip(images, classes, points, strict=True):
        expected = slow(attack, model, image, label, 1.0 if targeted else -1.0, len(found) + 1)
        assert len(expected) == len(found)
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-9)


def test_the_rule_says_which_success_is_kept() -> None:
    model, images, own = curved()
    for rule in ("l1", "en"):
        attack = EAD(searches=5, steps=30, beta=0.01, rule=rule)  # type: ignore[arg-type]
        result, points = path(attack, model, images, own)
        assert result.success.any()
        for image, label, kept, found in zip(images, own, result.images, points, strict=True):
            away = (found - image).flatten(1)
            length = 0.01 * away.abs().sum(1) + (away.square().sum(1) if rule == "en" else 0)
            length = length.where(model(found).argmax(1) != label, torch.inf)
            if length.min() < math.inf:
                assert torch.equal(kept, found[length.argmin()])


def test_samples_that_started_at_different_times_do_not_change_each_other() -> None:
    # Two slots for six pictures: one is at y while its neighbour is at x'.
    model, images, own = curved()
    attack = EAD(searches=3, steps=20, c=0.1)
    whole = attack(model, images, own, keep="first", batch_size=2)
    assert len({int(count) % 2 for count in whole.forwards}) == 2
    for row in range(len(images)):
        alone = attack(model, images[row], own[row : row + 1], keep="first")
        assert alone.forwards.item() == whole.forwards[row]
        torch.testing.assert_close(alone.images[0], whole.images[row], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.L2(0.1)},
        {"steps": 0},
        {"searches": 0},
        {"c": 0.0},
        {"lr": math.inf},
        {"beta": -0.1},
        {"confidence": math.nan},
        {"rule": "l2"},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expected") as caught:
        EAD(**wrong)
    assert next(iter(wrong)) in str(caught.value) or "norm" in str(caught.value)
    assert "\n" not in str(caught.value)


# Peers, all with the same steps and 9 values of c.


def length(rule: str, away: Tensor) -> Tensor:
    l1 = away.flatten(1).abs().sum(1)
    return l1 if rule == "l1" else away.flatten(1).square().sum(1) + 1e-3 * l1


def outdoes(reader: Any, rule: Any, steps: int, theirs: Tensor) -> None:
    """Every success of theirs, and a mean of what the rule goes by at most 2 % above theirs."""
    model, images, classes = reader
    images, classes = images[: len(theirs)], classes[: len(theirs)]
    ours = EAD(steps=steps, rule=rule)(model, images, classes)
    fooled = model(theirs.float()).argmax(1) != classes
    assert fooled.any()
    assert ours.success[fooled].all()
    own, peer = (length(rule, at - images)[fooled].mean() for at in (ours.images, theirs))
    assert own <= 1.02 * peer


@pytest.mark.parametrize("rule", ["l1", "en"])
def test_as_good_as_foolbox(reader: Any, rule: str) -> None:
    foolbox = pytest.importorskip("foolbox")
    model, images, classes = reader
    peer = foolbox.PyTorchModel(model.module.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.EADAttack(
        steps=20, regularization=1e-3, decision_rule=rule.upper(), abort_early=False
    )
    found = attack.run(peer, images[:6], foolbox.criteria.Misclassification(classes[:6]))
    outdoes(reader, rule, 20, found)


def test_as_good_as_torchattacks(reader: Any) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, images, classes = reader
    # Theirs goes on from one c to the next, which is ahead below 40 steps or so.
    attack = torchattacks.EADL1(model.module.eval(), max_iterations=60, abort_early=False)
    outdoes(reader, "l1", 60, attack(images[:3], classes[:3]))


@pytest.mark.parametrize("rule", ["l1", "en"])
def test_as_good_as_art(reader: Any, rule: str) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import ElasticNet
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = reader
    peer = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    attack = ElasticNet(peer, max_iter=20, decision_rule=rule.upper(), batch_size=2, verbose=False)
    found = attack.generate(images[:2].numpy(), classes[:2].numpy())
    outdoes(reader, rule, 20, torch.from_numpy(found))
