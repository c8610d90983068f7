"""Evans' experiments (2015) on two full-size networks: a panda becomes a vulture."""

from itertools import pairwise
from tempfile import TemporaryDirectory

import torch

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.morph_result import morph_figure
from fluoroscope.pictures.maps import write_figure
from reproductions.sources import IMAGENET, NETWORKS, PAGE, imagenet

PAIRS = (
    ("giant panda", "vulture"),
    ("tabby", "bath towel"),
    ("ashcan", "cocktail shaker"),
    ("Chihuahua", "tennis ball"),
    ("German shepherd", "tennis ball"),
)


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "imagenet", "Full-size networks")
    models = {name: fs.load_model(path) for name, path in NETWORKS.items()}
    _accuracy(page, models)
    _pairs(page, models)
    _evans(page, models)
    _black(page, models)
    return page


def _accuracy(page: Section, models: dict[str, fs.Classifier]) -> None:
    rows = []
    expected = {"MobileNet v1 0.75": "85.2 %", "MobileNet v2 1.0": "88.9 %"}
    for name, model in models.items():
        right = 0
        for batch in fs.load_images(IMAGENET).batches(50, fit=model.preprocessing):
            right += int((fs.predict(model, batch.images).winners == batch.labels).sum())
        rows.append([name, percent(right / 1000), expected[name]])
    page.text(
        "**Is the preprocessing right?** Accuracy on the 1,000 ImageNet sample pictures with size "
        "and normalisation read from `preprocessor_config.json`."
    )
    page.table(["network", "top-1>", "stated with the pictures>"], rows)


def _pairs(page: Section, models: dict[str, fs.Classifier]) -> None:
    rows = []
    curves = {}
    for name, model in models.items():
        for start, target in PAIRS:
            picture = imagenet(model, start)
            options = {"to": target, "eps": "2/255", "step_size": "0.5/255", "steps": 20}
            floats = fs.morph(model, picture, **options)
            rounded = fs.morph(model, picture, on_grid=True, **options)
            rows.append(
                [
                    name,
                    f"{start} → {target}",
                    f"{floats.target_probability[0]:.1e}",
                    f"{floats.target_probability[-1]:.4f}",
                    next(i for i, p in enumerate([*floats.target_probability, 1]) if p >= 0.9),
                    f"{_reread(model, rounded):.4f}",
                    f"{255 * rounded.linf[-1]:.0f}/255",
                    _stations(floats),
                ]
            )
            if target == "vulture":
                curves[name] = morph_figure(floats)
    page.text(
        "**Any picture, any class**: Linf `eps` 2/255, 20 signed steps of 0.5/255, objective "
        "log-probability. The last columns: the same with rounding to 8 bits at every step, read "
        "again from the PNG that was saved."
    )
    page.table(
        ["network", "from → to", "p at start>", "p at the end>", "p ≥ 0.9 at step>",
         "p re-read from PNG>", "its Linf>", "way stations (step: winner)"],
        rows,
    )  # fmt: skip
    for name, figure in curves.items():
        file = f"vulture-{name.split()[1]}.png"
        write_figure(page.picture(file, f"A panda becomes a vulture in {name}."), figure)


def _evans(page: Section, models: dict[str, fs.Classifier]) -> None:
    rows = []
    for name, model in models.items():
        picture = imagenet(model, "giant panda")
        result = fs.morph(
            model, picture, to="vulture", eps="1/255", step_size="0.009/255", steps=99
        )
        rows.append(
            [
                name,
                f"{result.probabilities[0, result.winners[0]]:.3f}",
                percent(result.target_probability[-1], 2),
                percent(_reread(model, result), 2),
                _stations(result),
            ]
        )
    page.text(
        "**Evans' own recipe**, 99 signed steps of 0.009/255 (0.891/255 in all), and the result "
        "re-read from its 8-bit PNG. She had 98.88 % on GoogLeNet, which is not to be had here."
    )
    page.table(
        ["network", "p(panda) at start>", "p(vulture)>", "re-read from PNG>", "way stations"], rows
    )


def _black(page: Section, models: dict[str, fs.Classifier]) -> None:
    rows = []
    recipes = {
        "one step of 0.9/255": ("0.9/255", 1),
        "9 steps of 0.1/255": ("0.1/255", 9),
        "20 steps of 1/255": ("1/255", 20),
    }
    for name, model in models.items():
        for recipe, (size, steps) in recipes.items():
            result = fs.morph(
                model, "black", to="paper towel", direction="sign", step_size=size, steps=steps
            )
            curve = result.target_probability
            rows.append(
                [
                    name,
                    recipe,
                    f"{curve[0]:.4f}",
                    f"{curve[-1]:.4f}",
                    "yes" if all(a <= b for a, b in pairwise(curve)) else "no",
                    next((str(i) for i, p in enumerate(curve) if p >= 0.9), "–"),
                    _stations(result),
                ]
            )
    page.text(
        "**Black → paper towel**: one big step against many small ones of the same sum, and enough "
        "of them. The gradient changes on the way, which is why one step does not do. (Evans on "
        "GoogLeNet, without the box: 4 % → 16 % in one step, 96 % or 90 % in nine.)"
    )
    page.table(
        ["network", "steps", "p at start>", "p at the end>", "always rising", "p ≥ 0.9 at step>",
         "way stations"],
        rows,
    )  # fmt: skip


def _reread(model: fs.Classifier, result: fs.MorphResult) -> float:
    """Probability of the target after saving the result as a PNG and reading it again."""
    with TemporaryDirectory() as folder:
        result.save(folder, gif=False)
        image = fs.open_image(f"{folder}/result.png", channels=model.channels).image
    if result.plan.on_grid:
        assert torch.equal(image, result.image)
    probability = fs.predict(model, image).probabilities[0, result.plan.target]
    return float(probability)


def _stations(result: fs.MorphResult) -> str:
    return ", ".join(f"{step}: {result.labels[winner]}" for step, winner in result.way_stations)
