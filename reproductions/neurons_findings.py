"""The two findings of Dong et al. (2017) on networks without any special training.

That units answer to patches, so that pictures of anything can drive them; and that representations
of adversarial pictures side with their targets. Both on the sets of ``neurons_sets.py``. What a
layer says of a set of pictures is kept, and what its units mean: a section that was broken off goes
on. Delete the folder to begin anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.neurons.adversarial.set_files import read_about
from fluoroscope.neurons.meaning.noise import with_noise
from fluoroscope.neurons.meaning.result import Consistency
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.pictures.curves import COLORS
from fluoroscope.pictures.maps import write_figure
from reproductions.neurons_patches import PICTURES, UNITS, Kept, kept
from reproductions.neurons_sets import (
    KEPT,
    adversarial,
    cifar_networks,
    imagenet_networks,
    real,
)
from reproductions.sources import PAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REAL = {"cifar": 3000, "imagenet": 1000}
"""Real pictures whose activations are read, the first ones."""
LAYERS = {
    "inversion-plain": ("3", "5"),
    "inversion-robust": ("3", "5"),
    "inversion-judge": ("4", "6"),
    "mobilenet_v1_0.75_224": ("mobilenet_v1.layer.15", "mobilenet_v1.layer.25"),
    "mobilenet_v2_1.0_224": ("mobilenet_v2.layer.10.expand_1x1", "mobilenet_v2.conv_1x1"),
    "tf_efficientnet_lite0_224": ("blocks.4.2.bn1", "bn2"),
}
"""Of each network one in the middle, and the last with maps."""
PAPER = (
    ("AlexNet", ".97 to .99", ".69 to .34", ".98", ".90"),
    ("VGG-16", ".99 to 1.0", ".37 to .18", ".99", ".92"),
    ("ResNet-18", ".98 to 1.0", ".38 to .05", ".98", ".87"),
)
"""Read from Fig. 8 and 9 of the paper: CS1 and CS2 over all levels, the means of r1 and r2."""


@dataclass(frozen=True)
class Found:
    """One layer of one network."""

    network: str
    layer: str
    all: Consistency
    """Of all adversarial pictures."""
    reached: Consistency
    """Of those that this network predicts as their target."""
    patches: dict[str, Kept]
    """By ``real`` and ``adversarial``."""


def cifar_section() -> Section:
    """Plain, robust, and a judge."""
    return _section("cifar", "Do units mean what they seem to? Three CIFAR-10 networks")


def imagenet_section() -> Section:
    """Three networks of 224 pixels."""
    return _section("imagenet", "Do units mean what they seem to? Three ImageNet networks")


def _section(name: str, title: str) -> Section:
    page = Section(PAGE, f"neurons-{name}", title)
    led = adversarial(name)
    about = read_about(KEPT / "sets" / name)
    networks = cifar_networks() if name == "cifar" else imagenet_networks()
    found = [each for model in networks for each in _look(name, model, led)]
    _words(page, name, about)
    _table_of_meaning(page, found)
    _verdict(page, found)
    _figures(page, name, found)
    _table_of_patches(page, found)
    page.text(
        "The paper's values are **after** its training with a consistent loss, as the captions of "
        "its figures say; nothing here was trained so. They are read from pictures of its figures, "
        "within about .01, and which classes CS1 and CS2 are of is inferred."
    )
    page.table(["paper, after training", "CS1>", "CS2, low to high level>", "r1>", "r2>"], PAPER)
    return page


def _look(name: str, model: fs.Classifier, led: fs.ImageSet) -> list[Found]:
    """Both layers of a network, read in one pass over each kind of picture."""
    short = Path(model.name).name
    layers = LAYERS[short]
    pictures = real(name).take(REAL[name], first=True)
    kinds = {"real": pictures, "adversarial": led, "noisy": with_noise(model, pictures)}
    place = KEPT / "activations" / f"{name}-{short}-{model.fingerprint()[:12]}"
    read = {
        kind: fs.neurons.read_layers(
            model, images, layers, outs=[place / f"{kind}-mean-{layer}" for layer in layers]
        )
        for kind, images in kinds.items()
    }
    made = []
    for at, layer in enumerate(layers):
        mean = {kind: several[at] for kind, several in read.items()}
        judged = [_judged(place, model, layer, mean, reached) for reached in (False, True)]
        patches = {kind: kept(model, mean[kind], kinds[kind]) for kind in ("real", "adversarial")}
        made.append(Found(short, layer, judged[0], judged[1], patches))
    return made


def _judged(
    place: Path, model: fs.Classifier, layer: str, read: dict[str, Activations], reached: bool
) -> Consistency:
    """What the units of a layer mean, measured now if it was not before."""
    own = place / f"meaning-{'reached' if reached else 'all'}-{layer}"
    if (own / "consistency.json").is_file():
        return Consistency.load(own)
    found = fs.neurons.consistency(
        read["real"], read["adversarial"], "weights", model=model, noisy=read["noisy"],
        successful=reached,
    )  # fmt: skip
    found.save(own)
    return found


def _words(page: Section, name: str, about: dict) -> None:
    many = about["pictures"]
    each = ", ".join(
        f"`{Path(one['name']).name}` {percent(one['success'] / many)}" for one in about["members"]
    )
    steps = about["identity"]["parameters"]
    page.text(
        f"{many:,} adversarial pictures: the first {about['sources']:,} of the data, each led to "
        f"{about['targets']} drawn class{'es' if about['targets'] > 1 else ''} by the "
        f"ensemble-optimisation attack against all three networks ({steps['steps']} steps of Adam "
        f"at {steps['step_size']}, weight {steps['weight']:g} on the distance; the paper's own "
        "values are not known). As their target predicts them: "
        f"{each}. They moved by {255 * about['distance']['median']:.1f}/255 (root mean square, "
        f"median). {REAL[name]:,} real pictures; a unit's number for a picture is the mean over "
        "its places. In brackets of CS1 and CS2 what a unit would show that takes adversarial "
        "pictures as they come; *succeeded* has only those pictures that this network predicts as "
        "their target, where these are not all: the ones that were easy to lead there."
    )
    if name == "imagenet":
        page.text(
            "There is one real picture of each class, and the adversarial ones were made of these: "
            "so r1 and r2 are the same number, CS1 asks whether a unit still answers to the same "
            "picture, and hardly a unit has a commonest class, so label flips are not measured."
        )


def _table_of_meaning(page: Section, found: Sequence[Found]) -> None:
    rows = []
    for one in found:
        for which, judged in (("all", one.all), ("succeeded", one.reached)):
            layer = judged.layer
            if judged is one.reached and _pictures(one.reached) == _pictures(one.all):
                continue
            rows.append([
                f"`{one.network}`", f"`{one.layer}`", which,
                f"{_pictures(judged):,}",
                *(f"{layer[name].words()} ({layer[f'{name}_chance'].words()})"
                  for name in ("cs1", "cs2")),
                layer["r1"].words(), percent(layer["r1_below_1"].value, 0),
                layer["r2"].words(), percent(layer["r2_below_1"].value, 0),
                layer["relative_sensitivity"].words(), _share(layer["flips_attack"].value),
                _share(layer["flips_noise"].value),
            ])  # fmt: skip
    page.table(
        ["network", "layer", "pictures", "number>", "CS1>", "CS2>", "r1>", "below 1>", "r2>",
         "below 1>", "sensitivity>", "label flips, attack>", "noise>"],
        rows,
    )  # fmt: skip


def _share(value: float) -> str:
    """In percent; no unit may have a commonest class."""
    return "–" if math.isnan(value) else percent(value, 0)


def _pictures(found: Consistency) -> int:
    """Adversarial ones."""
    return int(found.record["pictures"]["adversarial"])


def _verdict(page: Section, found: Sequence[Found]) -> None:
    """Which of the paper's findings hold, from the numbers of the last layers."""
    lines = []
    for one in found[1::2]:
        kinds = [("all pictures", one.all), ("those that succeeded", one.reached)]
        for which, judged in kinds[: 1 + (_pictures(one.all) != _pictures(one.reached))]:
            cs1, cs2 = judged.layer["cs1"], judged.layer["cs2"]
            nearer = judged.layer["r1_below_1"].value
            (low1, high1), (low2, high2) = (
                each.interval or (each.value, each.value) for each in (cs1, cs2)
            )
            goes = "neither with the picture more than with the target, nor the other way round"
            if low1 > high2:
                goes = "with what the pictures show"
            elif low2 > high1:
                goes = "with the target"
            chance = judged.layer["cs1_chance"]
            unrelated = (
                "and pictures of any class drive them as much as those of their own do"
                if low1 <= chance.value
                else "and pictures of their own classes drive them more than others do"
            )
            lines.append(
                f"`{one.network}`, last layer, {which}: its units go {goes} (CS1 {cs1.words()}, "
                f"CS2 {cs2.words()}), {unrelated} (CS1 at chance level {chance.words()}); "
                f"{percent(1 - nearer, 0)} of the representations lie nearer "
                "to the target class than to their own: the finding that they side with the target "
                f"**{'holds' if nearer < 0.5 else 'does not hold'}**."
            )
    page.text("- " + "\n- ".join(lines))


