"""What a network may return beside logits, and what it says when it fails."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelOutputError, NoGradientError

IMAGES = torch.linspace(0, 1, 72).sin().abs().view(2, 1, 6, 6)


class Net(nn.Module):
    """A small network whose answer, or whose input, is changed as the test says."""

    def __init__(
        self,
        after: Callable[[Tensor], Any] = lambda logits: logits,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        classes: int = 3,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, classes))
        self.after, self.before = after, before

    def forward(self, images: Tensor) -> Any:
        return self.after(self.inner(self.before(images)))


def classifier(module: nn.Module, **stated: Any) -> fs.Classifier:
    return fs.Classifier(module, channels=1, input_size=6, **stated)


def test_one_number_is_refused_unless_its_sign_is_said_to_tell_two_classes() -> None:
    module = Net(classes=1)
    with pytest.raises(ModelOutputError, match=r"one number for each image.*outputs='logit'"):
        fs.predict(classifier(module), IMAGES)
    model = classifier(module, outputs="logit", labels=["no", "yes"])
    number = module(IMAGES)[:, 0].detach()
    said = fs.predict(model, IMAGES)
    assert torch.allclose(said.probabilities[:, 1], number.sigmoid())
    assert torch.equal(said.winners, (number > 0).long())
    assert model.num_classes == 2
    away = 1 - int(said.winners[0])
    assert fs.morph(model, IMAGES[0], to=away, eps=1.0, steps=20).reached
    with pytest.raises(ModelOutputError, match="returned 3 numbers for each image"):
        classifier(Net(), outputs="logit")(IMAGES)


@pytest.mark.parametrize("pack", [lambda z: z, lambda z: z[:, 0], lambda z: z[..., None, None]])
def test_one_logit_of_any_shape(pack: Callable[[Tensor], Tensor]) -> None:
    model = classifier(Net(pack, classes=1), outputs="logit")
    assert torch.equal(model(IMAGES), classifier(Net(classes=1), outputs="logit")(IMAGES))


def test_dimensions_of_one_do_not_count() -> None:
    expected = classifier(Net())(IMAGES)
    assert torch.equal(classifier(Net(lambda z: z[..., None, None]))(IMAGES), expected)
    assert torch.allclose(classifier(Net(torch.squeeze))(IMAGES[:1]), expected[:1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_probabilities_are_shown_as_they_are(dtype: torch.dtype) -> None:
    def sure(logits: Tensor) -> Tensor:
        return (300 * logits).softmax(1)

    module = Net(sure).to(dtype)
    expected = module(IMAGES.to(dtype)).float()
    model = classifier(module, outputs="probabilities")
    assert torch.allclose(fs.predict(model, IMAGES).probabilities, expected, atol=1e-3)
    assert fs.input_gradient(model, IMAGES, 0).isfinite().all()
    shares = classifier(Net(lambda z: z.log_softmax(1)), outputs="log-probabilities")
    assert torch.allclose(shares(IMAGES).softmax(1), classifier(Net())(IMAGES).softmax(1))
    one = classifier(Net(torch.sigmoid, classes=1), outputs="probabilities")
    two = classifier(Net(classes=1), outputs="logit")
    assert torch.allclose(one(IMAGES).softmax(1), two(IMAGES).softmax(1), atol=1e-6)
    log = classifier(Net(nn.LogSigmoid(), classes=1), outputs="log-probabilities")
    assert torch.allclose(log(IMAGES).softmax(1), two(IMAGES).softmax(1), atol=1e-6)


def test_logits_that_are_said_to_be_probabilities_are_refused() -> None:
    for outputs in ("probabilities", "log-probabilities"):
        with pytest.raises(ModelOutputError, match=rf"taken as the {outputs} that were stated"):
            classifier(Net(lambda z: z + 5), outputs=outputs)(IMAGES)
    with pytest.raises(InvalidParameterError, match="outputs is 'softmax'; expected 'logits'"):
        classifier(Net(), outputs="softmax")


def test_outputs_are_stated_anew_and_count_for_the_fingerprint() -> None:
    model = classifier(Net(classes=1))
    stated = model.restated(outputs="logit", labels=["no", "yes"])
    assert (model.outputs, stated.outputs, stated.labels) == ("logits", "logit", ("no", "yes"))
    assert fs.load_model(model, outputs="logit").fingerprint() == stated.fingerprint()
    assert model.fingerprint() != stated.fingerprint()
    assert torch.allclose(fs.prepare(stated)(IMAGES), stated(IMAGES), atol=1e-5)
    assert stated.to(dtype=torch.float64)(IMAGES.double()).shape == (2, 2)
    with pytest.raises(InvalidParameterError, match="expected it to be stated where these are"):
        fs.EOT(stated, 2).restated(outputs="probabilities")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_stay_wide_whatever_the_network_computes_in(dtype: torch.dtype) -> None:
    model = classifier(Net().to(dtype), mean=[0.5], std=[0.3])
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (model.dtype, model.precision) == (wide, dtype)
    assert fs.describe_model(model)["precision"] == str(dtype).removeprefix("torch.")
    pixels = IMAGES.clone().to(wide).requires_grad_()
    logits = model(pixels)
    logits.sum().backward()
    assert pixels.grad is not None
    assert (logits.dtype, pixels.grad.dtype) == (wide, wide)
    expected = classifier(Net(), mean=[0.5], std=[0.3])(IMAGES).to(wide)
    assert torch.allclose(logits, expected, atol=0.05)
    for around in (fs.EOT(model, 2), fs.Ensemble([model, model]), fs.prepare(model)):
        assert torch.allclose(around(pixels), logits, atol=0.05)
    result = fs.attack("pgd", eps=8 / 255, steps=3)(model, IMAGES, 0, keep="best")
    assert (result.images - IMAGES).abs().max() <= 8 / 255 + 1e-6
    assert fs.check_gradient(model, IMAGES, 0, pixels=3, precision="float32").codes.shape == (2, 3)


def broken(images: Tensor) -> Tensor:
    return images[:, :, :4]


def test_what_the_network_raises_names_the_layer_and_the_shape() -> None:
    model = classifier(Net(before=broken))
    with pytest.raises(ModelOutputError) as raised:
        fs.predict(model, IMAGES)
    said = str(raised.value)
    assert "\n" not in said
    for part in ("Net raised RuntimeError: mat1", "'inner.2' (Linear, given (2, 16))", "(2, 1, 6"):
        assert part in said
    with pytest.raises(ModelOutputError, match="Net raised KeyError: 'x' when it was given images"):
        fs.predict(classifier(Net(lambda _: {}["x"])), IMAGES)


@pytest.mark.parametrize("problem", [KeyboardInterrupt, MemoryError, torch.OutOfMemoryError])
def test_what_is_no_fault_of_the_network_passes(problem: type[BaseException]) -> None:
    def fail(_: Tensor) -> Tensor:
        raise problem("not enough")

    with pytest.raises(problem):
        classifier(Net(fail))(IMAGES)


def test_a_network_that_leaves_pytorch_has_no_gradient() -> None:
    module = Net(before=lambda images: torch.from_numpy(images.numpy()))
    assert fs.predict(classifier(module), IMAGES).logits.shape == (2, 3)
    with pytest.raises(NoGradientError, match="goes through NumPy"):
        fs.input_gradient(classifier(module), IMAGES, 0)
    checkpoint = torch.utils.checkpoint.checkpoint
    module = Net(before=lambda x: checkpoint(nn.Identity(), x, use_reentrant=True))
    with pytest.raises(NoGradientError, match="a checkpoint needs use_reentrant=False"):
        fs.input_gradient(classifier(module), IMAGES, 0)


TOKENS = torch.zeros(4, 1, 6, 6)


@pytest.mark.parametrize(
    ("before", "size"),
    [
        (lambda images: images.view(8, 1, 6, 6), 8),
        (lambda images: images + TOKENS, 4),
        (lambda images: images if len(images) == 16 else 1 / 0, 16),
        (lambda images: images.view(1, 1, 6, 6), 1),
    ],
)
def test_a_fixed_batch_size_is_found_and_used(
    before: Callable[[Tensor], Tensor], size: int
) -> None:
    seen: list[int] = []

    def noting(images: Tensor) -> Tensor:
        seen.append(len(images))
        return before(images)

    model = classifier(Net(before=noting))
    images = torch.rand(11, 1, 6, 6)
    expected = classifier(Net())(images)
    assert torch.allclose(model(images), expected, atol=1e-6)
    assert f"takes {size} image{'' if size == 1 else 's'} at a time" in model.notes[0]
    seen.clear()
    assert torch.allclose(model(images), expected, atol=1e-6)
    assert seen == [size] * -(-11 // size)
    assert torch.allclose(copy.copy(model).to("cpu")(images[:3]), expected[:3], atol=1e-6)
    pixels = images.clone().requires_grad_()
    model(pixels).sum().backward()
    assert pixels.grad is not None
    assert model.num_classes == 3


def test_each_class_of_one_logit_has_a_gradient() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    model = fs.Classifier(network, channels=1, input_size=2, outputs="logit")
    image = torch.rand(1, 1, 2, 2)
    logit, logits = network(image)[:, 0], fs.predict(model, image).logits
    torch.testing.assert_close(logits.softmax(1)[:, 1], logit.detach().sigmoid())
    against, towards = (fs.input_gradient(model, image, [c]) for c in (0, 1))
    torch.testing.assert_close(towards, -against)
    torch.testing.assert_close(towards.flatten() * 2, network[1].weight.detach().flatten())


def test_one_logit_has_two_names() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    with pytest.raises(fs.FluoroscopeError, match=r"holds 1 name.*expected two"):
        fs.Classifier(network, channels=1, input_size=2, outputs="logit", labels=["gran"])
