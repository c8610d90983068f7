"""Going back through an approximation: values stay, gradients come from elsewhere."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.models.wrappers.bpda import BPDA
from fluoroscope.models.wrappers.randomised import EOT

IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
Reader = tuple[fs.Classifier, Tensor, Tensor]


def quantised(images: Tensor) -> Tensor:
    return (images * 4).round() / 4


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sign()


class Hard(nn.Module):
    """A layer without a gradient in the middle, and one that works in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.hard = nn.Conv2d(3, 5, 3), Sign()
        self.cut = nn.ReLU(inplace=True)
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(5 * 16, 4))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.cut(self.hard(self.first(x))))
        return logits


def network(module: nn.Module | None = None) -> fs.Classifier:
    return fs.Classifier(module or Hard(), input_size=6, mean=(0.4, 0.5, 0.6))


def gradient(model: fs.Classifier, images: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(pixels).square().sum(), pixels)
    return found


def test_a_quantised_input_hides_the_gradient_and_bpda_finds_it(reader: Reader) -> None:
    plain, images, classes = reader

    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(plain.module)

        def forward(self, x: Tensor) -> Tensor:
            return self.network(plain.preprocessing.normalize(quantised(x)))

    hidden = fs.Classifier(Quantised(), channels=1, input_size=28)
    attack = fs.attack("pgd", eps=0.3, steps=10)
    with pytest.warns(fs.FluoroscopeWarning, match="gradient of zero"):
        failed = attack(hidden, images, classes)
    found = attack(BPDA(plain, quantised), images, classes)
    assert not gradient(hidden, images).any()
    assert failed.success.float().mean() < 0.3
    assert found.success.float().mean() > 0.9
    assert torch.equal(hidden(found.images).argmax(1) != classes, found.success)


def test_values_are_the_transforms_and_gradients_the_approximations() -> None:
    model = network(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(80, 4)))
    rounded = quantised(IMAGES)
    assert torch.equal(BPDA(model, quantised)(IMAGES), model(rounded))
    torch.testing.assert_close(gradient(BPDA(model, quantised), IMAGES), gradient(model, rounded))
    halved = BPDA(model, quantised, lambda x: 0.5 * x)
    assert torch.equal(halved(IMAGES), model(rounded))
    torch.testing.assert_close(gradient(halved, IMAGES), gradient(model, rounded) / 2)


def test_a_transform_may_work_in_place_and_outside_of_torch() -> None:
    def outside(images: Tensor) -> Tensor:
        values = images.numpy()
        np.floor(values * 8, out=values)
        return torch.from_numpy(values / 8)

    before, model = IMAGES.clone(), network(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)))
    wrapped = BPDA(model, outside)
    assert torch.equal(wrapped(IMAGES), model((IMAGES * 8).floor() / 8))
    assert gradient(wrapped, IMAGES).any()
    assert torch.equal(IMAGES, before)


def test_a_hard_layer_is_gone_around_straight_or_through_a_soft_one() -> None:
    module = Hard()
    model = network(module)
    assert not gradient(model, IMAGES).any()
    for layer, slope in (
        (nn.Identity(), torch.ones_like), (torch.tanh, lambda z: 1 - z.tanh() ** 2)
    ):  # fmt: skip
        wrapped = BPDA(model, layers={"hard": layer})
        assert torch.equal(wrapped(IMAGES), model(IMAGES))
        pixels = model.preprocessing.normalize(IMAGES).requires_grad_()
        before = module.first(pixels)
        middle = before.detach().sign().requires_grad_()
        after = module.last(middle.relu())
        (back,) = torch.autograd.grad(after.square().sum(), middle)
        (expected,) = torch.autograd.grad(before, pixels, back * slope(before.detach()))
        torch.testing.assert_close(gradient(wrapped, IMAGES), expected)


def test_a_layer_that_works_in_place_sees_its_input_and_so_does_the_stand_in() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Threshold(0, 0, inplace=True), nn.Hardtanh(0, 0.1, inplace=True),
        nn.Flatten(), nn.Linear(80, 4),
    )  # fmt: skip
    model = network(module)
    wrapped = BPDA(model, layers={"1": nn.Identity(), "2": nn.Softplus()})
    # Of the values with gradients on, as the stand-ins run.
    assert torch.equal(wrapped(IMAGES.clone().requires_grad_()), model(IMAGES))
    seen: list[Tensor] = []
    wrapped = BPDA(model, layers={"1": lambda x: seen.append(x.detach().clone()) or x})
    gradient(wrapped, IMAGES)
    assert torch.equal(seen[0], module[0](model.preprocessing.normalize(IMAGES)))
    assert (seen[0] < 0).any()


def test_the_network_is_left_as_it_was_and_its_weights_are_shared() -> None:
    module = Hard().train()
    attributes = [sorted(vars(part)) for part in module.modules()]
    model = network(module)
    wrapped = BPDA(model, quantised, layers={"hard": nn.Identity()})
    gradient(wrapped, IMAGES)
    assert [sorted(vars(part)) for part in module.modules()] == attributes
    assert all(part.training for part in module.modules())
    assert all(w.requires_grad and w.grad is None for w in module.parameters())
    with torch.no_grad():
        module.last[1].weight.add_(1)
    torch.testing.assert_close(wrapped(IMAGES), model(quantised(IMAGES)))


