"""``fluoroscope portrait``: what a network believes classes look like."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.default_command import Default, WithDefault
from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    DATA,
    DATA_HELP,
    Json,
    Out,
    Seed,
    Split,
    open_picture,
    open_pictures,
    sides_of,
    with_model,
)
from fluoroscope.cli.output import Move, Output, earlier_run
from fluoroscope.cli.portrait_list import list_, show
from fluoroscope.cli.portrait_prior import fit
from fluoroscope.words import as_percent, count, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.engine.bookmark import Bookmark
    from fluoroscope.inversion.portraits.portrait import Look
    from fluoroscope.inversion.portraits.result import Portraits
    from fluoroscope.models.classifier import Classifier

# Classes up to which all are drawn if none are named, and how many of more.
_ALL, _SOME = 10, 4
# Real pictures that are looked at unless more are asked for.
_REAL = 1000
# Pictures of a GIF, and seconds between two drawings of what is forming.
_FRAMES, _EVERY = 24, 2.0
GOING, FORMING = "portraits.going", "forming.png"

portrait = typer.Typer(
    name="portrait",
    cls=WithDefault,
    help="Draw what a network believes classes look like; list the presets, or show one; measure "
    "what your pictures are like.",
)
portrait.command("list")(list_)
portrait.command("show")(show)
portrait.command("fit-prior")(fit)


@portrait.command("portrait", cls=Default, hidden=True)
@with_model
@with_display
def draw(
    model: "Classifier",
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            "-c",
            help=f"Repeatable. Default: all up to {_ALL} classes, else {_SOME} of them.",
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="See: fluoroscope portrait list. Default: fourier.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=1000, help="Portraits of each class, from other noise.")
    ] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How many. Default: the preset's.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="224 or HEIGHTxWIDTH. Default: what the network takes."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Begin from a picture, named as --image elsewhere.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="What real pictures are like: natural, digits, grey, or the file of fit-prior. "
            "Default: what suits the network."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            *DATA,
            help=f"Real pictures, for presets that compare with some (see list): {DATA_HELP}",
        ),
    ] = None,
    split: Split = None,
    limit: Annotated[int, typer.Option(min=1, help="So many of them at most.")] = _REAL,
    against: Annotated[
        bool, typer.Option("--against", help="Beside each also one against the class.")
    ] = False,
    unit: Annotated[
        str | None,
        typer.Option(help="In place of classes: LAYER, LAYER:CHANNEL or LAYER:CHANNEL,ROW,COLUMN."),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            help="Another network, trained independently, as --model: what does it say of them?"
        ),
    ] = None,
    gif: Annotated[bool, typer.Option("--gif", help="Also save the way there as a GIF.")] = False,
    frames: Annotated[
        int | None, typer.Option(min=1, help=f"Pictures of the GIF. Default: {_FRAMES}.")
    ] = None,
    transparent: Annotated[
        bool,
        typer.Option("--transparent", help="Show only what the search moved most."),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Views at once. Default: as many as suit the machine."),
    ] = None,
    out: Out = Path("out/portrait"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Draw what a network believes classes look like, by moving noise along its gradient.

    Killed or stopped, the same command goes on where it was.

    [bold]Examples:[/]
      fluoroscope portrait -m digits-cnn --samples 3 --second digits-robust
      fluoroscope portrait -m digits-cnn -c 3 -c 8 --against --gif
      fluoroscope portrait -m torchvision/resnet18 -c vulture
    """
    import torch

    from fluoroscope.files import output_directory
    from fluoroscope.inversion.names import USUAL
    from fluoroscope.inversion.portraits.objectives.units import as_goal
    from fluoroscope.inversion.portraits.portrait import NothingFinishedError
    from fluoroscope.inversion.portraits.portrait import portrait as paint
    from fluoroscope.models.loading import load_model

    output = Output(json)
    chosen = _classes(output, model, to, unit)
    judge = None if second is None else load_model(second, device=str(model.device))
    sides = sides_of(size)
    begun = None if start is None else _begun(model, start, sides, seed)
    real = _real(model, data, split, limit)
    numbers = torch.arange(samples, device="cpu").repeat(1 if chosen is None else len(chosen))
    given: dict[str, Any] = {
        "method": method or USUAL,
        "steps": steps,
        "size": sides,
        "prior": prior,
        "against": against,
        "seed": seed,
        "frames": frames or (_FRAMES if gif else 0),
        "batch_size": batch_size,
    }
    classes = None if chosen is None else [each for each in chosen for _ in range(samples)]
    directory = output_directory(out)
    output.ready()
    seen = {"unit": unit, "data": [data, split, limit] if data else None}
    mark = _bookmark(output, directory, model, given | seen, classes, numbers, begun)
    if unit is not None:
        given["goal"] = as_goal(unit)
    names = [unit or ""] if classes is None else [model.labels[each] for each in classes]
    earlier = earlier_run(output, directory / "portraits.json")
    with interruptible() as interrupted, output.measuring() as move:
        told = _Forming(move, directory / FORMING, names * (1 + against), earlier)
        try:
            found = paint(
                model,
                classes,
                start=begun,
                real=real,
                numbers=numbers,
                on_share=told.share,
                on_look=told.look,
                cancelled=interrupted,
                bookmark=mark,
                **given,
            )
        except NothingFinishedError:
            output.say("no portrait is finished; the same command goes on where this one stopped")
            raise typer.Abort from None
    found = found if judge is None else found.judged_by(judge)
    _report(output, found)
    written = found.draw(directory, transparent=transparent, gif=gif or frames is not None)
    written += found.save(directory)
    output.wrote(written, "gallery.png")
    output.json({**found.describe(), "files": [str(path) for path in written]})
    if interrupted() and found.record["unfinished"]:
        left = count(int(found.record["unfinished"]), "portrait")
        output.say(f"{left} not finished; the same command goes on where this one stopped")
        raise typer.Abort
    mark.drop()
    (directory / FORMING).unlink(missing_ok=True)


