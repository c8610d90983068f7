"""``fluoroscope depth diagnose``: errors foretold by units that disagree."""

from typing import Annotated

import typer

from fluoroscope.cli.depth_options import Many, Network, Size, open_network, open_scenes
from fluoroscope.cli.options import Json
from fluoroscope.cli.output import Output


def diagnose(
    network: Network,
    scenes: Many = 200,
    size: Size = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the scenes; default: the training's.")
    ] = None,
    json: Json = None,
) -> None:
    """Where the winning unit's bin is not the predicted one, is the prediction wrong?

    [bold]Example:[/] fluoroscope depth diagnose --network out/selective
    """
    output = Output(json)
    output.ready()
    trained = open_network(network)
    judged = open_scenes(trained, scenes, size, seed)

    from fluoroscope.depth.diagnosis import diagnose as diagnosed

    found = diagnosed(trained.network, judged, trained.bins, seed=trained.seed)
    output.table(["wrong pixels told from right ones by", "AUROC>", "95 %"], found.rows)
    output.table(
        ["bins between winning unit and prediction>", "pixels>", "wrong>"], found.distance_rows
    )
    output.say(found.headline)
    for note in found.notes:
        output.note(note)
    output.json(found.describe())
