"""Randomness of the sample: known values, uniform and independent, the same whatever the batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fluoroscope.engine import randomness

MASK = (1 << 64) - 1


def splitmix(x: int) -> int:
    """The finaliser of SplitMix64, in Python's whole numbers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def keys(count: int, seed: int = 0, restart: int = 0) -> Tensor:
    return randomness.keys(seed, torch.arange(count), restart)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**6), st.integers(1, 9))
def test_numbers_are_the_upper_bits_of_splitmix(key: int, draw: int, count: int) -> None:
    found = randomness.uniform(torch.tensor([key]), draw, (count,))[0].tolist()
    golden = 0x9E3779B97F4A7C15
    start = splitmix((key + (draw + 1) * golden) & MASK)
    expected = [splitmix((start + k * golden) & MASK) >> 40 for k in range(1, count + 1)]
    assert found == [bits / 2**24 for bits in expected]


def test_the_values_of_a_key_stay_what_they_are() -> None:
    # Saved results name their seed: a change here would change what they say.
    assert keys(2, seed=3, restart=1).tolist() == [-6331883704388357327, -5577412208723104693]
    assert randomness.uniform(keys(1), 5, (3,))[0].tolist() == [
        0.41581887006759644,
        0.5722929239273071,
        0.5423294901847839,
    ]


def test_uniform_numbers_fill_the_interval_evenly() -> None:
    numbers = randomness.uniform(keys(100), 0, (1000,)).flatten()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = (numbers * 50).long().bincount(minlength=50).double()
    # Chi-squared with 49 degrees of freedom: above 100 once in 30,000 times.
    assert ((counts - 2000) ** 2 / 2000).sum() < 100


@pytest.mark.parametrize("along", ["positions", "draws", "samples", "seeds", "restarts"])
def test_neighbouring_numbers_are_independent(along: str) -> None:
    count = 20_000
    if along == "positions":
        numbers = randomness.uniform(keys(1), 0, (count,))[0]
    elif along == "draws":
        numbers = randomness.uniform(keys(1).expand(count), torch.arange(count), (1,))[:, 0]
    elif along == "samples":
        numbers = randomness.uniform(keys(count), 0, (1,))[:, 0]
    elif along == "seeds":
        each = [randomness.keys(seed, torch.arange(1)) for seed in range(2000)]
        numbers = randomness.uniform(torch.cat(each), 0, (1,))[:, 0]
    else:
        same = torch.zeros(count, dtype=torch.long)
        numbers = randomness.uniform(randomness.keys(0, same, torch.arange(count)), 0, (1,))[:, 0]
    size = len(numbers)
    for lag in (1, 2, 3, 8):
        pair = torch.stack([numbers[:-lag], numbers[lag:]])
        assert torch.corrcoef(pair)[0, 1].abs() < 5 / size**0.5
    joint = (numbers[:-1] * 8).long() * 8 + (numbers[1:] * 8).long()
    counts = joint.bincount(minlength=64).double()
    # 63 degrees of freedom: above 130 less than once in a million times.
    assert ((counts - size / 64) ** 2 / (size / 64)).sum() < 130


def test_normal_numbers_have_the_moments_of_the_bell() -> None:
    numbers = randomness.normal(keys(100), 0, (1000,)).double()
    assert numbers.isfinite().all()
    assert numbers.mean().abs() < 0.02
    assert (numbers.square().mean() - 1).abs() < 0.02
    assert (numbers**4).mean() == pytest.approx(3, abs=0.12)
    assert (numbers.abs() < 1).double().mean() == pytest.approx(0.6827, abs=0.01)


@given(st.integers(1, 40))
def test_whole_numbers_stay_below_their_bound_and_reach_every_value(high: int) -> None:
    numbers = randomness.integers(keys(3), 0, high, 60 * high)
    assert numbers.min() >= 0
    assert numbers.max() < high
    assert len(numbers.unique()) == high
    each = randomness.integers(keys(3), 0, torch.tensor([1, high, 2]), 20)
    assert each[0].max() == 0
    assert each[1].max() < high
    assert each[2].max() == 1


@given(st.permutations(range(6)), st.integers(0, 100))
def test_a_samples_numbers_do_not_depend_on_its_neighbours(order: list[int], seed: int) -> None:
    whole = randomness.keys(seed, torch.arange(6))
    draws = torch.tensor([3, 0, 7, 7, 1, 2])
    for draw in (randomness.uniform, randomness.normal):
        numbers = draw(whole, draws, (2, 3))
        rows = torch.tensor(order)
        some = randomness.keys(seed, rows[:4])
        assert torch.equal(draw(some, draws[rows[:4]], (2, 3)), numbers[rows[:4]])


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    randomness.normal(keys(3), 0, (4,))
    randomness.integers(keys(3), 0, 5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_sample_restart_and_draw_all_matter() -> None:
    numbers = [
        randomness.uniform(randomness.keys(seed, torch.tensor([sample]), restart), draw, (4,))
        for seed in range(3)
        for sample in range(3)
        for restart in range(3)
        for draw in range(3)
    ]
    assert len({tuple(row[0].tolist()) for row in numbers}) == 81
