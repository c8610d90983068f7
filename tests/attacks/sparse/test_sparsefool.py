"""SparseFool: closed form on linear networks, the paper's loop for one image, and its peer."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from l2_networks import path
from linear_networks import curved, pictures, shortest_move
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.sparse.sparsefool import SparseFool
from fluoroscope.engine.threats import L0, L1
from fluoroscope.errors import InvalidParameterError

INF = float("inf")


@pytest.mark.parametrize("lam", [2.0, 3.0])
def test_on_a_linear_network_one_round_goes_to_the_plane_by_the_shortest_way(lam: float) -> None:
    """In colour, with pixels at the ends of the box, as a solver of linear programmes finds it."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(48, 2).double()
    layer.weight.data = torch.randn(2, 48, generator=generator).double()
    layer.bias.data = -layer.weight.data.sum(1) / 2 + torch.tensor([1.5, -1.5])
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=3)
    images = (1.4 * torch.rand(8, 3, 4, 4, generator=generator) - 0.2).clamp(0.03, 0.97).double()
    own = model(images).detach().argmax(1)
    result = SparseFool(threat=L1(INF), lam=lam)(model, images, own, keep="last")
    assert result.success.all()
    counts = []
    for image, label, found in zip(images, own, result.images, strict=True):
        slope = (layer.weight[1 - label] - layer.weight[label]).detach()
        lead = float((slope @ image.flatten() + layer.bias[1 - label] - layer.bias[label]).detach())
        best = shortest_move(image.flatten().numpy(), slope.numpy(), -lam * lead, "l1")
        # DeepFool crosses the border with its overshoot, which the ends of the box also take from.
        assert 0.96 * best <= float((found - image).abs().sum()) <= 1.021 * best
        changed = (found - image).flatten().abs() > 1e-9
        steepness = slope.abs()
        assert steepness[changed].min() >= steepness[~changed].max()
        counts.append(int(changed.sum()))
    assert max(counts) >= 2


def slowly(model: fs.Classifier, image: Tensor, own: int, lam: float, rounds: int) -> list[Tensor]:
    """The sparse points that the paper's loop shows the network, for one image."""
    shown, x = [], image

    def leads(at: Tensor) -> tuple[Tensor, list[Tensor]]:
        flat = at.clone().requires_grad_()
        z = model(flat[None])[0]
        rivals = [k for k in range(len(z)) if k != own]
        slopes = [torch.autograd.grad(z[k] - z[own], flat, retain_graph=True)[0] for k in rivals]
        return torch.stack([z[k] - z[own] for k in rivals]).detach(), slopes

    for _ in range(rounds):
        move = torch.zeros_like(x)  # DeepFool's
        while True:
            at = (x + 1.02 * move).clamp(0, 1)
            lead, slopes = leads(at)
            if lead.max() > 0:
                break
            gaps = [
                -float(f) + max(float(((at - x - move) * w).sum()), 0)
                for f, w in zip(lead, slopes, strict=True)
            ]
            best = min(range(len(gaps)), key=lambda k: gaps[k] / float(slopes[k].norm()))
            w = slopes[best]
            move = (x + move + gaps[best] * w / w.square().sum()).clamp(0, 1) - x
        if not move.any():
            break
        normal = slopes[int(lead.argmax())]
        missing = lam * abs(float((normal * move).sum()))
        flat, y = normal.flatten(), x.flatten().clone()
        for place in flat.abs().argsort(descending=True).tolist():
            room = float(1 - y[place]) if flat[place] > 0 else float(y[place])
            step = min(room, missing / float(flat[place].abs()))
            y[place] += step * flat[place].sign()
            missing -= step * float(flat[place].abs())
            if missing <= 1e-12:
                break
        x = y.view_as(x)
        shown.append((image + 1.02 * (x - image)).clamp(0, 1))
        if int(model(shown[-1][None]).argmax()) != own:
            break
    return shown


@pytest.mark.parametrize("lam", [1.0, 3.0])
def test_the_sparse_points_are_the_papers(lam: float) -> None:
    model, images = curved(), pictures(8)
    own = model(images).detach().argmax(1)
    result, paths = path(SparseFool(lam=lam), model, images, own, keep="last")
    rounds = []
    for row, (image, found) in enumerate(zip(images, paths, strict=True)):
        expected = slowly(model, image, int(own[row]), lam, 20)
        rounds.append(len(expected))
        for point in expected:
            assert (found - point).flatten(1).abs().amax(1).min() < 1e-7
        if int(model(expected[-1][None]).argmax()) != int(own[row]):
            torch.testing.assert_close(result.images[row], expected[-1], rtol=0, atol=1e-7)
    assert lam > 1 or max(rounds) > 1


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 4]), st.sampled_from(["l0", "l1"]))
def test_in_the_box_with_an_honest_verdict_whatever_the_neighbours(
    seed: int, classes: int, norm: str
) -> None:
    model, images = curved(seed, classes), pictures(6, seed)
    own = model(images).detach().argmax(1)
    attack = SparseFool(threat=L0(INF) if norm == "l0" else L1(INF), steps=4)
    result, paths = path(attack, model, images, own)
    for found in paths:
        assert found.isfinite().all()
        assert found.min() >= 0
        assert found.max() <= 1
    assert torch.equal(result.success, model(result.images).argmax(1) != own)
    parts = attack(model, images, own, batch_size=2)
    torch.testing.assert_close(result.images, parts.images, rtol=0, atol=1e-9)
    assert torch.equal(result.forwards, parts.forwards)


def test_steps_bound_the_rounds_and_a_flat_network_is_survived() -> None:
    model, images = curved(), pictures(8)
    own = model(images).detach().argmax(1)
    one = SparseFool(lam=1, steps=1)(model, images, own, keep="last")
    many = SparseFool(lam=1, steps=20)(model, images, own, keep="last")
    assert (one.forwards <= many.forwards).all()
    assert one.success.sum() < many.success.sum()
    for parameter in model.module.parameters():
        parameter.data.zero_()
    model.module[3].bias.data[0] = 1
    stuck = SparseFool()(model, images, 0)
    assert not stuck.success.any()
    assert torch.equal(stuck.images, images)
    assert stuck.forwards.tolist() == [2] * 8


def test_unusable_parameters() -> None:
    model, images = curved(), pictures(2)
    for bad in (
        lambda: SparseFool(threat=fs.L2(1)),
        lambda: SparseFool(steps=0),
        lambda: SparseFool(lam=0.5),
        lambda: SparseFool(overshoot=-0.1),
        lambda: SparseFool(candidates=1),
    ):
        with pytest.raises(InvalidParameterError, match="expected"):
            bad()
    with pytest.raises(InvalidParameterError, match="only leads away"):
        SparseFool()(model, images, 0, targeted=True)


def test_as_many_fall_and_by_as_few_pixels_as_with_torchattacks(
    reader: tuple[fs.Classifier, Tensor, Tensor],
) -> None:
    """In the median within two pixels, in the mean no more: theirs is sometimes not sparse."""
    import torchattacks

    model, images, classes = reader
    images, classes = images[:3], classes[:3]
    result = SparseFool(steps=4)(model, images, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = torchattacks.SparseFool(model.module.eval(), steps=4)
        found = peer(images.clone(), classes)
    fooled = model(found).argmax(1) != classes
    theirs = L0(INF).distance(found - images).where(fooled, torch.inf)
    assert fooled.any()
    assert result.success.all()
    assert result.distance.median() <= theirs.median() + 2
    assert result.distance.mean() <= theirs.mean()
    assert result.distance.max() < 60
