"""What portraits and the training of generators cost beside the bare passes that they need.

Needs the networks of ../shared for the full-size rows.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.attribution import passes_of
from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import SHARED
from benchmarks.timing import interleaved
from fluoroscope.inversion.generator.invert import InversionRun
from fluoroscope.inversion.portraits.known_transformations import deepinversion, lucid, maco
from fluoroscope.inversion.portraits.presets import PRESETS
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.words import count as counted

_LARGE = ("mobilenet_v1_0.25_128", "mobilenet_v1_0.75_224")
_BATCH = 64
"""Pictures of a generator's step."""


def portraits(scale: Scale) -> Section:
    """Portraits over the passes of their views, forward and back."""
    section = Section(PAGE, "portraits", "Portraits against the bare passes")
    steps, rows = scale.steps or 256, []
    recipes: dict[str, Recipe] = {
        **{name: PRESETS[name] for name in ("pixels", "fourier")},
        "pixels, rolled": replace(PRESETS["pixels"], transformations=deepinversion()),
        "fourier, 8 views": replace(PRESETS["fourier"], transformations=lucid(8)),
        "fourier, 8 crops with noise": replace(PRESETS["fourier"], transformations=maco(8)),
    }
    for title, model, many in _beds(scale):
        for name, recipe in recipes.items():
            recipe = replace(recipe, steps=steps)
            views = recipe.transformations.copies
            pictures = max(1, many // views)
            shown = _noise(model, pictures * views)
            classes = torch.arange(pictures).repeat_interleave(views) % 10
            ways: dict[str, Callable[[], object]] = {
                "passes": partial(_repeated, model, shown, classes, steps),
                "portraits": partial(_painted, model, pictures, recipe),
            }
            timing = interleaved(
                ways, scale.repeats or (5 if model.channels == 1 else 2), clock=time.process_time,
                threads=1, warm=False,
            )  # fmt: skip
            found = timing.results["portraits"]
            looks = int(found.forwards.sum() - found.backwards.sum()) / int(found.backwards.sum())
            rows.append(
                [
                    f"{title}, {counted(pictures, 'portrait')}", name, views, steps,
                    f"{100 * looks:.1f} %", f"{timing.ratio('portraits', 'passes'):.3f}",
                    timing.spread("portraits", "passes"),
                ]
            )  # fmt: skip
    section.text(
        "Seconds of one call of `fs.portrait` over those of bare forward and backward passes to "
        "the pixels of as many views, in batches of the same size, by the CPU's clock on one "
        "thread. Everything counts: views, the parameterisation, the optimiser, the books, the "
        "hash of the weights, and the looks at the portraits themselves, which go forward only "
        "and are stated as a share of the views. A method of fewer steps looks more often.",
    )
    section.table(
        ["workload", "method", "views>", "steps>", "looks>", "over the passes>", "quartiles>"], rows
    )
    return section


def generators(scale: Scale) -> Section:
    """A generator's training over the passes of the generator and of the network."""
    section = Section(PAGE, "generators", "Training generators against the bare passes")
    steps, rows = scale.steps or 40, []
    for title, model, _ in _beds(scale):
        size = scale.limit or (_BATCH if model.channels == 1 else 16)
        run = InversionRun(_quiet(model), steps=steps, batch_size=size)
        keys = torch.arange(size)
        classes = keys % min(model.num_classes, 10)
        codes = run.generator.conditioning.codes(classes, keys)
        noise = run.generator.noise(keys)
        timing = interleaved(
            {
                "passes": partial(_learnt, run, model, noise, classes, codes.asked, keys, steps),
                "training": partial(_trained, model, steps, size),
            },
            scale.repeats or 5, clock=time.process_time, threads=1,
        )  # fmt: skip
        rows.append(
            [
                title, size, steps, f"{timing.ratio('passes', 'training'):.3f}",
                timing.spread("passes", "training"),
            ]
        )  # fmt: skip
    section.text(
        "Pictures in a second of training a generator (`fs.invert`, its settings by default, all "
        "losses) over those of its bare passes: the generator forward, with its dropout, the "
        "network forward and back to the pixels, and the generator back; by the CPU's clock on one "
        "thread. 1 would be no cost beside these."
    )
    section.table(["network", "pictures a step>", "steps>", "throughput>", "quartiles>"], rows)
    return section


SECTIONS = {"portraits": portraits, "generators": generators}


def _beds(scale: Scale) -> list[tuple[str, fs.Classifier, int]]:
    """Titles, networks, and how many views a batch has."""
    beds = [("`digits-cnn`", fs.load_model("digits-cnn"), scale.limit or 64)]
    for name in _LARGE:
        if (SHARED / "models" / name).is_dir():
            many = 16 if name.endswith("128") else 8
            model = fs.load_model(SHARED / "models" / name)
            beds.append((f"`{name}`", model, scale.limit or many))
    return [(title, _quiet(model), many) for title, model, many in beds]


def _quiet(model: fs.Classifier) -> fs.Classifier:
    """The network, looked at for the first time before anything is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fs.FluoroscopeWarning)
        fs.predict(model, _noise(model, 2))
    return model


def _noise(model: fs.Classifier, count: int) -> Tensor:
    assert model.input_size is not None
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, model.channels, *model.input_size, generator=generator)


def _repeated(model: fs.Classifier, images: Tensor, classes: Tensor, steps: int) -> None:
    for _ in range(steps):
        passes_of(model, images, classes, 1)


def _painted(model: fs.Classifier, count: int, recipe: Recipe) -> fs.Portraits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fs.FluoroscopeWarning)
        return fs.portrait(model, [number % 10 for number in range(count)], method=recipe)


def _learnt(
    run: InversionRun, model: fs.Classifier, noise: Tensor, classes: Tensor, asked: Tensor,
    keys: Tensor, steps: int,
) -> None:  # fmt: skip
    """The passes of a training, and nothing else."""
    generator = run.generator.train().requires_grad_()
    with model.held():
        for _ in range(steps):
            pictures = generator(noise, classes, asked, keys)
            shown = pictures.detach().to(model.dtype).requires_grad_()
            own = model(shown).gather(1, classes[:, None])
            (gradient,) = torch.autograd.grad(own.sum(), shown)
            pictures.backward(gradient)
            generator.zero_grad()


def _trained(model: fs.Classifier, steps: int, size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fs.FluoroscopeWarning)
        for _ in InversionRun(model, steps=steps, batch_size=size):
            pass
