"""The door of every metric: what it says of itself, what it takes, and what it refuses."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.metrics import (
    METRICS,
    Flipping,
    Setting,
    bootstrap,
    informative,
    mean_similarity,
    metric,
    similarity,
)
from fluoroscope.models.classifier import tensor_bytes

SIDE = 10
CHEAP = {
    "deletion": {"steps": 4},
    "insertion": {"steps": 4},
    "srg": {"steps": 4},
    "road": {"fractions": (0.3, 0.8)},
    "road-most-first": {"fractions": (0.3, 0.8)},
    "road-least-first": {"fractions": (0.3, 0.8)},
    "faithfulness-correlation": {"runs": 8},
    "mufidelity": {"samples": 8},
    "infidelity": {"samples": 8},
    "max-sensitivity": {"samples": 2},
}


@pytest.fixture(scope="module")
def network() -> fs.Classifier:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
    )
    return fs.Classifier(module, channels=3, input_size=SIDE)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def explain(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
    return fs.attribute(model, images, classes, method="gradient-x-input").maps


def flat_explain(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
    return explain(model, images, classes).sum(1)


def call(
    name: str, network: fs.Classifier, images: Tensor, maps: object, **options: object
) -> Tensor:
    return METRICS[name](
        network, images, options.pop("classes", 2), maps,
        explain=options.pop("explain", explain), **CHEAP.get(name, {}), **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_what_it_is(name: str) -> None:
    found = metric(name)
    assert found.name == name
    assert found.higher_is_better == found.direction.startswith("higher")
    assert re.search(r"\d{4}", found.source)
    assert found.measures
    assert found.options == {**found.options}
    assert set(CHEAP.get(name, {})) <= set(found.options)


@pytest.mark.parametrize("name", METRICS)
def test_all_shapes_and_kinds_of_maps(
    name: str, network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    found = call(name, network, images, maps)
    assert found.shape == (5,)
    assert found.dtype == torch.float64
    assert found.device.type == "cpu"
    for same in (maps.numpy(), maps.double(), SimpleNamespace(maps=maps)):
        assert torch.equal(call(name, network, images, same), found)
    flat = maps.sum(1)
    one = call(name, network, images, flat, explain=flat_explain)
    for same in (flat[:, None], flat.numpy(), np.asfortranarray(flat.numpy())):
        assert torch.equal(call(name, network, images, same, explain=flat_explain), one)


# A random network takes its statistics from all the pictures.
@pytest.mark.parametrize(
    "name", [each for each in METRICS if each not in ("parameter-randomisation", "entropy-rise")]
)
@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4], (2, 0)])
def test_a_picture_scores_the_same_in_any_company(
    name: str, network: fs.Classifier, images: Tensor, maps: Tensor, classes: object
) -> None:
    together = call(name, network, images, maps, classes=classes, seed=3)
    rows = [3, 1]
    some = [classes[row] for row in rows] if isinstance(classes, list) else classes
    found = call(
        name, network, images[rows], maps[rows],
        classes=some, seed=3, numbers=torch.tensor(rows), batch_size=1,
    )  # fmt: skip
    assert torch.allclose(found, together[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_no_trace_and_no_global_randomness(
    name: str, network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    before = {key: tensor_bytes(value) for key, value in network.module.state_dict().items()}
    given, state = images.clone(), torch.get_rng_state()
    network.module.train()
    first = call(name, network, images, maps)
    assert all(part.training for part in network.module.modules())
    network.module.eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, given)
    after = {key: tensor_bytes(value) for key, value in network.module.state_dict().items()}
    assert after == before
    assert all(weight.grad is None for weight in network.module.parameters())
    with torch.inference_mode():
        assert torch.allclose(call(name, network, images, maps), first)


def test_maps_that_want_a_gradient_are_taken(
    network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    found = call("srg", network, images, maps.clone().requires_grad_())
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(4, 3, SIDE, SIDE), r"shape \(4, 3, 10, 10\); expected one for each picture"),
        (torch.zeros(5, 2, SIDE, SIDE), r"shape \(5, 2, 10, 10\)"),
        (torch.zeros(5, 3, SIDE, 9), r"\(5, 3, 10, 10\), \(5, 1, 10, 10\) or \(5, 10, 10\)"),
        (torch.zeros(SIDE, SIDE), r"shape \(10, 10\); expected \(N, C, H, W\)"),
        (torch.full((5, SIDE, SIDE), torch.nan), "NaN or infinity in 5 of 5 maps"),
        (torch.zeros(5, SIDE, SIDE, dtype=torch.cfloat), "complex"),
        ([[1.0]], "list; expected a tensor or array"),
        (np.array("map"), "expected a tensor or array"),
    ],
)
def test_maps_that_do_not_fit(
    network: fs.Classifier, images: Tensor, given: object, words: str
) -> None:
    for name in ("srg", "sparseness", "completeness"):
        with pytest.raises(fs.FluoroscopeError, match=words):
            call(name, network, images, given)


def test_one_map_with_one_infinity(network: fs.Classifier, images: Tensor, maps: Tensor) -> None:
    broken = maps.clone()
    broken[2, 0, 4, 4] = torch.inf
    with pytest.raises(fs.FluoroscopeError, match="NaN or infinity in 1 of 5 maps"):
        call("deletion", network, images, broken)


def test_names_and_options_that_there_are_not(
    network: fs.Classifier, images: Tensor, maps: Tensor
) -> None:
    with pytest.raises(fs.FluoroscopeError, match="'deletoin'; did you mean 'deletion'"):
        metric("deletoin")
    with pytest.raises(fs.FluoroscopeError, match="no option 'step'; did you mean 'steps'"):
        METRICS["srg"](network, images, 0, maps, step=3)
    with pytest.raises(fs.FluoroscopeError, match="sparseness has no option 'steps'"):
        METRICS["sparseness"](network, images, 0, maps, steps=3)
    with pytest.raises(fs.FluoroscopeError, match="'blak'; did you mean 'black'"):
        METRICS["srg"](network, images, 0, maps, replace="blak")
    with pytest.raises(fs.FluoroscopeError, match="explain is missing"):
        METRICS["max-sensitivity"](network, images, 0, maps)
    with pytest.raises(fs.FluoroscopeError, match="expected the method that made them"):
        METRICS["max-sensitivity"](network, images, 0, maps, explain=flat_explain)
    with pytest.raises(fs.FluoroscopeError, match="the maps of explain hold NaN"):
        METRICS["random-logit"](network, images, 0, maps, explain=lambda *_: maps * torch.nan)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("srg", {"steps": 0}, "steps is 0"),
        ("road", {"fractions": (0.5, 1.5)}, "fractions are"),
        ("road", {"fractions": ()}, "fractions are"),
        ("road", {"noise": -1.0}, "noise is -1.0"),
        ("faithfulness-correlation", {"share": 1.0}, "share is 1.0"),
        ("mufidelity", {"grid": 0}, "grid is 0"),
        ("infidelity", {"perturbation": "noisy"}, "perturbation is 'noisy'"),
        ("infidelity", {"sigma": 0.0}, "sigma is 0.0"),
        ("max-sensitivity", {"radius": 0.0}, "radius is 0.0"),
        ("completeness", {"baseline": "linear"}, "baseline is 'linear'"),
        (
            "completeness",
            {"baseline": torch.zeros(3, 4, 4)},
            r"baseline holds pictures of shape \(3, 4, 4\)",
        ),
        (
            "completeness",
            {"baseline": torch.full((3, SIDE, SIDE), 2.0)},
            "baseline holds values from 2",
        ),
        ("deletion", {"replace": torch.full((3, SIDE, SIDE), torch.nan)}, "replace holds NaN"),
        ("deletion", {"replace": torch.zeros(5, 3, SIDE, SIDE)}, "replace is a set of 5 pictures"),
        ("deletion", {"replace": 1.5}, "replace is 1.5"),
        ("random-logit", {"kind": "pearson"}, "kind is 'pearson'"),
        ("entropy-rise", {"bins": 0}, "bins is 0"),
    ],
)
def test_values_that_are_impossible(
    network: fs.Classifier, images: Tensor, maps: Tensor, name: str, options: dict, words: str
) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        METRICS[name](network, images, 0, maps, explain=explain, **options)


def test_what_is_refused_elsewhere(network: fs.Classifier, images: Tensor, maps: Tensor) -> None:
    with pytest.raises(fs.FluoroscopeError, match="numbers have shape"):
        Setting.of(network, images, 0, numbers=torch.arange(2))
    with pytest.raises(fs.FluoroscopeError, match="the maps have shapes"):
        similarity(maps, maps[:, :, :5])
    with pytest.raises(fs.FluoroscopeError, match="stages are empty"):
        mean_similarity(maps, [])
    with pytest.raises(fs.FluoroscopeError, match="scores are empty"):
        bootstrap(torch.zeros(0))
    with pytest.raises(fs.FluoroscopeError, match="confidence is 95"):
        bootstrap(torch.zeros(4), confidence=95)
    with pytest.raises(fs.FluoroscopeError, match="NaN"):
        bootstrap(torch.tensor([0.0, torch.nan]))
    with pytest.raises(fs.FluoroscopeError, match="3 pictures and controls of 4"):
        informative(metric("srg"), {"a": torch.zeros(3)}, {"b": torch.zeros(4)})
    with pytest.raises(fs.FluoroscopeError, match="none"):
        informative(metric("srg"), {}, {"b": torch.zeros(4)})


def test_more_steps_than_pixels_are_as_many_as_there_are(images: Tensor) -> None:
    network = fs.Classifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels=3)
    tiny = images[:, :, :2, :3]
    flips = Flipping(Setting.of(network, tiny, 0), steps=100)
    assert len(flips(torch.rand(5, 2, 3)).fractions) == 7


def test_what_orders_pixels_says_in_how_many_steps_and_what_ties_do() -> None:
    for name in ("deletion", "insertion", "srg"):
        assert f"in {METRICS[name].options['steps']} steps by default" in METRICS[name].measures
        assert "of equally relevant pixels the seed draws" in METRICS[name].measures
