"""How easily a full-size network is fooled: one step, a few, many, and towards random classes."""

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.gradient.gradient_sign import BIM, FGSM
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine import randomness
from fluoroscope.engine.grid import round_to_grid
from fluoroscope.engine.threats import Linf
from fluoroscope.pictures.pairs import pair_sheet
from fluoroscope.pictures.write import write_png
from reproductions.sources import IMAGENET, NETWORKS, PAGE, held, imagenet

SEED = 0
NETWORK = "MobileNet v1 0.75"
BATCH = 16
RIGHT = 200
"""Pictures that the network classifies correctly, on which attacks are measured."""
FEW, PAIRS, GRID = 50, 24, 24
"""How many of them the attacks of many steps, of targets and on the 8-bit grid are given."""
LEVELS = (0.5, 0.9, 1.0, 2.0, 4.0, 8.0)
"""Radii in 8-bit levels."""


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "fooling", "How easily a full-size network is fooled")
    model = fs.load_model(NETWORKS[NETWORK])
    images, labels = _accuracy(page, model)
    # Gradients come from a copy prepared for speed, answers from the network itself.
    fast = fs.prepare(model)
    _one_step(page, fast, images, labels)
    _few_steps(page, fast, images[:FEW], labels[:FEW])
    _targets(page, fast, images[:PAIRS], labels[:PAIRS])
    _panda(page, model)
    page.text(
        "**Measured elsewhere on this page**: the panda that becomes a vulture in 99 steps of "
        "0.009/255 and the black picture that becomes a paper towel, under *Full-size networks*; "
        "MI-FGSM, under *What fools one network and then another*."
    )
    return page


def _accuracy(page: Section, model: fs.Classifier) -> tuple[Tensor, Tensor]:
    """Accuracy on the sample, and a random choice of what is classified correctly."""
    images, labels, first, fifth = [], [], 0, 0
    for batch in fs.load_images(IMAGENET).batches(50, fit=model.preprocessing, workers=0):
        assert batch.labels is not None
        logits = fs.predict(model, batch.images, batch_size=BATCH).logits
        best = logits.topk(5, dim=1).indices == batch.labels[:, None]
        first, fifth = first + int(best[:, 0].sum()), fifth + int(best.sum())
        images.append(batch.images[best[:, 0]])
        labels.append(batch.labels[best[:, 0]])
    right, classes = torch.cat(images), torch.cat(labels)
    page.text(
        f"{NETWORK} at 224 on a sample of ImageNet. There is no paper for most of these numbers: "
        "the column *expected* holds what a script of our own measured before the package was "
        "written, and the gates were set then. Evans (2015) showed single pictures on GoogLeNet. "
        f"Attacks are measured on {RIGHT} random pictures that the network classifies correctly "
        f"(seed {SEED}), one of each class at the most. All pictures begin in 8-bit levels. "
        "Gradients come from a copy with its batch norm folded, every answer from the network "
        "itself.",
        "**Accuracy** on the 1,000 pictures:",
    )
    page.table(
        ["", "measured>", "expected>", "gate", "holds"],
        [
            ["top-1", percent(first / 1000), "85.2 %", "± 1.0", held(abs(first - 852) <= 10)],
            ["top-5", percent(fifth / 1000), "96.7 %", "± 1.0", held(abs(fifth - 967) <= 10)],
        ],
    )
    chosen = torch.randperm(len(right), generator=torch.Generator().manual_seed(SEED))[:RIGHT]
    return right[chosen], classes[chosen]


def _one_step(page: Section, model: fs.Classifier, images: Tensor, labels: Tensor) -> None:
    # FGSM's direction is the same for every radius, so one gradient does for all.
    slope = fs.input_gradient(model, images, labels, "log-probability", batch_size=BATCH)
    keys = randomness.keys(SEED, torch.arange(len(images)))
    noise = randomness.uniform(keys, 0, tuple(images.shape[1:])) - 0.5
    expected = {
        0.5: ("86.5 / 87.0", "–"), 0.9: ("94.5 / 95.5", "–"), 1: ("95.5 / 95.5", "0.5"),
        2: ("98.5 / 98.5", "–"), 4: ("98.5 / 98.5", "–"), 8: ("96.5 / 96.5", "7.0"),
    }  # fmt: skip
    gates = {0.9: ("FGSM ≥ 88 %", 0.88), 2: ("FGSM ≥ 95 %", 0.95)}
    rows = []
    moved = {}
    for level in LEVELS:
        moved[level] = (images - level / 255 * slope.sign()).clamp(0, 1)
        random = (images + level / 255 * noise.sign()).clamp(0, 1)
        fooled = _fooled(model, moved[level], labels)
        rounded = _fooled(model, round_to_grid(moved[level]), labels)
        control = _fooled(model, random, labels) if level in (1, 8) else None
        gate, holds = "–", "–"
        if level in gates:
            gate, holds = gates[level][0], held(fooled >= gates[level][1])
        if level == 1:
            assert control is not None
            gate, holds = "random ≤ 3 %", held(control <= 0.03)
        rows.append(
            [f"{level:g}", percent(fooled), percent(rounded), expected[level][0],
             "–" if control is None else percent(control), expected[level][1], gate, holds]
        )  # fmt: skip
    page.text(
        f"**One step** (FGSM) on the {len(images)} pictures: share no longer classified correctly, "
        "also after rounding to 8 bits. The control adds ± eps at random to every pixel value. "
        "Evans took 0.9/255; rounding lifts that to a whole level."
    )
    page.table(
        ["eps · 255>", "FGSM>", "rounded>", "expected>", "random>", "expected>", "gate", "holds"],
        rows,
    )
    _on_grid(page, model, images[:GRID], labels[:GRID], moved)


