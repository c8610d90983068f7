"""The transfer table's numbers, and that a stopped run goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch

import fluoroscope as fs


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from reproductions import transfer

    monkeypatch.setattr(transfer, "KEPT", tmp_path)
    monkeypatch.setattr(transfer, "BATCH", 2)
    return transfer


def test_a_difference_is_over_the_same_trials(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MODELS", ("a", "b", "c"))
    right = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]]).bool()
    no, yes = torch.zeros(4, 3).bool(), torch.ones(4, 3).bool()
    one, two, few = ("one", 8, False), ("two", 8, False), ("few", 8, False)
    both = ("ensemble", 8, False)
    success = {(cell, name): no for cell in (one, two, both) for name in "abc"}
    success[one, "a"] = yes  # fools b and c wherever they were right: 4 + 3 trials of 20
    success[both, "c"] = yes  # made on a and b: fools c, 3 trials of 10
    success |= {((few), name): yes[:2] for name in "abc"}
    found = table.Measured(success, right)
    successes, trials = table._trials(found, one)
    assert (int(successes.sum()), int(trials.sum())) == (7, 20)
    more, low, high = table._difference(found, one, two)
    assert more == pytest.approx(7 / 20)
    assert low < more < high
    assert table._difference(found, two, one)[0] == pytest.approx(-more)
    assert table._difference(found, one, one) == (0, 0, 0)
    # With fewer pictures of one attack only those count of the other: 7 - 3 of 10 trials.
    assert table._difference(found, few, one)[0] == pytest.approx(1 - 3 / 10)
    # Each reader's trial against the mean of the networks attacked alone: c fell to a, not to b.
    successes, trials = table._trials(found, both)
    assert (int(successes.sum()), int(trials.sum())) == (3, 10)
    assert table._difference(found, both, one)[0] == pytest.approx((3 - 7 / 2) / 10)


def test_a_stopped_run_goes_on(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = fs.load_model("digits-cnn")
    batch = next(fs.load_images("digits", channels=1).take(5).batches(5))
    targets = (batch.labels + 1) % 10
    data = table.Data(batch.images, batch.labels, targets, batch.images)
    attack = fs.attack("fgsm", eps=0.3)

    def measure(targeted: bool, limit: int | None, eps: float = 0.3) -> torch.Tensor:
        attack = fs.attack("fgsm", eps=eps)
        cell = ("FGSM", 8, targeted)
        found: torch.Tensor = table._attacked(
            cell, "cnn", model, attack, [model, model], data, limit
        )
        return found

    assert measure(False, 2).shape == (2, 2)
    capsys.readouterr()
    whole = measure(False, None)
    assert capsys.readouterr().out.count("FGSM-8") == 2  # 4 and 5 of 5: the first 2 were kept
    result = attack(model, batch.images, batch.labels, keep="last")
    assert torch.equal(whole, result.success[:, None].expand(5, 2))
    towards = attack(model, batch.images, targets, targeted=True, keep="last")
    assert torch.equal(measure(True, None)[:, 0], towards.success)
    capsys.readouterr()
    measure(False, None)
    assert not capsys.readouterr().out
    measure(False, None, eps=0.2)  # another attack is measured anew
    assert capsys.readouterr().out.count("FGSM-8") == 3
