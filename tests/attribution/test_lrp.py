"""Relevance on whole networks: it is conserved, on whatever network, and is what Zennit's is."""

import copy
import gc

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.lrp import LRP
from tests.attribution.zoo import RELU, SMALL, TOYS, UNKNOWN, either, take_statistics, toy

LEAKING = (*UNKNOWN, "softmax-head", "log-softmax-head")
"""Where conservation is not promised, and the outcome says so."""
OPTIONS = ({}, {"composite": "epsilon-gamma-box"}, {"composite": "gamma"}, {"depthwise": "signed"})


@pytest.mark.parametrize("name", [name for name in TOYS if name not in LEAKING])
def test_a_map_adds_up_to_the_logit(name: str) -> None:
    case = toy(name)
    for options in OPTIONS[:2]:
        found = fs.attribute(case.model, case.images, 1, method="lrp", **options)
        assert float(found.error.max()) < 1e-3
        assert not found.record["coverage"]["missed"]
        assert not found.record["coverage"]["unseen"]
        assert not found.notes


@pytest.mark.parametrize("name", TOYS)
def test_a_picture_has_the_same_map_in_a_batch(name: str) -> None:
    case = toy(name)
    model, images = case.model.to(dtype=torch.float64), case.images.double()
    for options in OPTIONS if name in RELU[-6:] else OPTIONS[:1]:
        found = fs.attribute(model, images, 1, method="lrp", **options).maps
        single = fs.attribute(model, images[:1], 1, method="lrp", **options).maps
        torch.testing.assert_close(found[:1], single, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("value", [1e-5, -1e-4])
def test_a_logit_near_zero_is_conserved(value: float) -> None:
    case = toy("max-pool-after-relu")
    module = copy.deepcopy(case.model.module).double()
    image = case.images[:1].double()
    with torch.no_grad():
        module[-1].bias[1] += value - module(image)[0, 1]
    model = fs.Classifier(module, channels=3, input_size=8)
    found = fs.attribute(model, image, 1, method="lrp")
    assert float(found.values) == pytest.approx(value)
    assert float(found.maps.sum()) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("name", LEAKING)
def test_what_is_not_conserved_is_said(name: str) -> None:
    case = toy(name)
    found = fs.attribute(case.model, case.images, 1, method="lrp")
    assert float(found.error.max()) > 1e-3
    assert any("add up to something else" in note for note in found.notes)


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_full_size_conserve(name: str) -> None:
    case = either(name)
    found = fs.attribute(case.model, case.images, 1, method="lrp")
    assert float(found.error.max()) < 1e-3
    assert not found.record["coverage"]["missed"]


def test_a_pair_is_the_difference_of_logits() -> None:
    case = toy("skip-addition")
    found = fs.attribute(case.model, case.images, (2, 0), method="lrp")
    logits = case.model(case.images)
    torch.testing.assert_close(found.maps.flatten(1).sum(1), logits[:, 2] - logits[:, 0],
                               rtol=1e-3, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_skip_connections_need_no_rule(blocks: int) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) + x

    torch.manual_seed(blocks)
    module = nn.Sequential(nn.Flatten(), *(Block() for _ in range(blocks)), nn.Linear(8, 3))
    model = fs.Classifier(module, channels=2, input_size=2)
    found = fs.attribute(model, torch.rand(3, 2, 2, 2), 1, method="lrp")
    assert float(found.error.max()) < 1e-3


def test_a_users_own_attributes_stay() -> None:
    """A layer's ``rule`` is nobody's business, and the second map is the first."""
    module = copy.deepcopy(toy("max-pool-after-relu").model.module)
    for part in module.modules():
        part.rule = "mine"  # type: ignore[assignment]
    model = fs.Classifier(module, channels=3, input_size=8)
    images = toy("max-pool-after-relu").images
    first, second = (fs.attribute(model, images, 1, method="lrp").maps for _ in range(2))
    assert torch.equal(first, second)
    assert all(part.rule == "mine" for part in module.modules())


def test_a_scripted_network_is_refused() -> None:
    module = torch.jit.trace(toy("batch-norm").model.module, torch.rand(1, 3, 8, 8))
    with pytest.raises(fs.FluoroscopeError, match="scripted"):
        fs.attribute(fs.Classifier(module, channels=3, input_size=8), torch.rand(1, 3, 8, 8),
                     0, method="lrp")  # fmt: skip


def _zennit(module: nn.Module, images: Tensor, canonizer: str, name: str) -> Tensor:
    """Zennit's map of class 1, on a copy; biases get nothing, as with us."""
    composites = pytest.importorskip("zennit.composites")
    canonizers = pytest.importorskip("zennit.torchvision")
    names = ["bias"]
    options = {"epsilon": 1e-6, "stabilizer": 1e-12, "zero_params": names}
    if name == "EpsilonGammaBox":
        options |= {"low": torch.zeros_like(images), "high": torch.ones_like(images)}
    composite = getattr(composites, name)(canonizers=[getattr(canonizers, canonizer)()], **options)
    pixels = images.clone().requires_grad_()
    with composite.context(copy.deepcopy(module)) as changed:
        logits = changed(pixels)
        start = torch.zeros_like(logits)
        start[:, 1] = logits.detach()[:, 1]
        (found,) = torch.autograd.grad(logits, pixels, start)
    return found


def _vgg() -> nn.Module:
    from torchvision.models.vgg import VGG, make_layers

    module = VGG(make_layers([8, "M", 16, 16, "M"], batch_norm=True), init_weights=False)
    module.classifier = nn.Sequential(nn.Linear(784, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 4))
    return module


def _resnet() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4)


