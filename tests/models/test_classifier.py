"""The network under study: what goes in, what comes out, and what stays as it was."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ModelFormatError,
    ModelOutputError,
    UnknownLabelError,
)
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.models.classifier import as_classifier


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.LazyLinear(5),
    )


@pytest.fixture
def module() -> nn.Module:
    made = network().eval()
    made(torch.zeros(1, 3, 8, 8))  # the lazy layer finds its size
    return made.train()


class Returning(nn.Module):
    """A network of one linear layer whose answer is packed as the test says."""

    def __init__(self, pack: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.pack = pack

    def forward(self, images: Tensor) -> Any:
        return self.pack(self.linear(images.mean((2, 3))))


def test_preprocessing_is_inside(module: nn.Module) -> None:
    images = torch.rand(2, 3, 8, 8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    model = fs.Classifier(module, mean=mean, std=std, channel_order="bgr", input_size=8)
    inputs = images[:, [2, 1, 0]]
    inputs = (inputs - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    expected = copy.deepcopy(module).eval()(inputs)
    assert torch.allclose(model(images), expected, atol=1e-6)
    assert model(torch.rand(1, 3, 20, 30)).shape == (1, 5)  # resized to 8×8


def test_answers_are_those_of_evaluation_mode_and_repeat(module: nn.Module) -> None:
    images = torch.rand(4, 3, 8, 8)
    model = fs.Classifier(module)
    answer = model(images)
    assert torch.equal(answer, model(images))
    assert torch.allclose(answer[:1], model(images[:1]), atol=1e-6)


def state(module: nn.Module) -> dict[str, Any]:
    return {
        "training": [part.training for part in module.modules()],
        "requires_grad": [weight.requires_grad for weight in module.parameters()],
        "grad": [weight.grad for weight in module.parameters()],
        "hooks": [len(part._forward_hooks) for part in module.modules()],
        "values": {name: value.clone() for name, value in module.state_dict().items()},
    }


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_left_as_it_was(module: nn.Module, training: bool) -> None:
    module.train(training)
    module[0].bias.requires_grad_(False)
    module[1].eval()
    before = state(module)
    model = fs.Classifier(module, input_size=8)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    model(images).sum().backward()
    _ = (model.labels, model.num_classes, model.device, model.fingerprint(), model.to("cpu"))
    assert images.grad is not None
    after = state(module)
    values = before.pop("values"), after.pop("values")
    assert before == after
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])


def test_restored_when_the_network_fails() -> None:
    module = Returning(lambda _: 1 / 0).train()
    with pytest.raises(ModelOutputError, match="ZeroDivisionError: division by zero"):
        fs.Classifier(module)(torch.rand(1, 3, 8, 8))
    assert module.training


def test_a_first_layer_that_works_in_place_leaves_the_images_alone() -> None:
    module = nn.Sequential(nn.Threshold(0.5, 9.0, inplace=True), Returning(lambda logits: logits))
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()
    model = fs.Classifier(module)
    model(images)
    assert torch.equal(images, before)
    leaf = images.clone().requires_grad_()
    model(leaf).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf, before)


def _doubled(_: nn.Module, given: tuple[Tensor, ...]) -> None:
    given[0].mul_(2)


def test_what_works_in_place_before_a_first_convolution_leaves_the_images_alone() -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 4)), nn.Flatten())
    images = torch.rand(2, 3, 4, 4)
    before, model = images.clone(), fs.Classifier(module)
    plain = model(images)
    for part in (module, module[0], module[0][0]):
        hook = part.register_forward_pre_hook(_doubled)
        assert not torch.equal(model(images), plain)
        hook.remove()
        assert torch.equal(images, before)
    assert torch.equal(model(images), plain)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_under_another_gradient_mode(module: nn.Module, context: Callable[[], Any]) -> None:
    images = torch.rand(2, 3, 8, 8)
    model = fs.Classifier(module)
    expected = model(images)
    with context():
        assert torch.equal(model(images), expected)
    assert model(images.requires_grad_()).requires_grad
    assert module.training


def test_many_threads_at_once(module: nn.Module) -> None:
    images = torch.rand(2, 3, 8, 8)
    model = fs.Classifier(module)
    expected = model(images)
    answers: list[Tensor] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(model(images) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert all(torch.allclose(answer, expected, atol=1e-6) for answer in answers)
    assert all(part.training for part in module.modules())
    assert all(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize(
    "pack",
    [
        lambda logits: logits,
        lambda logits: {"logits": logits, "features": 0},
        lambda logits: OrderedDict(logits=logits),
        lambda logits: SimpleNamespace(logits=logits),
    ],
)
def test_logits_are_found(pack: Callable[[Tensor], Any]) -> None:
    module = Returning(pack)
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(fs.Classifier(module)(images), module.linear(images.mean((2, 3))))


def test_the_output_of_transformers_is_understood() -> None:
    output = pytest.importorskip("transformers.modeling_outputs")
    module = Returning(lambda logits: output.ImageClassifierOutput(logits=logits))
    assert fs.Classifier(module)(torch.rand(2, 3, 4, 4)).shape == (2, 2)


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (lambda logits: (logits, 0), "returned a tuple; expected a tensor of logits"),
        (lambda logits: {"scores": logits}, r"returned a dict with keys \['scores'\]"),
        (lambda logits: None, "returned a NoneType"),
        (lambda logits: logits[:1], r"shape \(1, 2\) for 2 image"),
        (lambda logits: logits[:, 0], r"shape \(2,\)"),
        (lambda logits: logits.argmax(1, keepdim=True), "int64"),
    ],
)
def test_other_answers_are_refused_in_one_line(pack: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ModelOutputError, match=message) as raised:
        fs.Classifier(Returning(pack))(torch.rand(2, 3, 4, 4))
    assert "\n" not in str(raised.value)
    assert "wrap the module" in str(raised.value)


def test_another_number_of_labels_is_refused(module: nn.Module) -> None:
    model = fs.Classifier(module, labels=["a", "b"])
    with pytest.raises(ModelOutputError, match="returned 5 classes but has 2 labels"):
        model(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 8, 8), r"expects \(N, 3, H, W\)"),
        (torch.rand(1, 1, 8, 8), r"expects \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8 on cpu"),
        (torch.rand(1, 3, 8, 8).double(), "expects torch.float32 on cpu"),
        ([[0.5]], "images are a list"),
    ],
)
def test_what_is_no_batch_for_the_network(module: nn.Module, images: Any, message: str) -> None:
    with pytest.raises(InvalidImagesError, match=message):
        fs.Classifier(module)(images)


def test_labels_are_indices_where_nobody_named_the_classes(module: nn.Module) -> None:
    model = fs.Classifier(module, input_size=8)
    assert model.num_classes == 5
    assert model.labels == ("0", "1", "2", "3", "4")
    assert model.find_class("3") == 3
    with pytest.raises(UnknownLabelError):
        model.find_class(5)


def test_labels_save_asking_the_network() -> None:
    model = fs.Classifier(Returning(lambda _: 1 / 0), labels=["a", "b"])
    assert model.num_classes == 2


@pytest.mark.parametrize("problem", [RuntimeError, ValueError, AssertionError])
def test_a_network_that_refuses_the_guessed_size(problem: type[Exception]) -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise problem("not 32 by 32")

    with pytest.raises(ModelOutputError, match="pass the right input_size= and channels="):
        _ = fs.Classifier(Fixed()).num_classes


def test_a_network_without_weights() -> None:
    class Mean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    model = fs.Classifier(Mean())
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    for dtype in (torch.float32, torch.float64):
        assert model(torch.rand(1, 3, 4, 4, dtype=dtype)).dtype == dtype


def test_a_copy_in_double_precision(module: nn.Module) -> None:
    model = fs.Classifier(module, mean=(0.485,) * 3)
    twin = model.to(dtype=torch.float64)
    images = torch.rand(1, 3, 8, 8)
    assert twin(images.double()).dtype == torch.float64
    assert torch.allclose(twin(images.double()).float(), model(images), atol=1e-5)
    assert model.dtype == torch.float32


def test_restated_shares_the_module(module: nn.Module) -> None:
    model = fs.Classifier(module, labels=list("abcde"))
    twin = model.restated(labels=list("vwxyz"), mean=(0.5,) * 3)
    assert twin.module is model.module
    assert twin.labels == tuple("vwxyz")
    assert twin.preprocessing.mean == (0.5,) * 3
    assert (model.labels, model.preprocessing.mean) == (tuple("abcde"), None)
    with pytest.raises(InvalidParameterError, match=r"labels holds 2 names; .* has 5 classes"):
        model.restated(labels=["a", "b"])


def test_the_fingerprint_is_of_the_content(module: nn.Module) -> None:
    model = fs.Classifier(module, mean=(0.5,) * 3)
    prints = {model.fingerprint()}
    assert len(model.fingerprint()) == 64
    assert fs.Classifier(copy.deepcopy(module), mean=[0.5] * 3, name="x").fingerprint() in prints
    assert model.restated(labels=list("abcde")).fingerprint() in prints
    prints.add(model.restated(mean=(0.4,) * 3).fingerprint())
    prints.add(model.to(dtype=torch.float64).fingerprint())
    prints.add(model.to(dtype=torch.bfloat16).fingerprint())
    with torch.no_grad():
        module[1].running_mean[0] += 1
    prints.add(model.fingerprint())
    assert len(prints) == 5


def test_a_plain_module_is_wrapped_and_looked_at_once(module: nn.Module) -> None:
    model = fs.Classifier(module)
    assert as_classifier(model) is model
    look = SimpleNamespace(notes=("one",))
    first = as_classifier(module)
    first.look = look
    assert as_classifier(module).look is look
    assert (first.restated(labels=list("abcde")).look, first.to("cpu").look) == (None, None)
    assert as_classifier(network()).look is None
    with pytest.raises(ModelFormatError, match=r"is a str; expected a fluoroscope\.Classifier"):
        as_classifier("digits-cnn")


def test_only_modules_are_wrapped() -> None:
    with pytest.raises(ModelFormatError, match=r"expected a torch\.nn\.Module"):
        fs.Classifier(lambda images: images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_images_on_another_device_are_refused(module: nn.Module) -> None:
    model = fs.Classifier(module).to("cuda")
    with pytest.raises(InvalidImagesError, match=r"expects torch\.float32 on cuda:0"):
        model(torch.rand(1, 3, 8, 8))
    assert model(torch.rand(1, 3, 8, 8).to(model.device)).device == model.device


GREY = {
    "flat": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 5)),
    "convolution": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(1352, 5)),
}


@pytest.mark.parametrize("kind", GREY)
def test_channels_and_size_are_read_from_the_first_layer(kind: str) -> None:
    model = fs.Classifier(GREY[kind]())
    assert model.channels == 1
    assert model.input_size == ((28, 28) if kind == "flat" else None)
    assert model.num_classes == 5
    assert "first layer" in model.preprocessing.stated_by


def test_what_the_first_layer_does_not_tell_is_not_guessed() -> None:
    def seen(module: nn.Module, **stated: Any) -> tuple[int, tuple[int, int] | None]:
        model = fs.Classifier(module, **stated)
        return model.channels, model.input_size

    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 2))
    assert seen(pooled) == (3, None)  # takes every size
    assert seen(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))) == (3, (32, 32))
    assert seen(nn.Sequential(nn.Flatten(), nn.Linear(13 * 64, 2)), channels=13) == (13, (8, 8))
    assert seen(nn.Conv2d(13, 2, 3)) == (13, None)
    assert seen(nn.Conv2d(8, 4, 3, groups=4)) == (8, None)
    assert seen(nn.ModuleList([nn.Conv2d(64, 8, 3), nn.Conv2d(4, 64, 3)])) == (4, None)
    assert seen(nn.Conv2d(1, 2, 3), channels=3, input_size=9) == (3, (9, 9))
    assert seen(nn.Identity(), mean=[0.5]) == (1, None)
    assert seen(nn.Identity()) == (3, None)


QUICK = Plan("quick", (Stage("fgsm", fs.attack("fgsm", eps=0.1)),))
MODULES: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "attack": lambda net, x: fs.attack("fgsm", eps=0.1)(net, x, 0),
    "chain": lambda net, x: (fs.attack("fgsm", eps=0.1) | fs.attack("pgd", eps=0.1))(net, x, 0),
    "fgsm": lambda net, x: fs.fgsm(net, x, 0, 0.1),
    "predict": lambda net, x: fs.predict(net, x),
    "morph": lambda net, x: fs.morph(net, x[0], to=1, steps=2),
    "evaluate": lambda net, x: fs.evaluate(
        net, x, fs.predict(net, x).winners, threat="linf:0.1", plan=QUICK, at_chance=True
    ),
    "corruption": lambda net, x: fs.corruption_accuracy(net, x, fs.predict(net, x).winners),
    "input_gradient": lambda net, x: fs.input_gradient(net, x, 0),
    "check_gradient": lambda net, x: fs.check_gradient(net, x, 0, pixels=2),
    "difference": lambda net, x: fs.finite_difference_gradient(net, x, 0, pixels=torch.tensor([1])),
    "class_map": lambda net, x: fs.class_map(
        net, x, fs.predict(net, x).winners, pictures=1, targets=1
    ),
    "transfer": lambda net, x: fs.transfer_matrix(
        [net, net], x, fs.attack("fgsm", eps=0.1), fs.predict(net, x).winners, at_chance=True
    ),
    "wrappers": lambda net, x: [
        kind(net)(x) for kind in (fs.EOT, fs.DiverseInput, fs.Ghost, fs.TranslationInvariant)
    ],
    "ensemble": lambda net, x: fs.Ensemble([net, net])(x),
    "prepare": lambda net, x: fs.prepare(net)(x),
    "is_random": lambda net, x: fs.is_random(net, x),
}


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
@pytest.mark.parametrize("name", MODULES)
def test_plain_modules_are_taken_wherever_a_classifier_is(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    before = state(net)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    MODULES[name](net, images)
    after = state(net)
    assert all(torch.equal(after["values"][n], v) for n, v in before["values"].items())
    assert after["training"] == before["training"]


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_network_can_be_copied_in_float64() -> None:
    """Copying one with gradients on leaves weights that nobody can hold still."""
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)).eval()
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = fs.Classifier(torch.jit.trace(module, images), channels=1, input_size=4)
    twin = model.to(dtype=torch.float64)
    assert [weight.requires_grad for weight in twin.module.parameters()] == [True] * 4
    torch.testing.assert_close(twin(images.double()).float(), model(images))
