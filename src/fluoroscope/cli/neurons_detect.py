"""``fluoroscope neurons detect``: adversarial pictures by what a layer says beside the decision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import (
    Json,
    Out,
    Seed,
    UnitLayer,
    UnitReduction,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier


@with_model
@with_pictures
def detect(
    model: "Classifier",
    images: "ImageSet",
    adversarial: Annotated[
        str,
        typer.Option(help="The set that fluoroscope neurons adversarial made of these pictures."),
    ],
    layer: UnitLayer = None,
    reduction: UnitReduction = "mean",
    neighbours: Annotated[
        int, typer.Option(min=1, help="Real pictures that each picture is held against.")
    ] = 10,
    most: Annotated[
        int, typer.Option(min=1, help="Adversarial pictures that are looked at, at the most.")
    ] = 300,
    steps: Annotated[
        int,
        typer.Option(min=0, help="Of the attack that knows of the detector; 0 leaves it out."),
    ] = 100,
    out: Out = Path("out/detection"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Can adversarial pictures be told by what a layer makes of them?

    Held against real pictures, ordinary mistakes, noise and JPEG as far away,
    the network's own confidence, and an attack that knows of the detector.

    [bold]Example:[/]
      fluoroscope neurons adversarial -m digits-cnn -d digits --limit 50 -o SET
      fluoroscope neurons detect -m digits-cnn -d digits --adversarial SET
    """
    from fluoroscope.data.imageset import load_images
    from fluoroscope.neurons.detection.detect import detect as detected
    from fluoroscope.neurons.detection.result import MOVED
    from fluoroscope.neurons.places import results_directory
    from fluoroscope.pictures.maps import write_figure
    from fluoroscope.words import count

    output = Output(json)
    output.ready()
    led = load_images(adversarial, channels=model.channels)
    directory = results_directory(out, images)
    with output.telling(), output.measuring() as move:
        found = detected(
            model,
            images,
            led,
            layer,
            reduction=reduction,
            neighbours=neighbours,
            most=most,
            steps=steps,
            keep=directory / "activations",
            seed=seed,
            on_share=lambda share: move(share, f"looking at {count(len(led), 'picture')}"),
        )
    output.table(
        ["told from clean pictures", "pictures>", "moved>", "means>", "neighbours>", "confidence>"],
        found.grid,
        title="AUROC / detected with 5 % false alarms, by the nearest class mean, the nearest "
        "real pictures, and 1 - the largest probability",
    )
    output.say(MOVED)
    output.table(["adversarial told from misclassified, by", "AUROC>", "95 %"], found.mistake_rows)
    output.say(found.headline)
    for words in found.conclusions:
        output.say(words)
    for note in found.notes:
        output.note(note)
    files = [found.save(directory / "detection.json")]
    if "adversarial" in found.groups:
        files.append(write_figure(directory / "roc.png", found.figure()))
    output.wrote(files)
    output.json(found.describe())
