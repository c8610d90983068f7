"""Networks prepared for speed: the same answers, and the network itself as it was."""

import copy
import random
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.wrappers.ensemble import Ensemble
from fluoroscope.models.wrappers.prepared import Prepared, prepare
from fluoroscope.models.wrappers.randomised import EOT

IMAGES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Two folded norms, one after the sum that cannot be, and a path chosen by the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, bias=False, groups=2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(3))
        self.pad, self.head = nn.ReflectionPad2d(1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.norms[0](self.one(x)).relu_()
        more = self.norms[1](self.two(self.pad(x)))
        more += x
        if x.shape[2] > 6:
            more = nn.functional.avg_pool2d(more, 2)
        return {"logits": self.head(self.norms[2](more).relu().mean((2, 3)))}


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(8, affine=False),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
        nn.BatchNorm1d(5),
        nn.Softplus(),
        nn.Linear(5, 4),
    )


def stirred(module: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            if part.running_mean is not None and part.running_var is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.3, 3)
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return module


def gradient(model: fs.Classifier, images: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(pixels)[:, 1].sum(), pixels)
    return found


def norms(model: fs.Classifier) -> int:
    return sum(isinstance(p, nn.modules.batchnorm._BatchNorm) for p in model.module.modules())


@pytest.mark.parametrize(
    ("build", "note", "left"),
    [(sequential, "batch norm folded: 2 of 2", 0), (Residual, "batch norm folded: 2 of 3", 1)],
)
def test_batch_norm_goes_into_the_layer_before(
    build: Callable[[], nn.Module], note: str, left: int
) -> None:
    plain = fs.Classifier(stirred(build()).double(), input_size=12, mean=(0.4, 0.5, 0.6))
    prepared = prepare(plain)
    images = IMAGES.double()
    assert prepared.steps == (note, "channels last")
    assert norms(prepared) == left
    assert torch.allclose(prepared(images), plain(images), rtol=1e-12, atol=1e-12)
    assert torch.allclose(gradient(prepared, images), gradient(plain, images), atol=1e-12)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128", "mobilenet_v2_1.0_224"])
