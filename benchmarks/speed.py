"""What our own code costs beside the network's passes: ``python -m benchmarks.speed``.

Needs MobileNet v1 0.75 and the sample of ImageNet in ../shared for the full-size row.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section
from benchmarks.timing import Timing, interleaved
from fluoroscope.attacks.ascent import GradientAscent
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.run import run
from fluoroscope.engine.threats import Linf

PAGE = Path("docs/benchmarks.md")
MOBILENET = Path("../shared/models/mobilenet_v1_0.75_224")
HEAD = """# Benchmarks

Written by `make bench`; nothing in it is typed by hand. Every figure is a ratio to something
measured in the same run: the ways are run in turn, the ratio is taken in each turn, and the median
of the turns is shown with its quartiles.
"""


def main() -> None:
    """Measure and write the page."""
    for build in (passes, differences, start):
        began = time.perf_counter()
        section = build()
        section.measured(time.perf_counter() - began)
        section.write(HEAD)
        print(f"wrote the section {section.name} of {section.page}")


def passes() -> Section:
    """Searches against the bare forward and input-backward passes they need."""
    section = Section(PAGE, "passes", "The loop against the bare passes")
    rows = []
    digits, classes = _digits(128)
    cnn = fs.load_model("digits-cnn")
    attack = GradientAscent(40, 0.01, "sign", LOG_PROBABILITY, Linf(0.3))
    timing = interleaved(
        {
            "ours": lambda: run(cnn, attack, digits, classes, Linf(0.3), keep="last"),
            "floor": lambda: _bare(cnn, digits, classes, 40),
        },
        15,
    )
    rows.append(_row("40 steps, 128 digits, `digits-cnn`", "2", timing))
    if MOBILENET.is_dir():
        mobilenet = fs.load_model(MOBILENET)
        picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        target = torch.tensor([23])
        timing = interleaved(
            {
                "ours": lambda: fs.morph(mobilenet, picture, to=23, eps="8/255", steps=100),
                "floor": lambda: _on_threads(1, lambda: _bare(mobilenet, picture, target, 100)),
                "floor on two": lambda: _on_threads(
                    2, lambda: _bare(mobilenet, picture, target, 100)
                ),
            },
            7,
        )
        name = "100 morph steps, one 224×224 picture, MobileNet v1 0.75"
        rows.append(_row(name, "1", timing))
        rows.append(_row(name, "2", timing, "floor on two"))
    section.text(
        "The floor is the network's own forward and input-backward passes, with parameters frozen "
        "and nothing else: one of each a step and a last forward pass. Ours adds the step, the "
        "projection, all probabilities and distances of every step, and the way stations. A single "
        "picture is run on one thread; the last row holds it against the bare passes on two."
    )
    section.table(
        ["workload", "floor's threads>", "floor, s>", "ours / floor>", "quartiles>"], rows
    )
    return section


def differences() -> Section:
    """Finite differences over all pixels of a digit, in batches against one at a time."""
    section = Section(PAGE, "differences", "Finite differences in batches")
    rows = []
    picture = fs.open_image("digits:5", channels=1).image
    for name in ("digits-linear", "digits-cnn"):
        model = fs.load_model(name)

        def batched(model: fs.Classifier = model) -> Tensor:
            return fs.finite_difference_gradient(model, picture, 5)

        def single(model: fs.Classifier = model) -> Tensor:
            return _one_pixel_at_a_time(model, picture, 5)

        def arithmetic(model: fs.Classifier = model) -> None:
            with torch.no_grad():
                for part in picture.expand(1568, 1, 28, 28).split(256):
                    model(part)

        timing = interleaved({"ours": batched, "single": single, "floor": arithmetic}, 7)
        rows.append(
            [
                f"`{name}`",
                f"{1000 * timing.median('single'):.1f}",
                f"{1000 * timing.median('ours'):.1f}",
                f"{timing.ratio('single', 'ours'):.1f}",
                f"{timing.ratio('single', 'floor'):.1f}",
            ]
        )
    section.text(
        "Central differences at all 784 pixels: 1,568 evaluations. One pixel at a time is the "
        "plain loop over the bare network, two pictures at once for the two nudges. The last "
        "column is what bare forward passes in the same batches gain: the arithmetic's limit."
    )
    section.table(
        ["network", "one at a time, ms>", "batched, ms>", "times faster>", "arithmetic's limit>"],
        rows,
    )
    return section


def start() -> Section:
    """Importing the package and asking the command line for help."""
    section = Section(PAGE, "start", "Starting")
    command = Path(sys.executable).with_name("fluoroscope")
    timing = interleaved(
        {
            "torch": _python("import torch"),
            "both": _python("import torch, fluoroscope"),
            "used": _python("import torch, fluoroscope as fs; fs.load_model, fs.morph"),
            "help": lambda: subprocess.run([command, "--help"], check=True, capture_output=True),
        },
        9,
    )
    section.table(
        ["", "seconds, median>"],
        [
            ["`import torch`", f"{timing.median('torch'):.2f}"],
            [
                "`import fluoroscope` on top",
                f"{timing.median('both') - timing.median('torch'):.2f}",
            ],
            [
                "`fs.load_model`, `fs.morph` on top (what they import)",
                f"{timing.median('used') - timing.median('torch'):.2f}",
            ],
            ["`fluoroscope --help`", f"{timing.median('help'):.2f}"],
        ],
    )
    return section


def _bare(model: fs.Classifier, images: Tensor, classes: Tensor, steps: int) -> None:
    module, prepare = model.module, model.preprocessing.normalize
    rows = torch.arange(len(images))

    def logits(pixels: Tensor) -> Tensor:
        output = module(prepare(pixels))
        return output if isinstance(output, Tensor) else output.logits

    for _ in range(steps):
        pixels = images.clone().requires_grad_()
        torch.autograd.grad(logits(pixels)[rows, classes].sum(), pixels)
    with torch.no_grad():
        logits(images)


def _one_pixel_at_a_time(model: fs.Classifier, image: Tensor, wanted: int) -> Tensor:
    slopes = torch.empty(image.numel())
    with torch.no_grad():
        for index in range(image.numel()):
            pair = image.repeat(2, 1, 1, 1)
            pair[0].view(-1)[index] += 5e-3
            pair[1].view(-1)[index] -= 5e-3
            above, below = model(pair)[:, wanted]
            slopes[index] = (above - below) / 1e-2
    return slopes


def _digits(count: int) -> tuple[Tensor, Tensor]:
    batch = next(iter(fs.load_images("digits", channels=1).take(count).batches(count)))
    return batch.images, (batch.labels + 1) % 10


def _on_threads(count: int, work: Callable[[], None]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        work()
    finally:
        torch.set_num_threads(before)


def _python(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def _row(name: str, threads: str, timing: Timing, floor: str = "floor") -> list[str]:
    return [
        name,
        threads,
        f"{timing.median(floor):.2f}",
        f"{timing.ratio('ours', floor):.3f}",
        timing.spread("ours", floor),
    ]


if __name__ == "__main__":
    main()
