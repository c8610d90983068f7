"""The curves that reports show beside a network's own: ``make references`` measures them anew.

The digits networks come with the package; the small colour networks are trained here on CIFAR-10
(:mod:`reproductions.cifar`) and the ImageNet networks are those in ``../shared``. Only the curves
are kept. Where a network or its pictures are absent, the curve of before stays.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fluoroscope as fs
import fluoroscope.report
from fluoroscope.files import atomic_path
from reproductions.cifar import CIFAR, plain, robust
from reproductions.sources import IMAGENET, SHARED

FILE = Path(fluoroscope.report.__file__).parent / "references.json"
NORMS = ("linf", "l2")
POINTS = 60


@dataclass(frozen=True)
class Measured:
    """A network, its pictures, and how many of them."""

    model: str
    about: str
    """What it is, in a few words of the page's caption."""
    hardened: bool
    """Whether it was trained against attacks."""
    load: Callable[[], fs.Classifier]
    data: str
    """Their name on the page."""
    source: str | Path
    count: int
    needs: Path | None = None
    """Where its pictures or weights must be."""


def _shared(name: str) -> Callable[[], fs.Classifier]:
    return lambda: fs.load_model(SHARED / "models" / name)


def _imagenet(folder: str, count: int, name: str) -> Measured:
    return Measured(
        name, "trained on clean pictures of ImageNet", False, _shared(folder),
        "a sample of ImageNet", IMAGENET, count, SHARED / "models" / folder,
    )  # fmt: skip


NETWORKS = (
    Measured(
        "digits-cnn", "trained on clean digits", False,
        lambda: fs.load_model("digits-cnn"), "digits", "digits", 1000,
    ),
    Measured(
        "digits-robust", "trained on digits against attacks", True,
        lambda: fs.load_model("digits-robust"), "digits", "digits", 1000,
    ),
    Measured(
        "cifar-plain", "a small one trained on clean pictures of CIFAR-10", False,
        plain, "CIFAR-10", CIFAR, 1000, CIFAR,
    ),
    Measured(
        "cifar-hardened", "the same trained against attacks within 8/255", True,
        robust, "CIFAR-10", CIFAR, 1000, CIFAR,
    ),
    _imagenet("mobilenet_v1_0.25_128", 300, "MobileNet v1 0.25"),
    _imagenet("mobilenet_v1_0.75_224", 100, "MobileNet v1 0.75"),
    _imagenet("tf_efficientnet_lite0_224", 100, "EfficientNet-Lite0"),
)  # fmt: skip


def measure(one: Measured) -> list[dict[str, Any]]:
    """Its curve in each norm, as plain values."""
    model = one.load()
    images = fs.load_images(
        one.source, None if one.source == "digits" else _split(one), channels=model.channels
    ).take(one.count)
    curves = []
    for norm in NORMS:
        found = fs.evaluate(fs.prepare(model), images, threat=norm, plan="curve").curve
        assert found is not None
        points = found.points(POINTS)
        height, width = model.input_size or images[0].image.shape[-2:]
        curves.append(
            {
                "model": one.model,
                "about": one.about,
                "hardened": one.hardened,
                "channels": model.channels,
                "side": max(height, width),
                "classes": model.num_classes,
                "data": one.data,
                "count": len(found),
                "norm": norm,
                "eps": [round(point.eps, 5) for point in points],
                "accuracy": [round(point.accuracy, 4) for point in points],
                "median": round(found.median, 5),
            }
        )
    return curves


def _split(one: Measured) -> str:
    return "test" if one.source == CIFAR else "validation"


def main() -> None:
    """Measure those whose network and pictures are here, and write each down at once."""
    parser = argparse.ArgumentParser(prog="python -m reproductions.references", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these; by default all")
    names = parser.parse_args().names or [one.model for one in NETWORKS]
    for one in NETWORKS:
        if one.model not in names:
            continue
        if one.needs is not None and not one.needs.is_dir():
            print(f"{one.model}: {one.needs} is absent; its curve of before stays")
            continue
        write(one.model, measure(one))
        print(f"{one.model}: measured on {one.count} pictures", flush=True)


def write(model: str, curves: list[dict[str, Any]], file: Path = FILE) -> None:
    """Put the curves of a network in the place of those of before, all in the order above."""
    kept = json.loads(file.read_text("utf-8"))["curves"] if file.exists() else []
    order = [one.model for one in NETWORKS]
    both = [one for one in kept if one["model"] != model] + curves
    both = sorted(
        (one for one in both if one["model"] in order), key=lambda one: order.index(one["model"])
    )
    whole = {"made_by": "make references", "fluoroscope": fs.__version__, "curves": both}
    text = json.dumps(whole, separators=(",", ":")).replace('{"model"', '\n{"model"')
    with atomic_path(file) as draft:
        draft.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
