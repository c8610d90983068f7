"""stAdv: the flow by known pictures and finite differences, the search by steps done by hand."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.spatial.flow import StAdv, flow_gradient, flowed, roughness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.stream import Samples, feed
from fluoroscope.errors import InvalidParameterError


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_no_flow_changes_nothing() -> None:
    for shape in ((2, 1, 8, 8), (1, 3, 224, 160), (1, 1, 1, 4)):
        images = drawn(*shape).float()
        still = torch.zeros(shape[0], 2, *shape[2:])
        torch.testing.assert_close(flowed(images, still), images, rtol=0, atol=1e-4)


def test_a_flow_of_whole_pixels_shifts_the_picture() -> None:
    images = drawn(2, 3, 6, 7)
    flow = torch.tensor([2.0, -1.0]).double().view(1, 2, 1, 1).expand(2, 2, 6, 7)
    # Read two rows below and one column to the left; the border goes on beyond itself.
    expected = images[:, :, [2, 3, 4, 5, 5, 5]][:, :, :, [0, 0, 1, 2, 3, 4, 5]]
    torch.testing.assert_close(flowed(images, flow), expected, rtol=0, atol=1e-9)


def test_two_samples_flow_by_themselves() -> None:
    images, flow = drawn(2, 1, 5, 5), 2 * drawn(2, 2, 5, 5, seed=1) - 1
    both = flowed(images, flow)
    for row in (0, 1):
        alone = flowed(images[row : row + 1], flow[row : row + 1])
        torch.testing.assert_close(both[row], alone[0], rtol=0, atol=1e-12)


def test_roughness_by_hand() -> None:
    flow = torch.zeros(2, 2, 3, 3).double()
    flow[1, 0, 0, 1], flow[1, 1, 0, 1] = 3, 4  # one pixel goes 5 away from its 3 neighbours
    torch.testing.assert_close(
        roughness(flow), torch.tensor([0.0, 15.0]).double(), atol=1e-3, rtol=0
    )
    assert roughness(torch.ones(1, 2, 4, 4)).item() == pytest.approx(0, abs=1e-8)


def test_the_gradient_is_that_of_finite_differences() -> None:
    images, gradient = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1) - 0.5
    flow = 0.8 * drawn(2, 2, 4, 5, seed=2) + 0.1  # between pixels, where bilinear sampling bends
    tau, step = 0.05, 1e-6

    def value(flow: Tensor) -> Tensor:
        return (flowed(images, flow) * gradient).sum() - tau * roughness(flow).sum()

    found = flow_gradient(images, flow, gradient, tau)
    for place in range(0, flow.numel(), 7):
        nudge = torch.zeros_like(flow).view(-1)
        nudge[place] = step
        nudge = nudge.view_as(flow)
        expected = (value(flow + nudge) - value(flow - nudge)) / (2 * step)
        assert found.view(-1)[place].item() == pytest.approx(expected.item(), abs=1e-5)


class Place(nn.Module):
    """How light one pixel is, against a threshold."""

    def forward(self, x: Tensor) -> Tensor:
        light = x[:, 0, 4, 4]
        return torch.stack([10 * (light - 0.5), torch.zeros_like(light)], 1)


def test_a_network_that_depends_on_one_place_finds_the_flow_there() -> None:
    # Light falls off to the right: reading further right darkens the pixel looked at.
    images = torch.linspace(1, 0.1, 9).expand(1, 1, 9, 9).clone()
    model = fs.Classifier(Place(), channels=1)
    assert model(images).argmax(1) == 0
    seen: list[Tensor] = []
    attack = StAdv(tau=0, step_size=0.1)
    result = attack(model, images, [0], on_step=lambda s: seen.append(s.images))
    assert result.success.all()
    away = (result.images - images).abs()[0, 0]
    assert away[4, 4] > 0.04
    away[4, 4] = 0
    assert away.max() < 1e-5


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), targeted=st.booleans())
def test_in_the_box_and_independent_of_neighbours(seed: int, targeted: bool) -> None:
    model, images = _network(seed), drawn(5, 2, 6, 5, seed=seed).float()
    classes = model(images).argmax(1).detach()
    classes = (classes + 1) % 3 if targeted else classes
    attack = StAdv(steps=6, step_size=0.1)
    whole = attack(model, images, classes, targeted=targeted, exact=True, batch_size=4, seed=seed)
    assert whole.images.min() >= 0
    assert whole.images.max() <= 1
    read = model(whole.images).argmax(1)
    assert torch.equal((read == classes) == targeted, whole.success)
    one = attack(model, images[3:4], classes[3:4], targeted=targeted, exact=True, batch_size=4)
    assert torch.equal(one.images[0], whole.images[3])


def _network(seed: int) -> fs.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Flatten(), nn.Linear(60, 8), nn.Tanh(), nn.Linear(8, 3))
    return fs.Classifier(module, channels=2)


def test_each_step_asks_once_and_the_last_without_gradient(reader: Any) -> None:
    model, images, classes = reader
    result = StAdv(steps=4, step_size=1e-6)(model, images[:5], classes[:5])
    assert (result.forwards == 1 + 5).all()
    assert (result.backwards == 4).all()


def test_confidence_is_a_lead(reader: Any) -> None:
    model, images, classes = reader
    state = StAdv(confidence=3.0).start(_samples(images[:3], classes[:3]))
    leads = torch.tensor([-2.0, 2.0, 5.0])
    logits = torch.zeros(3, 10).scatter(1, classes[:3, None], -leads[:, None])
    objective = StAdv(confidence=3.0).ask(state).objective
    assert objective(logits, classes[:3]).tolist() == [-2, 2, 3]
    result = StAdv(confidence=3.0)(model, images, classes)
    assert result.success.float().mean() > 0.9
    won = model(result.images[result.success]).detach()
    own = won.gather(1, classes[result.success][:, None])[:, 0]
    assert ((won.amax(1) - own) >= 3 - 1e-4).all()


def test_digits_are_read_as_any_wanted_class(reader: Any) -> None:
    model, images, classes = reader
    wanted = (classes + 1) % 10
    result = StAdv()(model, images, wanted, targeted=True)
    assert result.success.float().mean() > 0.9
    assert StAdv()(model, images, classes).success.all()


def test_smoothness_is_what_tau_buys(reader: Any) -> None:
    model, images, classes = reader
    found = []
    for tau in (0.0, 0.05):
        attack = StAdv(tau=tau)
        state = attack.start(_samples(images[:4], classes[:4]))
        for _ in range(15):
            query = attack.ask(state)
            answer = evaluate(model, query.images, query.classes, query.objective, gradient=True)
            state = attack.tell(state, answer)
        found.append((roughness(state.flow) / state.flow.abs().flatten(1).sum(1)).mean())
    assert found[1] < 0.8 * found[0]


def _samples(images: Tensor, classes: Tensor) -> Samples:
    samples = feed(images, classes)(len(images))
    assert samples is not None
    return samples


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(0.1)},
        {"steps": 0},
        {"step_size": 0.0},
        {"step_size": float("nan")},
        {"tau": -1.0},
        {"confidence": -1.0},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expect"):
        StAdv(**wrong)
