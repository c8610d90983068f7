"""Backpropagation against finite differences, pixel by pixel."""

import torch

import fluoroscope as fs
from benchmarks.page import Section
from reproductions.sources import NETWORKS, PAGE, imagenet

SEED = 0


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "differences", "Finite differences against backpropagation")
    linear, cnn = fs.load_model("digits-linear"), fs.load_model("digits-cnn")
    five = fs.open_image("digits:5", channels=1).image
    cases = [("`digits-linear`", linear, five, 784), ("`digits-cnn`", cnn, five, 784)]
    name = "MobileNet v1 0.75"
    mobilenet = fs.load_model(NETWORKS[name])
    cases.append((name, mobilenet, imagenet(mobilenet, "giant panda"), 200))
    rows = []
    for name, model, picture, pixels in cases:
        winner = int(fs.predict(model, picture).winners)
        for objective in ("logit", "log-probability") if pixels == 784 else ("logit",):
            for precision in ("float64", "float32"):
                checked = fs.check_gradient(
                    model, picture, winner, objective, pixels=pixels, seed=SEED,
                    precision=precision,
                )  # fmt: skip
                slopes = torch.stack([checked.backpropagation[0], checked.differences[0]])
                rows.append(
                    [
                        name, objective, precision, pixels, f"{checked.step:.1e}",
                        f"{checked.relative_error:.1e}", f"{_relative(slopes):.1e}",
                        ", ".join(f"{count} {why}" for why, count in checked.counts.items()),
                    ]
                )  # fmt: skip
    page.text(
        "Central differences at all 784 pixels of a digit, and at 200 random pixel values (seed "
        f"{SEED}) of a panda. Errors are relative to the largest slope, or of the whole vector. "
        "In float32 a full-size network's logits carry rounding errors that no step size removes; "
        "`check_gradient` says which pixels fall to that, and which to a kink of a ReLU."
    )
    page.table(
        ["network", "objective", "precision", "pixels>", "step>", "largest error>",
         "L2 error>", "verdict by pixel"],
        rows,
    )  # fmt: skip
    return page


def _relative(slopes: torch.Tensor) -> float:
    return float((slopes[0] - slopes[1]).norm() / slopes[0].norm())
