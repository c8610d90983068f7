"""``fluoroscope depth show``: what a depth network sees, and what its units answer to."""

from pathlib import Path
from typing import Annotated

import typer

from fluoroscope.cli.depth_options import Many, Network, Size, open_network, open_scenes
from fluoroscope.cli.options import Json, Out
from fluoroscope.cli.output import Output
from fluoroscope.words import network_name


def show(
    network: Network,
    against: Annotated[
        Path | None, typer.Option(help="Another one's directory, to be held beside it.")
    ] = None,
    scenes: Many = 200,
    size: Size = None,
    out: Out = Path("out/depth-show"),
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the scenes; default: the training's.")
    ] = None,
    json: Json = None,
) -> None:
    """Pictures of depth and its errors, and what each unit answers to.

    [bold]Example:[/]
      fluoroscope depth show --network out/selective --against out/plain
    """
    output = Output(json)
    output.ready()
    trained = {str(network): open_network(network)}
    if against is not None:
        trained[str(against)] = open_network(against)
    first = trained[str(network)]
    judged = open_scenes(first, scenes, size, seed)

    from fluoroscope.depth.measure import depth_errors
    from fluoroscope.depth.pictures import heat_maps, sheet
    from fluoroscope.depth.selectivity import SELECTIVITY_COLUMNS, depth_selectivity
    from fluoroscope.files import output_directory
    from fluoroscope.pictures.maps import write_figure
    from fluoroscope.words import number, percent

    directory = output_directory(out)
    measured, errors = {}, {}
    for name, one in trained.items():
        measured[name] = depth_selectivity(one.network, judged, one.bins)
        errors[name] = depth_errors(one.network, judged)
    output.table(
        ["network", "off by>", "RMSE (m)>", "within 1.25>", "selectivity>", "for own>", "own bin>"],
        [
            [network_name(name), percent(errors[name].rel), number(errors[name].rmse),
             percent(errors[name].right), number(found.mean),
             number(found.mean_of_assigned), percent(found.own, 0)]
            for name, found in measured.items()
        ],
        title=f"on {len(judged)} scenes that were not learnt from; selectivity for the bin "
        "that a unit answers most to, and for its own, which it is assigned to; own bin: units "
        "that answer most to it",
    )  # fmt: skip
    found = measured[str(network)]
    output.table(SELECTIVITY_COLUMNS, found.rows)
    shown = [(network_name(name), one) for name, one in reversed(measured.items())]
    output.wrote(
        [
            write_figure(directory / "scenes.png", sheet(first.network, judged, found)),
            write_figure(directory / "units.png", heat_maps(shown)),
        ]
    )
    output.json(
        {
            name: {"errors": errors[name].describe(), "selectivity": one.describe()}
            for name, one in measured.items()
        }
    )
