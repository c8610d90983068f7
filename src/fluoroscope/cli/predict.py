"""``fluoroscope predict``: what a network says of pictures."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import (
    BatchSize,
    First,
    Json,
    Limit,
    MaybeData,
    Seed,
    SeveralImages,
    Split,
    just_one,
    open_pictures,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.slices import Slices, report_slices
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier


@with_model
def predict(
    model: "Classifier",
    image: SeveralImages = None,
    data: MaybeData = None,
    split: Split = None,
    limit: Limit = None,
    first: First = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    slices: Slices = None,
    batch_size: BatchSize = 64,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Say what a network sees in pictures, or how often it is right on a data set.

    [bold]Examples:[/]
      fluoroscope predict --model digits-cnn --image digits:7
      fluoroscope predict --model digits-cnn --data digits
      fluoroscope predict --model digits-cnn --data photos --slice camera
    """
    just_one(data, image, split=split, limit=limit, first=first)
    if slices and data is None:
        raise InvalidParameterError("--slice tells the pictures of --data apart; expected both")
    output = Output(json)
    with output.telling():
        if data is not None:
            pictures = open_pictures(data, split, limit, model.channels, first)
            output.json(_accuracy(output, model, pictures, slices or [], batch_size))
        else:
            output.json(_pictures(output, model, image or [], top, seed))


def _pictures(
    output: Output, model: "Classifier", references: list[str], top: int, seed: int
) -> dict[str, Any]:
    from fluoroscope.data.reference import open_image
    from fluoroscope.engine.predict import predict as ask

    found = []
    for reference in references:
        size = model.input_size or (224, 224)
        sample = open_image(reference, channels=model.channels, size=size, seed=seed)
        ranked = ask(model, model.fit(sample.image)).top(top)[0]
        output.table([reference, "probability>"], ([label, f"{p:.4f}"] for label, p in ranked))
        found.append(
            {
                "image": reference,
                "label": sample.label,
                "top": [{"label": label, "probability": p} for label, p in ranked],
            }
        )
    return {"model": model.name, "pictures": found}


def _accuracy(
    output: Output, model: "Classifier", pictures: "ImageSet", columns: list[str], batch_size: int
) -> dict[str, Any]:
    from dataclasses import asdict

    from fluoroscope.data.slices import slices
    from fluoroscope.engine.labels import Seen, Truth, labelled
    from fluoroscope.engine.predict import predict as ask
    from fluoroscope.evaluation.level import Level
    from fluoroscope.evaluation.slices import slicing

    images = labelled(model, pictures)
    values = {name: slices(images, name) for name in columns}
    truth, level = Truth.of(model, images), Level(model)
    batches = images.batches(batch_size, fit=model.preprocessing)
    total = -(-len(images) // batch_size)
    for batch in output.progress(batches, total, f"reading {images.name}"):
        level.add(truth.labels(batch), ask(model, batch.images).winners)
    flags = (level.labels == level.read).cpu()
    right = int(flags.sum())
    seen, accuracy = Seen.of(model, level.labels), right / len(images)
    output.say(
        f"{model.name} classifies {right} of {len(images)} correctly: {100 * accuracy:.2f} %"
    )
    output.say(str(seen))
    found = [
        slicing(name, [of[index] for index in images.indices], flags.numpy())
        for name, of in values.items()
    ]
    report_slices(output, found)
    for note in level.notes:
        output.note(note)
    wrong = (~flags).nonzero().squeeze(1).tolist()
    names = images.names([images.indices[row] for row in wrong])
    return {
        "model": model.name,
        "data": images.name,
        "split": images.split,
        "pictures": len(images),
        "right": right,
        "accuracy": accuracy,
        "slices": [asdict(one) for one in found],
        "misclassified": [
            {
                "index": images.indices[row],
                "name": name,
                "label": model.labels[int(level.labels[row])],
                "predicted": model.labels[int(level.read[row])],
            }
            for row, name in zip(wrong, names, strict=True)
        ],
        "seen": seen.describe(),
        "notes": [*truth.notes, *level.notes],
    }
