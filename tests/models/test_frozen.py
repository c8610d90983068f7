"""Holding a module still, and giving it back as it was."""

import sys
import threading
from types import FrameType

import pytest
import torch
from torch import nn

from fluoroscope.models import frozen as frozen_module
from fluoroscope.models.frozen import frozen


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


def test_holds_of_networks_that_share_parts() -> None:
    held = module()
    before = flags(held)
    around = nn.Sequential(nn.Identity(), held)
    for first, second in ((frozen(held), frozen(around)), (frozen(around), frozen(held))):
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert still(held)
        second.__exit__(None, None, None)
        assert flags(held) == before
        assert around.training


class Writing(nn.Module):
    """Writes its buffers in every way there is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("variance", torch.ones(1))
        self.register_buffer("last", torch.zeros(2))
        self.register_buffer("data", torch.zeros(2))
        self.register_buffer("none", None)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        nn.functional.batch_norm(images, self.mean, self.variance, training=True)
        self.last = self.last + 1
        self.data.data.add_(1)
        return images


def test_what_a_network_writes_into_its_buffers_is_undone_by_the_last_hold() -> None:
    held = Writing()
    buffers = dict(held.named_buffers())
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    around = nn.Sequential(held)
    outer, inner = frozen(held), frozen(around)
    outer.__enter__()
    held(torch.rand(2, 1, 3, 3))
    inner.__enter__()
    around(torch.rand(2, 1, 3, 3))
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert all(held._buffers[name] is buffer for name, buffer in buffers.items())
    assert all(torch.equal(buffer, before[name]) for name, buffer in buffers.items())


def test_a_graph_that_saved_a_buffer_can_be_gone_back_through() -> None:
    held = nn.BatchNorm2d(1).eval()
    images = torch.rand(2, 1, 3, 3, requires_grad=True)
    with frozen(held):
        answer = held(images).square().sum()
    with frozen(held):
        held(images)
    answer.backward()
    assert images.grad is not None


def test_a_module_without_a_mode() -> None:
    scripted = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3)).eval()))
    with frozen(scripted):
        scripted(torch.rand(1, 1, 4, 4))


def interrupted_after(calls: int, held: nn.Module) -> bool:
    """Whether an interrupt came then: Python lets one in where a call begins and where one ends."""
    left = calls

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if frame.f_code.co_filename == frozen.__code__.co_filename:
            left -= event in ("call", "c_return")
            if left == 0:
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        with frozen(held):
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_an_interrupt_at_any_moment_leaves_it_as_it_was() -> None:
    held = module()
    before = flags(held)
    calls = 1
    while interrupted_after(calls, held):
        assert flags(held) == before, calls
        assert not frozen_module._networks, calls
        assert not frozen_module._saved, calls
        calls += 1
    assert calls > 100


def test_a_hold_that_was_forgotten_is_ended() -> None:
    held = module()
    before = flags(held)
    hold = frozen(held)
    hold.__enter__()
    assert still(held)
    with frozen_module._lock:  # so that the next hold has to do it
        del hold
    assert still(held)
    with frozen(nn.Flatten()):
        assert flags(held) == before
    hold = frozen(held)
    hold.__enter__()
    del hold
    assert flags(held) == before
