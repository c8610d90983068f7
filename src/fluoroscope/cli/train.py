"""``fluoroscope train``: make one of the built-in networks anew."""

from pathlib import Path
from typing import Annotated

import typer

from fluoroscope.cli.options import Json, Seed
from fluoroscope.cli.output import Output


def train(
    architecture: Annotated[str, typer.Argument(help="digits-linear or digits-cnn.")],
    data: Annotated[str, typer.Option(help="Pictures with the splits train and test: MNIST.")],
    epochs: Annotated[
        int | None, typer.Option(help="How often every picture is seen; default: the recipe's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for weights and record.")] = Path("out"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Train a network on handwritten digits, judge it, and write weights and record.

    [bold]Example:[/]
      fluoroscope train digits-linear --data path/to/mnist --out out
    """
    from fluoroscope.training.run import TrainingRun

    output = Output(json)
    run = TrainingRun(architecture, data, out=out, epochs=epochs, seed=seed)
    for step in output.progress(run, len(run), f"training {architecture}"):
        if step.held_out is not None:
            output.say(
                f"epoch {step.epoch}: loss {step.loss:.4f}, held-out pictures read right "
                f"{100 * step.held_out:.2f} %"
            )
    result = run.result
    accuracy = result.record["accuracy"]
    output.say(
        f"{architecture} reads {100 * accuracy['test']:.2f} % of {data} right and "
        f"{100 * accuracy['built_in_pictures']:.2f} % of the built-in pictures"
    )
    output.wrote([result.weights, result.weights.with_suffix(".json")])
    output.json(result.record)
