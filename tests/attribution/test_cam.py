"""Class activation maps against slow versions of the papers' formulas, and what users trip over."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.attribution.names import METHODS
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import LOGIT
from tests.attribution.zoo import SMALL, either, toy

CAMS = [name for name in METHODS if METHODS[name].home.startswith("cam.")]
BY_GRADIENT = ["grad-cam", "grad-cam++", "hires-cam", "layer-cam"]
IMAGES = torch.rand(3, 1, 12, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Maps of 6×4 with both signs, something in place behind them, a mean and a linear layer."""

    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(1, 5, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=in_place)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.conv(x)).mean((2, 3)))


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Net(), channels=1)


def maps_and_gradient(
    net: Net, image: Tensor, pair: tuple[int, int] | int, rectified: bool
) -> tuple[Tensor, Tensor]:
    """``(K, h, w)`` each, by autograd from the layer on."""
    before = net.conv(image[None]).detach()
    maps = (before.relu() if rectified else before).requires_grad_()
    logits = net.head((maps if rectified else maps.relu()).mean((2, 3)))[0]
    value = logits[pair] if isinstance(pair, int) else logits[pair[0]] - logits[pair[1]]
    return maps.detach()[0], torch.autograd.grad(value, maps)[0][0]


def slow_grad_cam(maps: Tensor, slope: Tensor) -> Tensor:
    found = torch.zeros(maps.shape[1:])
    for each, its in zip(maps, slope, strict=True):
        found += its.sum() / its.numel() * each
    return found


def slow_plus_plus(maps: Tensor, slope: Tensor) -> Tensor:
    """Equations 10, 19 and 20 of the paper for ``Y = exp(S)``, without that factor."""
    found = torch.zeros(maps.shape[1:])
    for each, its in zip(maps, slope, strict=True):
        total = sum(max(float(value), 0.0) for value in each.flatten())
        weight = 0.0
        for g in its.flatten().tolist():
            below = 2 * g**2 + total * g**3
            weight += (g**2 / below if below else 0.0) * max(g, 0.0)
        found += weight * each
    return found


def slow_hires(maps: Tensor, slope: Tensor) -> Tensor:
    return sum((each * its for each, its in zip(maps, slope, strict=True)), torch.zeros(()))


def slow_layer_cam(maps: Tensor, slope: Tensor) -> Tensor:
    return slow_hires(maps, slope.clamp(min=0))


SLOW: dict[str, Callable[[Tensor, Tensor], Tensor]] = dict(
    zip(BY_GRADIENT, [slow_grad_cam, slow_plus_plus, slow_hires, slow_layer_cam], strict=True)
)


