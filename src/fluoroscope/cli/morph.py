"""``fluoroscope morph``: turn a picture into any class and watch it happen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    OBJECTIVE_HELP,
    Image,
    Invert,
    Json,
    Out,
    Seed,
    open_picture,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.words import NORMS, Ruler, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fluoroscope.attacks.morph_result import MorphResult, MorphStep
    from fluoroscope.models.classifier import Classifier


@with_model
@with_display
def morph(
    model: "Classifier",
    image: Image,
    invert: Invert = False,
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
    out: Out = Path("out/morph"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Turn a picture into a class by moving its pixels along the gradient.

    [bold]Examples:[/]
      fluoroscope morph --model digits-cnn --image digits:7 --to 2 --gif
      fluoroscope morph -m torchvision/resnet18 -i cat.jpg --to vulture --eps 2/255
      fluoroscope morph -m digits-cnn -i black --to 3 --8bit --stop-at 0.99
    """
    from fluoroscope.attacks.morph import morph_stream
    from fluoroscope.errors import InvalidParameterError
    from fluoroscope.files import output_directory

    if (to is not None) + (less is not None) + away != 1:
        raise InvalidParameterError(
            "expected just one of --to CLASS (become it), --less CLASS (leave it) and --away "
            "(leave what it is predicted as)"
        )

    moving = morph_stream(
        model,
        open_picture(image, model, seed, invert=invert)[0].image,
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
    with interruptible() as interrupted:
        shown = output.progress(moving, steps + 1, "morphing")
        result = moving.result(_until(interrupted, shown))
        _report(output, result)
        output.wrote(result.save(directory, gif=gif))
    output.json(result.describe())
    if interrupted():
        made = len(result.winners) - 1
        output.say(f"stopped after {made} of {count(steps, 'step')}; the files are whole and hold "
                   "what was reached by then")  # fmt: skip
        raise typer.Abort


def _until(stopped: "Callable[[], bool]", steps: "Iterable[MorphStep]") -> "Iterator[MorphStep]":
    """The steps up to a Ctrl-C, the start in any case."""
    for step in steps:
        yield step
        if stopped():
            return


def _report(output: Output, result: "MorphResult") -> None:
    labels = result.labels
    norms = {norm: Ruler(norm, len(result.original)) for norm in ("l2", "linf")}
    last = len(result.winners) - 1
    stations = dict([*result.way_stations, (last, result.winners[-1])])
    output.table(
        [
            "step>",
            "predicted as",
            "probability>",
            labels[result.plan.target] + ">",
            *(f"{NORMS[norm]}>" for norm in norms),
        ],
        (
            [
                step,
                labels[winner],
                f"{result.probabilities[step, winner]:.3f}",
                f"{result.target_probability[step]:.3f}",
                *(ruler.short(float(getattr(result, norm)[step])) for norm, ruler in norms.items()),
            ]
            for step, winner in stations.items()
        ),
        title="the start, each change of the predicted class, and the end",
    )
    output.say(result.summary)
