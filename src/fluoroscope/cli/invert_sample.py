"""``fluoroscope invert sample``: pictures of classes from a generator that was trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import OUT, Json, Seed, with_model
from fluoroscope.cli.output import Output
from fluoroscope.cli.waiting import waiting

if TYPE_CHECKING:
    from fluoroscope.inversion.generator.result import Inversion
    from fluoroscope.models.classifier import Classifier

Generator = Annotated[Path, typer.Argument(help="What fluoroscope invert wrote: its directory.")]


@with_model
def sample(
    generator: Generator,
    model: "Classifier | None" = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", "-c", help="Class; repeatable. Default: all that were learnt."),
    ] = None,
    n: Annotated[int, typer.Option("--number", "-n", help="Pictures of each class.")] = 10,
    temperature: Annotated[
        float | None,
        typer.Option(help="Of soft vectors; near 0 the code asks for one class alone."),
    ] = None,
    dropout: Annotated[
        bool,
        typer.Option("--dropout/--no-dropout", help="As in training, or none: less variety."),
    ] = True,
    out: Annotated[
        Path | None, typer.Option(*OUT, help="Directory. Default: samples in the generator's.")
    ] = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Make pictures of classes: exact values, and a sheet.

    With the network, by --model, its probabilities stand under them.

    [bold]Examples:[/]
      fluoroscope invert sample out/invert -c 3 -c 8 -n 20
      fluoroscope invert sample out/invert -n 100 --out out/samples -m digits-cnn
    """
    from fluoroscope.engine.predict import predict
    from fluoroscope.inversion.generator.result import CAUTION
    from fluoroscope.inversion.generator.sample_files import left_out, sample_sheet, save_samples
    from fluoroscope.words import count, percent, some

    output = Output(json)
    found = opened(generator, model)
    made = found.sample(classes or None, n, seed, temperature=temperature, dropout=dropout)
    sure = right = None
    if model is not None:
        said = predict(model, made.images)
        sure = said.probabilities.gather(1, made.classes[:, None])[:, 0]
        right = float((said.winners == made.classes).double().mean())
    name = found.record["model"]
    record = {
        "generator": found.record,
        "seed": seed,
        "each": n,
        "temperature": temperature,
        "dropout": dropout,
        "needs_data": found.record.get("needs_data"),
        "labels": list(made.labels),
        "accuracy": right,
    }
    sheet = sample_sheet(
        made.images,
        made.classes,
        made.labels,
        title=f"Samples of a generator for {name}"
        + ("" if sure is None else ", and the probability that it gives"),
        confidence=sure,
    )
    names = some([made.labels[one] for one in dict.fromkeys(made.classes.tolist())])
    told = [f"{count(len(made.images), 'picture')} of {names}", left_out(made.classes)]
    if right is not None:
        told.insert(1, f"{percent(right)} predicted as asked")
    output.say(f"{'; '.join(filter(None, told))}. {CAUTION}")
    place = generator / "samples" if out is None else out
    paths = save_samples(place, made.images, made.classes, made.codes, sheet, record)
    output.wrote(paths)
    output.json(record)


def opened(generator: Path, model: "Classifier | None" = None) -> "Inversion":
    """The generator in a directory, held against the network that it is used with."""
    from fluoroscope.inversion.generator.result import Inversion

    waiting.says("reading the generator")
    return Inversion.load(generator, model)
