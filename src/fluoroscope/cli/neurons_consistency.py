"""``fluoroscope neurons consistency``: whether what units answer to survives an attack."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    OUT,
    Call,
    Json,
    Seed,
    SuitableBatch,
    UnitLayer,
    UnitReduction,
    open_pictures,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Move, Output
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.neurons.meaning.result import Consistency
    from fluoroscope.neurons.reading.activations import Activations

# Units of the highest level of consistency that a table has room for.
_UNITS = 8


@with_model
@with_pictures
def consistency(
    model: "Classifier",
    images: "ImageSet",
    adversarial: Annotated[
        str | None,
        typer.Option(
            help="The adversarial data set made of these pictures: what fluoroscope neurons "
            "adversarial wrote."
        ),
    ] = None,
    layer: UnitLayer = None,
    call: Call = None,
    reduction: UnitReduction = "mean",
    similarity: Annotated[
        str,
        typer.Option(
            help="How alike classes are: weights (of the last layer), confusion (what the network "
            "confuses), wordnet, or a file with a tree of the classes: nested JSON, or a line "
            "child: parent for each."
        ),
    ] = "weights",
    sigma: Annotated[
        float, typer.Option(help="Of a tree's kernel exp(-path²/sigma²), in edges.")
    ] = 3.0,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pictures of a unit that its class histogram is of. Default: 100, and of fewer "
            "than 1,000 a tenth.",
        ),
    ] = None,
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Count these by how far they lift the unit.")
    ] = False,
    successful: Annotated[
        bool,
        typer.Option("--successful", help="Only adversarial pictures predicted as their target."),
    ] = False,
    noise: Annotated[
        float,
        typer.Option(
            min=0, help="Standard deviation of the noise for label flips, of pixels from 0 to 1; 0 "
            "leaves them out.",
        ),
    ] = 0.02,
    concepts: Annotated[
        str | None,
        typer.Option(help="A column of the data to name units by, in place of the class."),
    ] = None,
    batch_size: SuitableBatch = None,
    out: Annotated[
        Path,
        typer.Option(
            *OUT, help="Directory for consistency.json and .safetensors, two figures, and what was "
            "read."
        ),
    ] = Path("out/consistency"),
    seed: Seed = 0,
    json: Json = None,
) -> None:  # fmt: skip
    """Say whether what the units of a layer answer to survives an attack.

    The measures of Dong et al. (2017), each with how sure it is that theirs
    means the same. A run that was stopped or killed goes on where it was.

    [bold]Examples:[/]
      fluoroscope neurons adversarial -m digits-cnn -d digits -o SET
      fluoroscope neurons consistency -m digits-cnn -d digits --adversarial SET
    """
    from fluoroscope.files import atomic_path
    from fluoroscope.neurons.meaning.class_similarity import class_similarity
    from fluoroscope.neurons.meaning.consistency import consistency as run
    from fluoroscope.neurons.meaning.noise import with_noise
    from fluoroscope.neurons.places import results_directory
    from fluoroscope.neurons.reading.read import read

    if adversarial is None:
        raise InvalidParameterError(
            "--adversarial is missing: expected a data set of adversarial pictures made of these, "
            "such as fluoroscope neurons adversarial with the same -m and -d writes"
        )
    output = Output(json)
    output.ready()
    place = results_directory(out, images)
    sets = {"real": images, "adversarial": open_pictures(adversarial, None, None, model.channels)}
    if noise:
        sets["noisy"] = with_noise(model, images, noise, seed)
    names = None if concepts is None else [str(one) for one in images.column(concepts)]
    _tell_of_data(output, adversarial, images)
    alike = None
    if similarity != "confusion":
        alike = class_similarity(similarity, model=model, sigma=sigma)
    found: dict[str, Activations] = {}
    parts = len(sets) + 1
    with output.telling(), output.measuring() as move:
        with interruptible() as interrupted:
            for number, (kind, pictures) in enumerate(sets.items()):
                found[kind] = read(
                    model,
                    pictures,
                    layer,
                    call=call,
                    reduction=reduction,
                    batch_size=batch_size,
                    out=place / kind,
                    cancelled=interrupted,
                    on_share=_moving(move, number, parts, f"reading {kind} pictures"),
                )
                if len(found[kind]) < len(pictures):
                    output.say(
                        f"stopped early: {len(found[kind]):,} of "
                        f"{count(len(pictures), f'{kind} picture')} are read and kept in {out}; "
                        "the same command goes on there"
                    )
                    raise typer.Abort
        result = run(
            found["real"],
            found["adversarial"],
            alike or similarity,
            model=model,
            noisy=found.get("noisy"),
            concepts=names,
            top=top,
            weighted=weighted,
            successful=successful,
            seed=seed,
            on_share=_moving(move, len(sets), parts, "drawing pictures again"),
        )
    _report(output, result)
    written = result.save(place)
    for file, figure in (
        ("levels.png", result.figure()),
        ("representations.png", result.figure_of_representations()),
    ):
        with atomic_path(place / file) as draft:
            figure.savefig(draft, format="png")
        written.append(place / file)
    output.wrote(written)
    output.json(result.describe())


def _tell_of_data(output: Output, adversarial: str, images: "ImageSet") -> None:
    """A note where the set says that it was made of other pictures than these."""
    from fluoroscope.files import user_path
    from fluoroscope.neurons.adversarial.set_files import read_about
    from fluoroscope.neurons.places import RECORD

    if not (user_path(adversarial) / RECORD).is_file():
        return
    told = read_about(adversarial).get("data")
    if isinstance(told, dict):
        one, two = (
            (str(user_path(str(name)).resolve()), split)
            for name, split in ((told.get("name"), told.get("split")), (images.name, images.split))
        )
        if one != two:
            output.note(
                f"the adversarial set says that it was made of {told.get('name')} "
                f"({told.get('split')}), and the real pictures are {images.name} ({images.split}); "
                "the numbers of its sources are taken for theirs"
            )


def _moving(move: Move, behind: int, of: int, words: str) -> Callable[[float], None]:
    """Moves the bar through one of several equal shares of it."""
    return lambda share: move((behind + share) / of, words)


def _report(output: Output, found: "Consistency") -> None:
    from fluoroscope.neurons.meaning.result import unit_words

    record = found.record
    output.say(f"{record['model']}, {record['layer']}: {found.headline}")
    output.say(found.pictures_words)
    output.table(
        ["", "value>", "95 %>", "of>", "reading"], found.rows, title=unit_words(found), whole=True
    )
    output.table(
        ["level of consistency", "units>", "CS1>", "95 %>", "CS2>", "95 %>"], found.bin_rows,
        whole=True,
    )  # fmt: skip
    output.table(
        ["unit>", "label", "under attack", "level>", "CS1>", "CS2>", "moved>"],
        found.unit_rows(_UNITS),
        title="most consistent",
    )
    output.say(f"similarity of classes: {found.similarity.words} ({found.similarity.certainty})")
    for note in found.notes:
        output.note(note)
