"""``fluoroscope evaluate``: how robust a network is on a whole data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    Address,
    AtChance,
    BatchSize,
    Engine,
    Json,
    OnGrid,
    Out,
    Plain,
    Seed,
    SeveralSecond,
    Threat,
    Workers,
    load,
    prepared,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.requirements import (
    Junit,
    Require,
    check_junit,
    end_unless_met,
    report_outcomes,
)
from fluoroscope.cli.slices import Slices
from fluoroscope.cli.verdict_report import draw_curve, report

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.evaluation.evaluate import Progress
    from fluoroscope.models.classifier import Classifier


@with_model
@with_pictures
def evaluate(
    model: "Classifier",
    images: "ImageSet",
    threat: Threat = None,
    plan: Annotated[
        str,
        typer.Option(
            help="standard (AutoAttack's), fast (its verdict for a fraction of the passes), curve "
            "(accuracy at every bound), rand (for random networks), black-box (for networks "
            "without gradient), or a TOML file."
        ),
    ] = "standard",
    out: Out = Path("out/evaluate"),
    resume: Annotated[
        Literal["auto", "never"],
        typer.Option(help="auto goes on with what is in --out; never removes it and starts anew."),
    ] = "auto",
    part: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures written down at once; default: up to 1000."),
    ] = None,
    save_images: Annotated[
        bool, typer.Option("--save-images", help="Keep what each attack made of the pictures.")
    ] = False,
    plain: Plain = False,
    at_chance: AtChance = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Look as well for reasons not to trust the number."),
    ] = False,
    second: SeveralSecond = None,
    on_grid: OnGrid = False,
    slices: Slices = None,
    require: Require = None,
    junit: Junit = None,
    batch_size: BatchSize = 128,
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Say how robust a network is: how many pictures no attack of a plan gets misclassified.

    Killed or stopped, the same command goes on where it was.

    [bold]Examples:[/]
      fluoroscope evaluate -m digits-cnn -d digits --threat linf:0.1 --out out/run
      fluoroscope evaluate -m digits-robust -d digits --threat linf:0.3 --plan fast
      fluoroscope evaluate -m digits-robust -d digits --threat linf --plan curve
      fluoroscope evaluate -m digits-cnn -d digits --require "clean>=0.95"
      fluoroscope runs show out/run
    """
    from fluoroscope.evaluation.evaluate import evaluate as run

    check_junit(require, junit)
    others = [load(name, device=str(model.device)) for name in second or ()]
    output = Output(json)
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        verdict = run(
            prepared(model, images, plain),
            images,
            threat=threat,
            plan=plan,
            out=out,
            resume=resume == "auto",
            save_images=save_images,
            part=part,
            batch_size=batch_size,
            seed=seed,
            at_chance=at_chance,
            trust=trust,
            second=others,
            grid=8 if on_grid else None,
            slices=slices or (),
            require=require,
            engine=engine,
            workers=workers,
            address=address,
            on_progress=lambda progress: move(progress.done, _state(progress), progress.left),
            cancelled=interrupted,
        )
    report(output, verdict)
    files = "run.json, verdict.json, parts/*.parquet"
    output.say(f"wrote {out}/  {files}{', parts/*.safetensors' if save_images else ''}")
    if verdict.curve is not None:
        output.wrote([draw_curve(verdict, out)])
    report_outcomes(
        output, verdict.requirements, title=f"{model.name} on {images.name}",
        checks=verdict.trust, junit=junit,
    )  # fmt: skip
    output.json(verdict.describe())
    if not verdict.trust:
        output.say("can the number be trusted? the same command with --trust looks into that")
    if interrupted():
        output.say("the same command goes on where this one stopped")
    end_unless_met(verdict.requirements)
    if interrupted():
        raise typer.Abort


def _state(progress: "Progress") -> str:
    part = f" {progress.part + 1}/{progress.parts}" if progress.parts > 1 else ""
    share = progress.surviving / max(progress.looked, 1)
    return (
        f"{progress.stage}{part}: {progress.surviving} of {progress.looked} survive ({share:.1%})"
    )
