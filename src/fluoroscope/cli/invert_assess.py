"""``fluoroscope invert assess``: what pictures of classes are worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import (
    OUT,
    Json,
    MaybeData,
    Seed,
    Split,
    SuitableBatch,
    open_pictures,
    with_model,
)
from fluoroscope.cli.output import Output, one_line
from fluoroscope.cli.waiting import waiting
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.inversion.measures.assess import Labelled
    from fluoroscope.inversion.measures.result import Assessment
    from fluoroscope.inversion.measures.saved import Saved
    from fluoroscope.models.classifier import Classifier


@with_model
def assess(
    pictures: Annotated[
        Path,
        typer.Argument(
            help="A generator's directory; what portrait saved, a directory or its JSON; or a "
            "folder of pictures in class folders."
        ),
    ],
    model: "Classifier",
    second: Annotated[
        str | None,
        typer.Option(
            help="Another network of the same classes, trained independently, as --model. Default: "
            "of digits-cnn digits-robust, of that digits-cnn; else none."
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Of the second network, for its features. Default: what its last is given."
        ),
    ] = None,
    data: MaybeData = None,
    split: Split = None,
    train_split: Annotated[
        str | None,
        typer.Option("--train-split", help="The part that the network learnt from, as train."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="So many real pictures of each part at most.")
    ] = 2000,
    random: Annotated[
        Path | None,
        typer.Option("--random", help="The same, made of the network with random weights."),
    ] = None,
    seeds: Annotated[
        list[Path] | None,
        typer.Option("--other-seed", help="The same, made from another seed. Repeatable."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Of a generator: so many pictures of each class.")
    ] = 100,
    needs_data: Annotated[
        bool | None,
        typer.Option(
            "--needs-data/--no-data",
            help="The method was given real pictures, or was not. Default: as the directory says.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(*OUT, help="Directory for assessment.json and layers.png.")
    ] = Path("out/assess"),
    batch_size: SuitableBatch = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Say what pictures of classes are worth: every measure beside that of real ones and noise.

    Said first: whether they collapsed, are training pictures given back,
    convince this network alone, or go another way through its layers.

    [bold]Examples:[/]
      fluoroscope invert assess out/portrait -m digits-cnn
      fluoroscope invert assess FOLDER -m NETWORK --second NETWORK --data DATA
    """
    from fluoroscope.files import atomic_path, output_directory
    from fluoroscope.inversion.measures.assess import assess as run

    output = Output(json)
    place = output_directory(out)
    output.ready()
    made = _read(pictures, model, samples, seed, own=True)
    judge = judge_of(model, second)
    real, train = real_pictures(model, data, split, train_split, limit)
    others = {path: _read(path, model, samples, seed) for path in [*(seeds or []), random] if path}
    with output.telling(), output.measuring() as move:
        found = run(
            model,
            made.images,
            made.classes,
            codes=made.codes,
            second=judge,
            layer=layer,
            real=real,
            train=train,
            random=others[random].images if random else None,
            seeds=[others[path].images for path in seeds or []],
            needs_data=made.needs_data if needs_data is None else needs_data,
            seed=seed,
            batch_size=batch_size,
            on_share=lambda share: move(share, "measuring"),
        )
    _report(output, found, f"{model.name}: {found.record['pictures']} of {pictures}")
    written = [found.save(place)]
    if found.ways:
        with atomic_path(place / "layers.png") as draft:
            found.figure().savefig(draft, format="png")
        written.append(place / "layers.png")
    output.wrote(written)
    output.json(found.describe())


def judge_of(model: "Classifier", second: str | None) -> "Classifier | None":
    """The second network: the one that is named, or of a built-in network another one."""
    from fluoroscope.inversion.usual_judge import usual_judge
    from fluoroscope.models.loading import load_model

    if second is None:
        return usual_judge(model)
    waiting.says(f"loading {one_line(second)}")
    return load_model(second, device=str(model.device))


def _read(
    pictures: Path, model: "Classifier", samples: int, seed: int, *, own: bool = False
) -> "Saved":
    """The pictures there; a generator of the network's ``own`` has to be for this very one."""
    from fluoroscope.inversion.measures.saved import Saved, is_saved, read_saved

    if (pictures / "generator.json").is_file():
        from fluoroscope.inversion.generator.result import Inversion

        made = Inversion.load(pictures, model if own else None)
        found = made.sample(None, samples, seed)
        needs = made.record.get("needs_data")
        return Saved(
            found.images, found.classes, found.codes, needs if isinstance(needs, bool) else None
        )
    if is_saved(pictures):
        return read_saved(pictures)
    return _folder(pictures, model)


def _folder(pictures: Path, model: "Classifier") -> "Saved":
    from fluoroscope.inversion.measures.saved import Saved

    images, classes = all_pictures(model, open_pictures(str(pictures), None, None, model.channels))
    return Saved(images, classes)


def real_pictures(
    model: "Classifier", data: str | None, split: str | None, train_split: str | None, limit: int
) -> "tuple[Labelled | None, Labelled | None]":
    """Pictures of the test part and of the training part, each if it is known."""
    from fluoroscope.models.builtin import STATED_BY

    if data is None and (split or train_split):
        name = "split" if split else "train-split"
        raise InvalidParameterError(f"--{name} is of a data set; expected --data with it")
    if data is None and model.preprocessing.stated_by == STATED_BY:
        data = "digits"
    if data is None:
        return None, None
    test = open_pictures(data, split, limit, model.channels)
    if train_split is not None and train_split == test.split:
        raise InvalidParameterError(
            f"--split and --train-split are both {train_split}; expected the part that the network "
            "did not learn from, and the part that it did"
        )
    real = all_pictures(model, test)
    if train_split is None:
        return real, None
    return real, all_pictures(model, open_pictures(data, train_split, limit, model.channels))


def all_pictures(model: "Classifier", images: "ImageSet") -> "Labelled":
    """All pictures of a set, as the network sees them, and their classes."""
    import torch

    from fluoroscope.engine.labels import Truth, labelled

    ready = labelled(model, images)
    truth = Truth.of(model, ready)
    parts = [(batch.images, truth.labels(batch)) for batch in ready.batches(64, fit=model)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _report(output: Output, found: "Assessment", title: str) -> None:
    from fluoroscope.inversion.measures.measure import REFERENCE_WORDS, REFERENCES
    from fluoroscope.inversion.measures.result import missing_words

    output.say(found.headline)
    for flag in found.flags:
        output.say(flag.words)
    there = [name for name in REFERENCES if any(name in one.references for one in found.measures)]
    rows = [one.cells(there) for one in found.measures if one.value is not None]
    heads = [f"{REFERENCE_WORDS[name].split()[0]}>" for name in there]
    output.table(["measure", "value>", *heads, "of>", "95 %>"], rows, title=title, whole=True)
    for note in [*missing_words(found), *found.notes]:
        output.note(note)
