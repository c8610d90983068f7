"""Captum through our door: its own numbers, on a copy, and nothing left behind."""

import copy
import random
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution import peers
from fluoroscope.attribution.peer_names import PEERS
from tests.attribution.zoo import Specimen, toy

SLOW = {"layer-feature-ablation", "shapley-value-sampling"}
CLASSES = torch.tensor([0, 1, 2])


@pytest.fixture(scope="module")
def case() -> Specimen:
    return toy("max-pool-after-relu")


def by_captum(kind: str, module: nn.Module, images: Tensor, **options: Any) -> Tensor:
    module = copy.deepcopy(module).eval()
    explainer = getattr(captum.attr, kind)(module)
    found: Tensor = explainer.attribute(images.clone(), target=CLASSES, **options)
    return found.detach()


@pytest.mark.filterwarnings("ignore:Setting", "ignore:Input Tensor")
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("saliency", "Saliency", {}),
        ("saliency", "Saliency", {"abs": False}),
        ("integrated-gradients", "IntegratedGradients", {"n_steps": 7, "baselines": 0.25}),
        ("deep-lift", "DeepLift", {}),
        ("guided-backprop", "GuidedBackprop", {}),
        ("deconvolution", "Deconvolution", {}),
        ("occlusion", "Occlusion", {"sliding_window_shapes": (3, 2, 2), "strides": 1}),
    ],
)
def test_maps_are_captums(case: Specimen, name: str, kind: str, options: dict[str, Any]) -> None:
    found = fs.attribute(case.model, case.images, CLASSES, method=f"captum:{name}", **options)
    expected = by_captum(kind, case.model.module, case.images, **options)
    torch.testing.assert_close(found.maps, expected)


def test_a_pair_is_the_difference_of_its_classes(case: Specimen) -> None:
    maps = {
        classes: fs.attribute(
            case.model, case.images, classes, method="captum:input-x-gradient"
        ).maps
        for classes in (0, 3, (0, 3))
    }
    torch.testing.assert_close(maps[0, 3], maps[0] - maps[3])
    pairs = [(0, 3), (1, 2), (2, 3)]
    together = fs.attribute(case.model, case.images, pairs, method="captum:input-x-gradient")
    for row, pair in enumerate(pairs):
        alone = fs.attribute(case.model, case.images[row], pair, method="captum:input-x-gradient")
        torch.testing.assert_close(together.maps[row], alone.maps[0])


def test_a_promise_is_held_against_its_maps(case: Specimen) -> None:
    """The error is measured by us, whatever Captum says of itself."""
    found = fs.attribute(case.model, case.images, 1, method="captum:deep-lift", baselines=0.5)
    with torch.no_grad():
        difference = (case.model(case.images) - case.model(torch.full_like(case.images, 0.5)))[:, 1]
    off = (found.maps.sum((1, 2, 3)) - difference).abs() / difference.abs()
    assert found.promise == "completeness"
    torch.testing.assert_close(found.error.float(), off, atol=1e-5, rtol=1e-3)
    assert fs.attribute(case.model, case.images, 1, method="captum:saliency").error.isnan().all()


def test_random_methods_depend_on_the_seed_and_the_picture_alone(case: Specimen) -> None:
    def maps(images: Tensor, **options: Any) -> Tensor:
        return fs.attribute(
            case.model, images, 1, method="captum:lime", n_samples=9, **options
        ).maps

    all_three = maps(case.images)
    torch.testing.assert_close(all_three, maps(case.images, batch_size=1))
    torch.testing.assert_close(all_three[2], maps(case.images[2], numbers=torch.tensor([2]))[0])
    assert not torch.equal(all_three, maps(case.images, seed=1))


@pytest.mark.parametrize("name", sorted({*PEERS} - SLOW))
def test_every_method_answers_or_says_what_it_cannot(name: str) -> None:
    """On a network that Captum can take, and on one that it was not made for."""
    for case in (toy("reused-relu"), toy("odd-containers")):
        state = copy.deepcopy(case.model.module.state_dict())
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
        attributes = [dict(part.__dict__) for part in case.model.module.modules()]
        found, refusal = None, ""
        try:
            found = fs.attribute(case.model, case.images[:2], [0, 1], method=f"captum:{name}")
        except fs.FluoroscopeError as problem:
            refusal = str(problem)
        if found is None:
            assert refusal.startswith("Captum 0.9")
            assert PEERS[name].kind in refusal
            assert name in ("lrp", "layer-lrp") or "deep-lift" in name
        else:
            assert found.maps.shape[2:] == (8, 8)
            assert bool(found.maps.isfinite().all())
            assert found.method == f"captum:{name}"
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1] == random.getstate()
        assert states[2] == np.random.get_state()[1].tobytes()
        assert [dict(part.__dict__) for part in case.model.module.modules()] == attributes
        for key, value in case.model.module.state_dict().items():
            assert torch.equal(value, state[key])


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("captum:deeplft", {}, "did you mean 'captum:deep-lift'"),
        ("captum:integrated-gradients", {"steps": 3}, "did you mean 'n_steps'"),
        ("captum:layer-grad-cam", {"layer": "nothing"}, "layer is 'nothing'"),
        ("captum:layer-grad-cam", {"layer": "4"}, "a layer that answers with"),
        ("captum:saliency", {"objective": "probability"}, "explains logits"),
        ("captum:integrated-gradients", {"n_steps": "many"}, "Captum 0.9"),
    ],
)
def test_what_it_is_given_wrongly(
    case: Specimen, method: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        fs.attribute(case.model, case.images, 0, method=method, **options)


def test_without_captum_the_extra_is_named(case: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(fs.FluoroscopeError, match=r"pip install 'fluoroscope\[peers\]'"):
        fs.attribute(case.model, case.images, 0, method="captum:lime")


def test_hyphens_and_case_do_not_matter(case: Specimen) -> None:
    found = fs.attribute(case.model, case.images, 0, method="captum:DeepLift")
    assert found.method == "captum:deep-lift"


def test_memory_that_runs_out_is_halved(case: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = peers.captum_maps

    def narrow(model: Any, name: str, images: Tensor, *rest: Any, **options: Any) -> Tensor:
        if len(images) > 1:
            raise torch.OutOfMemoryError
        return whole(model, name, images, *rest, **options)

    expected = fs.attribute(case.model, case.images, 0, method="captum:saliency").maps
    monkeypatch.setattr(peers, "captum_maps", narrow)
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out"):
        found = fs.attribute(case.model, case.images, 0, method="captum:saliency")
    torch.testing.assert_close(found.maps, expected)


def test_captums_own_passes_are_counted(case: Specimen) -> None:
    """One of ours for the value, one for the baseline; of a batch each picture has its share."""

    def passes(method: str, **options: Any) -> tuple[list[int], list[int]]:
        found = fs.attribute(case.model, case.images, CLASSES, method=method, **options)
        return found.forwards.tolist(), found.backwards.tolist()

    assert passes("captum:saliency") == ([2] * 3, [1] * 3)
    assert passes("captum:integrated-gradients", n_steps=7) == ([1 + 1 + 7] * 3, [7] * 3)
    assert passes("captum:noise-tunnel", nt_samples=4) == ([1 + 4] * 3, [4] * 3)
    forwards, backwards = passes("captum:feature-ablation")
    assert forwards == [1 + 1 + 64] * 3
    assert backwards == [0] * 3
