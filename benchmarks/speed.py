"""What our own code costs beside the network's passes, and what a prepared network saves.

Needs MobileNet v1 0.75 and the sample of ImageNet in ../shared for the full-size row.
"""

import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section, Skipped, percent
from benchmarks.peers import MNIST, MOBILENET, mobilenet, resnet18
from benchmarks.timing import Timing, cpu_and_wall, interleaved, on_threads
from fluoroscope.attacks.gradient.ascent import GradientAscent
from fluoroscope.engine.first_look import look_at
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.run import run
from fluoroscope.engine.threats import Linf


def passes(scale: Scale) -> Section:
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
        scale.repeats or 11,
    )
    rows.append(_row("40 steps, 128 digits, `digits-cnn`", "2", timing))
    if MOBILENET.is_dir():
        mobilenet = fs.load_model(MOBILENET)
        picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        target, steps = torch.tensor([23]), scale.steps or 100
        timing = interleaved(
            {
                "ours": lambda: fs.morph(mobilenet, picture, to=23, eps="8/255", steps=steps),
                "floor": lambda: _on_threads(1, lambda: _bare(mobilenet, picture, target, steps)),
                "floor on two": lambda: _on_threads(
                    2, lambda: _bare(mobilenet, picture, target, steps)
                ),
            },
            scale.repeats or 5,
        )
        name = f"{steps} morph steps, one 224×224 picture, MobileNet v1 0.75"
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


def differences(scale: Scale) -> Section:
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

        timing = interleaved(
            {"ours": batched, "single": single, "floor": arithmetic}, scale.repeats or 7
        )
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


def first_look(scale: Scale) -> Section:
    """The first look at a network beside the evaluation that it comes before."""
    section = Section(PAGE, "first-look", "The first look")
    rows, count = [], scale.limit or 200
    digits = fs.load_images("digits", channels=1).take(count)
    for name, threat in (("digits-cnn", "linf:0.1"), ("digits-robust", "linf:0.2")):
        model = fs.load_model(name)
        pictures = next(iter(digits.batches(4))).images
        model.look = look = look_at(model, pictures)
        verdicts: list[fs.Verdict] = []

        def evaluation(
            model: fs.Classifier = model,
            threat: str = threat,
            verdicts: list[fs.Verdict] = verdicts,
        ) -> None:
            verdicts.append(fs.evaluate(model, digits, threat=threat, plan="fast"))

        def looking(model: fs.Classifier = model, pictures: Tensor = pictures) -> None:
            look_at(model, pictures)

        timing = interleaved({"look": looking, "evaluation": evaluation}, scale.repeats or 3)
        passes = verdicts[-1].forwards + verdicts[-1].backwards
        rows.append(
            [
                f"`{name}`, {threat}",
                str(look.passes),
                f"{passes:,}",
                percent(look.passes / passes, 3),
                f"{1000 * timing.median('look'):.1f}",
                f"{timing.median('evaluation'):.1f}",
                percent(timing.ratio("look", "evaluation"), 2),
            ]
        )
    section.text(
        f"What is looked for once when a network is first used, beside an evaluation of {count} "
        "digits with the plan `fast`. Passes are pictures forward and back."
    )
    section.table(
        [
            "network and threat", "look, passes>", "evaluation, passes>", "share>",
            "look, ms>", "evaluation, s>", "share>",
        ],
        rows,
    )  # fmt: skip
    return section


