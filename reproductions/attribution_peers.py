"""Guided backpropagation, DeepLIFT and LRP by Captum, by Zennit and by us, on the same networks.

``python -m reproductions.attribution_peers NETWORK ...`` prints the rows of some networks and
writes nothing; names are those of :data:`reproductions.networks.NETWORKS`.
"""

import copy
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.attribution.rules.graph import ACTIVATIONS, walk
from fluoroscope.words import number
from reproductions.networks import NETWORKS, Specimen, specimen
from reproductions.sources import PAGE

_WORDS = 60
"""Characters of a refusal that fit into a cell."""


@dataclass(frozen=True)
class Row:
    """What came of one network."""

    name: str
    nodes: int
    """Activations in the autograd graph of its answer."""
    relus: int
    """Calls of an ``nn.ReLU``, which is what Captum's guided backpropagation hooks."""
    guided: dict[str, str]
    """Whether the map is the plain gradient's, bit for bit; by library."""
    deeplift: dict[str, str]
    """The largest completeness error; by library."""
    lrp: dict[str, str]
    """The sum of the map over the output, of the picture where it is farthest from 1; by
    library."""


def section(names: Iterable[str] = NETWORKS) -> Section:
    """All of it."""
    page = Section(PAGE, "attribution-peers", "Attributions that hold, and those that do not")
    page.text(
        "Captum, Zennit and Fluoroscope on networks of torchvision and timm with seeded weights "
        "and calibrated batch norms, two pictures of noise each and the class that they are "
        "predicted as. Such weights say nothing about how good a map is; that an identity is "
        "broken, they show. *Nodes* are the activations in the autograd graph of an answer, "
        "*hooked* the calls of an `nn.ReLU` module. *Guided = gradient*: whether guided "
        "backpropagation came out as the plain gradient, bit for bit. *DeepLIFT* against black: "
        "`|sum - (f(x) - f(0))| / max(|f(x) - f(0)|, 0.001 sum |map|)`, the larger one of both "
        "pictures. *LRP*: the sum of the map over the output, which should be 1, of the picture "
        "where it is farther from it; Captum with its defaults, Zennit with EpsilonPlusFlat whose "
        "biases keep nothing and its canoniser for the network, Fluoroscope with its defaults. "
        "Each peer has a copy of the network. Where one raises, its error stands in the table."
    )
    page.table(
        ["network", "nodes>", "hooked>", "guided = gradient: Captum", "ours",
         "DeepLIFT: Captum>", "ours>", "LRP: Captum>", "Zennit>", "ours>"],
        map(cells, map(measured, names)),
    )  # fmt: skip
    return page


def cells(row: Row) -> list[str]:
    """A row as the table has it."""
    return [
        row.name, str(row.nodes), str(row.relus), row.guided["captum"], row.guided["ours"],
        row.deeplift["captum"], row.deeplift["ours"],
        row.lrp["captum"], row.lrp["zennit"], row.lrp["ours"],
    ]  # fmt: skip


def measured(name: str) -> Row:
    """One network by all three."""
    case = specimen(name)
    with torch.no_grad():
        classes = case.model(case.images).argmax(1)
    nodes, relus = counted(case)

    def maps(method: str, **options: object) -> fs.Attribution:
        return fs.attribute(case.model, case.images, classes, method=method, **options)

    def same(one: str, other: str, **options: object) -> str:
        equal = torch.equal(maps(one).maps, maps(other, **options).maps)
        return "**yes**" if equal else "no"

    def off(method: str) -> str:
        return number(float(maps(method).error.max()), 2)

    return Row(
        name=name.partition(":")[2] + (" (timm)" if name.startswith("timm") else ""),
        nodes=nodes,
        relus=relus,
        guided={
            "captum": said(lambda: same("captum:guided-backprop", "captum:saliency", abs=False)),
            "ours": said(lambda: same("guided-backprop", "gradient")),
        },
        deeplift={
            "captum": said(lambda: off("captum:deep-lift")),
            "ours": said(lambda: off("deeplift")),
        },
        lrp={
            "captum": said(lambda: share(*_of(maps("captum:lrp")))),
            "zennit": said(lambda: share(zennit_maps(case, classes), torch.ones(2))),
            "ours": said(lambda: share(*_of(maps("lrp")))),
        },
    )


def counted(case: Specimen) -> tuple[int, int]:
    """Activations in the graph of an answer, and calls of an ``nn.ReLU``."""
    network = copy.deepcopy(case.model.module).eval()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for part in network.modules():
        if type(part) is nn.ReLU:
            part.register_forward_hook(count)
    answer = network(case.images[:1].clone().requires_grad_())
    found = walk(answer).non_linear
    return sum(many for name, many in found.items() if name in ACTIVATIONS), calls


def zennit_maps(case: Specimen, classes: Tensor) -> Tensor:
    """Zennit's EpsilonPlusFlat of relevance 1, ``(N, C, H, W)``, on a copy."""
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlusFlat
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

    network = copy.deepcopy(case.model.module).eval()
    kind = case.name.removeprefix("torchvision:")
    canoniser = SequentialMergeBatchNorm
    if kind.startswith("resnet"):
        canoniser = ResNetCanonizer
    elif kind.startswith("vgg"):
        canoniser = VGGCanonizer
    wanted = nn.functional.one_hot(classes, case.model.num_classes).to(case.images)
    composite = EpsilonPlusFlat(canonizers=[canoniser()], zero_params=["bias"])
    with Gradient(network, composite) as attributor:
        _, found = attributor(case.images.clone(), wanted)
    return found.detach()


def _of(found: fs.Attribution) -> tuple[Tensor, Tensor]:
    return found.maps, found.values


def share(maps: Tensor, outputs: Tensor) -> str:
    """What a map adds up to over what it should, where that is farthest from 1."""
    shares = maps.double().sum((1, 2, 3)) / outputs.double()
    worst = shares[(shares - 1).abs().nan_to_num(torch.inf).argmax()]
    return f"{float(worst):.4f}" if 0.001 < abs(float(worst)) < 1000 else f"{float(worst):.0e}"


def said(measure: Callable[[], str]) -> str:
    """What was measured, or what was raised instead."""
    try:
        return measure()
    # Whatever a peer raises is what came of it.
    except Exception as problem:
        cause = problem
        while cause.__cause__ is not None:
            cause = cause.__cause__
        words = " ".join(str(cause).split())
        short = words if len(words) <= _WORDS else f"{words[:_WORDS]}…"
        return f"{type(cause).__name__}: {short}"


if __name__ == "__main__":
    print("\n".join(section(sys.argv[1:] or NETWORKS).lines))
