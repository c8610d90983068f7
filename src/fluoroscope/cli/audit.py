"""``fluoroscope audit``: which attribution methods can be believed on a network, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    First,
    Invert,
    Json,
    MaybeData,
    Out,
    Seed,
    Split,
    open_pictures,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count, listed, some

if TYPE_CHECKING:
    from fluoroscope.attribution.audit.faithfulness import Score
    from fluoroscope.attribution.audit.result import Audit
    from fluoroscope.models.classifier import Classifier

_METRICS = ("srg", "insertion", "deletion", "road")


@with_model
def audit(
    model: "Classifier",
    data: MaybeData = None,
    split: Split = None,
    limit: Annotated[
        int, typer.Option(min=1, help="So many pictures: verdicts come of 4, scores of all.")
    ] = 32,
    first: First = False,
    invert: Invert = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="See: fluoroscope attribute list; or captum:NAME. Repeatable. Default: all but "
            "Captum's."
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Verdicts alone: no scores, no network with random weights."),
    ] = False,
    out: Out = Path("out/audit"),
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures at once. Default: 64; fewer large ones on a processor."),
    ] = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Say which attribution methods are valid on a network, in part, or not, and why.

    Beside the verdicts stand how well the maps name what the network depends on, with controls
    that know nothing of it. Killed or stopped, the same command goes on where it was.

    [bold]Examples:[/]
      fluoroscope audit -m digits-cnn
      fluoroscope audit -m digits-cnn --method guided-backprop --method gradient --fast
    """
    from fluoroscope.attribution.audit.audit import audit as run
    from fluoroscope.attribution.audit.result import place_in

    output = Output(json)
    images = open_pictures(data or _own_data(model), split, limit, model.channels, first, invert)
    place_in(out)  # before an hour's work
    batch = next(images.batches(limit, fit=model.preprocessing))
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        found = run(
            model,
            batch.images,
            methods=[*dict.fromkeys(method)] if method else None,
            seed=seed,
            numbers=batch.indices,
            batch_size=batch_size,
            out=out,
            randomisation=not fast,
            faithfulness=not fast,
            on_progress=lambda now: move(now.share, now.words),
            cancelled=interrupted,
        )
    _report(
        output, found, f"{model.name} on {count(len(batch.images), 'picture')} of {images.name}"
    )
    output.wrote([found.save(out)])
    output.json(found.describe())
    if interrupted():
        output.say("the same command goes on where this one stopped")
        raise typer.Abort


def _own_data(model: "Classifier") -> str:
    """What a network of the package learnt from.

    Raises:
        InvalidParameterError: it is somebody else's.
    """
    from fluoroscope.models.builtin import STATED_BY

    if model.preprocessing.stated_by != STATED_BY:
        raise InvalidParameterError(
            f"--data is missing, and {model.name} is no network of the digits; expected pictures "
            "that it is for: a folder, Parquet or a hub id"
        )
    return "digits"


def _report(output: Output, found: "Audit", title: str) -> None:
    from fluoroscope.attribution.audit.result import marked

    scored = [row for row in found.rows if row.scores]
    output.table(
        ["method", "verdict", *(f"{name}>" for name in _METRICS if scored)],
        [
            [row.verdict.method, marked(found, row.verdict).replace("better ", "better\n")]
            + [_mean(row.scores, name) for name in _METRICS if scored]
            for row in found.rows
        ]
        + [
            [name, "control", *(_mean(scores, each) for each in _METRICS)]
            for name, scores in found.controls.items()
            if scored
        ],
        title=title,
        named=True,
    )
    for row in found.rows:
        reasons = () if row.verdict.passed else row.verdict.reasons
        told = [*reasons, *row.verdict.remarks]
        if told:
            output.say(f"{row.verdict.method}: {' '.join(told)}")
    if scored:
        output.say("srg, insertion, road: higher is better; deletion: lower is")
        if any(found.no_better_than(row.verdict.method) for row in scored):
            output.say(
                f"no better than a control: by {found.ranked_by}, on the pictures it was scored on"
            )
        counts = {row.verdict.method: row.scores["srg"].pictures for row in scored}
        fewer = [f"{name} {n}" for name, n in counts.items() if n < max(counts.values())]
        if fewer:
            output.say(f"scored on fewer pictures, and not to be compared: {listed(fewer)}")
    for words in found.telling.values():
        output.say(words)
    if found.non_linear:
        names = [f"{name} {many}" for name, many in found.non_linear.items()]
        output.say(f"not linear in this network: {some(names, 8)}")
    for note in found.notes:
        output.note(note)


def _mean(scores: "dict[str, Score]", name: str) -> str:
    return f"{scores[name].mean:.2f}" if name in scores else "–"
