"""Which method the reproduction says to take: by others' agreement, and the quickest alike."""

import pytest
import torch
from scipy.stats import binomtest

from reproductions.inversion_choice import Judged, Standing, apart, quickest, sign_test


def test_a_judge_tells_ranks_and_probabilities() -> None:
    logits = torch.tensor([[3.0, 1, 0, 0, 0, -1], [0.0, 1, 2, 3, 4, 5], [1.0, 2, 3, 4, 5, 6]])
    found = Judged.of("another", logits, torch.tensor([0, 1, 0]))
    assert found.top1 == (True, False, False)
    assert found.top5 == (True, True, False)
    assert found.confidence == pytest.approx(logits.softmax(1)[[0, 1, 2], [0, 1, 0]].tolist())


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (6, 0), (3, 9), (10, 1), (4, 4)])
def test_the_sign_test_is_scipys(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert sign_test(first, second) == pytest.approx(expected)


def test_the_quickest_is_one_that_is_not_told_apart_from_the_best() -> None:
    best = Standing("best", (True,) * 10 + (False,) * 2, 0.8, 9.0)
    alike = Standing("alike", (True,) * 8 + (False,) * 4, 0.6, 3.0)
    poor = Standing("poor", (False,) * 12, 0.1, 1.0)
    assert apart(best.agree, poor.agree)
    assert not apart(best.agree, alike.agree)
    assert quickest([poor, best, alike]) is alike
    assert quickest([poor]) is None
