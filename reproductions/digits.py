"""Falcon and Canziani (2020): digits a network is torn about, and turning one into another."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.morph_result import morph_figure
from fluoroscope.pictures.maps import map_figure, write_figure
from reproductions.sources import PAGE, mnist

TORN = 0.1
"""Largest gap between the two best logits of a digit the network is torn about."""


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "digits", "Digits")
    model = fs.load_model("digits-cnn")
    _seven(page, model)
    _five(page, model)
    _torn(page)
    return page


def _seven(page: Section, model: fs.Classifier) -> None:
    seven = fs.open_image("digits:7", channels=1).image
    result = fs.morph(model, seven, to=2)
    page.text("**7 → 2**, the demo: picture 7 of the built-in set, on `digits-cnn`.")
    gif = page.picture("seven-to-two.gif", "A handwritten 7 turns into a 2.")
    curve = page.picture("seven-to-two.png", "Probabilities while a 7 becomes a 2.")
    with TemporaryDirectory() as folder:
        result.save(folder)
        shutil.copyfile(Path(folder) / "morph.gif", gif)
        shutil.copyfile(Path(folder) / "curve.png", curve)


def _five(page: Section, model: fs.Classifier) -> None:
    images, labels = mnist("test", 1000)
    five = images[int((labels == 5).nonzero()[0])]
    results = {
        target: fs.morph(model, five, to=target, step_size=0.25, steps=40) for target in (8, 6)
    }
    rows = []
    for target, result in results.items():
        reached = next((i for i, p in enumerate(result.target_probability) if p >= 0.9), None)
        rows.append(
            [
                f"5 → {target}",
                f"{result.target_probability[-1]:.4f}",
                "–" if reached is None else reached,
                "–" if reached is None else f"{result.l2[reached]:.2f}",
                ", ".join(f"{s}: {model.labels[w]}" for s, w in result.way_stations),
            ]
        )
    page.text(
        "**5 → 8 and 5 → 6** on `digits-cnn`: the first 5 of MNIST test, up to 40 steps of "
        "Euclidean length 0.25 along the gradient of the log-probability, only the box as bound."
    )
    page.table(
        ["", "p at the end>", "p ≥ 0.9 at step>", "L2 there>", "way stations (step: winner)"], rows
    )
    for target, result in results.items():
        path = page.picture(f"five-to-{target}.png", f"A 5 becomes {target}: probabilities.")
        write_figure(path, morph_figure(result))
        slopes = fs.input_gradient(model, five.expand(2, 1, 28, 28), [5, target], "logit")
        maps = map_figure(
            [("gradient of 5", slopes[0]), (f"gradient of {target}", slopes[1])],
            picture=five,
            unit="logit per unit of ink",
        )
        path = page.picture(f"five-{target}-maps.png", f"Which ink speaks for 5 and {target}.")
        write_figure(path, maps)


def _torn(page: Section) -> None:
    images, _ = mnist("test")
    rows = []
    for name in ("digits-linear", "digits-cnn"):
        model = fs.load_model(name)
        logits = fs.predict(model, images, batch_size=500).logits
        values, classes = logits.topk(2, dim=1)
        torn = (values[:, 0] - values[:, 1] < TORN).nonzero().squeeze(1)
        chosen, pairs = images[torn], classes[torn]
        angle = f"{_angle(model, chosen, pairs):.2f}"
        for size, words in ((None, "2 · g"), (0.1, "0.1 long")):
            gains = [percent(gain) for gain in _first_order(model, chosen, pairs, size)]
            rows.append([f"`{name}`", len(torn), words, *gains, angle])
        if name == "digits-cnn":
            example, pair = chosen[0], pairs[0]
    page.text(
        f"**Digits the networks are torn about**: those of MNIST test whose two best logits are "
        f"less than {TORN} apart, as Canziani chose them (his other condition, a best logit above "
        "5, depends on the scale of a network's logits and is left out). For such a digit x "
        "with rivals a and b: does a step along g_a raise logit a and one along g_b logit b, "
        "and how alike are the two gradients? His step of 2 · g overshoots where the gradient is "
        "large and the network bends; a step of length 0.1 shows the first-order fact."
    )
    page.table(
        ["network", "digits>", "step", "g_a raises z_a>", "g_b raises z_b>", "mean cosine>"],
        rows,
    )
    model = fs.load_model("digits-cnn")
    slopes = fs.input_gradient(model, example.expand(2, 1, 28, 28), pair, "logit")
    titles = [f"gradient of {model.labels[c]}" for c in pair.tolist()]
    figure = map_figure(
        list(zip(titles, slopes, strict=True)), picture=example, unit="logit per unit of ink"
    )
    write_figure(page.picture("torn.png", "A digit the network is torn about, and why."), figure)


def _first_order(
    model: fs.Classifier, images: Tensor, pairs: Tensor, size: float | None
) -> list[float]:
    gains = []
    before = fs.predict(model, images).logits
    for column in (0, 1):
        own = pairs[:, column]
        slope = fs.input_gradient(model, images, own, "logit")
        length = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        step = 2 * slope if size is None else size * slope / length
        after = fs.predict(model, (images + step).clamp(0, 1)).logits
        rise = after.gather(1, own[:, None]) > before.gather(1, own[:, None])
        gains.append(float(rise.float().mean()))
    return gains


def _angle(model: fs.Classifier, images: Tensor, pairs: Tensor) -> float:
    first, second = (
        fs.input_gradient(model, images, pairs[:, column], "logit").flatten(1) for column in (0, 1)
    )
    return float(torch.cosine_similarity(first, second, dim=1).mean())
