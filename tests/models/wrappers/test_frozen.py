"""Holding a module still, and giving it back as it was."""

import threading

import pytest
import torch
from torch import nn

from fluoroscope.models.wrappers.frozen import frozen


def module() -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten())
    made.train()
    made[1].eval()
    made[0].bias.requires_grad_(False)
    return made


def flags(held: nn.Module) -> tuple[list[bool], list[bool]]:
    return [m.training for m in held.modules()], [p.requires_grad for p in held.parameters()]


def still(held: nn.Module) -> bool:
    training, trainable = flags(held)
    return not any(training) and not any(trainable)


def test_everything_is_still_inside_and_restored_outside() -> None:
    held = module()
    before = flags(held)
    with frozen(held):
        assert still(held)
    assert flags(held) == before
    assert any(before[0])
    assert not all(before[0])


def test_restored_after_an_error() -> None:
    held = module()
    before = flags(held)
    with pytest.raises(KeyError), frozen(held):
        raise KeyError
    assert flags(held) == before


def test_holds_nest() -> None:
    held = module()
    before = flags(held)
    with frozen(held):
        with frozen(held):
            pass
        assert still(held)
    assert flags(held) == before


def test_overlapping_holds_of_two_threads_end_with_the_last() -> None:
    held = module()
    before = flags(held)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with frozen(held):
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    assert inside.wait(10)
    with frozen(held):
        leave.set()
        other.join()
        assert still(held)
    assert flags(held) == before


def test_a_train_method_of_the_users_own_is_not_called() -> None:
    class Stubborn(nn.Linear):
        def train(self, mode: bool = True) -> "Stubborn":
            raise NotImplementedError("as torch.export's modules do")

    held = Stubborn(1, 1)
    with frozen(held):
        assert not held.training
    assert held.training


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_under_another_gradient_mode(context: type) -> None:
    held = module()
    before = flags(held)
    with context(), frozen(held):
        assert still(held)
    assert flags(held) == before
