"""The momentum method on ghosts: fresh ones, judged by the plain network."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fluoroscope as fs
from fluoroscope.engine.stream import Step
from fluoroscope.models.wrappers.ghost import Ghost

Reader = tuple[fs.Classifier, Tensor, Tensor]


def test_each_step_follows_the_gradient_of_that_steps_ghost(reader: Reader) -> None:
    model, images, classes = (part[:4] if isinstance(part, Tensor) else part for part in reader)
    seen: list[Step] = []
    attack = fs.attack("ghost-fgsm", eps=0.04, steps=5, ghosts=2, magnitude=0.05)
    attack(model, images, classes, keep="last", seed=3, on_step=seen.append)
    ghost = Ghost(model, magnitude=0.05, samples=2, seed=3)
    assert len(seen) == 6
    for step in seen[:-1]:
        pixels = step.images.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(ghost(pixels), classes, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixels)
        assert step.answer.gradient is not None
        torch.testing.assert_close(step.answer.gradient, gradient, rtol=1e-3, atol=1e-6)


def test_without_erosion_it_is_the_momentum_method(reader: Reader) -> None:
    model, images, classes = reader
    ours = fs.attack("ghost-fgsm", eps=0.08, steps=8, magnitude=0)
    theirs = fs.attack("mi-fgsm", eps=0.08, steps=8, step_size=0.0125)
    one, other = (each(model, images, classes, keep="last") for each in (ours, theirs))
    assert torch.equal(one.images, other.images)
    eroded = fs.attack("ghost-fgsm", eps=0.08, steps=8)(model, images, classes, keep="last")
    assert not torch.equal(eroded.images, one.images)


def test_the_plain_network_judges_and_all_ghosts_are_charged(reader: Reader) -> None:
    model, images, classes = reader
    wanted = (classes + 1) % 10
    seen: list[Step] = []
    attack = fs.attack("ghost-fgsm", eps=0.2, steps=6, ghosts=3, magnitude=0.02)
    result = attack(
        fs.prepare(model), images, wanted, targeted=True, keep="last", on_step=seen.append
    )
    assert torch.equal(result.success, model(result.images).argmax(1) == wanted)
    assert result.success.float().mean() > 0.5
    assert result.backwards.tolist() == [18] * len(images)
    assert not torch.allclose(seen[-1].answer.logits, model(result.images), atol=1e-3)


def test_a_picture_is_attacked_alike_whatever_its_neighbours(reader: Reader) -> None:
    model, images, classes = reader
    attack = fs.attack("ghost-fgsm", eps=0.1)
    options: dict[str, Any] = {"keep": "last", "batch_size": 8, "exact": True}
    everyone = attack(model, images, classes, **options)
    few = attack(model, images[5:7], classes[5:7], numbers=torch.tensor([5, 6]), **options)
    assert torch.equal(few.images, everyone.images[5:7])


def test_impossible_ghosts_are_refused() -> None:
    for options, said in (
        ({"ghosts": 0}, "ghosts is 0"), ({"magnitude": 1.5}, "magnitude is 1.5"),
        ({"erosion": "rust"}, "erosion is 'rust'"), ({"steps": 0}, "steps is 0"),
    ):  # fmt: skip
        with pytest.raises(fs.FluoroscopeError, match=said):
            fs.attack("ghost-fgsm", eps=0.1, **options)  # type: ignore[arg-type]