def slow_upsampled(places: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, a pixel at a time: places are at the centres of their squares."""
    rows, columns = places.shape
    found = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            down = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            along = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(down), int(along)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            a, b = down - top, along - left
            found[y, x] = (1 - a) * ((1 - b) * places[top, left] + b * places[top, right]) + a * (
                (1 - b) * places[below, left] + b * places[below, right]
            )
    return found


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layer", ["conv", "act"])
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_formulas_of_the_papers(model: fs.Classifier, name: str, layer: str, relu: bool) -> None:
    classes = [(0, 3), (2, 1), (1, 0)]
    assert isinstance(model.module, Net)
    found = fs.attribute(model, IMAGES, classes, method=name, layer=layer, relu=relu, batch_size=2)
    assert found.maps.shape == (3, 1, 12, 8)
    for row, pair in enumerate(classes):
        given = maps_and_gradient(model.module, IMAGES[row], pair, layer == "act")
        places = SLOW[name](*given)
        expected = slow_upsampled(places.clamp(min=0) if relu else places, 12, 8)
        torch.testing.assert_close(found.maps[row, 0], expected, atol=1e-6, rtol=1e-4)
        one, other = model(IMAGES)[row, list(pair)]
        assert found.values[row] == pytest.approx(float(one - other), rel=1e-4, abs=1e-6)
    assert found.forwards.tolist() == found.backwards.tolist() == [1, 1, 1]
    assert found.error.isnan().all()


def test_what_is_signed_by_default(model: fs.Classifier) -> None:
    assert [name for name in CAMS if "relu" not in METHODS[name].options] == ["eigen-cam"]
    lowest = {
        name: float(fs.attribute(model, IMAGES, 2, method=name, layer="conv").maps.min())
        for name in CAMS
        if name != "eigen-cam"
    }
    assert [name for name in lowest if lowest[name] < 0] == ["hires-cam"]


def test_hires_cam_adds_up_where_a_mean_and_a_linear_layer_follow(model: fs.Classifier) -> None:
    found = fs.attribute(model, IMAGES, [0, 3, 1], method="hires-cam")
    net = model.module
    assert isinstance(net, Net)
    bias = net.head.bias[[0, 3, 1]].detach()
    per_place = 24 / 96  # a bilinear map over four times as many pixels
    torch.testing.assert_close(
        found.maps.sum((1, 2, 3)) * per_place, found.values.float() - bias, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("layer", ["conv", "act"])
def test_eigen_cam_is_the_first_singular_vector(model: fs.Classifier, layer: str) -> None:
    found = fs.attribute(model, IMAGES, 0, method="eigen-cam", layer=layer)
    assert found.backwards.tolist() == [0, 0, 0]
    net = model.module
    assert isinstance(net, Net)
    for row in range(3):
        maps = net.conv(IMAGES[row : row + 1])[0].detach()
        maps = maps.relu() if layer == "act" else maps
        rows = maps.flatten(1).T
        v = torch.linalg.svd(rows).Vh[0]
        expected = (rows @ v).view(6, 4)
        expected = expected * (expected * maps.norm(dim=0)).sum().sign()
        torch.testing.assert_close(
            found.maps[row, 0], slow_upsampled(expected, 12, 8), atol=1e-5, rtol=1e-4
        )
    other = fs.attribute(model, IMAGES, (1, 2), method="eigen-cam", layer=layer)
    assert torch.equal(other.maps, found.maps)


def test_eigen_cam_of_more_places_than_channels_and_of_fewer() -> None:
    for channels in (3, 40):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, channels, 3, 2, 1), nn.Flatten(), nn.Linear(channels * 24, 2)
        )
        model = fs.Classifier(body, channels=1)
        found = fs.attribute(model, IMAGES, 0, method="eigen-cam").maps
        rows = body[0](IMAGES).flatten(2).transpose(1, 2).detach()
        expected = rows @ torch.linalg.svd(rows).Vh[:, 0, :, None]
        size = F.interpolate(expected.view(3, 1, 6, 4), (12, 8), mode="bilinear")
        torch.testing.assert_close(found.abs(), size.abs(), atol=1e-5, rtol=1e-4)


def slow_score_cam(
    model: fs.Classifier, image: Tensor, pair: tuple[int, int], channels: int | None
) -> Tensor:
    net = model.module
    assert isinstance(net, Net)
    maps = net.conv(image[None]).relu().detach()[0]
    order = sorted(range(len(maps)), key=lambda k: -float(maps[k].std()))
    scores = {}
    for k in order[:channels]:
        large = slow_upsampled(maps[k], 12, 8)
        if float(large.max() - large.min()) > 0:
            mask = (large - large.min()) / (large.max() - large.min())
            logits = model((image * mask)[None])[0]
            scores[k] = math.exp(float(logits[pair[0]] - logits[pair[1]]))
    total = sum(scores.values())
    places = torch.zeros(6, 4)
    for k, score in scores.items():
        places += score / total * maps[k]
    return slow_upsampled(places.clamp(min=0), 12, 8)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("channels", [None, 2])
def test_score_cam(model: fs.Classifier, channels: int | None, batch_size: int) -> None:
    net = model.module
    assert isinstance(net, Net)
    with torch.no_grad():
        net.conv.bias[1] = -50.0  # a channel that is 0 everywhere
        net.head.weight.mul_(5)
    classes = [(0, 3), (2, 1), (1, 0)]
    found = fs.attribute(
        model, IMAGES, classes, method="score-cam", channels=channels, batch_size=batch_size
    )
    for row, pair in enumerate(classes):
        expected = slow_score_cam(model, IMAGES[row], pair, channels)
        torch.testing.assert_close(found.maps[row, 0], expected, atol=1e-6, rtol=1e-4)
    asked = 4 if channels is None else channels
    assert found.forwards.tolist() == [1 + asked] * 3
    assert found.backwards.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("network", ["timm:convnext_atto", "in-place-addition", "gelu"])
def test_a_map_does_not_depend_on_its_batch(name: str, network: str) -> None:
    case = either(network)
    options = {"channels": 3} if name == "score-cam" else {}
    count = len(case.images)
    together = fs.attribute(case.model, case.images, 1, method=name, **options).maps
    apart = fs.attribute(case.model, case.images, [1] * count, method=name, batch_size=1, **options)
    scale = float(together.abs().max())
    torch.testing.assert_close(apart.maps, together, atol=1e-4 * scale, rtol=1e-4)
    assert bool((together.flatten(1).abs().amax(1) > 0).all()) or name != "hires-cam"


def test_one_class_for_two_pictures_is_for_both(model: fs.Classifier) -> None:
    found = fs.attribute(model, IMAGES[:2], 3, method="grad-cam", relu=False)
    assert bool((found.maps.flatten(1).abs().amax(1) > 0).all())
    with pytest.raises(fs.FluoroscopeError, match="classes"):
        fs.attribute(model, IMAGES, [1, 2], method="grad-cam")


@pytest.mark.parametrize("name", CAMS)
def test_what_works_in_place_behind_the_layer_changes_nothing(name: str) -> None:
    pair = [fs.Classifier(Net(in_place), channels=1) for in_place in (True, False)]
    one, other = (fs.attribute(model, IMAGES, 1, method=name, layer="conv") for model in pair)
    assert torch.equal(one.maps, other.maps)
    assert float(one.maps.abs().max()) > 0


@pytest.mark.parametrize("name", CAMS)
def test_frozen_parameters_and_the_callers_mode_change_nothing(
    name: str, model: fs.Classifier
) -> None:
    expected = fs.attribute(model, IMAGES, 1, method=name).maps
    model.module.requires_grad_(False).train()
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            found = fs.attribute(model, IMAGES.clone(), torch.ones(3).long(), method=name)
        assert torch.equal(found.maps, expected)
    assert all(part.training for part in model.module.modules())


def test_layers_may_be_asked_in_any_order() -> None:
    case = toy("in-place-addition")
    layers = ["2.conv2", "0", "3.bn1", "2.conv2"]
    maps = [
        fs.attribute(case.model, case.images, 0, method="hires-cam", layer=layer)
        for layer in layers
    ]
    for layer, found in zip(layers, maps, strict=True):
        assert found.record["options"]["layer"] == found.record["layer"]["name"] == layer
        answer = evaluate(
            case.model, case.images, torch.zeros(3).long(), LOGIT, gradient=True, layer=layer
        )
        assert answer.activation is not None
        assert answer.activation_gradient is not None
        expected = (answer.activation * answer.activation_gradient).sum(1, keepdim=True)
        torch.testing.assert_close(found.maps, expected)
    assert torch.equal(maps[0].maps, maps[3].maps)


def test_negative_scores_keep_their_signs(model: fs.Classifier) -> None:
    """What raises a class that is far below 0 is still what raises it."""
    before = {name: fs.attribute(model, IMAGES, 1, method=name, layer="act").maps for name in CAMS}
    net = model.module
    assert isinstance(net, Net)
    with torch.no_grad():
        net.head.bias.sub_(100)
    for name, maps in before.items():
        after = fs.attribute(model, IMAGES, 1, method=name, layer="act")
        assert bool((after.values < -90).all())
        torch.testing.assert_close(after.maps, maps, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", CAMS)
def test_nothing_to_tell_is_zero_and_not_nan(name: str, model: fs.Classifier) -> None:
    net = model.module
    assert isinstance(net, Net)
    with torch.no_grad():
        net.conv.weight.zero_()
        net.conv.bias.fill_(-1.0)
    found = fs.attribute(model, torch.zeros(2, 1, 12, 8), 0, method=name, layer="act")
    assert bool((found.maps == 0).all())


def test_a_constant_layer_gives_a_constant_map(model: fs.Classifier) -> None:
    net = model.module
    assert isinstance(net, Net)
    with torch.no_grad():
        net.conv.weight.zero_()
        net.conv.bias.fill_(1.0)
    for name in CAMS:
        maps = fs.attribute(model, IMAGES, 0, method=name, layer="act").maps
        assert bool(maps.isfinite().all())
        torch.testing.assert_close(maps, maps[:, :, :1, :1].expand_as(maps))
    assert bool((maps == 0).all())  # a map that is the same everywhere masks nothing


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_precisions(name: str, kind: torch.dtype) -> None:
    case = toy("in-place-addition")
    expected = (
        fs.attribute(case.model, case.images, 1, method=name, relu=False)
        if (name != "eigen-cam")
        else fs.attribute(case.model, case.images, 1, method=name)
    )
    other = case.model.to(dtype=kind)
    options = {"layer": expected.record["layer"]["name"]}
    if name != "eigen-cam":
        options["relu"] = False
    found = fs.attribute(other, case.images, 1, method=name, **options)
    assert found.maps.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    one, two = found.maps.double().flatten(1), expected.maps.double().flatten(1)
    alike = F.cosine_similarity(one, two, dim=1)
    assert float(alike.min()) > (1 - 1e-6 if kind == torch.float64 else 0.95)


@pytest.mark.parametrize("name", CAMS)
def test_an_exception_on_the_way_leaves_nothing_behind(name: str, model: fs.Classifier) -> None:
    net, calls = model.module, 0
    assert isinstance(net, Net)
    fs.attribute(model, IMAGES, 0, method=name)

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ValueError("not now")

    hook = net.head.register_forward_pre_hook(fail)
    with pytest.raises(fs.FluoroscopeError, match="not now"):
        fs.attribute(model, IMAGES, 0, method=name)
    hook.remove()
    assert not any(part._forward_hooks for part in net.modules())
    assert all(weight.requires_grad for weight in net.parameters())
    assert not IMAGES.requires_grad


@pytest.mark.parametrize("network", SMALL[1:])
def test_networks_of_full_size_need_no_option(network: str) -> None:
    case = either(network)
    found = fs.attribute(case.model, case.images, [1, 2], method="grad-cam", relu=False)
    assert found.maps.shape == (2, 1, *case.images.shape[2:])
    assert bool((found.maps.flatten(1).abs().amax(1) > 0).all())
    told = found.record["layer"]
    assert told["chosen"]
    note = found.notes[-1]
    assert repr(told["name"]) in note
    assert "{}×{} places".format(*told["places"]) in note


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "cnov"}, "did you mean conv"),
        ({"layer": "head"}, r"gives out \(1, 4\) for a picture of 12×8"),
        ({"layer": "conv", "call": 1}, "call is 1, and the layer 'conv' of Net is used 1 time"),
        ({"layer": "conv", "call": -1}, "call is -1; expected a whole number, 0 or more"),
        ({"call": 1}, "call is 1 without a layer"),
        ({"method": "score-cam", "channels": 0}, "channels is 0; expected a whole number"),
        ({"method": "score-cam", "channels": "all"}, "channels is 'all'; expected a whole number"),
    ],
)
def test_mistakes_are_one_sentence(model: fs.Classifier, given: dict[str, Any], words: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        fs.attribute(model, IMAGES, 0, **{"method": "grad-cam", **given})