def _table_of_patches(page: Section, found: Sequence[Found]) -> None:
    page.text(
        f"Units and patches: of {UNITS} units of each layer and the {PICTURES} pictures that each "
        "answers to most, only a quarter of the picture around its strongest place is shown, the "
        "rest in the mean colour. *Activation kept* is what is left of the unit's largest "
        "activation, in brackets with an equal square at a random place; *class kept* is how often "
        "the network classifies that patch as it did the whole picture."
    )
    page.table(
        ["network", "layer", "activation kept, real>", "class kept>",
         "activation kept, adversarial>", "class kept>"],
        [
            [f"`{one.network}`", f"`{one.layer}`",
             *(cell for kind in ("real", "adversarial") for cell in (
                 f"{percent(one.patches[kind].patch, 0)} ({percent(one.patches[kind].control, 0)})",
                 percent(one.patches[kind].decision, 0)))]
            for one in found
        ],
    )  # fmt: skip
    better = sum(one.patches["real"].patch > one.patches["real"].control for one in found)
    lost = sum(one.patches["real"].patch > one.patches["real"].decision for one in found)
    page.text(
        f"In {better} of {len(found)} layers a unit keeps more of its activation on its own patch "
        f"than on a random one, and in {lost} it keeps a larger share of it than the network keeps "
        "of the classes: that units answer to parts rather than to whole objects "
        + (
            "**holds**"
            if better == lost == len(found)
            else "holds in these and not in the others"
            if better and lost
            else "**does not hold**"
        )
        + " by this measure."
    )


