"""``fluoroscope labels``: which of a network's classes the classes of some data are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import OUT, Data, Json, Split, open_pictures, with_model
from fluoroscope.cli.output import Output, in_options
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.models.matching import Matching

# Classes of the network that are named one by one where the data has none of them.
_SHOWN = 10


@with_model
def labels(
    data: Data,
    model: "Classifier | None" = None,
    split: Split = None,
    out: Annotated[
        Path | None,
        typer.Option(
            *OUT,
            help="Write the network's classes in the data's words, one a line: a file for --labels "
            "of the other commands. Where nothing is certain the network's own name stands.",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Show which of a network's classes those of a data set are, and what told it.

    Without --model, the classes of the data, and the columns that --slice can tell them apart by.

    [bold]Examples:[/]
      fluoroscope labels -d photos
      fluoroscope labels -m digits-cnn -d digits
      fluoroscope labels -m torchvision/resnet50 -d photos --out names.txt
      fluoroscope evaluate -m torchvision/resnet50 --labels names.txt -d photos
    """
    from fluoroscope.engine.labels import matching
    from fluoroscope.files import atomic_path
    from fluoroscope.models.matching import match

    channels = model.channels if model is not None else 3
    images, output = open_pictures(data, split, None, channels), Output(json)
    counts, columns = images.class_counts(), _columns(images)
    if model is None:
        if out is not None:
            raise InvalidParameterError("--out writes names of a network's; expected --model")
        _alone(output, images, counts, columns)
        return
    found = matching(model, images.labels)
    if found is None:
        # The data's numbers are the network's; those that it has not are refused with pictures.
        found = match([name for name in counts or {} if name.isdecimal()], model.labels)
    pictures = list((counts or {}).values()) or [0] * len(found.names)
    rows = _rows(found, pictures)
    output.table(
        ["the data's class", "pictures>", "the network's", "number>", "told by"],
        [
            [row["name"], row["pictures"], row["label"] or "?", _number(row), row["how"] or "-"]
            for row in rows
        ],
    )
    for row in rows:
        if row["label"] is None and row["nearest"]:
            output.say(f"{row['name']!r} may be {' or '.join(map(repr, row['nearest']))}")
    without = [model.labels[at] for at, one in enumerate(found.partners()) if one is None]
    if without:
        more = f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
        output.say(f"not in the data: {', '.join(map(repr, without[:_SHOWN]))}{more}")
    for line in (*images.notes, *found.notes, *filter(None, [found.refusal, _why(images, counts)])):
        output.say(in_options(line))
    _tell_columns(output, columns)
    if out is not None:
        named = [one or own for one, own in zip(found.partners(), model.labels, strict=True)]
        with atomic_path(out) as draft:
            draft.write_text("".join(f"{name}\n" for name in named), encoding="utf-8")
        output.say(f"wrote {out}; edit what is not right, and give it as --labels {out}")
    output.json(
        {
            "model": model.name,
            "data": images.name,
            "split": images.split,
            "classes": rows,
            "without": without,
            "notes": list(found.notes),
            "refusal": found.refusal,
            "columns": columns,
        }
    )


def _alone(
    output: Output, images: "ImageSet", counts: dict[str, int] | None, columns: dict[str, str]
) -> None:
    """The data without a network."""
    output.table(["the data's class", "pictures>"], (counts or {}).items())
    for line in (*images.notes, *filter(None, [_why(images, counts)])):
        output.say(in_options(line))
    _tell_columns(output, columns)
    output.json(
        {
            "data": images.name,
            "split": images.split,
            "classes": [{"name": name, "pictures": many} for name, many in (counts or {}).items()],
            "columns": columns,
        }
    )


def _columns(images: "ImageSet") -> dict[str, str]:
    """What stands in each column, in words."""
    from fluoroscope.data.slices import describe

    found = {}
    for name in images.columns:
        try:
            found[name] = describe(images, name)
        except InvalidParameterError as error:
            found[name] = str(error)
    return found


def _tell_columns(output: Output, columns: dict[str, str]) -> None:
    if columns:
        output.table(["column, for --slice", "what it holds"], columns.items())


def _rows(found: "Matching", pictures: list[int]) -> list[dict[str, Any]]:
    from fluoroscope.models.matching import nearest

    each = zip(found.names, found.numbers, found.how, pictures, strict=True)
    return [
        {
            "name": name,
            "pictures": count,
            "number": number,
            "label": None if number is None else found.labels[number],
            "how": how if number is not None else None,
            "nearest": nearest(name, found.labels) if number is None else [],
        }
        for name, number, how, count in each
    ]


def _number(row: dict[str, Any]) -> Any:
    return "" if row["number"] is None else row["number"]


def _why(images: Any, counts: dict[str, int] | None) -> str | None:
    if counts is not None:
        return None
    why = f": {images.why_unlabelled}" if images.why_unlabelled else ""
    return f"{images.name} has no labels{why}"