def _on_grid(
    page: Section, model: fs.Classifier, images: Tensor, labels: Tensor, moved: dict[float, Tensor]
) -> None:
    rows = []
    for level in LEVELS:
        attack = FGSM(threat=Linf(f"{level}/255"))
        result = attack(model, images, labels, keep="last", batch_size=BATCH, grid=8)
        same = (result.images - moved[level][: len(images)]).abs().flatten(1).amax(1) < 1e-6
        rows.append(
            [
                f"{level:g}",
                percent(_fooled(model, moved[level][: len(images)], labels)),
                percent(float(result.success.float().mean())),
                f"{255 * float(result.distance.max()):.0f}/255",
                int(same.sum()),
            ]
        )
    page.text(
        f"**On the 8-bit grid** (`grid=8`), the first {len(images)} of them. The bound then holds "
        "for what is saved, so below one level nothing may move at all; from one level on the "
        "grid costs nothing, as the pictures themselves lie on it."
    )
    page.table(
        ["eps · 255>", "FGSM>", "FGSM with `grid=8`>", "largest change>",
         f"same picture (of {len(images)})>"],
        rows,
    )  # fmt: skip


def _few_steps(page: Section, model: fs.Classifier, images: Tensor, labels: Tensor) -> None:
    expected = {0.5: "97 % / 78 %", 1: "100 % / –", 2: "100 % / –"}
    rows = []
    for level in (0.5, 1, 2):
        attack = BIM(threat=Linf(f"{level}/255"), steps=10)
        result = attack(model, images, labels, keep="last", batch_size=BATCH)
        fooled = float(result.success.float().mean())
        rounded = _fooled(model, round_to_grid(result.images), labels)
        rows.append(
            [f"{level:g}", percent(fooled), percent(rounded), expected[level],
             "≥ 98 %" if level == 1 else "–", held(fooled >= 0.98) if level == 1 else "–"]
        )  # fmt: skip
    page.text(
        f"**Ten steps** (I-FGSM; the package calls it BIM) on {len(images)} pictures, steps of a "
        "quarter of eps: share no longer classified correctly after the tenth, also after rounding "
        "to 8 bits. At half a level rounding undoes every change but those of exactly that half, "
        "which fall either way."
    )
    page.table(["eps · 255>", "fooled>", "rounded>", "expected>", "gate", "holds"], rows)


def _targets(page: Section, model: fs.Classifier, images: Tensor, labels: Tensor) -> None:
    # Uniform among the other classes.
    keys = randomness.keys(SEED, torch.arange(len(images)))
    others = model.num_classes - 1
    targets = (labels + 1 + randomness.integers(keys, 0, others)[:, 0]) % model.num_classes
    recipes = (
        ("Evans', 99 × 0.009", 0.891, 99, "0.009/255", "75 % / .69 / 79 %"),
        ("I-FGSM, 20 steps", 0.9, 20, None, "83 % / .71 / –"),
        ("I-FGSM, 20 steps", 1.0, 20, None, "83 % / .76 / –"),
        ("I-FGSM, 20 steps", 2.0, 20, None, "100 % / .99 / –"),
    )
    page.text(
        f"**Towards a random class**: {len(images)} pictures, each with a class drawn for it (seed "
        f"{SEED}); share that is predicted as that class at the end, and its mean probability. The "
        "picture shows some that arrive by Evans' recipe. With so few pairs a share is uncertain "
        "by some 18 points. I-FGSM's steps are an eighth of eps; of the expected numbers the size "
        "of the steps is not known."
    )
    rows = []
    for name, level, steps, size, expected in recipes:
        attack = BIM(threat=Linf(f"{level}/255"), steps=steps, step_size=size)
        result = attack(model, images, targets, targeted=True, keep="last", batch_size=BATCH)
        if size is not None:
            _show(page, model, result, labels)
        success = float(result.success.float().mean())
        rounded = 1 - _fooled(model, round_to_grid(result.images), targets)
        gate, holds = "–", "–"
        if size is not None:
            gate, holds = "55 to 95 %", held(0.55 <= success <= 0.95)
        if level == 2:
            gate, holds = "≥ 95 %", held(success >= 0.95)
        rows.append(
            [name, f"{level:g}", percent(success), f"{_probability(result, targets):.2f}",
             percent(rounded), expected, gate, holds]
        )  # fmt: skip
    page.table(
        ["recipe", "eps · 255>", "arrived>", "mean probability>", "arrived, rounded>", "expected>",
         "gate", "holds"],
        rows,
    )  # fmt: skip


def _show(page: Section, model: fs.Classifier, result: AttackResult, labels: Tensor) -> None:
    assert torch.equal(result.read_as, labels)
    path = page.picture("random-targets.png", "Pictures that become a class drawn at random.")
    write_png(path, pair_sheet(result.pairs(model.labels, 3)))


def _panda(page: Section, model: fs.Classifier) -> None:
    panda = imagenet(model, "giant panda")
    result = fs.fgsm(model, panda, "giant panda", "0.9/255")
    probability = _probability(result, result.classes)
    page.text(
        "**One step away from the panda**, 0.9/255: on GoogLeNet it becomes a weasel (25.9 %). "
        f"Here it is predicted as {model.labels[int(result.logits.argmax())]}, with "
        f"{probability:.3f} for the panda. Which pictures give way to one step depends on the "
        "network: no gate."
    )


def _fooled(model: fs.Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of pictures not classified as their label."""
    wrong = fs.predict(model.plain, images, batch_size=BATCH).winners != labels
    return float(wrong.float().mean())


def _probability(result: AttackResult, classes: Tensor) -> float:
    return float(result.logits.softmax(1).gather(1, classes[:, None]).mean())
