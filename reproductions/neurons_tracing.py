"""When a cheap stand-in for removing a unit will do: rank correlations with the exact effects.

On each network three layers, early to late, and for each layer some pictures; of every picture all
units are removed, and each approximation is held against that.
"""

from collections.abc import Iterator
from statistics import median

from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Scale, Section
from fluoroscope.neurons.tracing.approximations import APPROXIMATIONS
from fluoroscope.notices import collected
from reproductions.cifar import cifar
from reproductions.inversion_networks import network
from reproductions.sources import IMAGENET, PAGE, SHARED

_MANY = 10
"""Pictures of each network."""
_LAYERS = {
    "digits-cnn": ("1", "3", "5", "8"),
    "digits-robust": ("1", "3", "5"),
    "inversion-plain": ("1", "3", "5"),
    "inversion-robust": ("1", "3", "5"),
    "mobilenet_v1_0.25_128": tuple(f"mobilenet_v1.layer.{number}" for number in (6, 14, 25)),
    "mobilenet_v2_1.0_224": (
        "mobilenet_v2.layer.10", "mobilenet_v2.layer.15", "mobilenet_v2.conv_1x1",
    ),
    "tf_efficientnet_lite0_224": ("blocks.3", "blocks.5", "bn2"),
}  # fmt: skip


def section(scale: Scale) -> Section:
    """Exact ablation against every approximation, per network and layer."""
    page = Section(PAGE, "neurons-ablation", "Removing a unit, and cheaper ways")
    many, rows = scale.limit or _MANY, []
    for name, model, images in _beds(many):
        for layer in _LAYERS[name]:
            rows.append(_row(name, model, images, layer))
            print(" | ".join(rows[-1]), flush=True)
    page.text(
        "Every unit of a layer is removed, one at a time (0 in its place), and what is lost of the "
        "margin of the predicted class is compared with what cheaper ways say: the median, over "
        f"{many} pictures of each network, of Spearman's rank correlation over all units, and in "
        "brackets the lowest. *Activation* is the largest activation of a unit without its sign, "
        "which favourite pictures go by; *relevance* is that of LRP with its defaults, "
        "*conductance* from a black picture in 32 steps. *Set* is the median size of the smallest "
        "set found greedily without which the decision changes, *at random* that of random orders "
        "(median of five); – where in most pictures it never did."
    )
    page.table(
        ["network", "layer", "units>", *(f"{name}>" for name in APPROXIMATIONS), "set>",
         "at random>"],
        rows,
    )  # fmt: skip
    return page


def _row(name: str, model: fs.Classifier, images: Tensor, layer: str) -> list[str]:
    with collected():
        found = [fs.neurons.trace(model, image, layer=layer, shown=0) for image in images]
    cells = []
    for way in APPROXIMATIONS:
        ranks = [one.agreement.get(way) for one in found]
        known = [rank for rank in ranks if rank is not None]
        cells.append(f"{median(known):.2f} ({min(known):.2f})" if known else "–")
    sizes = [one.record["set"]["size"] for one in found]
    random = [one.record["set"]["random_size"] for one in found]
    return [name, layer, f"{len(found[0].effects):,}", *cells, _middle(sizes), _middle(random)]


def _middle(sizes: list[int | None]) -> str:
    """The median, where those that never came to an end lie beyond all others."""
    ordered = sorted(sizes, key=lambda size: (size is None, size or 0))
    found = ordered[(len(ordered) - 1) // 2]
    return "–" if found is None else f"{found:,}"


def _beds(many: int) -> Iterator[tuple[str, fs.Classifier, Tensor]]:
    """Each network, and pictures ``(N, C, H, W)`` as it takes them."""
    digits = fs.load_images("digits", channels=1).take(many)
    for name in ("digits-cnn", "digits-robust"):
        yield name, fs.load_model(name), next(iter(digits.batches(many))).images
    pictures = cifar("test")[0][:many] / 255
    for name in ("inversion-plain", "inversion-robust"):
        yield name, network(name), pictures
    sample = fs.load_images(IMAGENET).take(many)
    for name in list(_LAYERS)[4:]:
        model = fs.load_model(SHARED / "models" / name)
        yield name, model, next(iter(sample.batches(many, fit=model.preprocessing))).images