def _figures(page: Section, name: str, found: Sequence[Found]) -> None:
    _draw(
        page, f"neurons-{name}-levels.png",
        "CS1 and CS2 of units by their level of consistency, as in Fig. 8 of the paper; all "
        "adversarial pictures.", found, _levels,
    )  # fmt: skip
    _draw(
        page, f"neurons-{name}-ratios.png",
        "How r1 and r2 are distributed over adversarial pictures, as in its Fig. 9; left of the "
        "line they are on the side of the picture.", found, _ratios,
    )  # fmt: skip


def _draw(page: Section, file: str, words: str, found: Sequence[Found], one_of: object) -> None:
    from matplotlib.figure import Figure

    wide = len(found) // 2
    figure = Figure(figsize=(4.2 * wide, 6.2), layout="constrained", dpi=110)
    axes = figure.subplots(2, wide, sharey=True, squeeze=False)
    for number, one in enumerate(found):
        place = axes[number % 2][number // 2]
        place.set_title(f"{one.network}, {one.layer.rpartition('v1.')[2]}", fontsize=9)
        one_of(place, one)  # type: ignore[operator]
        place.grid(alpha=0.25)
    axes[0][0].legend(fontsize=8)
    write_figure(page.picture(file, words), figure)


def _levels(axes: "Axes", one: Found) -> None:
    levels = [each.level for each in one.all.bins]
    for colour, name in zip(COLORS, ("cs1", "cs2"), strict=False):
        numbers = [getattr(each, name) for each in one.all.bins]
        whose = "true" if name == "cs1" else "target"
        axes.plot(levels, [each.value for each in numbers], color=colour, marker="o", markersize=4,
                  label=f"{name.upper()}: {whose} classes")  # fmt: skip
        ends = [each.interval or (each.value, each.value) for each in numbers]
        axes.fill_between(
            levels, [e[0] for e in ends], [e[1] for e in ends], color=colour, alpha=0.2, linewidth=0
        )
    axes.set(xlabel="level of consistency", ylabel="cosine", ylim=(-0.02, 1.02))


def _ratios(axes: "Axes", one: Found) -> None:
    edges = np.linspace(0, 2.5, 51)
    for colour, name in zip(COLORS, ("r1", "r2"), strict=False):
        values = one.all.pictures[name]
        values = np.minimum(values[np.isfinite(values)], edges[-1])
        heights = np.histogram(values, edges)[0] / max(1, len(values))
        axes.stairs(heights, edges, color=colour, fill=True, alpha=0.35)
        axes.stairs(heights, edges, color=colour, label=f"{name}")
    axes.axvline(1, color="#888888", linestyle="--", linewidth=1.2)
    axes.set(xlabel="distance to its own ÷ to the target's", ylabel="share of pictures")
