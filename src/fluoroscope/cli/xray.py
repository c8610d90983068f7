"""``fluoroscope xray``: one page on what a network sees, how it fails, and what to do."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    OUT,
    Json,
    OnGrid,
    Plain,
    Seed,
    Threat,
    prepared,
    what_was_named,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output, one_line
from fluoroscope.cli.requirements import (
    Junit,
    Require,
    check_junit,
    end_unless_met,
    report_outcomes,
)
from fluoroscope.cli.slices import Slices
from fluoroscope.cli.waiting import waiting

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier


@with_model
@with_display
@with_pictures
def xray(
    context: typer.Context,
    model: "Classifier",
    images: "ImageSet",
    threat: Threat = None,
    out: Annotated[Path, typer.Option(*OUT, help="The page.")] = Path("out/xray/report.html"),
    sections: Annotated[
        str | None,
        typer.Option(
            help="Only these, with commas: verdict, clean, curve, pictures, map, corruptions, "
            "gradients, trace, consistency, portraits, next."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="How long it may take, as 90s, 10m or 1h; the page says what was left out."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Directory in which findings are kept: the same command goes on with what is "
            "there, and writes a finished report again in seconds."
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            help="Another network of the same classes, trained independently, as --model: what it "
            "sees in the portraits, and whether attacks on it fool this one. Default: of a "
            "built-in network another one; else none."
        ),
    ] = None,
    slices: Slices = None,
    require: Require = None,
    junit: Junit = None,
    on_grid: OnGrid = False,
    title: Annotated[
        str | None, typer.Option("--title", help="The page's; default: network and data.")
    ] = None,
    model_version: Annotated[
        str | None, typer.Option("--model-version", help="To stand beside the network's hashes.")
    ] = None,
    data_description: Annotated[
        str | None,
        typer.Option(
            "--data-description", help="What the pictures are: where from, how they were chosen."
        ),
    ] = None,
    plain: Plain = False,
    seed: Seed = 0,
    json: Json = None,
) -> bool:
    """Write one page on what a network sees, how it fails, and what to do about it.

    The page is one file that loads nothing. Stopped with Ctrl-C, it holds what was found by then.

    [bold]Examples:[/]
      fluoroscope xray --model digits-cnn --data digits --limit 300
      fluoroscope xray -m digits-robust -d digits --budget 2m --run out/xray
      fluoroscope xray -m torchvision/resnet50 -d photos --sections verdict,pictures
    """
    from fluoroscope.report.xray import xray as look_through

    judge = None if second is None else _judge(second, model)
    names = None if sections is None else [name.strip() for name in sections.split(",")]
    check_junit(require, junit)
    output = Output(json)
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        report = look_through(
            prepared(model, images, plain),
            images,
            threat=threat,
            sections=names,
            budget=budget,
            run=run,
            seed=seed,
            slices=slices or (),
            require=require,
            grid=8 if on_grid else None,
            second=judge,
            title=title,
            model_version=model_version,
            data_description=data_description,
            command=shlex.join(["fluoroscope", *sys.argv[1:]]),
            named=what_was_named(context),
            on_progress=lambda what, share: move(share, what),
            cancelled=interrupted,
        )
    path = report.save(out)
    output.say(report.summary)
    for name, why in report.missing.items():
        output.say(f"left out: {name}. {why}")
    output.say(f"wrote {path} ({_size(path.stat().st_size)}); open it in a browser")
    report_outcomes(
        output, report.requirements, title=report.title, checks=report.trust, junit=junit
    )
    output.json(report.describe())
    end_unless_met(report.requirements)
    if interrupted():
        raise typer.Abort
    return report.draws


def _judge(second: str, model: "Classifier") -> "Classifier":
    from fluoroscope.models.loading import load_model

    waiting.says(f"loading {one_line(second)}")
    return load_model(second, device=str(model.device))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.0f} kB"
