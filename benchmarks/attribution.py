"""What attributions cost beside the network's passes, in batches, and in memory over many calls.

Needs the networks of ../shared for the full-size rows but ResNet-50, which has random weights.
"""

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section, Skipped
from benchmarks.peers import SHARED
from benchmarks.timing import interleaved
from fluoroscope.attribution.names import METHODS
from fluoroscope.engine.predict import suitable_batch
from fluoroscope.words import count as counted
from reproductions.networks import specimen

_LARGE = (
    "mobilenet_v1_0.25_128",
    "mobilenet_v1_0.75_224",
    "mobilenet_v2_1.0_224",
    "tf_efficientnet_lite0_224",
)
# Methods whose passes are counted by a number that they are told; and those of about one pass.
_MANY = {"integrated-gradients": "points", "smoothgrad": "samples"}
_ONE = (
    "gradient",
    "gradient-x-input",
    "guided-backprop",
    "deconvolution",
    "grad-cam",
    "deeplift",
    "lrp",
)
_PEERS = ("captum:deep-lift", "captum:lrp")


def cost(scale: Scale) -> Section:
    """Each method over as many bare forward and backward passes as it is told to make."""
    section = Section(PAGE, "attribution", "Attributions against the bare passes")
    points, rows = scale.steps or 16, []
    for title, model, count in _beds(scale):
        images, classes = _pictures(model, count)
        few, its = images[: max(1, count // 8)], classes[: max(1, count // 8)]
        ways: dict[str, Callable[[], object]] = {
            "one pass": partial(passes_of, model, images, classes, 1),
            "passes": partial(passes_of, model, few, its, points),
        }
        for name in (*_ONE, *_PEERS):
            if name in METHODS or name in _PEERS:
                ways[name] = partial(_mapped, model, images, classes, name)
        for name, option in _MANY.items():
            ways[name] = partial(_mapped, model, few, its, name, **{option: points})
        refused = [name for name, way in ways.items() if not _goes(way)]
        timing = interleaved(
            {name: way for name, way in ways.items() if name not in refused},
            scale.repeats or 5, clock=time.process_time, threads=1, warm=False,
        )  # fmt: skip
        for name in ways:
            if name in ("one pass", "passes"):
                continue
            over, pictures = ("passes", len(few)) if name in _MANY else ("one pass", len(images))
            work = f"{title}, {counted(pictures, 'picture')}"
            passes = str(points if name in _MANY else 1)
            if name in refused:
                rows.append([work, name, passes, "refused", "", ""])
                continue
            error = timing.results[name].error
            rows.append(
                [
                    work, name, passes, f"{timing.ratio(name, over):.3f}",
                    timing.spread(name, over),
                    "" if bool(error.isnan().all()) else f"{float(error.nan_to_num().max()):.0e}",
                ]
            )  # fmt: skip
    section.text(
        "Seconds of one call of `fs.attribute` over those of bare forward and backward passes to "
        "the pixels of the same pictures, parameters frozen, by the CPU's clock on one thread. "
        f"Methods that take many passes are told {points}, and held against as many in the same "
        f"batches. A call also hashes the network's weights for its record, "
        "which is most of what the gradient costs beyond a pass. Error is the largest from what "
        "the method promises: completeness or conservation."
    )
    section.table(["workload", "method", "passes>", "over them>", "quartiles>", "error>"], rows)
    return section


def batches(scale: Scale) -> Section:
    """A batch of pictures against the same pictures one at a time."""
    section = Section(PAGE, "attribution-batches", "Attributions in batches and one by one")
    rows, options = [], {"integrated-gradients": {"points": 8}, "smoothgrad": {"samples": 8}}
    for title, model, count in _beds(scale)[:3]:
        images, classes = _pictures(model, min(count, 16))
        for name in ("gradient", "deeplift", "lrp", "grad-cam", *options, "occlusion"):
            if name not in METHODS:
                continue
            more: dict[str, Any] = options.get(name, {})
            if name == "occlusion":
                more = {"window": int(images.shape[-1]) // 3}

            timing = interleaved(
                {
                    "batch": partial(_mapped, model, images, classes, name, **more),
                    "singles": partial(_one_by_one, model, images, classes, name, **more),
                },
                scale.repeats or 3, clock=time.process_time, threads=1,
            )  # fmt: skip
            rows.append(
                [
                    title, name, str(len(images)),
                    f"{1000 * timing.median('batch') / len(images):.1f}",
                    f"{timing.ratio('batch', 'singles'):.2f}", timing.spread("batch", "singles"),
                ]
            )  # fmt: skip
    section.text("Seconds of one call with all pictures over those of a call for each.")
    section.table(
        ["network", "method", "pictures>", "ms a picture>", "batch / singles>", "quartiles>"], rows
    )
    return section


def memory(scale: Scale) -> Section:
    """Resident memory after some calls and after many more."""
    if not Path("/proc/self/status").is_file():
        raise Skipped("it needs /proc")
    section = Section(PAGE, "attribution-memory", "Attributions' memory over many calls")
    rows, calls = [], scale.steps or 500
    options: dict[str, dict[str, Any]] = {
        "integrated-gradients": {"points": 4},
        "smoothgrad": {"samples": 4},
        "occlusion": {"window": 14},
        "rise": {"samples": 8},
    }
    for name in ("gradient", "deeplift", "lrp", "guided-backprop", "grad-cam", *options):
        if name not in METHODS:
            continue
        ran = subprocess.run(
            [sys.executable, "-c", _PEAKS, name, str(calls), repr(options.get(name, {}))],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        before, after = (int(kilobytes) / 1024 for kilobytes in ran.stdout.split()[-2:])
        rows.append([name, f"{before:.1f}", f"{after:.1f}", f"{after - before:.1f}"])
    section.text(
        f"Resident memory of a process, in MiB, after {max(1, calls // 5)} calls with "
        f"eight digits and `digits-cnn`, and after {calls} more."
    )
    section.table(["method", "before>", "after>", "growth>"], rows)
    return section


SECTIONS = {"attribution": cost, "attribution-batches": batches, "attribution-memory": memory}

_PEAKS = """
import ast, gc, sys
from pathlib import Path
import torch
import fluoroscope as fs
name, calls, options = sys.argv[1], int(sys.argv[2]), ast.literal_eval(sys.argv[3])
model = fs.load_model("digits-cnn")
images = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
for many in (max(1, calls // 5), calls):
    for _ in range(many):
        fs.attribute(model, images, 3, method=name, **options)
    gc.collect()
    print(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
"""


def _beds(scale: Scale) -> list[tuple[str, fs.Classifier, int]]:
    """Titles, networks, and how many pictures each is shown."""
    beds = [("`digits-cnn`", fs.load_model("digits-cnn"), scale.limit or 128)]
    for name in _LARGE:
        if (SHARED / "models" / name).is_dir():
            beds.append((f"`{name}`", fs.load_model(SHARED / "models" / name), scale.limit or 16))
    resnet = specimen("torchvision:resnet50").model
    beds.append(("ResNet-50 at 224, random weights", resnet, scale.limit or 16))
    return beds


def _pictures(model: fs.Classifier, count: int) -> tuple[Tensor, Tensor]:
    size = (28, 28) if model.channels == 1 else model.input_size or (224, 224)
    if model.name == "torchvision:resnet50":
        size = (224, 224)
    coarse = torch.rand(count, model.channels, 7, 7, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return images, torch.arange(count) % 10


def passes_of(model: fs.Classifier, images: Tensor, classes: Tensor, passes: int) -> None:
    """The passes of all pictures in batches, and nothing else."""
    pictures, wanted = images.repeat(passes, 1, 1, 1), classes.repeat(passes)
    size = suitable_batch(images)
    with model.held():
        for pixels, its in zip(pictures.split(size), wanted.split(size), strict=True):
            pixels = pixels.clone().requires_grad_()
            own = model(pixels).gather(1, its[:, None])
            torch.autograd.grad(own.sum(), pixels)


def _mapped(
    model: fs.Classifier, images: Tensor, classes: Tensor, name: str, **options: Any
) -> fs.Attribution:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fs.FluoroscopeWarning)
        return fs.attribute(model, images, classes, method=name, **options)


def _one_by_one(
    model: fs.Classifier, images: Tensor, classes: Tensor, name: str, **options: Any
) -> None:
    for image, number in zip(images, classes, strict=True):
        _mapped(model, image[None], number[None], name, **options)


def _goes(way: Callable[[], object]) -> bool:
    """Whether a way can be gone; the run warms it up."""
    try:
        way()
    except fs.FluoroscopeError:
        return False
    return True
