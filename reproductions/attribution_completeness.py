"""DeepLIFT's completeness and cost: networks of full size in two precisions, and trained ones.

``python -m reproductions.attribution_completeness NETWORK ...`` prints the rows of some networks
and writes nothing; names are those of :data:`reproductions.networks.NETWORKS`, and of the folders
of trained networks beside the checkout.
"""

import sys
from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section
from benchmarks.timing import interleaved
from fluoroscope.attribution.registry import make_method
from fluoroscope.attribution.search import explain
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import as_objective
from reproductions.attribution_peers import said
from reproductions.networks import NETWORKS, specimen
from reproductions.sources import IMAGENET, PAGE, SHARED

TRAINED = (
    "mobilenet_v1_0.25_128",
    "mobilenet_v1_0.50_160",
    "mobilenet_v1_0.75_224",
    "mobilenet_v2_1.0_224",
    "tf_efficientnet_lite0_224",
)
PICTURES = 4
"""Photographs that the trained networks are shown."""
REPEATS = 5
PRECISIONS = (torch.float32, torch.float64)


def section(
    names: Iterable[str] = NETWORKS, trained: Iterable[str] = TRAINED, repeats: int = REPEATS
) -> Section:
    """All of it."""
    page = Section(PAGE, "attribution-completeness", "DeepLIFT adds up, on every network")
    page.text(
        "`|sum - (f(x) - f(b))| / max(|f(x) - f(b)|, 0.001 sum |map|)`, the largest over the "
        "pictures, against black and against noise. Above, networks of torchvision and timm with "
        "seeded weights and two pictures of noise each; below, trained networks on "
        f"{PICTURES} photographs. *Times a pass* is the cost in passes forward and back of the "
        f"same pictures: the median of {repeats} interleaved repeats, on one thread, in float32. "
        "Captum's DeepLIFT beside it, against black, on a copy; where it raises, its error."
    )
    head = ["network", "float32: black>", "noise>", "float64: black>", "noise>", "Captum>",
            "times a pass>", "Captum's>"]  # fmt: skip
    page.table(head, (_row(name, repeats) for name in (*names, *trained)))
    return page


def _row(name: str, repeats: int) -> list[str]:
    model, images = subject(name)
    with torch.no_grad():
        classes = model(images).argmax(1)
    errors = [
        _off(model.to(dtype=kind), images.to(kind), classes, "deeplift", baseline=baseline)
        for kind in PRECISIONS
        for baseline in ("black", "noise")
    ]
    ours = cost(model, images, classes, "deeplift", repeats)
    return [
        name.partition(":")[2] + (" (timm)" if name.startswith("timm") else "") or name,
        *errors,
        said(lambda: _off(model, images, classes, "captum:deep-lift")),
        ours,
        said(lambda: cost(model, images, classes, "captum:deep-lift", repeats)),
    ]


@cache
def subject(name: str) -> tuple[fs.Classifier, Tensor]:
    """A network by its name and pictures for it: of noise, or photographs if it is trained."""
    if name not in TRAINED:
        case = specimen(name)
        return case.model, case.images
    model = fs.load_model(SHARED / "models" / name)
    sample = fs.load_images(IMAGENET).take(PICTURES)
    (batch,) = sample.batches(PICTURES, fit=model.preprocessing, workers=0)
    return model, batch.images


def _off(
    model: fs.Classifier, images: Tensor, classes: Tensor, method: str, **options: object
) -> str:
    found = fs.attribute(model, images, classes, method=method, **options)
    return f"{float(found.error.max()):.0e}"


def cost(model: fs.Classifier, images: Tensor, classes: Tensor, method: str, repeats: int) -> str:
    """In bare passes forward and back."""
    made, logit = make_method(method), as_objective("logit")
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: evaluate(model, images, classes, logit, gradient=True),
        "method": lambda: explain(model, made, images, classes),
    }
    return f"{interleaved(ways, repeats, threads=1).ratio('method', 'bare'):.2f}"


if __name__ == "__main__":
    asked = sys.argv[1:]
    chosen = [[name for name in kind if name in asked] for kind in (NETWORKS, TRAINED)]
    print("\n".join(section(*chosen).lines))