@pytest.mark.parametrize("composite", ["EpsilonPlusFlat", "EpsilonGammaBox"])
@pytest.mark.parametrize("kind", ["VGG", "ResNet"])
def test_zennits_maps_are_ours(kind: str, composite: str) -> None:
    """Where Zennit's canonisers fit.

    Its epsilon lets a bias keep its part, so dense layers have none here; its gamma asks for the
    sign of an output with its bias, ours without, so there no layer has one.
    """
    torch.manual_seed(0)
    module = (_vgg() if kind == "VGG" else _resnet()).double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    take_statistics(module, images)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, -1, 1)
            nn.init.uniform_(part.bias, -0.5, 0.5)
            if composite == "EpsilonGammaBox":
                deviation = (part.running_var + part.eps).sqrt()
                part.bias.data = part.running_mean * part.weight.detach() / deviation
        dense = isinstance(part, nn.Linear)
        if dense or (isinstance(part, nn.Conv2d) and composite == "EpsilonGammaBox"):
            part.bias = None
    expected = _zennit(module, images, f"{kind}Canonizer", composite)
    ours = {"EpsilonPlusFlat": "epsilon-plus-flat", "EpsilonGammaBox": "epsilon-gamma-box"}
    model = fs.Classifier(module, input_size=32)
    found = fs.attribute(model, images, 1, method="lrp", composite=ours[composite])
    size = float(expected.abs().max())
    torch.testing.assert_close(found.maps, expected, rtol=1e-3, atol=1e-4 * size)


def test_what_biases_keep_is_said_by_the_audit() -> None:
    case = toy("max-pool-after-relu")
    absorbed = LRP(composite="epsilon", bias="absorbed")
    seen = fs.audit(
        case.model, case.images, methods=[absorbed], randomisation=False, faithfulness=False
    ).verdict("lrp")
    assert seen.word == "partly"
    assert any("biases, shifts of norms and epsilon keep what they" in one for one in seen.reasons)


@pytest.mark.parametrize("name", ["gate-in-place", "attention-module", "in-place-addition"])
def test_nothing_waits_for_the_garbage_collector(name: str) -> None:
    """What was kept for the way back goes with the graph, or memory grows by it at each call."""
    case = toy(name)
    fs.attribute(case.model, case.images, 1, method="lrp")
    gc.freeze()  # what is there already is not gone through
    gc.disable()
    try:
        fs.attribute(case.model, case.images, 1, method="lrp")
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        waiting = [type(each).__name__ for each in gc.garbage if isinstance(each, Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()
    assert not waiting
