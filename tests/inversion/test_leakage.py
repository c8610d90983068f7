"""Made pictures matched to training pictures and to as many test pictures."""

from itertools import permutations

import pytest
import torch
from skimage.metrics import structural_similarity

import fluoroscope as fs
from fluoroscope.inversion.generator.leakage import RECONSTRUCTED, leakage

LABELS = ("a", "b")


def _set(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 16, 16, generator=draws), torch.arange(count) % 2


def test_the_matching_is_the_best_of_all_and_similarity_is_scikit_images() -> None:
    train, test = _set(8, 1), _set(8, 2)
    made = (train[0][[0, 2, 4]] * 0.7 + 0.3 * torch.rand(3, 1, 16, 16), torch.zeros(3).long())
    found = leakage(*made, train, test, LABELS)
    learnt = train[0][train[1] == 0]
    alike = [
        [
            structural_similarity(
                one[0].double().numpy(),
                other[0].double().numpy(),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1.0,
            )
            for other in learnt
        ]
        for one in made[0]
    ]
    best = max(
        permutations(range(4), 3), key=lambda to: sum(map(lambda r, c: alike[r][c], range(3), to))
    )
    pairs = [alike[row][column] for row, column in enumerate(best)]
    (only,) = found.classes
    assert only.train_mean == pytest.approx(sum(pairs) / 3, abs=1e-6)
    assert only.train_share == sum(one >= RECONSTRUCTED for one in pairs) / 3
    apart = torch.cdist(made[0].flatten(1), learnt.flatten(1)).amin(1).quantile(0.5)
    usual = torch.cdist(test[0][test[1] == 0].flatten(1), learnt.flatten(1)).amin(1).quantile(0.5)
    assert only.ratio == pytest.approx(float(apart / usual), rel=1e-4)


def test_copies_leak_and_new_pictures_do_not() -> None:
    train, test = _set(60, 1), _set(60, 2)
    copies = leakage(*train, train, test, LABELS)
    assert copies.leaks
    assert copies.train_reconstructed == 60
    assert all(one.ratio == 0 for one in copies.classes)
    assert "gives training pictures back" in copies.summary
    others = leakage(*_set(60, 3), train, test, LABELS)
    assert not others.leaks


def test_similar_pictures_of_a_class_are_no_leak_for_test_pictures_are_matched_as_well() -> None:
    base = torch.rand(2, 1, 16, 16)
    sets = [
        (base[labels] * 0.8 + 0.2 * images, labels)
        for images, labels in (_set(40, seed) for seed in range(3))
    ]
    found = leakage(*sets[0], sets[1], sets[2], LABELS)
    assert found.train_reconstructed > 0.9 * found.pairs  # by the threshold alone a leak
    assert not found.leaks


def test_what_does_not_fit_is_told() -> None:
    train, test = _set(8, 1), _set(8, 2)
    with pytest.raises(fs.FluoroscopeError, match=r"train holds pictures \(1, 8, 8\)"):
        leakage(*train, (train[0][..., :8, :8], train[1]), test, LABELS)
    only = (test[0][test[1] == 1], test[1][test[1] == 1])
    assert leakage(*train, train, only, LABELS).notes == (
        "left out, without training or test pictures: a",
    )
    with pytest.raises(fs.FluoroscopeError, match="expected the same classes in all three"):
        leakage(*only, (train[0][::2], train[1][::2]), test, LABELS)
