"""DeepLIFT on networks: complete, the paper's loops, Captum where it is right, and refusals."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from tests.attribution.zoo import SMALL, TOYS, UNKNOWN, either, toy

KNOWN = [name for name in TOYS if name not in UNKNOWN]


def deeplift(model: fs.Classifier | nn.Module, images: Tensor, **options: object) -> fs.Attribution:
    classes = [number % 4 for number in range(len(images))]
    return fs.attribute(model, images, classes, method="deeplift", **options)  # type: ignore[arg-type]


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("name", KNOWN)
def test_toys_are_complete_and_single_pictures_the_same(name: str) -> None:
    case = toy(name)
    narrow = deeplift(case.model, case.images)
    assert float(narrow.error.max()) <= 1e-4
    assert narrow.record["coverage"]["missed"] == {}
    model, images = case.model.to(dtype=torch.float64), case.images.double()
    found = deeplift(model, images, baseline="noise")
    alone = deeplift(model, images, baseline="noise", batch_size=1)
    assert float(found.error.max()) <= 1e-10
    assert apart(found.maps, alone.maps) <= 1e-8
    logits = model(images)
    torch.testing.assert_close(found.values, logits.gather(1, found.targets[:, None])[:, 0])


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_full_size_are_complete(name: str) -> None:
    case = either(name)
    for baseline in ("black", "noise"):
        found = deeplift(case.model, case.images, baseline=baseline)
        assert float(found.error.max()) <= 1e-4
        assert found.record["coverage"]["missed"] == {}


def test_a_trained_network_is_complete_on_photographs(shared: Path) -> None:
    model = fs.load_model(shared / "models" / "mobilenet_v1_0.25_128")
    sample = fs.load_images(shared / "data" / "imagenet_sample").take(2)
    (batch,) = sample.batches(2, fit=model.preprocessing, workers=0)
    for baseline in ("black", "noise"):
        found = fs.attribute(model, batch.images, method="deeplift", baseline=baseline)
        assert float(found.error.max()) <= 1e-4


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_table_can_know_shows_in_the_error(name: str) -> None:
    found = deeplift(toy(name).model, toy(name).images)
    assert float(found.error.min()) > 1e-2


def slow_map(module: nn.Sequential, image: Tensor, base: Tensor, number: int) -> Tensor:
    """Layer by layer, as in the paper; linear layers are gone back through by their gradient."""
    now, then = [image[None]], [base[None]]
    for layer in module:
        now.append(layer(now[-1]))
        then.append(layer(then[-1]))
    signal = torch.zeros_like(now[-1])
    signal[0, number] = 1
    for layer, x, b, y, c in reversed(
        list(zip(module, now[:-1], then[:-1], now[1:], then[1:], strict=True))
    ):
        if isinstance(layer, nn.ReLU | nn.SiLU):
            ratio = torch.zeros_like(x)
            for place in range(x.numel()):
                own, other = x.flatten()[place], b.flatten()[place]
                if own != other:
                    change = y.flatten()[place] - c.flatten()[place]
                    ratio.view(-1)[place] = change / (own - other)
            signal = signal * ratio
        elif isinstance(layer, nn.MaxPool2d):
            signal = slow_pool(x, b, signal, layer.kernel_size)
        else:
            x = x.clone().requires_grad_()
            (signal,) = torch.autograd.grad(layer(x), x, signal)
    return (signal * (image - base)[None])[0]


def slow_pool(x: Tensor, b: Tensor, signal: Tensor, size: int) -> Tensor:
    found = torch.zeros_like(x)
    for channel in range(x.shape[1]):
        for row in range(signal.shape[2]):
            for column in range(signal.shape[3]):
                window = (
                    0,
                    channel,
                    slice(row * size, row * size + size),
                    slice(column * size, column * size + size),
                )
                one, other, back = x[window], b[window], found[window]
                weight = signal[0, channel, row, column]
                top = max(one.max(), other.max())
                for place, change in (
                    (int(one.argmax()), top - other.max()),
                    (int(other.argmax()), one.max() - top),
                ):
                    if change != 0:
                        at = divmod(place, size)
                        back[at] += weight * change / (one[at] - other[at])
    return found


@pytest.mark.parametrize("order", ["relu-pool", "pool-relu", "silu-pool"])
def test_it_is_the_papers_loops(order: str) -> None:
    torch.manual_seed(0)
    between = {
        "relu-pool": [nn.ReLU(), nn.MaxPool2d(2)],
        "pool-relu": [nn.MaxPool2d(2), nn.ReLU()],
        "silu-pool": [nn.SiLU(), nn.MaxPool2d(2)],
    }[order]
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), *between, nn.Flatten(), nn.Linear(27, 3))
    module = module.double().requires_grad_(False)
    images, base = torch.rand(3, 2, 6, 6).double(), torch.rand(2, 6, 6).double()
    found = fs.attribute(module, images, 1, method="deeplift", baseline=base)
    for row in range(3):
        torch.testing.assert_close(found.maps[row], slow_map(module, images[row], base, 1))


def test_captum_agrees_where_it_is_right() -> None:
    """On ReLUs and max-pools that are separate modules and do not touch, from black."""
    attr = pytest.importorskip("captum.attr")
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    images = torch.rand(3, 3, 8, 8).double()
    found = fs.attribute(module, images, [0, 1, 2], method="deeplift")
    peer = attr.DeepLift(copy.deepcopy(module))
    expected = peer.attribute(images, torch.zeros_like(images), target=torch.tensor([0, 1, 2]))
    torch.testing.assert_close(found.maps, expected.detach())


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "relu": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=True),
    "pool": lambda: nn.MaxPool2d(3, 1, 1),
    "norm": lambda: nn.GroupNorm(2, 4),
    "softmax": lambda: nn.Softmax(1),
    "hardswish": nn.Hardswish,
}


@settings(max_examples=25)
@given(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=6), st.integers(0, 99))
def test_any_network_of_known_layers_is_complete(names: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    layers = [LAYERS[name]() for name in names]
    module = nn.Sequential(nn.Conv2d(1, 4, 3), *layers, nn.Flatten(), nn.Linear(36, 3)).double()
    images, base = torch.rand(2, 1, 5, 5).double(), torch.rand(1, 5, 5).double()
    found = fs.attribute(module, images, 2, method="deeplift", baseline=base)
    with torch.no_grad():
        expected = (module(images) - module(base[None]))[:, 2]
    torch.testing.assert_close(found.maps.sum((1, 2, 3)), expected, rtol=1e-10, atol=1e-12)


def test_over_a_set_it_is_the_mean_within_any_batch() -> None:
    """DeepSHAP; a large set goes through in batches."""
    case = toy("gelu")
    model, images = case.model.to(dtype=torch.float64), case.images.double()
    bases = torch.rand(7, 3, 8, 8).double()
    together = deeplift(model, images, baseline=bases)
    widest = 0

    def note(step: object) -> None:
        nonlocal widest
        widest = max(widest, len(step.images))  # type: ignore[attr-defined]

    small = fs.attribute(
        model, images, [0, 1, 2], method="deeplift", baseline=bases, batch_size=2, on_step=note
    )
    each = [deeplift(model, images, baseline=base).maps for base in bases]
    assert widest <= 2
    torch.testing.assert_close(together.maps, torch.stack(each).mean(0))
    torch.testing.assert_close(together.maps, small.maps)
    assert float(together.error.max()) <= 1e-10
    assert together.forwards.tolist() == [14] * 3
    assert together.backwards.tolist() == [7] * 3


def test_a_pair_is_the_difference_of_two_maps_and_complete() -> None:
    case = toy("max-pool-after-relu")
    found = fs.attribute(case.model, case.images, (2, 0), method="deeplift")
    one, other = (fs.attribute(case.model, case.images, c, method="deeplift").maps for c in (2, 0))
    torch.testing.assert_close(found.maps, one - other)
    assert float(found.error.max()) <= 1e-4


def test_twice_the_same_and_the_first_stays() -> None:
    case = toy("in-place-addition")
    first = deeplift(case.model, case.images)
    kept = first.maps.clone()
    assert torch.equal(deeplift(case.model, case.images).maps, kept)
    assert torch.equal(first.maps, kept)


def test_maps_of_a_network_in_sixteen_bits_are_float32() -> None:
    case = toy("relu-module")
    found = deeplift(case.model.to(dtype=torch.bfloat16), case.images)
    assert found.maps.dtype == torch.float32
    assert apart(found.maps, deeplift(case.model, case.images).maps) < 0.1


class Sequence(nn.Module):
    """Tokens first, as the transformers of CLIP have them: the batch is the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.out = nn.LayerNorm(3), nn.Linear(3, 4)
        self.attention = nn.MultiheadAttention(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.flatten(2).permute(2, 0, 1))
        return self.out(F.gelu(x + self.attention(x, x, x)[0]).mean(0))


