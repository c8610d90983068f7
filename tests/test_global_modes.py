"""What a process has chosen for all of PyTorch changes nothing here."""

import ast
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs

SOURCE = Path(fs.__file__).parent
IMAGES = torch.linspace(0, 1, 72).view(2, 1, 6, 6)
LABELS = torch.tensor([0, 1])
MAKERS = {
    *("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn"),
    *("randperm", "tensor", "zeros"),
}
FLOATS = {"empty", "linspace", "ones", "rand", "randn", "zeros"}


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "dtype": default_dtype,
    "device": default_device,
    "deterministic": deterministic,
    "inference": torch.inference_mode,
}
CALLS: dict[str, Callable[[fs.Classifier], Tensor]] = {
    "predict": lambda m: fs.predict(m, IMAGES).logits,
    "pgd": lambda m: fs.attack("pgd", eps=0.1, steps=2)(m, IMAGES, [0, 1], keep="best").images,
    "square": lambda m: fs.attack("square", eps=0.1, queries=5)(m, IMAGES, LABELS).images,
    "patch": lambda m: (
        fs.attack("patch", eps=None, epochs=1, places=1)(m, IMAGES, 1, targeted=True).images
    ),
    "morph": lambda m: fs.morph(m, "noise", to=1, steps=2).image,
    "gradient": lambda m: fs.input_gradient(m, IMAGES, LABELS),
    "difference": lambda m: fs.check_gradient(m, IMAGES, 0, pixels=3).differences,
    "prepare": lambda m: fs.prepare(m)(IMAGES),
    "copy": lambda m: m.to("cpu")(IMAGES),
    "built in": lambda _: (
        fs.predict(
            fs.load_model("digits-cnn"), fs.load_images("digits", channels=1)[0].image
        ).logits
    ),
    "batches": lambda m: next(iter(fs.load_images("digits", channels=1).batches(2))).images,
}


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
@pytest.mark.parametrize("mode", MODES)
def test_the_same_bytes_under_every_mode_of_the_process(mode: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    model = fs.Classifier(net, channels=1, input_size=6)
    for name, call in CALLS.items():
        expected = call(model)
        with MODES[mode]():
            found = call(model)
        assert found.dtype == expected.dtype, name
        assert torch.equal(found, expected), name
    assert all(weight.requires_grad for weight in net.parameters())


def test_every_tensor_made_of_nothing_says_its_place_and_its_type() -> None:
    for path in SOURCE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and ast.unparse(call.func.value) == "torch"
                and call.func.attr in MAKERS
            ):
                stated = {keyword.arg for keyword in call.keywords}
                where = f"{path.relative_to(SOURCE)}:{call.lineno}: {ast.unparse(call)}"
                assert "device" in stated, where
                assert "dtype" in stated or call.func.attr not in FLOATS, where