def _begun(model: "Classifier", start: str, sides: tuple[int, int] | None, seed: int) -> "Tensor":
    """The picture to start from, read as the network's pictures are, at a size that was named."""
    from fluoroscope.inversion.picture_size import picture_size

    how, size = model.preprocessing, None if sides is None else picture_size(model, sides)
    picture = open_picture(start, model, seed, invert=False, size=size)[0].image
    return how.overridden(input_size=size).fit(picture)


def _real(
    model: "Classifier", data: str | None, split: str | None, limit: int
) -> "tuple[Tensor, Tensor] | None":
    """Real pictures and their classes, if some are named."""
    from fluoroscope.cli.invert_assess import all_pictures
    from fluoroscope.errors import InvalidParameterError

    if data is None and split is not None:
        raise InvalidParameterError("--split is of a data set; expected --data with it")
    if data is None:
        return None
    return all_pictures(model, open_pictures(data, split, limit, model.channels))


class _Forming:
    """How much lies behind, and a picture of the portraits as they are."""

    def __init__(self, move: Move, file: Path, names: list[str], earlier: str) -> None:
        self._move, self._file, self._names, self._earlier = move, file, names, earlier
        self._pictures: dict[int, Tensor] = {}
        self._sure: dict[int, float] = {}
        self._goals: dict[int, float] = {}
        self._drawn, self._words = time.monotonic(), "beginning"

    def share(self, share: float) -> None:
        self._move(share, self._words)

    def look(self, look: "Look") -> None:
        """Note the portraits under way, and draw them now and then."""
        for row, which in enumerate(look.indices.tolist()):
            self._pictures[which] = look.images[row].cpu()
            self._sure[which] = float(look.probabilities[row])
            self._goals[which] = float(look.goals[row])
        mean = sum(self._goals.values()) / len(self._goals)
        self._words = f"step {int(look.steps.max())}, goal {mean:.3g}, see {self._file}"
        if time.monotonic() - self._drawn >= _EVERY:
            self._draw()
            self._drawn = time.monotonic()

    def _draw(self) -> None:
        from fluoroscope.pictures.tile_sheet import MOST_ACROSS, Tile, tile_sheet
        from fluoroscope.pictures.write import write_png

        seen = sorted(self._pictures)[: 3 * MOST_ACROSS]
        tiles = [
            Tile(
                self._pictures[which],
                [shortened(self._names[which % len(self._names)]), as_percent(self._sure[which])],
            )
            for which in seen
        ]
        rows = [tiles[at : at + MOST_ACROSS] for at in range(0, len(tiles), MOST_ACROSS)]
        sheet = tile_sheet(rows, [""] * len(rows), title="forming", foot=self._earlier)
        write_png(self._file, sheet)