def memory(scale: Scale) -> Section:
    """What the command holds in memory at most, on few pictures and on many."""
    if not MNIST.is_dir():
        raise Skipped(f"it needs {MNIST}")
    section = Section(PAGE, "memory", "Memory as the data set grows")
    rows = []
    most = scale.limit or 10_000
    for count in (most // 20, most):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            command = ["attack", "pgd", "--model", "digits-cnn", "--data", str(MNIST)]
            command += ["--split", "test", "--limit", str(count), "--eps", "0.1", "--out", folder]
            ran = subprocess.run(
                [sys.executable, "-c", _PEAK, *command], check=True, capture_output=True, text=True
            )
        own, readers = (int(kilobytes) / 1024 for kilobytes in ran.stderr.split()[-2:])
        seconds = time.perf_counter() - began
        rows.append([f"{count:,}", f"{own:.0f}", f"{readers:.0f}", f"{seconds:.1f}"])
    section.text(
        "`fluoroscope attack pgd --model digits-cnn --eps 0.1` on test digits of MNIST, its "
        "results written to a directory: the highest resident memory of the process, and of the "
        "largest of those that decode pictures for it."
    )
    section.table(["pictures", "peak, MiB>", "a reader's peak, MiB>", "seconds>"], rows)
    return section


_PEAK = """
import resource, sys
from fluoroscope.cli import main
try:
    main()
finally:
    peaks = [resource.getrusage(who).ru_maxrss for who in
             (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print("\\n", *peaks, file=sys.stderr)
"""


def preparation(scale: Scale) -> Section:
    """A prepared network against the plain one: one pass forward and back to the pixels."""
    section = Section(PAGE, "preparation", "Networks prepared for speed")
    rows = []
    for title, model, size in (
        ("ResNet-18", resnet18(), 8),
        ("MobileNet v1 0.75", mobilenet(), 8),
        ("`digits-cnn`", fs.load_model("digits-cnn"), 128),
    ):
        rows += _prepared(title, model, scale.limit or size, scale)
    section.text(
        "Seconds of one pass forward and back to the pixels with `fs.prepare`, over those of the "
        "plain network with frozen parameters, on one thread by the CPU's clock and on two by the "
        "wall's. Folding and the channels-last layout are exact up to float noise and the default; "
        "16 bits are for the search alone. Making ready counts the check and the first pass, in "
        "which a compiled network is compiled."
    )
    section.table(
        ["network", "prepared with", "done", "ready in, s>", "CPU, 1 thread>", "quartiles>",
         "wall, 2 threads>", "quartiles>"],
        rows,
    )  # fmt: skip
    return section


_PREPARATIONS: dict[str, dict[str, Any]] = {
    "folding": {"channels_last": False},
    "channels last": {"fold_batch_norm": False, "channels_last": True},
    "both (default)": {},
    "both, bf16": {"precision": "bf16"},
    "both, fp16": {"precision": "fp16"},
    "both, compiled": {"compile": True},
}


def _prepared(title: str, model: fs.Classifier, size: int, scale: Scale) -> list[list[str]]:
    height, width = model.input_size or (224, 224)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(size, model.channels, height, width, generator=generator)
    classes = torch.zeros(size, dtype=torch.long)
    title = f"{title}, {size} × {height}×{width}"
    ways: dict[str, Callable[[], object]] = {"plain": _there_and_back(model, images, classes)}
    done, ready = {}, {}
    for name, options in _PREPARATIONS.items():
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as left_out:
            warnings.simplefilter("always", fs.FluoroscopeWarning)
            made = fs.prepare(model, images=images, **options)
        ways[name] = _there_and_back(made, images, classes)
        ways[name]()
        ready[name] = time.perf_counter() - began
        notes = [str(each.message).partition(":")[0] for each in left_out]
        done[name] = "; ".join([*made.steps, *notes]) or "nothing"
    cpu, wall = cpu_and_wall(ways, scale.times(5, 7))
    return [
        [
            title, name, done[name], f"{ready[name]:.1f}",
            f"{cpu.ratio(name, 'plain'):.3f}", cpu.spread(name, "plain"),
            f"{wall.ratio(name, 'plain'):.3f}", wall.spread(name, "plain"),
        ]
        for name in _PREPARATIONS
    ]  # fmt: skip


def _there_and_back(model: fs.Classifier, images: Tensor, classes: Tensor) -> Callable[[], None]:
    rows = torch.arange(len(images))

    def work() -> None:
        pixels = images.clone().requires_grad_()
        with model.held():
            torch.autograd.grad(model(pixels)[rows, classes].sum(), pixels)

    return work


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
    with on_threads(count):
        work()


def _row(name: str, threads: str, timing: Timing, floor: str = "floor") -> list[str]:
    return [
        name,
        threads,
        f"{timing.median(floor):.2f}",
        f"{timing.ratio('ours', floor):.3f}",
        timing.spread("ours", floor),
    ]
