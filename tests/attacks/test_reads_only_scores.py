"""What every attack that reads scores must keep to: no gradients, honest counts, the threat model,
a sample's randomness its own."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from score_networks import begin, network, paths, pictures
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.attack import Method
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.stream import CrowdedAttack, Step, put, take

CASES: dict[str, dict[str, Any]] = {
    "one-pixel": {"eps": 2, "population": 5, "generations": 2},
    "sparse-rs": {"eps": 4, "queries": 15},
    "square": {"eps": 0.1, "queries": 15},
    "square l2": {"eps": 0.5, "norm": "l2", "queries": 15},
    "nes": {"eps": 0.1, "samples": 4, "queries": 17, "lr": 0.05},
    "nes l2": {"eps": 0.5, "norm": "l2", "samples": 4, "queries": 17, "lr": 0.05},
    "spsa": {"eps": 0.1, "samples": 4, "queries": 17, "lr": 0.05},
    "spsa l2": {"eps": 0.5, "norm": "l2", "samples": 4, "queries": 17, "lr": 0.05},
    "simba": {"eps": 0.5, "queries": 15},
    "simba linf": {"eps": 0.1, "norm": "linf", "queries": 15, "basis": "dct"},
    "simba none": {"eps": None, "norm": "none", "queries": 15, "basis": "dct"},
    "zoo": {"searches": 2, "steps": 2, "coordinates": 3, "lr": 0.05, "early_abort": False},
}
LONGEST = {"zoo": 2 * 2 * 7}  # the others: 15
every_attack = pytest.mark.parametrize("case", CASES)


def made(case: str) -> Method:
    return fs.attack(case.split()[0], **CASES[case])


def setting(count: int = 5) -> tuple[fs.Classifier, Tensor, Tensor]:
    model, images = network(), pictures(count)
    return model, images, model(images).argmax(1)


@every_attack
@pytest.mark.parametrize("targeted", [False, True])
def test_no_gradient_is_asked_for_and_every_image_shown_is_counted(
    case: str, targeted: bool
) -> None:
    model, images, classes = setting()
    classes = (classes + 1) % 4 if targeted else classes
    shown, asked = [], []

    def note(step: Step) -> None:
        shown.append(model.module.shown)
        asked.append(len(step.indices))

    result = made(case)(model, images, classes, targeted=targeted, batch_size=3, on_step=note)
    assert shown[-1] - shown[0] == sum(asked[1:])
    assert int(result.forwards.sum()) == sum(asked) + 5  # the clean ones
    assert not result.backwards.any()
    assert bool(result.finished.all())


@every_attack
def test_the_whole_budget_is_what_was_announced(case: str) -> None:
    model, images, classes = setting()
    result, looked = paths(made(case), model, images, classes, keep="best")
    assert result.forwards.tolist() == [LONGEST.get(case, 15) + 1] * 5
    assert [len(path) for path in looked] == [LONGEST.get(case, 15)] * 5


@every_attack
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_finds_are_allowed_and_all_else_near_enough(case: str, seed: int, targeted: bool) -> None:
    model, images = network(seed=seed), pictures(3, seed=seed)
    attack = made(case)
    result, looked = paths(
        attack, model, images, torch.tensor([0, 1, 2]), targeted=targeted, keep="best", seed=seed
    )
    assert bool(attack.threat.allows(result.images, images).all())
    read = model(result.images).argmax(1) == torch.arange(3)
    assert torch.equal(read, result.success == targeted)
    if not (attack.probes or attack.minimum_norm):
        for image, path in zip(images, looked, strict=True):
            assert bool(attack.threat.allows(path, image.expand_as(path)).all())


@every_attack
def test_neither_neighbours_nor_slots_change_a_sample(case: str) -> None:
    model, images, classes = setting()
    state = torch.random.get_rng_state()
    how: dict[str, Any] = {"keep": "last", "exact": True, "batch_size": 2}
    _, whole = paths(made(case), model, images, classes, **how)
    for row in (0, 3):
        one = slice(row, row + 1)
        _, alone = paths(
            made(case), model, images[one], classes[one], numbers=torch.tensor([row]), **how
        )
        assert torch.equal(alone[0], whole[row])
    assert torch.equal(torch.random.get_rng_state(), state)
    _, again = paths(made(case), model, images, classes, keep="last", seed=1)
    assert not torch.equal(whole[0], again[0])


@every_attack
def test_samples_at_different_points_of_their_search_keep_apart(case: str) -> None:
    # A batch of two, in which a finished search gives its slot to the next.
    model, images, classes = setting()
    _, whole = paths(made(case), model, images, classes)
    _, parts = paths(made(case), model, images, classes, batch_size=2)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@every_attack
def test_searches_out_of_step_keep_apart(case: str) -> None:
    # As after memory ran out: one is some queries ahead of the other.
    model, images, classes = setting(40)
    images = images[classes == 0][:2]  # the class that these searches leave
    attack: Any = made(case)

    crowded = isinstance(attack, CrowdedAttack)

    def ask(state: Any) -> Any:
        return attack.ask_within(state, 1) if crowded else attack.ask(state)

    def after(state: Any, count: int) -> Any:
        for _ in range(count):
            query = ask(state)
            told = (evaluate(model, query.images, query.classes, query.objective),)
            state = attack.tell_all(state, query, *told) if crowded else attack.tell(state, *told)
        return state

    state = begin(attack, images)
    first, second = torch.tensor([0]), torch.tensor([1])
    ahead, behind = after(take(state, first), 5), take(state, second)
    together = put(state, first, ahead)
    for count in range(1, 10):
        found = ask(after(together, count)).images
        expected = [ask(after(one, count)).images for one in (ahead, behind)]
        torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", [name for name, options in CASES.items() if options.get("eps")])
def test_eps_of_zero_changes_nothing(case: str) -> None:
    model, images, classes = setting(2)
    attack = fs.attack(case.split()[0], **(CASES[case] | {"eps": 0}))
    with pytest.warns(fs.FluoroscopeWarning, match="eps is 0"):
        result = attack(model, images, classes, keep="last")
    assert torch.equal(result.images, images)
    assert not result.success.any()
