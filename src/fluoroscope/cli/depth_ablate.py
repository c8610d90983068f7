"""``fluoroscope depth ablate``: where depth goes wrong without the units of a bin."""

from pathlib import Path
from typing import Annotated

import typer

from fluoroscope.cli.depth_options import Many, Network, Size, open_network, open_scenes
from fluoroscope.cli.options import Json, Out
from fluoroscope.cli.output import Output
from fluoroscope.words import network_name


def ablate(
    network: Network,
    scenes: Many = 200,
    size: Size = None,
    out: Out = Path("out/depth-ablation"),
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the scenes; default: the training's.")
    ] = None,
    json: Json = None,
) -> None:
    """Take the units of one bin after the other away: does the error rise in that bin?

    [bold]Example:[/] fluoroscope depth ablate --network out/selective
    """
    output = Output(json)
    output.ready()
    trained = open_network(network)
    judged = open_scenes(trained, scenes, size, seed)

    from fluoroscope.depth.ablation import COLUMNS
    from fluoroscope.depth.ablation import ablate as ablated
    from fluoroscope.depth.pictures import ablation_map
    from fluoroscope.files import output_directory
    from fluoroscope.pictures.maps import write_figure

    directory = output_directory(out)
    found = ablated(trained.network, judged, trained.bins)
    columns = [name if place in (0, 2) else f"{name}>" for place, name in enumerate(COLUMNS)]
    output.table(columns, found.rows, title="mean relative error by true depth; rises in points")
    output.say(found.headline)
    figure = ablation_map([(network_name(str(network)), found)])
    output.wrote([write_figure(directory / "ablation.png", figure)])
    output.json(found.describe())
