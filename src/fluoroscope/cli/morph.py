"""``fluoroscope morph``: turn a picture into any class and watch it happen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.options import OBJECTIVE_HELP, OUT, Image, Json, Seed, with_model
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from fluoroscope.attacks.morph import MorphResult
    from fluoroscope.models.classifier import Classifier


@with_model
@with_display
def morph(
    model: "Classifier",
    image: Image,
    to: Annotated[str | None, typer.Option(help="The wanted class: label, prefix, index.")] = None,
    less: Annotated[str | None, typer.Option(help="Or: a class to become less of.")] = None,
    away: Annotated[bool, typer.Option("--away", help="Or: leave the present class.")] = False,
    eps: Annotated[
        str | None, typer.Option(help="How far it may go, such as 8/255; unbounded by default.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf (default with --eps), l2 or none.")] = None,
    steps: Annotated[int, typer.Option(help="How many.")] = 40,
    step_size: Annotated[
        str | None, typer.Option(help="Of one step, such as 0.5/255; default: an eighth of eps.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="sign (default for linf), normalized or raw.")
    ] = None,
    objective: Annotated[str, typer.Option(help=OBJECTIVE_HELP)] = "log-probability",
    on_grid: Annotated[
        bool, typer.Option("--8bit", help="Round to 8 bits at every step, as a PNG will.")
    ] = False,
    stop_at: Annotated[
        float | None, typer.Option(help="End once the class has this probability.")
    ] = None,
    gif: Annotated[bool, typer.Option("--gif", help="Also save the trajectory as a GIF.")] = False,
    out: Annotated[Path, typer.Option(*OUT, help="Directory for the results.")] = Path("out"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Turn a picture into a class by moving its pixels along the gradient.

    [bold]Examples:[/]
      fluoroscope morph --model digits-cnn --image digits:7 --to 2 --gif
      fluoroscope morph --model torchvision/resnet18 --image panda.jpg --to vulture --eps 2/255
      fluoroscope morph --model digits-cnn --image black --to 3 --8bit --stop-at 0.99
    """
    from fluoroscope.attacks.morph import morph_stream
    from fluoroscope.errors import InvalidParameterError
    from fluoroscope.files import output_directory

    if (to is not None) + (less is not None) + away != 1:
        raise InvalidParameterError(
            "expected just one of --to CLASS (become it), --less CLASS (leave it) and --away "
            "(leave what it is read as)"
        )

    moving = morph_stream(
        model,
        image,
        to=to,
        less=less,
        away=away,
        eps=eps,
        norm=norm,
        steps=steps,
        step_size=step_size,
        direction=direction,
        objective=objective,
        on_grid=on_grid,
        stop_at=stop_at,
        seed=seed,
    )
    directory = output_directory(out)  # a place that cannot be written to is told at once
    output = Output(json)
    result = moving.result(output.progress(moving, steps + 1, "morphing"))
    _report(output, result)
    output.wrote(result.save(directory, gif=gif))
    output.json(result.describe())


def _report(output: Output, result: "MorphResult") -> None:
    labels, plan = result.labels, result.plan
    output.table(
        ["step>", "what it is", "probability>", labels[plan.target] + ">", "L2>", "Linf · 255>"],
        (
            [
                step,
                labels[winner],
                f"{result.probabilities[step, winner]:.3f}",
                f"{result.target_probability[step]:.3f}",
                f"{result.l2[step]:.2f}",
                f"{255 * result.linf[step]:.2f}",
            ]
            for step, winner in [
                *result.way_stations,
                (len(result.winners) - 1, result.winners[-1]),
            ]
        ),
        title=f"{labels[result.winners[0]]}, its way stations, and its end",
    )
    wish = {"to": "became", "less": "left", "away": "left"}[plan.mode]
    verdict = wish if result.reached else f"has not {wish}"
    output.say(
        f"{labels[result.winners[0]]} {verdict} {labels[plan.target]} "
        f"({result.target_probability[-1]:.3f}) after {len(result.winners) - 1} steps"
    )
