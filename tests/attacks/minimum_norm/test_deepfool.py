"""DeepFool: closed form on linear networks, the paper's loop step by step, and its peers."""

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_networks import THREATS, curved, free_optimum, grey, linear, pictures, unbounded
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.deepfool import DeepFool
from fluoroscope.engine.stream import Step
from fluoroscope.errors import InvalidParameterError

by_norm = pytest.mark.parametrize("norm", list(THREATS))


@by_norm
@pytest.mark.parametrize(
    ("classes", "values", "batch_size"), [(2, 4, 128), (3, 30, 4), (10, 16, 1), (10, 200, 128)]
)
def test_on_a_linear_network_one_step_reaches_the_nearest_border(
    norm: str, classes: int, values: int, batch_size: int
) -> None:
    model, weight = linear(3, classes, values)
    images = grey(3, 6, values)
    own = model(images).argmax(1)
    best = free_optimum(model, weight, images, norm).amin(1)
    result = DeepFool(threat=unbounded(norm))(model, images, own, batch_size=batch_size)
    assert result.success.all()
    torch.testing.assert_close(result.distance, 1.02 * best, rtol=2e-3, atol=1e-5)
    assert result.forwards.tolist() == [3] * 6  # clean, the same with gradients, across the border


@by_norm
def test_towards_a_wanted_class_on_a_linear_network(norm: str) -> None:
    model, weight = linear(4, 10, 60)
    images = grey(4, 8, 60)
    logits = model(images).detach()
    own = logits.argmax(1)
    wanted = logits.argsort(1)[:, 4]
    result = DeepFool(threat=unbounded(norm))(model, images, wanted, targeted=True)
    assert result.success.all()
    assert torch.equal(model(result.images).argmax(1), wanted)
    # Never nearer than the one border it has to cross from where it is.
    border = free_optimum(model, weight, images, norm).gather(1, wanted[:, None]).squeeze(1)
    assert (result.distance >= 0.999 * border).all()
    assert not torch.equal(wanted, own)


def slowly(model: fs.Classifier, image: Tensor, own: int, norm: str, steps: int) -> list[Tensor]:
    """What the paper's loop shows the network, for one image; without the overshoot inside it."""
    reached, shown = image, [image]
    for _ in range(steps):
        now = image + 1.02 * (reached - image) if shown else image
        x = now.clamp(0, 1)[None].requires_grad_()
        logits = model(x)[0]
        if int(logits.argmax()) != own:
            break
        moves = []
        for rival in set(range(len(logits))) - {own}:
            lead = logits[rival] - logits[own]
            (slope,) = torch.autograd.grad(lead, x, retain_graph=True)
            slope = slope[0]
            back = float(((x[0].detach() - reached) * slope).sum())
            gap = abs(lead.item()) + max(back, 0)
            if norm == "linf":
                moves.append((gap / slope.abs().sum(), slope.sign()))
            elif norm == "l2":
                moves.append((gap / slope.norm(), slope / slope.norm()))
            else:
                free = torch.where(slope > 0, reached < 1, reached > 0)
                top = (slope * free).abs()
                moves.append((gap / top.max(), slope.sign() * (top == top.max())))
        far, along = min(moves, key=lambda move: float(move[0]))
        reached = (reached + far * along).clamp(0, 1).detach()
        shown.append((image + 1.02 * (reached - image)).clamp(0, 1))
    return shown


@by_norm
def test_the_path_is_the_slow_one(norm: str) -> None:
    model, images = curved(), pictures(6)
    own = model(images).argmax(1)
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    DeepFool(threat=unbounded(norm), steps=20)(model, images, own, on_step=note, batch_size=4)
    lengths = []
    for row, image in enumerate(images):
        expected = torch.stack(slowly(model, image, int(own[row]), norm, 20))
        torch.testing.assert_close(torch.stack(seen[row]), expected, rtol=0, atol=1e-9)
        lengths.append(len(expected))
    assert max(lengths) > 3