def _classes(
    output: Output, model: "Classifier", to: list[str] | None, unit: str | None
) -> list[int] | None:
    """The classes to draw; ``None`` where it is a unit."""
    from fluoroscope.errors import InvalidParameterError
    from fluoroscope.pictures.pairs import spread

    if unit is not None:
        if to:
            raise InvalidParameterError(
                "both --class and --unit given; expected one of them: classes, or what a unit "
                "within the network answers to"
            )
        return None
    if to:
        return list(dict.fromkeys(model.find_class(name) for name in to))
    if model.num_classes <= _ALL:
        return list(range(model.num_classes))
    found: list[int] = spread(model.num_classes, _SOME).tolist()
    names = ", ".join(shortened(model.labels[each]) for each in found)
    output.note(
        f"no --class: {_SOME} of the {model.num_classes:,} classes, evenly spread over their "
        f"numbers: {names}"
    )
    return found


def _bookmark(
    output: Output,
    directory: Path,
    model: "Classifier",
    given: dict[str, Any],
    classes: list[int] | None,
    numbers: "Tensor",
    start: "Tensor | None",
) -> "Bookmark":
    """Where the search is kept; one of other portraits there is not gone on with, and told of."""
    import json

    from fluoroscope.engine.bookmark import Bookmark
    from fluoroscope.tensor_files import seal_of

    settings = json.dumps([given, classes, numbers.tolist()], sort_keys=True, default=str)
    about = {
        "model": model.fingerprint(),
        "settings": settings,
        "start": "" if start is None else seal_of({"start": start.cpu()}, {}),
    }
    file = directory / GOING
    there = file.exists()
    found = Bookmark(file, about)
    if there and not found.found:
        output.note(f"{file} is of other portraits, or damaged; these are begun anew")
    elif there:
        output.say("going on where an earlier run stopped")
    return found


def _report(output: Output, found: "Portraits") -> None:
    second, of_classes = bool(found.second), bool((found.targets >= 0).any())
    output.table(
        ["portrait of", "predicted as"]
        + ["sure>"] * of_classes
        + ["goal>"]
        + ["50 %>", "99.9 %>"] * of_classes
        + ["second says", "with>"] * second,
        (
            [
                ("against " if each["against"] else "") + shortened(each["name"]),
                shortened(each["winner"]),
                *["–" if each["probability"] is None else as_percent(each["probability"])]
                * of_classes,
                "–" if each["goal"] is None else f"{each['goal']:.3g}",
                *[_step(each["reached"][station]) for station in ("0.5", "0.999")] * of_classes,
                *[part for said in (each["second"],) if second
                  for part in (shortened(said["winner"]), as_percent(said["sure"]))],
            ]
            for each in found.describe()["portraits"]
        ),
        title=f"sure: probability of the class; goal: the {found.goal}, which is raised; "
        "50 %, 99.9 %: the step of the first look that found it so"
        if of_classes
        else f"goal: {found.goal}, which is raised",
        whole=True,
    )  # fmt: skip
    output.say(f"{found.summary}. {found.caution}")
    if found.in_parts:
        output.note(
            "the search looked at parts of pictures larger than the network's; what is said of a "
            "portrait is said of the whole"
        )
    if found.record["needs_data"]:
        output.note(found.made_with)
    for note in found.notes:
        output.note(note)


def _step(step: int | None) -> str:
    return "–" if step is None else f"{step:,}"
