"""Goals: each against its formula; they add, subtract and multiply as numbers do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from portrait_toys import normed, views
from torch import Tensor

import fluoroscope as fs
from fluoroscope.engine.inside import Place
from fluoroscope.errors import FluoroscopeError
from fluoroscope.inversion.portraits.objectives.classes import class_goal, difference, logit_of
from fluoroscope.inversion.portraits.objectives.diversity import diversity
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.inversion.portraits.objectives.members import of_member
from fluoroscope.inversion.portraits.objectives.units import (
    as_goal,
    channel,
    direction,
    feature_match,
    layer,
    neuron,
)

LOGITS = torch.tensor([[1.0, 3.0, 2.5], [0.5, -1.0, 4.0]], dtype=torch.float64)


def _seen(**how: object) -> Views:
    torch.manual_seed(1)
    outputs = {
        "maps": torch.randn(2, 3, 4, 5, dtype=torch.float64),
        "tokens": torch.randn(2, 7, 3, dtype=torch.float64),
        "last": torch.randn(2, 4, 4, 3, dtype=torch.float64),
        "units": torch.randn(2, 6, dtype=torch.float64),
    }
    return views(outputs, logits=LOGITS, classes=[1, 2], **how)  # type: ignore[arg-type]


SEEN = _seen()
BOTH = _seen(towards=[1, -1])


def _output(name: str) -> Tensor:
    return SEEN.seen.outputs[Place(name)]


ALONG = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
LEAVES = [
    class_goal(),
    class_goal("log-probability"),
    class_goal("margin"),
    difference(0),
    logit_of(1),
    channel("maps", 2),
    neuron("tokens", 1),
    layer("units"),
    direction("maps", ALONG),
    direction("maps", ALONG, power=2),
    diversity("maps"),
]
_numbers = st.floats(-8, 8, allow_subnormal=False)


@st.composite
def _sums(draw: st.DrawFn, depth: int = 3) -> tuple[Goal, list[tuple[float, Goal]]]:
    """A goal put together, and the same written out: factors and leaves."""
    kind = (
        draw(st.sampled_from(["leaf", "plus", "minus", "times", "negative"])) if depth else "leaf"
    )
    if kind == "leaf":
        leaf = draw(st.sampled_from(LEAVES))
        return leaf, [(1.0, leaf)]
    ours, mine = draw(_sums(depth - 1))
    if kind == "times":
        factor = draw(_numbers)
        after = draw(st.booleans())
        return (ours * factor if after else factor * ours), [(factor * f, one) for f, one in mine]
    if kind == "negative":
        return -ours, [(-f, one) for f, one in mine]
    theirs, other = draw(_sums(depth - 1))
    if kind == "plus":
        return ours + theirs, mine + other
    return ours - theirs, mine + [(-f, one) for f, one in other]


@settings(max_examples=60, deadline=None)
@given(_sums())
def test_goals_add_subtract_and_multiply_as_numbers_do(
    made: tuple[Goal, list[tuple[float, Goal]]],
) -> None:
    goal, parts = made
    before = [leaf(SEEN) for leaf in LEAVES]
    expected = sum((f * one(SEEN) for f, one in parts), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(goal(SEEN), expected)
    # Of a portrait against it each part is turned about, and what is subtracted is what it was.
    turned = sum(
        ((f * one.against(SEEN) if f >= 0 else -f * one(SEEN)) for f, one in parts),
        torch.zeros(2, dtype=torch.float64),
    )
    torch.testing.assert_close(goal.against(SEEN), turned)
    raised = goal.raised(BOTH)
    torch.testing.assert_close(raised[0], goal(BOTH)[0])
    torch.testing.assert_close(raised[1], goal.against(BOTH)[1])
    assert goal.together == any(one.together for _, one in parts)
    assert set(goal.places) == {place for _, one in parts for place in one.places}
    assert goal.of_class == any(one.of_class for _, one in parts)
    for leaf, value in zip(LEAVES, before, strict=True):  # no operand was changed
        torch.testing.assert_close(leaf(SEEN), value)


def test_goals_at_the_logits() -> None:
    assert class_goal()(SEEN).tolist() == [3, 4]
    assert class_goal("margin")(SEEN).tolist() == [0.5, 3.5]
    assert difference(0)(SEEN).tolist() == [2, 3.5]
    assert logit_of(0)(SEEN).tolist() == [1, 0.5]
    expected = LOGITS.log_softmax(1)[[0, 1], [1, 2]]
    torch.testing.assert_close(class_goal("log-probability")(SEEN), expected)


def test_units_channels_and_layers() -> None:
    maps, tokens, last = _output("maps"), _output("tokens"), _output("last")
    torch.testing.assert_close(channel("maps", 2)(SEEN), maps[:, 2].mean((1, 2)))
    torch.testing.assert_close(channel("tokens", 2)(SEEN), tokens[:, :, 2].mean(1))
    torch.testing.assert_close(channel("last", 2)(SEEN), last[:, :, :, 2].mean((1, 2)))
    torch.testing.assert_close(channel("units", 5)(SEEN), _output("units")[:, 5])
    torch.testing.assert_close(neuron("maps", 1)(SEEN), maps[:, 1, 2, 2])
    torch.testing.assert_close(neuron("maps", 1, 3, 0)(SEEN), maps[:, 1, 3, 0])
    torch.testing.assert_close(neuron("tokens", 2, 6)(SEEN), tokens[:, 6, 2])
    torch.testing.assert_close(layer("maps")(SEEN), maps.square().mean((1, 2, 3)))


def test_a_direction_counts_its_cosine_as_often_as_asked() -> None:
    maps = _output("maps")
    for power in (0, 1, 2.5):
        found = direction("maps", ALONG, power)
        slow = torch.zeros(2, dtype=torch.float64)
        against = torch.zeros(2, dtype=torch.float64)
        for n in range(2):
            for y in range(4):
                for x in range(5):
                    a = maps[n, :, y, x]
                    dot = float(a @ ALONG)
                    cosine = dot / float(a.norm() * ALONG.norm())
                    slow[n] += dot * max(0.1, cosine) ** power / 20
                    against[n] += -dot * max(0.1, -cosine) ** power / 20
        torch.testing.assert_close(found(SEEN), slow)
        torch.testing.assert_close(found.against(SEEN), against)
    found = direction("tokens", ALONG)(SEEN)
    torch.testing.assert_close(found, (_output("tokens") @ ALONG).mean(1))
    found = direction("maps", ALONG, 2)  # less of it is against it, and against that is itself
    torch.testing.assert_close((-3 * found).against(SEEN), 3 * found(SEEN))
    torch.testing.assert_close((3 * found).against(SEEN), 3 * found.against(SEEN))
    everything = torch.randn(3, 4, 5, dtype=torch.float64)
    found = direction("maps", everything)(SEEN)
    torch.testing.assert_close(found, (maps * everything).sum((1, 2, 3)))


def test_to_match_a_picture_is_to_be_no_distance_from_it() -> None:
    model = normed()
    picture, others = torch.rand(3, 8, 8, dtype=torch.float64), torch.rand(2, 3, 8, 8).double()
    goal = feature_match(model, "2", picture)
    first = model.module[:3]  # type: ignore[index]
    wanted, found = first(picture[None]).detach(), first(others).detach()
    expected = -(found - wanted).flatten(1).norm(dim=1) / wanted.norm()
    torch.testing.assert_close(goal(views({"2": found})), expected)
    assert float(goal(views({"2": wanted}))) == 0
    made = fs.portrait(model, None, goal=goal, steps=40, method="pixels", against=True)
    near = goal(views({"2": first(made.images.double()).detach()}))
    assert near[0] > -0.4
    assert near[1] < -0.5


def test_diversity_is_the_sum_over_pairs_of_a_class() -> None:
    torch.manual_seed(0)
    maps = torch.randn(6, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    classes, ways = [0, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, -1]
    goal = diversity("maps")
    found = goal(views({"maps": maps}, classes=classes, towards=ways))
    grams = []
    for one in maps:
        flat = one.flatten(1)
        gram = torch.stack([torch.stack([(a * b).sum() for b in flat]) for a in flat])
        grams.append(gram / gram.norm())
    pairs = [(0, 1), (0, 2), (1, 2), (3, 4)]
    total = -sum((grams[i] * grams[j]).sum() for i, j in pairs)
    assert float(found.detach().sum()) == pytest.approx(2 * float(total.detach()))  # type: ignore[union-attr]
    assert float(found[5].detach()) == 0
    (slope,) = torch.autograd.grad(found.sum(), maps, retain_graph=True)
    (wanted,) = torch.autograd.grad(total, maps)  # type: ignore[arg-type]
    torch.testing.assert_close(slope, wanted)
    (slope,) = torch.autograd.grad(found[0], maps)
    assert (slope[1:] == 0).all()
    assert goal.together
    # Two views of each portrait: those of the same number are compared.
    found = goal(views({"maps": maps.detach()[:4]}, copies=2))
    grams = [gram.detach() for gram in grams]
    expected = [-float((grams[i] * grams[(i + 2) % 4]).sum()) for i in range(4)]
    assert found.tolist() == pytest.approx(expected)


def test_diverse_portraits_differ_more() -> None:
    model = normed()
    apart = []
    for goal in (channel("2", 1), channel("2", 1) + 20 * diversity("2")):
        made = fs.portrait(
            model, None, goal=goal, steps=30, method="pixels", numbers=torch.arange(4)
        )
        output = model.module[:3](made.images.double()).detach()  # type: ignore[index]
        apart.append(float(diversity("2")(views({"2": output})).mean()))
    assert apart[1] > apart[0] + 0.1


def test_several_networks_are_asked_at_once() -> None:
    one, other = normed(0), normed(1)
    both = fs.Ensemble([one, other])
    start = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    goal = of_member(0, channel("2", 1)) + 2 * of_member(1, direction("8", ALONG, 2))
    how = {"method": "pixels", "steps": 1, "start": start, "warm_up": 0, "against": True}
    found = fs.portrait(both, None, goal=goal, **how)  # type: ignore[arg-type]
    pixels = start.clone().requires_grad_()
    first = one.module[:3](pixels)[:, 1].mean()  # type: ignore[index]
    second = other.module(pixels)
    for row, sign in ((0, 1), (1, -1)):
        along = direction("8", sign * ALONG, 2)(views({"8": second}))
        (slope,) = torch.autograd.grad(sign * first + 2 * along.sum(), pixels, retain_graph=True)
        moved = (start + 0.05 * slope / (slope.abs() + 1e-8)).clamp(0, 1)  # the first step of Adam
        torch.testing.assert_close(found.images[row], moved[0])
    # At the logits an ensemble is one network.
    found = fs.portrait(both, [2], **how)  # type: ignore[arg-type]
    mean = (one.module(pixels) + other.module(pixels))[0, 2] / 2
    (slope,) = torch.autograd.grad(mean, pixels)
    moved = (start + 0.05 * slope / (slope.abs() + 1e-8)).clamp(0, 1)
    torch.testing.assert_close(found.images[:1], moved)


def test_goals_are_parsed() -> None:
    for text, name in (
        ("layer3", "layer layer3"),
        ("layer3:5", "channel 5 of layer3"),
        ("net.features.1:5,2,3", "neuron of channel 5 of net.features.1 at 2, 3"),
    ):
        assert str(as_goal(text)) == name
    for text in ("", ":3", "a:b", "a:", "a:1,-2", "a:1.5"):
        with pytest.raises(FluoroscopeError, match="unit is"):
            as_goal(text)


def test_impossible_goals_are_named() -> None:
    for make, words in (
        (lambda: channel("maps", 3)(SEEN), "channel is 3, .* has 3; expected 0 to 2"),
        (lambda: channel("maps", -1), "channel is -1"),
        (lambda: neuron("maps", 0, 1)(SEEN), "has 4×5 places"),
        (lambda: neuron("maps", 0, 4, 0)(SEEN), "has 4×5 places"),
        (lambda: direction("maps", torch.zeros(3)), "vector is zero"),
        (lambda: direction("maps", torch.ones(4))(SEEN), r"expected \(3,\)"),
        (lambda: direction("maps", ALONG, -1), "power is -1"),
        (lambda: difference(1)(SEEN), "the class of a portrait itself"),
        (lambda: difference(3)(SEEN), "expected 0 to 2"),
        (lambda: class_goal("cross-entropy"), "a loss"),
        (lambda: math.inf * class_goal(), "multiplied by inf"),
        (lambda: of_member(0, class_goal()), "one of logits"),
        (lambda: of_member(-1, channel("maps", 0)), "number is -1"),
        (lambda: fs.portrait(normed(), None, steps=1), "classes is None"),
        (lambda: fs.portrait(normed(), [], steps=1), "classes is empty"),
    ):
        with pytest.raises(FluoroscopeError, match=words):
            make()
    with pytest.raises(TypeError):
        class_goal() + 3  # type: ignore[operator]