def test_in_l1_each_step_moves_one_more_value(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    model, images, classes = reader
    changed: list[Tensor] = []
    DeepFool(threat=unbounded("l1"), steps=6)(
        model, images[:1], classes[:1],
        on_step=lambda step: changed.append((step.images != images[:1]).sum()),
    )  # fmt: skip
    assert all(0 <= after - before <= 1 for before, after in pairwise(changed))
    assert changed[-1] >= 2


@by_norm
def test_an_image_on_the_border_and_a_network_without_slope(norm: str) -> None:
    model, _ = linear(5, 3, 6)
    with torch.no_grad():
        model.module[1].bias.copy_(-model.module[1].weight @ torch.full((6,), 0.5))
    tied = torch.full((1, 1, 1, 6), 0.5)
    own = model(tied).argmax(1)
    result = DeepFool(threat=unbounded(norm))(model, tied, own)
    assert result.success.all()
    assert result.distance.item() < 1e-3
    with torch.no_grad():
        model.module[1].weight.zero_()
        model.module[1].bias.copy_(torch.tensor([1.0, 0, 0]))
    stuck = DeepFool(threat=unbounded(norm))(model, tied, 0)
    assert not stuck.success.any()
    assert torch.equal(stuck.images, tied)
    assert stuck.forwards.item() == 2  # it sees at once that there is no way on


# Peers.


class Module(nn.Module):
    """The network as the peers want it: a module from [0, 1] to logits."""

    def __init__(self, model: fs.Classifier) -> None:
        super().__init__()
        self.model, self.inside = model, model.module

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def peer_images(peer: str, module: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if peer == "torchattacks":
            import torchattacks

            return torchattacks.DeepFool(module)(images, classes)
        if peer == "art":
            from art.attacks.evasion import DeepFool as ArtDeepFool
            from art.estimators.classification import PyTorchClassifier

            wrapped = PyTorchClassifier(
                module, loss=nn.CrossEntropyLoss(), input_shape=tuple(images.shape[1:]),
                nb_classes=10, clip_values=(0, 1),
            )  # fmt: skip
            attack = ArtDeepFool(wrapped, max_iter=50, epsilon=0.02, verbose=False)
            found: np.ndarray[Any, Any] = attack.generate(images.numpy())
            return torch.as_tensor(found)
        import foolbox

        attack = {
            "foolbox-linf": foolbox.attacks.LinfDeepFoolAttack,
            "foolbox-l2": foolbox.attacks.L2DeepFoolAttack,
        }[peer]()
        wrapped = foolbox.PyTorchModel(module, bounds=(0, 1))
        return attack(wrapped, images, classes, epsilons=None)[1]


@pytest.mark.parametrize(
    ("peer", "norm"),
    [("foolbox-linf", "linf"), ("foolbox-l2", "l2"), ("torchattacks", "l2"), ("art", "l2")],
)
def test_as_many_fall_and_no_further_away_than_with_peers(
    reader: tuple[fs.Classifier, Tensor, Tensor], peer: str, norm: str
) -> None:
    """In the median within 2 %: torchattacks overshoots only in its last step, the paper in all."""
    model, images, classes = reader
    ours = DeepFool(threat=unbounded(norm))(model, images, classes)
    # Its own loop is over single images: a few must do.
    count = 8 if peer in ("torchattacks", "art") else len(images)
    theirs = peer_images(peer, Module(model).eval(), images[:count], classes[:count])
    fell = model(theirs).argmax(1) != classes[:count]
    assert ours.success.all()
    distance = unbounded(norm).distance(theirs.detach() - images[:count])[fell]
    assert fell.any()
    assert ours.distance[:count][fell].median() <= 1.02 * distance.median()


def test_in_l1_it_fools_the_reader(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    model, images, classes = reader
    result = DeepFool(threat=unbounded("l1"))(model, images, classes)
    assert result.success.all()
    assert result.distance.median() < 6.5


# What must always hold.


@settings(max_examples=20)
@given(
    st.sampled_from(list(THREATS)), st.integers(0, 1000), st.booleans(), st.sampled_from([2, 3, 4])
)
def test_in_the_box_with_an_honest_verdict(
    norm: str, seed: int, targeted: bool, classes: int
) -> None:
    model, images = curved(seed, classes), pictures(5, seed)
    given_classes = torch.arange(5) % classes
    clean = model(images).argmax(1)
    shown: list[Tensor] = []
    result = DeepFool(threat=unbounded(norm), steps=10)(
        model, images, given_classes, targeted=targeted, seed=seed,
        on_step=lambda step: shown.append(step.images),
    )  # fmt: skip
    for image in [*shown, result.images]:
        assert image.isfinite().all()
        assert image.min() >= 0
        assert image.max() <= 1
    assert torch.equal(result.at_start, (clean == given_classes) == targeted)
    assert torch.equal(
        result.success, (model(result.images).argmax(1) == given_classes) == targeted
    )
    assert torch.equal(result.images[result.at_start], images[result.at_start])
    torch.testing.assert_close(
        result.distance, unbounded(norm).distance(result.images - images), rtol=0, atol=1e-12
    )


@by_norm
@pytest.mark.parametrize("targeted", [False, True])
def test_neighbours_and_slots_do_not_matter(norm: str, targeted: bool) -> None:
    model, images = curved(2), pictures(9, 2)
    classes = torch.arange(9) % 4
    attack = DeepFool(threat=unbounded(norm))
    whole = attack(model, images, classes, targeted=targeted)
    for parts in (1, 2, 4):
        again = attack(model, images, classes, targeted=targeted, batch_size=parts)
        assert torch.equal(again.success, whole.success)
        torch.testing.assert_close(again.images, whole.images, rtol=0, atol=1e-9)
        assert torch.equal(again.forwards, whole.forwards)


@by_norm
def test_targets_are_reached_one_by_one(
    norm: str, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    model, images, classes = reader
    wanted = (classes[:12] + 1 + torch.arange(12) % 9) % 10
    result = DeepFool(threat=unbounded(norm))(model, images[:12], wanted, targeted=True)
    read = model(result.images).argmax(1)
    assert torch.equal(read == wanted, result.success)
    assert result.success.float().mean() > (0.6 if norm == "l1" else 0.9)


@by_norm
def test_a_bound_limits_what_counts(
    norm: str, reader: tuple[fs.Classifier, Tensor, Tensor]
) -> None:
    model, images, classes = reader
    free = DeepFool(threat=unbounded(norm))(model, images, classes)
    bound = float(free.distance.median())
    result = DeepFool(threat=THREATS[norm](bound))(model, images, classes, keep="first")
    assert torch.equal(result.success, free.distance <= bound * (1 + 1e-5) + 1e-6)
    assert torch.equal(result.images[~result.success], images[~result.success])


def test_passes_are_the_published_ones() -> None:
    model, images = curved(1, classes=4), pictures(3, 1)
    own = model(images).argmax(1)
    result = DeepFool(threat=unbounded("l2"))(model, images, own, batch_size=1)
    # One look at the clean image, then one evaluation a step with a pass back for each rival.
    assert torch.equal(result.backwards, 3 * (result.forwards - 1))
    few = DeepFool(threat=unbounded("l2"), candidates=2)(model, images, own, batch_size=1)
    assert torch.equal(few.backwards, few.forwards - 1)


def test_unusable_parameters() -> None:
    for bad in (
        lambda: DeepFool(threat=fs.Unbounded()),
        lambda: DeepFool(threat=fs.L2(1), steps=0),
        lambda: DeepFool(threat=fs.L2(1), overshoot=-0.1),
        lambda: DeepFool(threat=fs.L2(1), candidates=1),
    ):
        with pytest.raises(InvalidParameterError, match="expected"):
            bad()
