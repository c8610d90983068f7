"""``fluoroscope predict``: what a network says of pictures."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import (
    BatchSize,
    First,
    Invert,
    Json,
    Limit,
    MaybeData,
    Seed,
    SeveralImages,
    Split,
    just_one,
    open_picture,
    open_pictures,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.slices import Slices, report_slices
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import as_percent, interval, percent

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier

# Pictures without labels of which a table each is printed.
_TABLES = 20


@with_model
def predict(
    model: "Classifier",
    image: SeveralImages = None,
    data: MaybeData = None,
    split: Split = None,
    limit: Limit = None,
    first: First = False,
    invert: Invert = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show of each picture.")] = 5,
    slices: Slices = None,
    batch_size: BatchSize = 64,
    seed: Seed = 0,
    csv: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE|-", help="A row for each picture as CSV; - prints."),
    ] = None,
    json: Json = None,
) -> None:
    """Say what a network sees in pictures, or how often it is right on labelled ones.

    [bold]Examples:[/]
      fluoroscope predict --model digits-cnn --image digits:7
      fluoroscope predict --model digits-cnn --data digits
      fluoroscope predict -m digits-cnn -d digits --csv predictions.csv
      fluoroscope predict --model digits-cnn --data photos --slice camera
    """
    just_one(data, image, split=split, limit=limit, first=first)
    if slices and data is None:
        raise InvalidParameterError("--slice tells the pictures of --data apart; expected both")
    output = Output(json, csv=csv)
    with output.telling():
        if data is not None:
            images = open_pictures(data, split, limit, model.channels, first, invert)
            if any((images.class_counts() or {}).values()):
                found = _accuracy(output, model, images, slices or [], batch_size)
                rows = found["rows"]
            else:
                if slices:
                    raise InvalidParameterError(
                        f"--slice tells accuracies apart, and {images.name} has no labels; "
                        "expected labelled data, or no --slice"
                    )
                found, rows = _unlabelled(output, model, images, top, batch_size)
        else:
            found = _pictures(output, model, image or [], top, seed, invert=invert)
            rows = [
                {"image": each["image"], "label": each["label"], **_winner(each["top"][0])}
                for each in found["pictures"]
            ]
    if csv is not None:
        from fluoroscope.evaluation.runs.table import as_csv

        output.file(csv, as_csv(rows))
    output.json(found)


def _winner(first: dict[str, Any]) -> dict[str, Any]:
    return {"predicted": first["label"], "probability": first["probability"]}


def _pictures(
    output: Output,
    model: "Classifier",
    references: list[str],
    top: int,
    seed: int,
    *,
    invert: bool,
) -> dict[str, Any]:
    from fluoroscope.engine.predict import predict as ask

    found = []
    for reference in references:
        images = open_picture(reference, model, seed, invert=invert)
        sample = images[0]
        ranked = ask(model, model.fit(sample.image)).top(top)[0]
        one = {
            "image": reference,
            "label": sample.label,
            "inverted": images.inverted,
            "top": [{"label": label, "probability": p} for label, p in ranked],
        }
        _ranking(output, one)
        found.append(one)
    return {"model": model.name, "pictures": found}


def _unlabelled(
    output: Output, model: "Classifier", images: "ImageSet", top: int, batch_size: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first classes of each picture of a set without labels, and its rows."""
    from fluoroscope.engine.predict import predict as ask

    why = f" ({images.why_unlabelled})" if images.why_unlabelled else ""
    note = f"{images.name} has no labels{why}: what is predicted, and no accuracy"
    output.note(note)
    batches = images.batches(batch_size, fit=model.preprocessing)
    total = -(-len(images) // batch_size)
    found: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for batch in output.progress(batches, total, f"predicting {images.name}"):
        names = batch.names or images.names(batch.indices)
        ranked = ask(model, batch.images).top(top)
        for index, name, classes in zip(batch.indices.tolist(), names, ranked, strict=True):
            best = [{"label": label, "probability": p} for label, p in classes]
            found.append({"image": name, "inverted": images.inverted, "top": best})
            rows.append({"index": index, "name": name, **_winner(best[0])})
    for one in found[:_TABLES]:
        _ranking(output, one)
    if len(found) > _TABLES:
        output.say(f"and {len(found) - _TABLES:,} pictures more: --csv and --json tell of all")
    about = {"model": model.name, "data": images.name, "split": images.split}
    return {**about, "pictures": found, "notes": [*images.notes, note]}, rows


def _ranking(output: Output, one: dict[str, Any]) -> None:
    ranked = ([each["label"], as_percent(each["probability"])] for each in one["top"])
    output.table([one["image"], "probability>"], ranked)


def _accuracy(
    output: Output, model: "Classifier", pictures: "ImageSet", columns: list[str], batch_size: int
) -> dict[str, Any]:
    from dataclasses import asdict

    from fluoroscope.data.slices import slices
    from fluoroscope.engine.first_look import Look
    from fluoroscope.engine.intervals import wilson
    from fluoroscope.engine.labels import Seen, Truth, labelled, negatives
    from fluoroscope.engine.predict import predict as ask
    from fluoroscope.evaluation.level import Level
    from fluoroscope.evaluation.slices import slicing

    images = labelled(model, pictures)
    values = {name: slices(images, name) for name in columns}
    truth, level, names = Truth.of(model, images), Level(model), model.labels
    batches = images.batches(batch_size, fit=model.preprocessing)
    total = -(-len(images) // batch_size)
    rows: list[dict[str, Any]] = []
    turned: list[str] = []
    for batch in output.progress(batches, total, f"predicting {images.name}"):
        labels, said = truth.labels(batch), ask(model, batch.images)
        level.add(labels, said.winners)
        if not rows:
            advised = isinstance(model.look, Look) and model.look.found("negative")
            turned = negatives(model, batch.images, labels, said.winners, advised=advised)
        told = (batch.indices, labels, said.winners, said.probabilities.amax(1))
        rows += [
            {
                "index": index,
                "name": name,
                "label": names[label],
                "predicted": names[winner],
                "probability": probability,
                "correct": winner == label,
            }
            for name, index, label, winner, probability in zip(
                batch.names, *(column.tolist() for column in told), strict=True
            )
        ]
    right = sum(row["correct"] for row in rows)
    seen, accuracy, bounds = (
        Seen.of(model, level.labels),
        right / len(rows),
        wilson(right, len(rows)),
    )
    output.say(
        f"{model.name} classifies {right:,} of {len(rows):,} correctly: {percent(accuracy, 2)}, "
        f"95 % interval {interval(bounds, 2)}"
    )
    output.say(str(seen))
    found = [
        slicing(name, [of[index] for index in images.indices], (level.labels == level.read).numpy())
        for name, of in values.items()
    ]
    report_slices(output, found)
    notes = [*level.notes, *turned]
    for note in notes:
        output.note(note)
    return {
        "model": model.name,
        "data": images.name,
        "split": images.split,
        "pictures": len(rows),
        "right": right,
        "accuracy": accuracy,
        "interval": list(bounds),
        "slices": [asdict(one) for one in found],
        "misclassified": [
            {key: row[key] for key in ("index", "name", "label", "predicted")}
            for row in rows
            if not row["correct"]
        ],
        "seen": seen.describe(),
        "notes": [*truth.notes, *notes],
        "rows": rows,
    }