def test_the_batch_may_lie_anywhere() -> None:
    found = deeplift(Sequence().double(), torch.rand(3, 3, 4, 4).double(), baseline="noise")
    assert float(found.error.max()) <= 1e-10


class OneAtATime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.reshape(1, 12).sigmoid())


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
def test_a_network_that_takes_one_picture_at_a_time() -> None:
    model = fs.Classifier(OneAtATime().double(), channels=3, input_size=2)
    found = deeplift(model, torch.rand(3, 3, 2, 2).double())
    assert float(found.error.max()) <= 1e-10


def test_pictures_that_have_to_be_resized() -> None:
    case = toy("mean-and-deviation")
    model = case.model.restated(input_size=(8, 8), resize=9)
    assert float(deeplift(model, torch.rand(2, 3, 12, 15)).error.max()) <= 1e-4


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((x + torch.randn_like(x)).flatten(1).relu())


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
def test_a_random_network_draws_the_same_for_picture_and_baseline() -> None:
    model = fs.Classifier(Random(), channels=3, input_size=2)
    assert float(deeplift(model, torch.rand(3, 3, 2, 2)).error.max()) <= 1e-4


class TwoWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.out(x.relu() if x.mean() > 0.1 else x.tanh())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"objective": "probability"}, "expected logit"),
        ({"baseline": "blak"}, "did you mean black"),
        ({"baseline": torch.zeros(3, 4, 4)}, "expected \\(3, 2, 2\\)"),
        ({"baseline": 2.0}, "number in \\[0, 1\\]"),
        ({}, "goes another way for the picture"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(given: dict[str, object], words: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words) as caught:
        deeplift(fs.Classifier(TwoWays(), input_size=2), torch.rand(2, 3, 2, 2) / 2 + 0.5, **given)
    assert "\n" not in str(caught.value)


class Sure(nn.Module):
    """Probabilities, certain of the first class whatever the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.out(x.flatten(1)) + torch.tensor([40.0, 0, 0])).softmax(1)


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_a_saturated_softmax_is_named(outputs: str) -> None:
    model = fs.Classifier(Sure(), channels=3, input_size=2, outputs=outputs)  # type: ignore[arg-type]
    images = torch.rand(3, 3, 2, 2)
    for method in ("gradient", "deeplift"):
        notes = fs.attribute(model, images, method=method).notes
        assert any("saturated: 3 of 3 answers" in note for note in notes), notes
        assert any("logarithm" in note for note in notes) is (outputs == "probabilities")
    logits = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), channels=3, input_size=2)
    assert not any("saturated" in note for note in fs.attribute(logits, images).notes)


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
def test_parts_that_cancel_are_named() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1e6, -1e6], [0, 1]]))
    model = fs.Classifier(module, channels=1, input_size=(1, 2))
    images = torch.tensor([0.5, 0.4999]).view(1, 1, 1, 2)
    notes = fs.attribute(model, images, 0, method="deeplift").notes
    assert any("large parts cancel in 1 of 1 map" in note for note in notes), notes
    assert not any(
        "cancel" in note for note in fs.attribute(model, images, 1, method="deeplift").notes
    )


def test_a_linear_network_needs_no_rule() -> None:
    model = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), channels=1, input_size=2)
    found = fs.attribute(model, torch.rand(2, 1, 2, 2), 0, method="deeplift")
    assert found.notes == fs.attribute(model, torch.rand(2, 1, 2, 2), 0).notes
