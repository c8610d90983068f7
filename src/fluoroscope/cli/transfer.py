"""``fluoroscope transfer``: which of several networks are fooled by what was made on each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.attack_options import parameters
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    MODEL,
    MODEL_HELP,
    BatchSize,
    Data,
    Device,
    First,
    Invert,
    Json,
    Limit,
    Norm,
    Out,
    Param,
    Seed,
    Split,
    Steps,
    load,
    open_pictures,
    prepared,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.waiting import waiting
from fluoroscope.models.labels import printable

if TYPE_CHECKING:
    from fluoroscope.evaluation.transfer import Share, TransferMatrix

# With more networks than this a terminal has no room for the intervals.
_WITH_INTERVALS = 4


def transfer(
    model: Annotated[
        list[str],
        typer.Option(*MODEL, help=f"{MODEL_HELP} Two or more."),
    ],
    data: Data,
    split: Split = None,
    limit: Limit = None,
    first: First = False,
    invert: Invert = False,
    method: Annotated[str, typer.Option(help="The attack; see: fluoroscope attacks.")] = "mi-fgsm",
    eps: Annotated[
        str | None,
        typer.Option(
            help="How far a picture may go. Default in linf: 0.3 for small grey pictures, 8/255 "
            "for small ones in colour, 4/255 for large ones."
        ),
    ] = None,
    norm: Norm = None,
    steps: Steps = None,
    param: Param = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Search on the networks as they are, not on copies prepared for speed. The plain "
            "ones read in any case.",
        ),
    ] = False,
    at_chance: Annotated[
        bool,
        typer.Option(
            "--at-chance", help="Go on though the clean accuracy of one is at chance level."
        ),
    ] = False,
    batch_size: BatchSize = 128,
    device: Device = "cpu",
    out: Out = Path("out/transfer"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Attack several networks, and say which of them what was made on each fools.

    All networks need the same classes; their input sizes may differ.

    [bold]Examples:[/]
      fluoroscope transfer -m digits-cnn -m digits-robust -d digits --eps 0.2
      fluoroscope transfer -m ONE -m TWO -m THREE -d FOLDER --method di-fgsm
    """
    waiting.says("importing PyTorch")
    from fluoroscope.attacks import registry
    from fluoroscope.engine.threats import usual_threat
    from fluoroscope.evaluation.transfer import transfer_figure, transfer_matrix
    from fluoroscope.files import output_directory
    from fluoroscope.pictures.maps import write_figure

    given = parameters(param) | ({} if steps is None else {"steps": steps})
    norm = norm or registry.find_attack(method.partition("|")[0].strip()).norms[0]
    models = [load(name, device=device) for name in model]
    images = open_pictures(data, split, limit, models[0].channels, first, invert)
    output, directory = Output(json), output_directory(out)
    if eps is None and norm == "linf":
        usual = usual_threat(models[0], images)
        eps = f"{float(usual.eps):.6g}"
        output.say(f"every picture may move by {eps}, as is usual for such; --eps sets another")
    attack = registry.attack(method, eps=eps, norm=norm, **given)
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        matrix = transfer_matrix(
            [prepared(each, images, plain) for each in models],
            images,
            attack,
            seed=seed,
            batch_size=batch_size,
            at_chance=at_chance,
            on_progress=lambda done, total, passes: move(
                done / total, f"{done:,} of {total:,} searches ({passes:,} passes)"
            ),
            cancelled=interrupted,
        )
    if matrix.count:
        _report(output, matrix, method)
        output.wrote([write_figure(directory / "transfer.png", transfer_figure(matrix))])
    output.json(matrix.describe())
    if not matrix.complete:
        output.say(
            f"stopped early: {matrix.count} of {len(images)} pictures were attacked everywhere"
        )
        raise typer.Abort


def _report(output: Output, matrix: "TransferMatrix", method: str) -> None:
    from fluoroscope.evaluation.transfer import short_names

    names = map(printable, short_names(matrix.models))
    columns = zip(matrix.clean, matrix.under_others, matrix.under_all, strict=True)
    output.table(
        ["", f"{method}, {matrix.count} pictures", "right, %>", "under others>", "under all>"],
        [
            [number, name, *map(_cell, cells)]
            for number, (name, cells) in enumerate(zip(names, columns, strict=True), 1)
        ],
    )
    cell = _cell if len(matrix.models) <= _WITH_INTERVALS else _rate
    numbers = range(1, len(matrix.models) + 1)
    output.table(
        ["misclassified, %", *(f"by {number}>" for number in numbers)],
        [
            [f"made on {number}", *map(cell, row)]
            for number, row in zip(numbers, matrix.fooled, strict=True)
        ],
    )
    output.say(
        "misclassified: of the pictures that both networks had right before. under others: right "
        "as it is, and as made on every other network; under all: and on itself"
    )
    for note in matrix.record["notes"]:
        output.note(note)
    output.say(f"{matrix.forwards:,} forwards, {matrix.backwards:,} backwards, "
               f"{matrix.seconds:.1f} s")  # fmt: skip


def _cell(share: "Share") -> str:
    low, high = share.interval
    return f"{_rate(share)} ({100 * low:.0f}-{100 * high:.0f})" if share.of else _rate(share)


def _rate(share: "Share") -> str:
    return "-" if share.share is None else f"{100 * share.share:.1f}"
