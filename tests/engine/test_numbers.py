"""Counts and times as people give them: taken, or refused in words that say what to give."""

import numpy as np
import pytest
import torch

import fluoroscope as fs
from fluoroscope.engine.numbers import as_seconds, half_within, whole_number
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.curve import Curve

IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
ATTACK = fs.attack("pgd", eps=0.1, steps=2)


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    return fs.Classifier(module, channels=1, input_size=8)


@pytest.mark.parametrize("count", [3, np.int64(3), torch.tensor(3)])
def test_counts_of_any_library_are_plain_numbers(count: object) -> None:
    assert type(whole_number("steps", count)) is int
    assert whole_number("steps", count) == 3


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", None, True, float("nan"), torch.tensor(1.5)])
def test_what_counts_nothing_is_refused(count: object) -> None:
    with pytest.raises(InvalidParameterError, match=r"steps is .*; expected a whole number, 1 or"):
        whole_number("steps", count)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(20, 20.0), (0.5, 0.5), ("20", 20.0), ("20s", 20.0), (" 1.5 M", 90.0), ("2min", 120.0)],
)
def test_times_in_words(given: float | str, seconds: float) -> None:
    assert as_seconds(given) == seconds


@pytest.mark.parametrize("given", [0, -1, "soon", "0m", "", "nan", float("inf"), None, "1e999"])
def test_times_without_meaning_are_refused(given: float | str) -> None:
    with pytest.raises(InvalidParameterError, match="expected a time above 0"):
        as_seconds(given)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, np.int32(7), torch.tensor(7)])
def test_seeds_of_any_kind_and_sign(model: fs.Classifier, seed: int) -> None:
    result = ATTACK(model, IMAGES, [0, 1], seed=seed)
    assert type(result.record["seed"]) is int


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, None, 1.0, "1"])
def test_a_seed_that_is_none_is_refused_at_every_door(model: fs.Classifier, seed: int) -> None:
    labels = torch.tensor([0, 1])
    for call in (
        lambda: ATTACK(model, IMAGES, labels, seed=seed),
        lambda: fs.evaluate(model, IMAGES, labels, threat="linf:0.1", seed=seed),
        lambda: fs.EOT(model, samples=2, seed=seed),
    ):
        with pytest.raises(InvalidParameterError, match=r"seed is .*; expected a whole number"):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"batch_size": "8"}, "batch_size is '8'"),
        ({"restarts": 2.0}, "restarts is 2.0"),
        ({"restarts": 0}, "restarts is 0"),
    ],
)
def test_counts_of_a_call_are_checked(
    model: fs.Classifier, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        ATTACK(model, IMAGES, [0, 1], **options)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"forwards": 0}, "forwards is 0; expected a whole"),
        ({"backwards": 1.5}, "backwards is 1.5; expected a whole"),
        ({"seconds": "soon"}, "seconds is 'soon'; expected a time"),
        ({"seconds": float("nan")}, "seconds is nan; expected a time"),
    ],
)
def test_budgets_that_are_none_are_refused(bounds: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fs.Budget(**bounds)
    assert fs.Budget(seconds="2m").seconds == 120.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "message"),
    [("3", "a whole number"), (2.5, "a whole number"), (True, "a whole number"), (0, "1 or more")],
)
def test_an_attacks_own_numbers_are_checked_however_it_is_made(steps: int, message: str) -> None:
    for kind in (fs.attacks.PGD, fs.attacks.APGDT, fs.attacks.FMN):
        with pytest.raises(InvalidParameterError, match=f"steps is .*expected {message}"):
            kind(threat=fs.Linf(0.1), steps=steps)


def test_numbers_of_numpy_are_kept_as_plain_ones(model: fs.Classifier) -> None:
    made = fs.attacks.PGD(threat=fs.Linf(np.float32(0.25)), steps=np.int64(2))  # type: ignore[arg-type]
    parameters = made(model, IMAGES, [0, 1]).record["parameters"]
    assert type(parameters["steps"]) is int
    assert parameters["threat"]["eps"] == 0.25


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 40])
@pytest.mark.parametrize("fooled", [0.0, 0.4, 0.5, 1.0])
def test_the_median_counts_what_was_not_fooled_as_farther(count: int, fooled: float) -> None:
    far = np.random.default_rng(count).random(int(fooled * count))
    every = np.append(far, [np.inf] * (count - len(far)))
    found = half_within(far.tolist(), count)
    if not count:
        assert found is None
        return
    expected = float(np.quantile(every, 0.5, method="inverted_cdf"))
    assert (np.inf if found is None else found) == expected
    curve = Curve("linf", every, np.zeros(count, int), None)
    assert curve.median == expected
