"""``fluoroscope trace``: which units decided about a picture, and who changed their mind."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    Call,
    Invert,
    Json,
    Limit,
    MaybeData,
    MaybeImage,
    Out,
    Seed,
    Split,
    open_picture,
    open_pictures,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.words import class_names, percent

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.attacks.morph_result import MorphResult
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.neurons.tracing.along_result import Along
    from fluoroscope.neurons.tracing.trace_result import Trace
    from fluoroscope.neurons.tracing.turned_result import Turned

# What an earlier call may have left, of another kind or layer.
_OURS = re.compile(
    r"(bars|bands|turned)\.(png|svg)|looked\.png|(trace|turned|along)\.(json|safetensors)"
)
_ROWS = 6


@with_model
@with_display
def trace(
    model: "Classifier",
    image: MaybeImage = None,
    invert: Invert = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--class",
            "-c",
            help="Class to ask about; of a mistake the true one. Default: what it is predicted as.",
        ),
    ] = None,
    rather_than: Annotated[
        str | None,
        typer.Option(help="With --class, for --against and --morph: the margin is that over this."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another picture, as for --image: the units that turned between both."),
    ] = None,
    morph: Annotated[
        Path | None,
        typer.Option(help="What fluoroscope morph wrote: who turned along the way."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Its dotted name (neurons list); default: the last with maps, and with --against "
            "and --morph the last at which units can turn."
        ),
    ] = None,
    call: Call = None,
    put: Annotated[
        str, typer.Option(help="In a removed unit's place: zero, mean (of --data), or a number.")
    ] = "zero",
    sets: Annotated[
        bool,
        typer.Option("--sets/--no-sets", help="Look for the smallest set that decides."),
    ] = True,
    shown: Annotated[
        int, typer.Option(min=0, help="Units of which to show where they looked, on each side.")
    ] = 6,
    frames: Annotated[int, typer.Option(min=2, help="Of a morph, at the most.")] = 24,
    data: MaybeData = None,
    split: Split = None,
    limit: Limit = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Copies at once; by default what suits the layer."),
    ] = None,
    out: Out = Path("out/trace"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Find which units of a layer decided, by removing each; or who turned between two pictures.

    Beside the exact effects stand cheap approximations, and how well they agree.

    With --data it shows the favourite pictures of the units that turned.

    [bold]Examples:[/]
      fluoroscope trace -m digits-cnn -i digits:5 --class 5
      fluoroscope trace -m digits-cnn -i digits:7 --against digits:2 -d digits
      fluoroscope morph -m digits-cnn -i digits:7 --to 2
      fluoroscope trace -m digits-cnn --morph out/morph
    """
    from fluoroscope.neurons.places import results_directory

    _check(image, against, morph, to, rather_than, data, put)
    images = None if data is None else open_pictures(data, split, limit, model.channels,
                                                     invert=invert)  # fmt: skip
    how: dict[str, Any] = {"layer": layer, "call": call, "put": _put(put), "pictures": images,
                           "batch_size": batch_size}  # fmt: skip
    pair = None if to is None or rather_than is None else (to, rather_than)
    walked = None if morph is None else _morph(model, morph)

    def picture(named: str) -> "Tensor":
        return model.fit(open_picture(named, model, seed, invert=invert)[0].image)

    first = None if image is None else picture(image)
    if walked is not None and first is not None:
        _check_start(walked, first, morph)
    output, directory = Output(json), results_directory(out, images)
    made: list[Trace | Turned | Along] = []
    with interruptible() as interrupted, output.measuring() as move:

        def told(what: str, begin: float, end: float) -> Callable[[float], None]:
            def share(done: float) -> None:
                if interrupted():
                    raise _Stopped
                move(begin + done * (end - begin), what)

            return share

        try:
            if walked is not None:
                made += _along(model, walked, pair, how, images, shown, frames, directory, told)
            elif against is not None:
                assert first is not None
                made.append(_turned(model, (first, picture(against)), pair, how, images, shown,
                                    told("removing units", 0, 1)))  # fmt: skip
            else:
                assert first is not None
                made.append(_traced(model, first, to, how, sets, shown, seed,
                                    told("removing units", 0, 1)))  # fmt: skip
        except _Stopped:
            raise typer.Abort from None
    written = _write(directory, made)
    for one in made:
        _tell(output, one)
    output.wrote(written)
    files = [str(path) for path in written]
    output.json({**{type(one).__name__.lower(): one.describe() for one in made}, "files": files})


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Ctrl-C was pressed."""


def _check(
    image: str | None, against: str | None, morph: Path | None, to: str | None,
    rather_than: str | None, data: str | None, put: str,
) -> None:  # fmt: skip
    """Refuse options that do not go together."""
    from fluoroscope.errors import InvalidParameterError

    if image is None and morph is None:
        raise InvalidParameterError("neither --image nor --morph given; expected one of them")
    if against is not None and morph is not None:
        raise InvalidParameterError("both --against and --morph given; expected one of them")
    two = against is not None or morph is not None
    if two and (to is None) != (rather_than is None):
        raise InvalidParameterError(
            "with --against and --morph a margin is asked about; expected both --class and "
            "--rather-than, or neither"
        )
    if rather_than is not None and not two:
        raise InvalidParameterError(
            "--rather-than goes with --against or --morph; expected --class alone, whose margin is "
            "over the strongest other class"
        )
    if put == "mean" and data is None:
        raise InvalidParameterError("--put mean was given without --data; expected the pictures "
                                    "that the mean is taken over")  # fmt: skip


def _put(put: str) -> str | float:
    from fluoroscope.errors import InvalidParameterError

    if put in ("zero", "mean"):
        return put
    try:
        return float(put)
    except ValueError:
        raise InvalidParameterError(f"--put is {put!r}; expected zero, mean or a number") from None


def _morph(model: "Classifier", place: Path) -> "MorphResult":
    from fluoroscope.attacks.morph_result import MorphResult
    from fluoroscope.neurons.tracing.along import check_morph

    found = MorphResult.load(place)
    check_morph(model, found, f"--morph {place}")
    return found


def _check_start(morph: "MorphResult", picture: "Tensor", place: Path | None) -> None:
    from fluoroscope.errors import InvalidParameterError

    start = morph.frames[0]
    if start.shape != picture.shape or float((start - picture).abs().amax()) > 1 / 255:
        raise InvalidParameterError(
            f"--morph {place} begins with another picture than --image; expected --morph alone, or "
            "the picture that it was made of"
        )


def _traced(
    model: "Classifier", picture: "Tensor", to: str | None, how: dict[str, Any], sets: bool,
    shown: int, seed: int, on_share: Callable[[float], None],
) -> "Trace":  # fmt: skip
    from fluoroscope.neurons.tracing.trace import trace

    return trace(model, picture, to, **how, sets=sets, shown=shown, seed=seed, on_share=on_share)


def _turned(
    model: "Classifier", both: "tuple[Tensor, Tensor]", pair: Any, how: dict[str, Any],
    images: "ImageSet | None", shown: int, on_share: Callable[[float], None],
) -> "Turned":  # fmt: skip
    from fluoroscope.neurons.tracing.turned import turned

    return turned(model, *both, pair, **how, images=images, shown=shown, on_share=on_share)


def _along(
    model: "Classifier", morph: "MorphResult", pair: Any, how: dict[str, Any],
    images: "ImageSet | None", shown: int, frames: int, directory: Path,
    told: Callable[[str, float, float], Callable[[float], None]],
) -> "list[Along | Turned]":  # fmt: skip
    from fluoroscope.files import remove
    from fluoroscope.neurons.tracing.along import along

    parts = directory / "frames"
    walked = along(model, morph, pair, most=frames, out=parts, **how,
                   on_share=told("removing units, frame by frame", 0, 0.8))  # fmt: skip
    same = tuple(walked.record["pair"])
    ends = walked.frames[0], walked.frames[-1]
    at = {"layer": walked.record["layer"], "call": walked.record["call"]}
    found = _turned(model, ends, same, {**how, **at}, images, shown,
                    told("comparing the ends", 0.8, 1))  # fmt: skip
    remove(*parts.glob("frame-*.part"))
    with suppress(OSError):  # it is somebody else's, too
        parts.rmdir()
    return [walked, found]


def _write(directory: Path, made: "list[Any]") -> list[Path]:
    """The pictures and numbers of one call; those of an earlier one go."""
    from fluoroscope.files import remove
    from fluoroscope.pictures.maps import write_figure
    from fluoroscope.pictures.write import write_png

    remove(*(file for file in directory.iterdir() if _OURS.fullmatch(file.name)))
    written = []
    for one in made:
        kind = type(one).__name__
        figure = one.figure()
        name = {"Trace": "bars", "Turned": "bars", "Along": "bands"}[kind]
        written += [write_figure(directory / f"{name}.{ending}", figure)
                    for ending in ("png", "svg")]  # fmt: skip
        if kind == "Trace" and len(one.maps):
            written.append(write_png(directory / "looked.png", one.sheet()))
        if kind == "Turned" and one.shown.numel():
            written.append(write_png(directory / "turned.png", one.sheet()))
        written += one.save(directory)
    return written


def _tell(output: Output, found: Any) -> None:
    """A table for people, the sentence, and the notes."""
    kind = type(found).__name__
    if kind == "Trace":
        _tell_trace(output, found)
    elif kind == "Turned":
        _tell_turned(output, found)
    for words in found.summary.split(". "):
        output.say(words)
    for note in found.notes:
        output.note(note)


def _tell_trace(output: Output, found: "Trace") -> None:
    from fluoroscope.neurons.tracing.trace_result import agreement_words

    wanted = class_names(found.labels)[found.record["wanted"]]

    def bare(row: dict[str, Any]) -> list[str]:
        return [str(row["unit"]), f"{row['margin']:+.3g}", f"{row['logit']:+.3g}",
                percent(row["probability"])]  # fmt: skip

    output.table(
        ["unit", "of the margin>", "of the logit>", "of the probability>"],
        [bare(row) for row in found.rows(_ROWS)],
        title=f"what {wanted} loses without a unit of layer {found.record['layer']} "
        f"({found.record['put']} in its place)",
    )  # fmt: skip
    if found.names:
        output.table(
            ["approximation", "agreement with the exact effects on the margin"],
            [[name, agreement_words(each)] for name, each in found.record["agreement"].items()],
        )


def _tell_turned(output: Output, found: "Turned") -> None:
    names = class_names(found.labels)
    one, other = (names[each] for each in found.record["pair"])
    output.table(
        ["unit", "before>", "after>", "turned"],
        [
            [str(row["unit"]), f"{row['before']:+.3g}", f"{row['after']:+.3g}",
             "yes" if row["turned"] else ""]
            for row in found.rows(2 * _ROWS)
        ],
        title=f"what each unit of layer {found.record['layer']} gives the margin of {one} over "
        f"{other}",
    )  # fmt: skip
