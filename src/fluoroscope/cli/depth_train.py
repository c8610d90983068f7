"""``fluoroscope depth train``: a network that tells depth, learnt from rendered scenes."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fluoroscope.cli.options import OUT, Json, Seed, sides_of
from fluoroscope.cli.output import Output, stopped
from fluoroscope.cli.train import terms_of
from fluoroscope.cli.waiting import waiting
from fluoroscope.words import count, number, percent


def train(
    selective: Annotated[
        float,
        typer.Option(
            help="Weight of the units' selectivity for the bins they are assigned to; 0: depth "
            "alone is learnt."
        ),
    ] = 0.1,
    scenes: Annotated[
        int, typer.Option(min=2, help="Scenes that are rendered to learn from.")
    ] = 2000,
    size: Annotated[str, typer.Option(help="Of the scenes: HEIGHTxWIDTH.")] = "48x64",
    epochs: Annotated[int, typer.Option(min=1, help="How often each is seen.")] = 10,
    units: Annotated[int, typer.Option(min=1, help="Of the last features.")] = 32,
    bins: Annotated[int, typer.Option(min=2, help="Bins of depth.")] = 16,
    nearest: Annotated[float, typer.Option(help="Where the first bin ends, in metres.")] = 0.75,
    farthest: Annotated[float, typer.Option(help="Where the last one ends.")] = 10.0,
    out: Annotated[Path, typer.Option(*OUT, help="Directory for weights and pictures.")] = Path(
        "out/depth"
    ),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Learn depth from pictures of boxes, spheres and a floor, made by code.

    Each unit of the last features is assigned a bin of depth and learns to answer to it alone.
    A training that was broken off goes on when the same command is given again.

    [bold]Examples:[/]
      fluoroscope depth train --out out/selective
      fluoroscope depth train --selective 0 --out out/plain
      fluoroscope depth show --network out/selective --against out/plain
    """
    waiting.says("importing PyTorch")
    from fluoroscope.depth.bins import Bins
    from fluoroscope.depth.training import DepthRun, DepthSettings
    from fluoroscope.engine.memory import keep_freed_memory
    from fluoroscope.training.trainer.recipe import Recipe

    keep_freed_memory()
    output = Output(json)
    output.ready()
    sides = sides_of(size, "size")
    assert sides is not None
    settings = DepthSettings(
        scenes=scenes,
        size=sides,
        units=units,
        bins=Bins(bins, nearest, farthest),
        weight=selective,
        recipe=Recipe(epochs=epochs, batch_size=16, weight_decay=1e-4),
    )
    waiting.says(f"rendering {count(scenes, 'scene')}")
    run = DepthRun(out=out, settings=settings, seed=seed)
    if run.behind:
        output.say(f"going on after step {run.behind} of an earlier run")
    total, at, held_out = len(run) + max(0, run.behind - 1), run.behind, ""
    try:
        with output.measuring() as move:
            for step in run:
                at, words = step.number, f"epoch {step.epoch}: loss {terms_of(step)}"
                if step.held_out is not None:
                    held_out = f"{percent(step.held_out)} of pixels"
                    epoch = f"epoch {step.epoch}: loss {terms_of(run.history.epochs[-1])}"
                    output.say(f"{epoch}, {held_out} of other scenes within a factor of 1.25")
                move(at / total, f"{words}, {held_out or percent(step.accuracy)} right")
    except KeyboardInterrupt:
        stopped(output, run.checkpoint, at, total)
        raise
    record = run.result.record
    test, found = record["test"], record["selectivity"]
    output.say(
        f"on {count(test['scenes'], 'scene')} that were not learnt from: off by "
        f"{percent(test['rel'])} on average, RMSE {number(test['rmse'])} m, within a factor of "
        f"1.25 in {percent(test['right'])} of the pixels"
    )
    output.say(
        f"mean depth selectivity of {count(units, 'unit')} {number(found['mean'])}, each for the "
        f"bin it answers most to, and {number(found['mean_of_assigned'])} for its assigned one, "
        f"which the training raises; {percent(found['answer_most_to_their_own'], 0)} answer most "
        f"to the bin they are assigned to, {found['dead']} to nothing"
    )
    endings = ("safetensors", "json", "curves.png", "curves.csv")
    output.wrote([run.out / f"depth.{ending}" for ending in endings])
    output.say(f"look into it: {shlex.join(['fluoroscope', 'depth', 'show', '-n', str(run.out)])}")
    output.json(record)
