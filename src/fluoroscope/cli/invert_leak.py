"""``fluoroscope invert leak``: whether a generator gives training pictures back."""

from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.invert_assess import real_pictures
from fluoroscope.cli.invert_sample import Generator, opened
from fluoroscope.cli.options import Data, Json, Seed, with_model
from fluoroscope.cli.output import Output
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier


@with_model
def leak(
    generator: Generator,
    model: "Classifier",
    data: Data,
    train_split: Annotated[
        str, typer.Option("--train-split", help="The part that the network learnt from.")
    ] = "train",
    split: Annotated[
        str, typer.Option("--split", help="The part that it did not learn from.")
    ] = "test",
    n: Annotated[int, typer.Option("--number", "-n", help="Samples of each class.")] = 100,
    limit: Annotated[
        int, typer.Option(min=1, help="So many real pictures of each part at most.")
    ] = 2000,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Match a generator's samples to training pictures, and to as many test pictures.

    [bold]Examples:[/]
      fluoroscope invert leak out/invert -m digits-cnn -d path/to/mnist
    """
    from fluoroscope.inversion.generator.leakage import leakage

    output = Output(json)
    found = opened(generator, model)
    real, train = real_pictures(model, data, split, train_split, limit)
    if real is None or train is None:
        raise InvalidParameterError(
            "data has no two parts; expected a training part and one that was not learnt from"
        )
    made = found.sample(n=n, seed=seed)
    with output.telling():
        told = leakage(made.images, made.classes, train, real, made.labels)
    output.say(told.summary)
    columns, rows = told.table()
    output.table(columns, rows, title="matched pairs, by class")
    output.say(
        "training and test: reconstructed, of as many pictures; similarity: mean of the pairs; "
        "distance: to the nearest training picture, of test pictures 1"
    )
    for note in told.notes:
        output.note(note)
    output.json(told.describe())
