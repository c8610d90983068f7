"""The latent attack: the closed form, the way back to pixels, and what it refuses."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.latent.border import across
from fluoroscope.engine.stream import feed, stream
from fluoroscope.models.invertible.backwards import bounds_of, latents_of
from tests.attacks.invertible_networks import invertible


def head(classes: int, numbers: int, seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(numbers, classes).double()


def latents(count: int, numbers: int) -> Tensor:
    return torch.randn(count, numbers, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("classes", [2, 5])
def test_the_nearest_border_is_that_of_a_slow_search(classes: int) -> None:
    linear, start = head(classes, 7, classes), latents(40, 7)
    own = linear(start).argmax(1)
    leave = torch.full((40,), -1.0)
    moved = across(start, linear, own, leave, beyond=0.0).detach()
    for row in range(40):
        weight, bias = linear.weight.detach(), linear.bias.detach()
        ways = []
        for rival in set(range(classes)) - {int(own[row])}:
            normal = weight[rival] - weight[own[row]]
            gap = (start[row] @ (-normal)) + bias[own[row]] - bias[rival]
            ways.append(normal * gap / normal.square().sum())
        least = min(ways, key=lambda way: float(way.norm()))
        torch.testing.assert_close(moved[row] - start[row], least)
    # On the border two classes tie, and no class leads over them: no rival was passed on the way.
    top = linear(moved).topk(2, 1).values
    torch.testing.assert_close(top[:, 0], top[:, 1])
    further = across(start, linear, own, leave, beyond=0.02)
    torch.testing.assert_close(further - start, 1.02 * (moved - start))
    assert (linear(further).argmax(1) != own).all()


def test_a_lead_and_a_share_for_each() -> None:
    linear, start = head(3, 6, 0), latents(9, 6)
    own = linear(start).argmax(1)
    leave, share = torch.full((9,), -1.0), torch.linspace(0, 2, 9)
    moved = across(start, linear, own, leave, beyond=share, lead=0.5)
    whole = across(start, linear, own, leave, beyond=0.0, lead=0.5)
    torch.testing.assert_close(moved - start, (1 + share[:, None].double()) * (whole - start))
    logits = linear(whole)
    mine = logits.gather(1, own[:, None]).squeeze(1)
    others = logits.scatter(1, own[:, None], -torch.inf).amax(1)
    assert (others - mine >= 0.5 - 1e-9).all()


def test_towards_a_class_it_leads() -> None:
    linear, start = head(6, 9, 1), latents(30, 9)
    wanted = (linear(start).argmax(1) + 2) % 6
    moved = across(start, linear, wanted, torch.ones(30), beyond=0.05)
    assert (linear(moved).argmax(1) == wanted).all()
    # No point of the class's region is nearer than the nearest of its borders.
    logits, weight = linear(start), linear.weight
    away = (logits - logits.gather(1, wanted[:, None])) / torch.cdist(weight[wanted], weight)
    least = away.nan_to_num(-1).amax(1)
    assert ((moved - start).norm(dim=1) >= least).all()


def test_it_fools_and_the_bounds_hold() -> None:
    model = invertible(1, 8)
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    classes = fs.predict(model, images).winners
    found = fs.attack("latent", steps=15)(model, images, classes)
    assert found.success.all()
    assert (fs.predict(model, found.images).winners != classes).all()
    assert (found.backwards == 0).all()
    [said] = [note for note in found.notes if "no measure of robustness" in note]
    assert said in found.record["notes"]
    low, high = bounds_of(model)
    moved = (latents_of(model, found.images) - latents_of(model, images)).norm(dim=1)
    assert (found.distance <= moved / low + 1e-5).all()
    assert (found.distance >= moved / high - 1e-5).all()
    targeted = fs.attack("latent", steps=25)(model, images, (classes + 1) % 3, targeted=True)
    reached = targeted.success
    assert reached.float().mean() > 0.9
    assert (targeted.logits.argmax(1)[reached] == (classes[reached] + 1) % 3).all()
    bound = float(found.distance.median())
    within = fs.attack("latent", eps=bound, steps=15)(model, images, classes)
    assert torch.equal(within.success, found.distance <= bound)
    each = fs.attack("latent", eps=torch.tensor([bound, 2 * bound]), steps=2)
    of_each = each(model, images[:2], classes[:2])
    assert [note for note in of_each.notes if "no measure of robustness" in note] == [said]


def test_without_clamping_the_first_step_is_over_the_border_and_nearly_on_it() -> None:
    model = invertible(1, 8).to(dtype=torch.float64)
    grey = 0.5 + 0.05 * torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    images = grey.double()
    classes = fs.predict(model, images).winners
    found = fs.attack("latent", steps=1, overshoot=1e-4)(model, images, classes)
    inside = (
        found.success & (found.images > 0).flatten(1).all(1) & (found.images < 1).flatten(1).all(1)
    )
    assert inside.sum() > 3
    before = latents_of(model, images)[inside]
    leave = torch.full((len(before),), -1.0)
    expected = across(before, model.module.head, classes[inside], leave, beyond=1e-4)
    torch.testing.assert_close(latents_of(model, found.images[inside]), expected, atol=1e-9, rtol=0)
    assert (found.forwards[inside] == 3).all()  # the look at the start, the latent, the success


def test_what_it_refuses() -> None:
    model, images = invertible(1, 8), torch.rand(2, 1, 8, 8)
    with pytest.raises(fs.FluoroscopeError, match="needs a network's inverse, and digits-cnn is"):
        fs.attack("latent")(fs.load_model("digits-cnn"), torch.rand(2, 1, 28, 28), [1, 2])
    other = torch.rand(2, 1, 10, 10)
    with pytest.raises(fs.FluoroscopeError, match=r"expected \(N, 1, 8, 8\)"):
        fs.attack("latent")(model, other, fs.predict(model, other).winners)
    attack = fs.attack("latent")
    with pytest.raises(fs.FluoroscopeError, match="driven without its network"):
        next(stream(model, attack, feed(images, torch.tensor([0, 1]))))
    with pytest.raises(fs.FluoroscopeError, match="not defined for the norm 'linf'"):
        fs.attack("latent", norm="linf", eps=1)
    with pytest.raises(fs.FluoroscopeError, match="steps is 0"):
        fs.attack("latent", steps=0)
    assert attack.stated["parameters"].keys() == {"threat", "steps", "overshoot", "rounds"}
