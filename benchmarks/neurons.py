"""What looking at units costs beside the bare passes that it needs.

Needs the data and networks of ../shared; without them the digits of the package are taken.
"""

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import SHARED
from benchmarks.timing import interleaved
from fluoroscope.engine.predict import suitable_batch
from fluoroscope.words import count

_LARGE = ("mobilenet_v1_0.25_128", "mobilenet_v1_0.75_224")


def reading(scale: Scale) -> Section:
    """A layer read over a data set, over the forward passes of its pictures."""
    section = Section(PAGE, "reading", "Reading a layer against the forward passes")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for title, model, images in _beds(scale):
            out, data = Path(folder) / "read", fs.load_images(images)
            several = [layer.name for layer, units in fs.neurons.list_units(model) if units][-3:]
            ways: dict[str, Callable[[], object]] = {
                "passes": partial(_passes, model, images),
                "in memory": partial(_read, model, data),
                "on disk": partial(_read, model, data, out),
                "three layers at once": partial(fs.neurons.read_layers, model, data, several),
            }
            timing = interleaved(
                ways, scale.repeats or 7, clock=time.process_time, threads=1, warm=True
            )
            for name in list(ways)[1:]:
                rows.append(
                    [
                        title, f"{count(len(images), 'picture')}", name,
                        f"{timing.ratio(name, 'passes'):.3f}", timing.spread(name, "passes"),
                    ]
                )  # fmt: skip
    section.table(["network", "pictures>", "read", "of the passes>", "quartiles>"], rows)
    section.text(
        "The passes are those of the network alone, without a gradient, on pictures that lie in "
        "memory as it takes them, in batches of the same size; CPU seconds on one thread. Reading "
        "them is everything that `fluoroscope.neurons.read` does, the first look at a network of "
        "which nothing is known included in the first turn alone, which does not count."
    )
    return section


def _beds(scale: Scale) -> Iterator[tuple[str, fs.Classifier, Tensor]]:
    digits = fs.load_model("digits-cnn")
    mnist = SHARED / "data" / "mnist"
    data = fs.load_images(str(mnist), "test") if mnist.is_dir() else fs.load_images("digits")
    yield "digits-cnn, 28×28", digits, _decoded(digits, data, scale.limit or 10_000)
    sample = SHARED / "data" / "imagenet_sample"
    for name in _LARGE:
        if (SHARED / "models" / name).is_dir() and sample.is_dir():
            model = fs.load_model(str(SHARED / "models" / name))
            images = _decoded(model, fs.load_images(str(sample)), scale.limit or 1000)
            yield f"{name}, {images.shape[2]}×{images.shape[3]}", model, images


def _decoded(model: fs.Classifier, data: fs.ImageSet, many: int) -> Tensor:
    pictures = data.take(many, first=True)
    return torch.cat([batch.images for batch in pictures.batches(fit=model.preprocessing)])


def _passes(model: fs.Classifier, images: Tensor) -> None:
    """The passes of all pictures in batches, and nothing else."""
    with torch.no_grad(), model.held():
        for pixels in images.split(suitable_batch(images)):
            model(pixels)


def _read(model: fs.Classifier, data: fs.ImageSet, out: Path | None = None) -> None:
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fs.FluoroscopeWarning)
        fs.neurons.read(model, data, out=out)


SECTIONS = {"reading": reading}
