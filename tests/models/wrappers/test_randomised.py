"""Networks that are random: asked twice, and answered for by a mean."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelFormatError, ModelOutputError
from fluoroscope.models.wrappers.ensemble import Average
from fluoroscope.models.wrappers.randomised import EOT, is_random

IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    """A linear reader behind randomness of the kind the test names."""

    def __init__(self, kind: str = "torch") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.head = kind, nn.Linear(3 * 36, 4)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        match self.kind:
            case "torch":
                x = x + 0.3 * torch.randn_like(x)
            case "dropout":
                x = F.dropout(x, 0.5, training=True)
            case "numpy":
                x = x * np.random.uniform(0.5, 1.5)
            case "python":
                x = x * random.uniform(0.5, 1.5)
        logits: Tensor = self.head(x.flatten(1))
        self.seen.append(logits.detach())
        return logits


def noisy(kind: str = "torch") -> fs.Classifier:
    return fs.Classifier(Noisy(kind), input_size=6)


def states() -> list[object]:
    return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]


@pytest.mark.parametrize("kind", ["torch", "dropout", "numpy", "python"])
def test_a_random_network_is_found_out(kind: str) -> None:
    chancy, fixed = noisy(kind), noisy("none")
    before = states()
    assert is_random(chancy, IMAGES)
    assert not is_random(EOT(chancy, 2), IMAGES)
    assert not is_random(fixed, IMAGES)
    assert states() == before


def test_float_noise_is_no_chance() -> None:
    class Trembling(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1e-7 * torch.randn(())

    assert not is_random(fs.Classifier(Trembling("none"), input_size=6), IMAGES)


@pytest.mark.parametrize("kind", ["torch", "dropout", "numpy", "python"])
def test_draws_follow_from_seed_and_images_alone(kind: str) -> None:
    model = noisy(kind)
    eot = EOT(model, 5)
    before = states()
    first = eot(IMAGES)
    assert states() == before
    torch.manual_seed(7)
    random.random()
    eot(IMAGES[:2])
    assert torch.equal(eot(IMAGES), first)
    assert torch.equal(EOT(noisy(kind), 5)(IMAGES), first)
    assert not torch.equal(EOT(model, 5, seed=1)(IMAGES), first)


def test_each_sample_is_another_draw_and_so_is_each_step() -> None:
    model = noisy()
    assert isinstance(model.module, Noisy)
    eot = EOT(model, 6)
    eot(IMAGES)
    eot(IMAGES + 1e-6)
    draws = torch.stack(model.module.seen)
    assert len(draws) == 12
    assert torch.cdist(draws[:, 0], draws[:, 0]).fill_diagonal_(1).amin() > 1e-3
    assert eot.passes == 6


@pytest.mark.parametrize("average", ["logits", "probabilities", "loss"])
def test_the_mean_is_of_the_draws(average: Average) -> None:
    model = noisy()
    assert isinstance(model.module, Noisy)
    answer = EOT(model, 7, average=average)(IMAGES)
    draws = torch.stack(model.module.seen).double()
    expected = {
        "logits": draws.mean(0),
        "probabilities": draws.softmax(2).mean(0).log(),
        "loss": draws.log_softmax(2).mean(0),
    }[average]
    assert torch.allclose(answer.double(), expected, atol=1e-5)


def test_many_samples_come_to_the_expectation() -> None:
    model = noisy()
    assert isinstance(model.module, Noisy)
    plain = model.module.head(IMAGES.flatten(1))  # the noise has mean 0, the reader is linear
    spread = 0.3 * model.module.head.weight.norm(dim=1)
    for samples in (10, 1000):
        away = (EOT(model, samples)(IMAGES) - plain) / spread * samples**0.5
        assert 0.5 < away.square().mean().sqrt() < 1.6  # shrinks as 1 / √samples


def test_a_transformation_in_front_of_a_plain_network() -> None:
    model = fs.Classifier(Noisy("none"), input_size=6, mean=(0.2,) * 3)
    factors: list[float] = []

    def darken(images: Tensor) -> Tensor:
        factors.append(float(torch.rand(())))
        return images * factors[-1]

    eot = EOT(model, 4, transform=darken)
    pixels = IMAGES.clone().requires_grad_()
    answer = eot(pixels)
    assert len(set(factors)) == 4
    assert torch.allclose(answer, model(IMAGES * float(np.mean(factors))), atol=1e-5)
    (gradient,) = torch.autograd.grad(answer[:, 1].sum(), pixels)
    again = IMAGES.clone().requires_grad_()
    (plain,) = torch.autograd.grad(model(again)[:, 1].sum(), again)
    assert torch.allclose(gradient, plain * float(np.mean(factors)), atol=1e-6)


def test_a_transformation_that_changes_the_size_is_seen_whole() -> None:
    model = fs.Classifier(Noisy("none"), input_size=6, resize=8)
    eot = EOT(model, 1, transform=lambda images: F.pad(images, (1, 1, 1, 1)))
    small = F.interpolate(F.pad(IMAGES, (1, 1, 1, 1)), (6, 6), mode="bilinear", antialias=True)
    assert torch.allclose(eot(IMAGES), model(small), atol=1e-5)
    assert eot(torch.rand(1, 3, 20, 20)).shape == (1, 4)


def test_the_network_is_left_as_it_was() -> None:
    model = noisy("dropout")
    model.module.train()
    eot = EOT(model, 3)
    pixels = IMAGES.clone().requires_grad_()
    eot(pixels).sum().backward()
    assert pixels.grad is not None
    assert model.module.training
    assert all(w.requires_grad and w.grad is None for w in model.module.parameters())


def test_a_copy_in_double_precision_and_the_fingerprint() -> None:
    model = noisy("numpy")
    eot = EOT(model, 3, transform=nn.Identity())
    twin = eot.to(dtype=torch.float64)
    assert (twin.dtype, eot.dtype, model.dtype) == (torch.float64, torch.float32, torch.float32)
    assert twin(IMAGES.double()).dtype == torch.float64
    others = [
        eot,
        twin,
        EOT(model, 3),
        EOT(model, 4),
        EOT(model, 3, seed=1),
        EOT(model, 3, average="loss"),
        EOT(model, 3, transform=F.relu),
        EOT(noisy("numpy").restated(mean=(0.5,) * 3), 3),
    ]
    assert len({one.fingerprint() for one in others}) == 8
    assert EOT(noisy("numpy"), 3).fingerprint() == EOT(model, 3).fingerprint()


def test_chance_is_put_back_after_a_failure() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            _ = torch.rand(3), np.random.rand(3), random.random()
            raise RuntimeError("no answer")

    before = states()
    with pytest.raises(ModelOutputError, match="RuntimeError: no answer"):
        EOT(fs.Classifier(Failing(), input_size=6))(IMAGES)
    assert states() == before


def test_wrong_use() -> None:
    for samples in (0, -1, 2.5):
        with pytest.raises(InvalidParameterError, match=rf"samples is {samples}; expected a whole"):
            EOT(noisy(), samples)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="average is 'mode'"):
        EOT(noisy(), average="mode")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="transform is a str; expected a function"):
        EOT(noisy(), transform="rotate")  # type: ignore[arg-type]
    with pytest.raises(ModelFormatError, match=r"network is a str; expected a"):
        EOT("noisy")  # type: ignore[arg-type]
