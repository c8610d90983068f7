"""What the relevance of LRP adds up to, by each rule for depthwise convolutions, and what it costs.

``python -m reproductions.attribution_conservation NETWORK ...`` prints the rows of some networks
and writes nothing; names are those of :data:`reproductions.networks.NETWORKS` and the folders of
the pretrained ones.
"""

import sys
import time
from collections.abc import Iterable
from statistics import median

import torch
from torch import nn

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.attribution.classes import objective_of
from fluoroscope.attribution.lrp import LRP
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.models.classifier import Classifier
from reproductions.attribution_peers import said, share, zennit_maps
from reproductions.networks import NETWORKS, Specimen, specimen
from reproductions.sources import IMAGENET, PAGE, SHARED

PRETRAINED = (
    "mobilenet_v1_0.25_128",
    "mobilenet_v1_0.50_160",
    "mobilenet_v1_0.75_224",
    "mobilenet_v2_1.0_224",
    "tf_efficientnet_lite0_224",
)
PICTURES = (207, 281)
"""Which pictures of the sample the pretrained networks see: a retriever and a cat."""
DEPTHWISE = ("z-plus", "signed", "gamma", "epsilon")
REPEATS = 7


def section(names: Iterable[str] = (*NETWORKS, *PRETRAINED)) -> Section:
    """All of it."""
    page = Section(PAGE, "attribution-conservation", "What the relevance of LRP adds up to")
    page.text(
        "The sum of a map over the logit that it explains, which should be 1, of the picture where "
        "it is farther from it. Networks of torchvision and timm with seeded weights and "
        "calibrated batch norms on two pictures of noise; the pretrained ones on two photographs. "
        "The class is the predicted one. *Plus-flat* is the default, EpsilonPlusFlat; *gamma-box* "
        "is EpsilonGammaBox. Where a network has depthwise convolutions: the same with another "
        "rule for these. *Cost* is the default's processor time over that of a bare forward and "
        f"backward pass of the same pictures, the medians of {REPEATS} interleaved repeats. "
        "Captum and Zennit (EpsilonPlusFlat, biases keep nothing) have a copy each; where one "
        "raises, its error stands in the table."
    )
    page.table(
        ["network", "plus-flat>", *(f"depthwise {rule}>" for rule in DEPTHWISE[1:]), "gamma-box>",
         "cost>", "Captum>", "Zennit>"],
        map(measured, names),
    )  # fmt: skip
    return page


def measured(name: str) -> list[str]:
    """One network's row."""
    case = specimen(name) if name in NETWORKS else _pretrained(name)
    with torch.no_grad():
        classes = case.model(case.images).argmax(1)

    def sums(method: str, **options: object) -> str:
        found = fs.attribute(case.model, case.images, classes, method=method, **options)
        return share(found.maps, found.values)

    others = [
        sums("lrp", depthwise=rule) if _has_depthwise(case.model.module) else "–"
        for rule in DEPTHWISE[1:]
    ]
    return [
        name.partition(":")[2] + (" (timm)" if name.startswith("timm") else "") or name,
        sums("lrp"),
        *others,
        sums("lrp", composite="epsilon-gamma-box"),
        f"{_cost(case, classes):.1f}",
        said(lambda: sums("captum:lrp")),
        said(lambda: share(zennit_maps(case, classes), torch.ones(len(classes)))),
    ]


def _pretrained(name: str) -> Specimen:
    model = fs.load_model(SHARED / "models" / name)
    pictures = [
        fs.open_image(f"{IMAGENET}:validation:{number}", channels=model.channels).image
        for number in PICTURES
    ]
    return Specimen(name, model, torch.stack([model.fit(picture) for picture in pictures]))


def _has_depthwise(network: nn.Module) -> bool:
    return any(
        isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels
        for part in network.modules()
    )


def _cost(case: Specimen, classes: torch.Tensor) -> float:
    """The default's processor time over a bare pass's."""
    ruled = LRP().network(case.model, case.images, 0)
    times: dict[Classifier, list[float]] = {case.model: [], ruled: []}
    for _ in range(REPEATS + 1):
        for network, seconds in times.items():
            start = time.process_time()
            evaluate(
                network, case.images, classes, objective_of(classes), gradient=True, look=False
            )
            seconds.append(time.process_time() - start)
    bare, own = (median(seconds[1:]) for seconds in times.values())
    return own / bare


if __name__ == "__main__":
    print("\n".join(section(sys.argv[1:] or (*NETWORKS, *PRETRAINED)).lines))
