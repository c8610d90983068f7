"""``fluoroscope neurons adversarial``: a data set of adversarial pictures, each with its target."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.attack_options import parameters, transfer_target
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    Json,
    Out,
    Param,
    Seed,
    Steps,
    SuitableBatch,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import as_percent, count, percent

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier

# Pictures before and after on the sheet.
_SHOWN = 6


@with_model
@with_pictures
def adversarial(
    model: "Classifier",
    images: "ImageSet",
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="Another network of the same classes, attacked together with the first. "
            "Repeatable.",
        ),
    ] = None,
    targets: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Classes that each picture is led to, drawn among all but its own. Default: 10, "
            "or all others where there are fewer.",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="The attack; see: fluoroscope attacks.")
    ] = "ensemble-optimisation",
    eps: Annotated[
        str | None,
        typer.Option(
            help="How far a picture may go, such as 8/255. Default: held back by the distance in "
            "the attack's own sum alone."
        ),
    ] = None,
    steps: Steps = None,
    param: Param = None,
    batch_size: SuitableBatch = None,
    out: Out = Path("out/adversarial"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Make a data set of adversarial pictures, each led to a drawn class.

    It is kept in Parquet with the true class, the target, the real picture
    and the success of each; -d takes it like any other. Stopped, the same
    command goes on.

    [bold]Examples:[/]
      fluoroscope neurons adversarial -m digits-cnn -d digits --limit 50
      fluoroscope neurons adversarial -m ONE --with TWO -d FOLDER -o SET
      fluoroscope neurons read -m ONE -d SET
    """
    from fluoroscope.attacks import registry
    from fluoroscope.neurons.adversarial.making import ATTACK, adversarial_set
    from fluoroscope.neurons.adversarial.set_files import read_about
    from fluoroscope.pictures.pairs import pair_sheet
    from fluoroscope.pictures.write import write_png

    given = parameters(param) | ({} if steps is None else {"steps": steps})
    norm = "linf" if method == ATTACK and eps is not None else None
    attack = registry.attack(method, eps=eps, norm=norm, **given)
    models = [model, *(transfer_target(model, name) for name in other or [])]
    output = Output(json)
    output.ready()
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        try:
            found = adversarial_set(
                models,
                images,
                out=out,
                targets=targets,
                attack=attack,
                batch_size=batch_size,
                seed=seed,
                on_share=lambda share: move(
                    share, f"leading {count(len(images), 'picture')} astray"
                ),
                cancelled=interrupted,
            )
        except InvalidParameterError as error:
            if not interrupted():
                raise
            output.say(str(error))
            raise typer.Abort from error
    if interrupted():
        output.say(f"{count(len(found), 'picture')} made so far; the same command goes on")
        raise typer.Abort
    about = read_about(out)
    _report(output, about)
    pairs = _pairs(model, images, found)
    files = [out / "adversarial.json"]
    if pairs:
        files.append(write_png(out / "adversarial.png", pair_sheet(pairs)))
    output.wrote(files)
    output.json({**about, "out": str(out)})


def _report(output: Output, about: dict[str, Any]) -> None:
    many = about["pictures"]
    output.table(
        ["network", "predicts the target>", "share>"],
        [
            [one["name"], f"{one['success']:,} of {many:,}", f"{percent(one['success'] / many)}"]
            for one in [*about["members"], *_together(about)]
        ],
    )
    output.say(
        f"{count(many, 'picture')}: {count(about['sources'], 'real one')}, each led to "
        f"{count(about['targets'], 'class', 'classes')}; they moved by "
        f"{255 * about['distance']['median']:.1f}/255 (root mean square, median)"
    )
    if about["before"]:
        output.say(
            f"{about['before']:,} of them {'was' if about['before'] == 1 else 'were'} predicted as "
            "the target before anything was changed"
        )
    for note in about["notes"]:
        output.note(note)


def _together(about: dict[str, Any]) -> list[dict[str, Any]]:
    if len(about["members"]) == 1:
        return []
    return [{"name": "all together", "success": about["success"]}]


def _pairs(model: "Classifier", images: "ImageSet", found: "ImageSet") -> list[Any]:
    """Some real pictures and what became of them, first those that were led to their target."""
    import torch

    from fluoroscope.engine.predict import predict
    from fluoroscope.pictures.pairs import Pair

    places = {index: place for place, index in enumerate(images.indices)}
    reached, sources = found.column("success"), found.column("source")
    firsts = {source: row for row, source in reversed([*enumerate(sources)]) if reached[row]}
    every = sorted(firsts.values())
    if not every:
        return []
    # Evenly among all, for data in folders has its classes one after the other.
    many = min(_SHOWN, len(every))
    rows = [every[place * len(every) // many] for place in range(many)]
    before = torch.stack([model.fit(images[places[sources[row]]].image) for row in rows])
    after = torch.stack([model.fit(found[row].image) for row in rows])
    read = [[best[0] for best in predict(model, each).top(1)] for each in (before, after)]
    return [
        Pair(before[row], after[row], was, f"{becomes} ({as_percent(probability)})")
        for row, ((was, _), (becomes, probability)) in enumerate(zip(*read, strict=True))
    ]
