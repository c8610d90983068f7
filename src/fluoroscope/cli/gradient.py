"""``fluoroscope gradient``: which way each pixel moves a decision, as pictures."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.options import (
    OBJECTIVE_HELP,
    Image,
    Invert,
    Json,
    Out,
    Seed,
    open_picture,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.words import shortened

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.models.classifier import Classifier

# The classes of an earlier call may be others.
_DRAWN = re.compile(r"gradient-(on-grey-\d+-.*|times-50-\d+)\.png")


@with_model
@with_display
def gradient(
    model: "Classifier",
    image: Image,
    invert: Invert = False,
    to: Annotated[
        list[str] | None,
        typer.Option("--class", "-c", help="Class to differentiate; repeatable. Default: winner."),
    ] = None,
    objective: Annotated[str, typer.Option(help=f"{OBJECTIVE_HELP}, or cross-entropy.")] = "logit",
    check: Annotated[
        int, typer.Option(min=0, help="Compare this many pixels with finite differences.")
    ] = 0,
    out: Out = Path("out/gradient"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Draw the gradient of a class with respect to the pixels, with its scale.

    [bold]Examples:[/]
      fluoroscope gradient --model digits-cnn --image digits:5 --class 5 --class 8
      fluoroscope gradient --model digits-linear --image digits:5 --check 784
    """
    from safetensors.torch import save_file

    from fluoroscope.engine.predict import predict
    from fluoroscope.files import atomic_path, output_directory, remove
    from fluoroscope.gradients.input_gradient import input_gradient
    from fluoroscope.pictures.display import shown, shown_channels
    from fluoroscope.pictures.maps import amplified, map_figure, signed_map, write_figure
    from fluoroscope.pictures.slide import amplification
    from fluoroscope.pictures.write import enlarged, to_pil, write_png

    picture = model.fit(open_picture(image, model, seed, invert=invert)[0].image)
    said = predict(model, picture)
    classes = [model.find_class(name) for name in to] if to else [int(said.winners)]
    copies = picture.expand(len(classes), *picture.shape)
    slopes = input_gradient(model, copies, classes, objective)
    names = [model.labels[c] for c in classes]

    output = Output(json)
    directory = output_directory(out)
    earlier = directory.glob("gradient-*.png")
    remove(*(file for file in earlier if _DRAWN.fullmatch(file.name)))
    unit = f"{objective} per unit of pixel value"
    # On the scale of the maps: what leaves it is as black or white as its end.
    factors = [amplification(signed_map(slope)[1]) for slope in slopes]
    figure = map_figure(list(zip(names, slopes, strict=True)), picture=picture, unit=unit)
    written = [
        write_figure(directory / "gradient.png", figure),
        write_figure(directory / "gradient.svg", figure),
    ]
    for number, slope, factor in zip(classes, slopes, factors, strict=True):
        drawn = enlarged(to_pil(shown(amplified(slope, factor))))
        written.append(write_png(directory / _on_grey(number, model.labels[number]), drawn))
    with atomic_path(directory / "gradient.safetensors") as draft:
        save_file({"image": picture.contiguous(), "gradients": slopes}, draft)
    written.append(directory / "gradient.safetensors")

    rows = [_summary(name, slope) for name, slope in zip(names, slopes, strict=True)]
    output.table(
        ["class", "lowest>", "highest>", "L2>", "on grey>"],
        (
            [row["label"], *(f"{row[key]:.4g}" for key in ("lowest", "highest", "l2")), f"× {by:g}"]
            for row, by in zip(rows, factors, strict=True)
        ),
        title=f"gradient of the {objective}",
    )
    checks = [_check(output, model, picture, c, objective, check, seed) for c in classes if check]
    output.wrote(written)
    output.json(
        {
            "model": model.name,
            "image": image,
            "winner": said.top(1)[0][0][0],
            "objective": objective,
            "gradients": rows,
            "shown_channels": shown_channels(model.channels),
            "checks": checks,
            "files": [str(path) for path in written],
        }
    )


def _on_grey(number: int, label: str) -> str:
    """The name of a file, in which a label is no path."""
    name = re.sub(r"[^\w.]+", "-", shortened(label))
    return f"gradient-on-grey-{number}-{name}.png"


def _summary(label: str, slope: "Tensor") -> dict[str, Any]:
    return {
        "label": label,
        "lowest": slope.min().item(),
        "highest": slope.max().item(),
        "l2": slope.norm().item(),
    }


def _check(
    output: Output,
    model: "Classifier",
    picture: "Tensor",
    number: int,
    objective: str,
    pixels: int,
    seed: int,
) -> dict[str, Any]:
    from fluoroscope.gradients.check import check_gradient

    checked = check_gradient(model, picture, number, objective, pixels=pixels, seed=seed)
    output.say(f"{model.labels[number]}: {checked}")
    return {
        "label": model.labels[number],
        "relative_error": checked.relative_error,
        "reasons": checked.counts,
        "passed": checked.passed,
    }
