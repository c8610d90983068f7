"""``fluoroscope invert counterfeit``: pictures far from the data that a network is sure of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.invert_assess import judge_of, real_pictures
from fluoroscope.cli.invert_sample import opened
from fluoroscope.cli.options import OUT, BatchSize, Json, MaybeData, Seed, Split, with_model
from fluoroscope.cli.output import Output
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.models.classifier import Classifier


@with_model
@with_display
def counterfeit(
    model: "Classifier",
    generator: Annotated[
        Path | None,
        typer.Argument(help="What fluoroscope invert wrote; without it only the null space."),
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", "-c", help="Class; repeatable. Default: ten.")
    ] = None,
    n: Annotated[int, typer.Option("--number", "-n", help="Pictures of each class.")] = 10,
    data: MaybeData = None,
    split: Split = None,
    limit: Annotated[int, typer.Option(min=1, help="So many real pictures at most.")] = 2000,
    second: Annotated[
        str | None,
        typer.Option(help="Another network of the same classes, trained independently."),
    ] = None,
    out: Annotated[
        Path, typer.Option(*OUT, help="Directory for pictures and certificates.")
    ] = Path("out/counterfeit"),
    batch_size: BatchSize = 64,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Make pictures that a network is sure of and that are far from all data, with certificates.

    Noise and pictures of another class are moved to where the network answers
    exactly as it answers a real picture; a generator's samples stand beside.

    [bold]Examples:[/]
      fluoroscope invert counterfeit -m digits-cnn
      fluoroscope invert counterfeit out/invert -m digits-cnn -d digits -n 20
    """
    from fluoroscope.files import output_directory
    from fluoroscope.inversion.generator.counterfeit_result import LEGEND
    from fluoroscope.inversion.generator.counterfeits import counterfeits, each_class

    output = Output(json)
    place = output_directory(out)
    output.ready()
    found = None if generator is None else opened(generator, model)
    real, _ = real_pictures(model, data, split, None, limit)
    if real is None:
        raise InvalidParameterError(
            "--data was not given; expected real pictures: whose answers are led to, and "
            "what distances are a ratio to"
        )
    wanted = each_class(_classes(model, classes), n)
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        made = counterfeits(
            model,
            *real,
            wanted,
            inversion=found,
            second=judge_of(model, second),
            seed=seed,
            batch_size=batch_size,
            on_share=lambda share: move(share, "moving pictures"),
            cancelled=interrupted,
        )
    output.say(made.headline)
    columns, rows = made.table()
    output.table(columns, rows, title=f"{n} of each of {len(wanted) // n} classes", whole=True)
    output.say(LEGEND)
    for note in made.notes:
        output.note(note)
    output.wrote(made.save(place))
    output.json(made.describe())
    if interrupted():
        output.say("stopped; the files are whole and hold what was made by then")
        raise typer.Abort


def _classes(model: "Classifier", given: list[str] | None) -> "Tensor":
    """Those named, each once, or the first ten."""
    import torch

    from fluoroscope.engine.classes import class_values
    from fluoroscope.inversion.generator.result import once_each

    if not given:
        return torch.arange(min(10, model.num_classes), device="cpu")
    return once_each(class_values(given, len(given), model.labels, model.name), model.labels)
