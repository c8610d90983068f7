"""How methods that ask many things of a picture share a batch, which leaves no trace in the map."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution import names
from tests.attribution.cases import tensors_left
from tests.attribution.zoo import toy

METHODS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 21},
    "vargrad": {"samples": 5},
    "integrated-gradients": {"points": 19},
    "expected-gradients": {"samples": 9},
    "occlusion": {"window": 4, "stride": 1},
    "feature-ablation": {"parts": 9},
    "rise": {"samples": 20, "grid": 3},
}


class Narrow(nn.Module):
    """A network for which memory runs out beyond so many pictures."""

    def __init__(self, module: nn.Module, fits: int) -> None:
        super().__init__()
        self.module, self.fits = module, fits

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        found: Tensor = self.module(x)
        return found


def sizes(name: str, images: Tensor, **how: Any) -> list[int]:
    found: list[int] = []
    fs.attribute(
        toy("gelu").model, images, 1, method=name,
        on_step=lambda step: found.append(len(step.images)), **METHODS[name], **how,
    )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smoothgrad", [16, 5]),
        ("integrated-gradients", [2, 16, 3]),  # its ends need no way back
        ("occlusion", [16, 10]),
        ("rise", [16, 5]),
    ],
)
def test_the_probes_of_one_picture_fill_the_batch(name: str, expected: list[int]) -> None:
    assert sizes(name, toy("gelu").images[:1], batch_size=16) == expected


def test_by_default_fewer_large_pictures_are_evaluated_at_once() -> None:
    from fluoroscope.engine.predict import suitable_batch

    sides = {8: 64, 128: 50, 224: 16, 2000: 1}
    assert {side: suitable_batch(torch.empty(1, 3, side, side)) for side in sides} == sides
    assert max(sizes("smoothgrad", toy("gelu").images)) == 63  # 21 of each


@pytest.mark.parametrize("name", METHODS)
def test_no_batch_is_larger_than_wanted(name: str) -> None:
    images = toy("gelu").images
    assert max(sizes(name, images, batch_size=7)) == 6  # two each
    assert max(sizes(name, images, batch_size=2)) == 2  # fewer than pictures
    assert sum(sizes(name, images, batch_size=1)) == sum(sizes(name, images, batch_size=50))


@pytest.mark.parametrize("name", METHODS)
def test_maps_do_not_depend_on_the_batch(name: str) -> None:
    case = toy("max-pool-after-relu")
    options = METHODS[name]
    whole = fs.attribute(case.model, case.images, [1, 0, 2], method=name, **options)
    for size in (1, 5):
        found = fs.attribute(
            case.model, case.images, [1, 0, 2], method=name, batch_size=size, **options
        )
        torch.testing.assert_close(found.maps, whole.maps, atol=1e-5, rtol=1e-5)
        # The logits of another batch size are rounded otherwise, in float32.
        values = {"atol": 1e-6, "rtol": 1e-5, "equal_nan": True}
        torch.testing.assert_close(found.values, whole.values, **values)
        assert torch.equal(found.forwards, whole.forwards)
        assert torch.equal(found.backwards, whole.backwards)


@pytest.mark.parametrize("name", METHODS)
def test_where_memory_runs_out_the_batch_is_halved(name: str) -> None:
    case = toy("gelu")
    narrow = fs.Classifier(Narrow(case.model.module, 4), channels=3, input_size=8)
    options = {"method": name, **METHODS[name]}
    expected = fs.attribute(case.model, case.images, 1, **options)
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out"):
        found = fs.attribute(narrow, case.images, 1, batch_size=30, **options)
    torch.testing.assert_close(found.maps, expected.maps, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.forwards, expected.forwards)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated-gradients", "occlusion", "rise"])
def test_sums_over_a_network_in_half_precision_are_no_coarser(name: str) -> None:
    case = toy("gelu")
    half = case.model.to(dtype=torch.bfloat16)
    found = fs.attribute(half, case.images, 1, method=name, **METHODS[name])
    assert found.maps.dtype == torch.float32
    whole = fs.attribute(case.model, case.images, 1, method=name, **METHODS[name]).maps
    pair = torch.stack([found.maps.float().flatten(), whole.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.5


def test_no_method_leaves_a_tensor_behind() -> None:
    """What holds itself where no collector sees it would grow with every call."""
    case = toy("gelu")

    def once() -> None:
        for name in names.METHODS:
            fs.attribute(case.model, case.images[:1], 1, method=name, **METHODS.get(name, {}))

    assert tensors_left(once) == 0