def test_the_networks_of_transformers(shared: Path, name: str) -> None:
    pytest.importorskip("transformers")
    plain = fs.load_model(shared / "models" / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = prepare(plain, channels_last=False)
    assert norms(prepared) == 0
    assert norms(plain) > 20
    images = torch.rand(2, 3, *(plain.input_size or ()), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(prepared(images), plain(images), atol=1e-3)


def test_timms_norm_with_its_activation_inside() -> None:
    timm = pytest.importorskip("timm")
    module = stirred(timm.create_model("mobilenetv3_small_050", num_classes=4))
    plain = fs.Classifier(module, input_size=32).to(dtype=torch.float64)
    prepared = prepare(plain)
    assert norms(prepared) == 0
    images = torch.rand(2, 3, 32, 32).double()
    assert torch.allclose(prepared(images), plain(images), rtol=1e-9)


class Kept(nn.Module):
    """Passes whose convolution's output is used twice."""

    def __init__(self, use: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.use = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), use

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.use(x, self.norm(x)).mean((2, 3))


@pytest.mark.parametrize(
    "use",
    [
        lambda before, after: before + after,
        lambda before, after: torch.cat([after, before], 1),
        lambda before, after: after * 2 if before.sum() > -1e9 else after,
    ],
)
def test_an_output_that_is_used_elsewhere_keeps_its_norm(use: Any) -> None:
    plain = fs.Classifier(stirred(Kept(use)), input_size=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # seen in the recording, not only by the comparison
        prepared = prepare(plain)
    assert norms(prepared) == 1
    assert torch.allclose(prepared(IMAGES), plain(IMAGES), atol=1e-5)


def test_other_pairs_that_must_stay() -> None:
    shared_layer = nn.Conv2d(3, 3, 1)
    shared_norm = nn.BatchNorm2d(3)
    watched = nn.Conv2d(3, 3, 1)
    watched.register_forward_hook(lambda *_: None)
    own_statistics = nn.BatchNorm2d(3, track_running_stats=False)
    for module in (
        nn.Sequential(shared_layer, nn.BatchNorm2d(3), shared_layer, nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), shared_norm, nn.Conv2d(3, 3, 1), shared_norm),
        nn.Sequential(watched, nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), own_statistics),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(3)),
    ):
        module.extend([nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        plain = fs.Classifier(stirred(module), input_size=12)
        prepared = prepare(plain)
        assert prepared.steps == ("channels last",), module
        assert torch.allclose(prepared(IMAGES), plain(IMAGES), atol=1e-5)


class Forgetful(nn.Conv2d):
    """A layer that does not use its bias, so that folding goes wrong."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight)


def test_a_step_that_changes_the_answer_is_left_out_with_a_warning() -> None:
    module = nn.Sequential(
        Forgetful(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    plain = fs.Classifier(stirred(module), input_size=12)
    with pytest.warns(
        fs.FluoroscopeWarning, match="batch-norm folding is left out for Sequential: logits"
    ):
        prepared = prepare(plain)
    assert prepared.steps == ("channels last",)
    assert torch.allclose(prepared(IMAGES), plain(IMAGES), atol=1e-5)


def test_the_gradient_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(nn.Module):
        cut = False

        def forward(self, x: Tensor) -> Tensor:
            return (x.detach() + x * 0 if self.cut else x).mean((2, 3))

    module = Cut()
    monkeypatch.setattr(nn.Module, "compile", lambda part: setattr(part, "cut", True))
    with pytest.warns(fs.FluoroscopeWarning, match="compilation is left out .* gradients by 1;"):
        prepared = prepare(fs.Classifier(module, input_size=12), compile=True)
    assert "compiled" not in prepared.steps


def test_the_network_itself_stays_as_it_was() -> None:
    module = stirred(sequential())
    module[0].weight.requires_grad_(False)
    module[4].eval()
    plain = fs.Classifier(module, input_size=12)
    before = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    identities = [id(part) for part in module.modules()]
    state = torch.get_rng_state(), random.getstate()
    expected = plain(IMAGES)
    with torch.inference_mode():
        prepared = prepare(plain, images=IMAGES)
    assert gradient(prepared, IMAGES).abs().sum() > 0
    assert prepared.plain is plain
    assert torch.equal(plain(IMAGES), expected)
    assert [part.training for part in module.modules()] == before[1]
    assert [id(part) for part in module.modules()] == identities
    assert [weight.requires_grad for weight in module.parameters()].count(False) == 1
    assert all(torch.equal(value, before[0][name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]


def test_lower_precision_searches_and_plain_judges() -> None:
    plain = fs.Classifier(stirred(sequential()), input_size=12)
    prepared = prepare(plain, precision="bf16")
    assert prepared.steps[-1] == "bf16 autocast"
    found = prepared(IMAGES)
    assert found.dtype == prepared.dtype == torch.float32
    assert torch.allclose(found, plain(IMAGES), atol=0.1)
    assert not torch.allclose(found, plain(IMAGES), atol=1e-5)  # it is in lower precision
    assert torch.equal(prepared.plain(IMAGES), plain(IMAGES))
    assert plain.plain is plain


def test_it_counts_as_the_plain_network() -> None:
    plain = fs.Classifier(stirred(sequential()), input_size=12, labels=list("abcd"))
    prepared = prepare(plain)
    assert prepared.fingerprint() == plain.fingerprint()
    assert (prepared.labels, prepared.name) == (plain.labels, plain.name)
    twin = prepared.restated(labels=list("wxyz"), mean=(0.5,) * 3)
    assert twin.labels == twin.plain.labels == tuple("wxyz")
    assert torch.allclose(twin(IMAGES), twin.plain(IMAGES), atol=1e-4)
    assert not torch.allclose(twin(IMAGES), plain(IMAGES), atol=1e-4)
    assert prepare(prepared).plain is plain
    wide = prepared.to(dtype=torch.float64)
    assert isinstance(wide, Prepared)
    assert wide.steps == prepared.steps
    assert wide.dtype == wide.plain.dtype == torch.float64
    assert plain.dtype == torch.float32


def test_ensembles_and_expectations_are_prepared_and_of_prepared() -> None:
    one, two = (fs.Classifier(stirred(build()), input_size=12) for build in (sequential, Residual))
    whole = Ensemble([one, two])
    prepared = prepare(whole)
    assert prepared.steps[0] == "batch norm folded: 4 of 5"
    assert torch.allclose(prepared(IMAGES), whole(IMAGES), atol=1e-4)
    of_prepared = Ensemble([prepare(one), two])
    assert torch.equal(of_prepared.plain(IMAGES), whole(IMAGES))
    assert of_prepared.fingerprint() == whole.fingerprint()
    assert of_prepared.to(dtype=torch.float64).plain(IMAGES.double()).dtype == torch.float64
    noisy = EOT(prepare(one), 3, transform=lambda x: x + 0.1 * torch.randn_like(x))
    assert noisy.plain.model.plain is one  # type: ignore[attr-defined]
    assert prepare(noisy, channels_last=False).passes == 3


def test_other_sizes_and_wrong_use() -> None:
    plain = fs.Classifier(stirred(sequential()))  # takes 12×12 only, and nobody said so
    with pytest.raises(InvalidImagesError, match=r"\(2, 3, 32, 32\).* pass images="):
        prepare(plain)
    assert prepare(plain, images=IMAGES).steps[0] == "batch norm folded: 2 of 2"
    with pytest.raises(InvalidParameterError, match="precision is 'int8'; expected 'bf16', 'fp16'"):
        prepare(plain, precision="int8")  # type: ignore[arg-type]
    with pytest.raises(InvalidImagesError, match=r"images are torch\.uint8; expected"):
        prepare(plain, images=torch.zeros(1, 3, 12, 12, dtype=torch.uint8))
    nothing = prepare(plain, images=IMAGES, fold_batch_norm=False, channels_last=False)
    assert nothing.steps == ()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_scripted_network_is_left_to_its_compiler() -> None:
    module = torch.jit.trace(stirred(sequential()).eval(), IMAGES)
    plain = fs.Classifier(module, input_size=12)
    prepared = prepare(plain)
    assert prepared.steps == ("channels last",)
    assert torch.allclose(prepared(IMAGES), plain(IMAGES), atol=1e-5)


def test_a_random_network_is_compared_at_the_same_draws() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = stirred(sequential())

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x + torch.randn_like(x))
            return logits

    plain = fs.Classifier(Noisy(), input_size=12)
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = prepare(plain, channels_last=False)  # another layout draws in another order
    assert len(prepared.steps) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_without_gradients_is_prepared_by_its_logits() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().mean((2, 3))

    assert prepare(fs.Classifier(Rounded(), input_size=12)).steps == ("channels last",)


class Locked(nn.Module):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = stirred(sequential())
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


def test_a_network_that_cannot_be_copied_is_used_as_it_is() -> None:
    module = Locked().train()
    plain = fs.Classifier(module, input_size=12)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.warns(fs.FluoroscopeWarning, match=r"cannot be copied .* it is used as it is"):
        prepared = prepare(plain, precision="bf16", compile=True)
    assert prepared.steps == ("bf16 autocast",)
    assert torch.allclose(prepared(IMAGES), plain(IMAGES), atol=0.1)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    assert module.training
    assert module.inner._compiled_call_impl is None
    with pytest.raises(fs.FluoroscopeError, match=r"Locked cannot be copied \(TypeError: .*lock"):
        plain.to(dtype=torch.float64)