def test_the_transform_belongs_to_what_judges() -> None:
    plain = network(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(80, 4)))
    assert (wrapped := BPDA(plain, quantised)).plain is wrapped
    judge = BPDA(fs.prepare(plain), quantised).plain
    assert isinstance(judge, BPDA)
    assert judge.model is plain
    assert torch.equal(judge(IMAGES), wrapped(IMAGES))
    assert judge.fingerprint() == wrapped.fingerprint() != plain.fingerprint()
    assert BPDA(plain, quantised, torch.sigmoid).fingerprint() != wrapped.fingerprint()


def test_a_random_transform_is_averaged_over_by_eot() -> None:
    def noisy(images: Tensor) -> Tensor:
        return quantised(images + 0.1 * torch.randn_like(images))

    model = network(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)))
    eot = EOT(BPDA(model, noisy), 20)
    assert torch.equal(eot(IMAGES), eot(IMAGES))
    assert (eot(IMAGES) - model(IMAGES)).norm() < (
        BPDA(model, noisy)(IMAGES) - model(IMAGES)
    ).norm()
    assert gradient(eot, IMAGES).any()


def test_it_moves_with_its_parts() -> None:
    torch.manual_seed(0)
    back = nn.Conv2d(3, 3, 1)
    wrapped = BPDA(network(), quantised, back, layers={"hard": nn.Softsign()})
    wide = wrapped.to(dtype=torch.float64)
    torch.testing.assert_close(
        gradient(wide, IMAGES.double()).float(), gradient(wrapped, IMAGES), rtol=1e-3, atol=1e-5
    )
    assert back.weight.dtype == torch.float32
    prepared = fs.prepare(wrapped)
    torch.testing.assert_close(gradient(prepared, IMAGES), gradient(wrapped, IMAGES))


def test_its_gradient_is_arts() -> None:
    """Their feature squeezing goes back through the identity, as their preprocessors do."""
    pytest.importorskip("art")
    from art.defences.preprocessor import FeatureSqueezing
    from art.estimators.classification import PyTorchClassifier

    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(80, 4))
    module, images = module.double(), IMAGES.double()  # to which their squeezing widens images
    squeezing = FeatureSqueezing(clip_values=(0, 1), bit_depth=3, apply_predict=True)
    theirs = PyTorchClassifier(
        module, nn.CrossEntropyLoss(reduction="sum"), (3, 6, 6), 4, clip_values=(0, 1),
        preprocessing_defences=squeezing, device_type="cpu",
    )  # fmt: skip
    classes = torch.tensor([0, 1, 2, 3])
    expected = theirs.loss_gradient(images.numpy(), np.eye(4)[classes.numpy()])
    ours = BPDA(fs.Classifier(module), lambda x: torch.from_numpy(squeezing(x.numpy())[0]))
    pixels = images.clone().requires_grad_()
    loss = nn.functional.cross_entropy(ours(pixels), classes, reduction="sum")
    (found,) = torch.autograd.grad(loss, pixels)
    torch.testing.assert_close(found, torch.from_numpy(expected).double())


def test_what_does_not_fit_is_said() -> None:
    model = network()
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((), {}, "neither a transform nor layers"),
        ((3,), {}, "transform is a int"),
        ((quantised, 3), {}, "backward is a int"),
        ((None, quantised), {}, "backward was given without a transform"),
        ((), {"layers": {"hard": None}}, r"layers\['hard'\] is a NoneType"),
        ((), {"layers": {"hart": nn.Identity()}}, "did you mean hard"),
        ((), {"layers": {"x": nn.Identity()}}, "expected one of first, hard, cut, last, last.0"),
    ]
    for args, named, said in cases:
        with pytest.raises(InvalidParameterError, match=said):
            BPDA(model, *args, **named)
    with pytest.raises(ModelFormatError, match="network is a str; expected a"):
        BPDA("hard", quantised)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="was prepared"):
        BPDA(fs.prepare(model), layers={"hard": nn.Identity()})
    with pytest.raises(InvalidParameterError, match=r"transform returned the shape \(4, 3, 3, 3\)"):
        gradient(BPDA(model, lambda x: x[:, :, ::2, ::2]), IMAGES)
    with pytest.raises(InvalidParameterError, match="the layer 'hard' returned the shape"):
        gradient(BPDA(model, layers={"hard": nn.Flatten()}), IMAGES)
    with pytest.raises(InvalidParameterError, match="returned a tuple; expected one tensor"):
        gradient(BPDA(model, layers={"hard": lambda x: (x, x)}), IMAGES)  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def reader() -> Reader:
    from fluoroscope.data.digits import digits

    model = fs.load_model("digits-cnn")
    images, classes = (part[:20] for part in digits())
    right = model(images).argmax(1) == classes
    return model, images[right], classes[right]
