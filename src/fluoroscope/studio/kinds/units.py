"""Which units of a layer decided about a picture, or turned between two; and what they like."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.neurons.reading.units import list_units
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.neurons.tracing import looked
from fluoroscope.neurons.tracing.trace import trace
from fluoroscope.neurons.tracing.trace_result import Trace
from fluoroscope.neurons.tracing.turned import turned
from fluoroscope.neurons.tracing.turned_result import Turned
from fluoroscope.studio.command import command, file_name
from fluoroscope.studio.frames import frame
from fluoroscope.studio.kinds.bytes_of import plain_json, png
from fluoroscope.studio.kinds.favourites import SIDE, favourites
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.page_words import with_minus
from fluoroscope.studio.kinds.readable import readable_place
from fluoroscope.studio.kinds.usual_data import data_of
from fluoroscope.words import class_names, number, sentence

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

# Units on each side, and the share of the work that lies behind when they are found.
_SHOWN, _TRACED = 4, 0.5


class UnitsRequest(Request):
    """Units, in the words of `fluoroscope trace`."""

    kind: Literal["units"]
    picture: Name
    other: Name | None = Field(
        None, description="Another picture: the units that turned between both, not who decided."
    )
    layer: str | None = Field(None, max_length=300, description="By default the usual one.")
    to: Name | None = Field(
        None, alias="class", description="The class to ask about; of a mistake the true one."
    )
    against: Name | None = Field(
        None, description="With `class` and `other`: the margin is that of the class over this."
    )
    data: Name | None = Field(None, description="Of which favourites are shown.")


@dataclass(frozen=True)
class _Found:
    """What is told of units, before anything is known of what they like."""

    result: Trace | Turned
    rows: list[dict[str, Any]]
    frames: dict[str, Any]


def work(studio: "Studio", job: "Job", asked: UnitsRequest) -> None:
    """Tell the ``units`` once they are known, and again with their favourite pictures."""
    model = studio.networks.own(asked.network)
    _check(asked)
    picture = studio.picture(asked.picture, model)
    other = None if asked.other is None else studio.picture(asked.other, model)
    data, images = data_of(studio, model, asked.data)
    shown = {"original": picture[0].cpu()}
    if other is not None:
        shown["other"] = other[0].cpu()
    job.tell(
        "begin",
        {"picture": asked.picture, "command": _command(studio, asked, shown, data)},
        frames={name: frame(each) for name, each in shown.items()},
        matters=True,
    )

    def told(share: float) -> None:
        job.progress(_TRACED * share, "removing each unit")

    if other is None:
        found = _decided(
            trace(model, picture, asked.to, layer=asked.layer, approximations=(), shown=_SHOWN,
                  seed=asked.seed, on_share=told)
        )  # fmt: skip
    else:
        pair = None if asked.to is None or asked.against is None else (asked.to, asked.against)
        found = _turned(
            turned(model, picture, other, pair, layer=asked.layer, shown=2 * _SHOWN,
                   on_share=told)
        )  # fmt: skip
    record = found.result.record
    words: dict[str, Any] = {
        "layer": record["layer"],
        "call": record["call"],
        "summary": with_minus(sentence(found.result.summary)),
        "rows": found.rows,
        # Which layer it is stands above it.
        "notes": [
            with_minus(note)
            for note in found.result.notes
            if not note.endswith("as none was named")
        ],
        "key": with_minus(_key(found.result)),
        "pair": _pair(found.result),
    }
    job.tell("units", {**words, "complete": False}, frames=found.frames, matters=True)
    job.conclude(summary=words["summary"])
    _leave_files(job, found.result)
    units = [row["unit"] for row in found.rows]
    try:
        liked = favourites(
            studio, job, model, (asked.network, data), images, (record["layer"], record["call"]),
            units, begin=_TRACED,
        )  # fmt: skip
    except FluoroscopeError as problem:  # what is known already stays
        words["notes"].append(f"favourite pictures are not shown: {problem}")
        job.tell("units", {**words, "complete": True}, frames=found.frames, matters=True)
        return
    rows = [
        {**row, "favourites": [{"picture": one.name, "words": one.words} for one in each]}
        for row, each in zip(found.rows, liked, strict=True)
    ]
    pictures = {
        f"unit_{unit}": [frame(one.image, SIDE) for one in each]
        for unit, each in zip(units, liked, strict=True)
        if each
    }
    job.tell("units", {**words, "rows": rows, "complete": True, "data": data},
             frames={**found.frames, **pictures}, matters=True)  # fmt: skip


def _command(studio: "Studio", asked: UnitsRequest, shown: dict[str, Tensor], data: str) -> str:
    """The line that finds the same units."""
    options: dict[str, Any] = {"class": asked.to, "rather-than": asked.against,
                               "layer": asked.layer, "seed": asked.seed or None}  # fmt: skip
    if asked.other is not None:
        named = file_name(asked.other, shown["other"]).replace("PICTURE.", "OTHER.")
        options |= {"against": named, "data": data}
    return command(
        studio, "trace", network=asked.network, picture=asked.picture, image=shown["original"],
        options=options,
    )  # fmt: skip


def _leave_files(job: "Job", found: Trace | Turned) -> None:
    """What is known in numbers, and the sheet of where units looked."""
    decided = isinstance(found, Trace)
    name, sheet = ("trace.json", "looked.png") if decided else ("turned.json", "turned.png")
    job.leave(name, "application/json", plain_json(found.describe()))
    if found.maps.numel():
        job.leave(sheet, "image/png", png(found.sheet()))


def _check(asked: UnitsRequest) -> None:
    """Refuse choices that do not go together.

    Raises:
        InvalidParameterError: they do not.
    """
    if asked.other is None and asked.against is not None:
        raise InvalidParameterError(
            f"against is {asked.against!r}, and there is no other picture; expected class alone, "
            "whose margin is over the strongest other class, or a picture other="
        )
    if asked.other is not None and (asked.to is None) != (asked.against is None):
        raise InvalidParameterError(
            "between two pictures a margin is asked about; expected both class and against, or "
            "neither"
        )


def _decided(found: Trace) -> _Found:
    """Who spoke for the class and against it, the loudest for it first."""
    wanted = class_names(found.labels)[found.record["wanted"]]
    rows = []
    for row in found.rows(_SHOWN):
        for_it, by = row["margin"] > 0, number(abs(row["margin"]))
        words = (
            f"spoke {'for' if for_it else 'against'} {wanted}: without it the margin "
            f"{'falls' if for_it else 'rises'} by {by}"
        )
        rows.append({"unit": row["unit"], "effect": row["margin"],
                     "activation": row["activation"], "words": words})  # fmt: skip
    return _Found(found, rows, _laid(found.shown, [("where", found.image, found.maps)]))


def _signed(value: float) -> str:
    return with_minus(f"{value:+.3g}")


def _turned(found: Turned) -> _Found:
    """Whose effect changed most: those that turned first."""
    names = class_names(found.labels)
    one, other = (names[each] for each in found.record["pair"])
    changed = found.rows(found.effects.shape[1])
    rows = []
    for row in sorted(changed, key=lambda each: not each["turned"])[: 2 * _SHOWN]:
        words = (
            f"gave {one} over {other} {_signed(row['before'])}, and then {_signed(row['after'])}"
        )
        if row["turned"]:
            words = f"turned to {one if row['after'] > row['before'] else other}: it {words}"
        rows.append({"unit": row["unit"], "before": row["before"], "after": row["after"],
                     "turned": row["turned"], "words": words})  # fmt: skip
    sides = [("before", found.before, found.maps[0]), ("after", found.after, found.maps[1])]
    return _Found(found, rows, _laid(found.shown, sides))


def _laid(units: Tensor, sides: list[tuple[str, Tensor, Tensor]]) -> dict[str, Any]:
    """Frames of where units looked, over the picture in grey and on one scale, by unit."""
    maps, colours = looked.seen(torch.cat([each for _, _, each in sides]))
    every = iter(maps)
    return {
        f"{name}_{unit}": frame(colours.laid_over(image, next(every)))
        for name, image, own in sides
        for unit in units.tolist()[: len(own)]
    }


def _key(found: Trace | Turned) -> str:
    """What the colours of where units looked mean; nothing where that is not shown."""
    if not found.maps.numel():
        return ""
    names = class_names(found.labels)
    maps = found.maps.flatten(0, -4)
    colours = looked.seen(maps)[1]
    shown = [names[each] for each in _pair(found)]
    return looked.key(shown, found.record["looked"], maps, colours)


def _pair(found: Trace | Turned) -> list[int]:
    """The classes that effects speak for, above 0 and below."""
    record = found.record
    if isinstance(found, Turned):
        return list(record["pair"])
    return [record["wanted"], record["rival"]]


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """Layers with the number of their units, and which is read where nobody names one."""
    data, images = data_of(studio, model, None)
    first = images[readable_place(images)].image
    size = model.input_size or (first.shape[1], first.shape[2])
    usual = usual_layer(model, size)
    layers = [
        {"name": layer.name, "units": units.count, "kind": units.kind}
        for layer, units in list_units(model, size)
        if units is not None and layer.calls
    ]
    return {"layers": layers, "usual": usual, "data": data}


UNITS = Kind("units", UnitsRequest, work, offer)
