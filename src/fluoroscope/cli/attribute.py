"""``fluoroscope attribute``: which pixels a decision depends on, by one method beside another."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.attribute_list import list_, show
from fluoroscope.cli.attribute_options import INSTEAD, options_by_method, usual_methods
from fluoroscope.cli.default_command import Default, WithDefault
from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    Image,
    Invert,
    Json,
    Out,
    Seed,
    SuitableBatch,
    open_picture,
    with_model,
)
from fluoroscope.cli.output import Move, Output
from fluoroscope.words import count, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.attribution.audit.result import Audit
    from fluoroscope.attribution.result import Attribution
    from fluoroscope.engine.predict import Prediction
    from fluoroscope.engine.stream import Step
    from fluoroscope.models.classifier import Classifier

attribute = typer.Typer(
    name="attribute",
    cls=WithDefault,
    help="Draw which pixels a decision depends on, by several methods; list them, or show one.",
)
attribute.command("list")(list_)
attribute.command("show")(show)


@attribute.command("attribute", cls=Default, hidden=True)
@with_model
@with_display
def draw(
    model: "Classifier",
    image: Image,
    invert: Invert = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="See: fluoroscope attribute list. Repeatable. Default: "
            + ", ".join(usual_methods())
            + "."
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--class", "-c", help="Class to explain; repeatable. Default: winner."),
    ] = None,
    rather_than: Annotated[
        str | None,
        typer.Option(help="A rival: explain the class over it, the difference of their logits."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            help="Of a method, METHOD.NAME=VALUE; of all that have it, NAME=VALUE. Repeatable.",
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="For methods that look at a layer: its dotted name.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="For methods that compare: black, white, mean, blur, noise, a number, or a "
            "picture, named as for --image."
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="What fluoroscope audit found of this network, for its verdicts."),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Draw maps that are not valid on this network, too; the picture then says so.",
        ),
    ] = False,
    batch_size: SuitableBatch = None,
    out: Out = Path("out/attribute"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Draw which pixels a decision depends on: methods across, classes down, scales stated.

    list names the methods; show METHOD says what one promises, costs and takes.

    [bold]Examples:[/]
      fluoroscope attribute -m digits-cnn -i digits:5 --class 5 --class 8
      fluoroscope attribute -m digits-cnn -i digits:7 -c 7 --rather-than 2
    """
    from fluoroscope.engine.predict import predict
    from fluoroscope.errors import FluoroscopeError
    from fluoroscope.files import output_directory

    methods = list(dict.fromkeys(method or usual_methods()))

    def options_of() -> dict[str, dict[str, Any]]:
        options = options_by_method(methods, param, layer=layer, baseline=baseline)
        for given in options.values():
            if _is_picture(given.get("baseline")):
                found = open_picture(given["baseline"], model, seed, invert=invert)
                given["baseline"] = model.fit(found[0].image)
        return options

    options = options_of()
    picture = model.fit(open_picture(image, model, seed, invert=invert)[0].image)
    judge = None if audit is None else _audit(audit, model)
    said = predict(model, picture)
    targets = _targets(model, to, rather_than, int(said.winners))
    output, directory = Output(json), output_directory(out)
    made: list[Attribution] = []
    with interruptible() as interrupted:
        for number, name in enumerate(methods, 1):  # one may be added on the way
            what = f"{name}, {number} of {len(methods)}" if len(methods) > 1 else name
            try:
                with output.measuring() as move:
                    told = _Progress(move, what, interrupted)
                    made.append(
                        _explain(
                            model,
                            picture,
                            said,
                            targets,
                            name,
                            options[name] | {"audit": judge},
                            seed,
                            batch_size,
                            told,
                        )
                    )
            except _Stopped:
                break
            except FluoroscopeError as problem:
                # Of those that nobody named one may have nothing to say of this network.
                if method or options[name] or (name == methods[-1] and not made):
                    raise
                output.note(f"{name} is left out: {problem}")
            if not method and name in INSTEAD and not _is_good(made, name):
                methods.append(INSTEAD[name])
                options = options_of()
        stopped = interrupted()
    if made:
        written = _Drawing(directory, picture, made, anyway).write()
        _tell(output, made, anyway)
        output.wrote(written, "sheet.png")
        output.json(_described(model, image, said, made, anyway, written))
    if stopped:
        raise typer.Abort


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Ctrl-C was pressed while a map was being made."""


class _Progress:
    """How much of one method lies behind, and the question whether to go on."""

    def __init__(self, move: "Move", what: str, interrupted: Callable[[], bool]) -> None:
        self._move, self._what, self._interrupted = move, what, interrupted
        self._passes, self._furthest = 0, 0.0

    def step(self, step: "Step") -> None:
        if self._interrupted():
            raise _Stopped
        self._passes += len(step.indices)

    def share(self, share: float) -> None:
        self._furthest = max(self._furthest, share)  # a bar does not go back
        self._move(self._furthest, f"{self._what} ({count(self._passes, 'evaluation')})")


def _is_good(made: "list[Attribution]", method: str) -> bool:
    """Whether a method gave maps that nothing speaks against."""
    return any(one.method == method and not one.complaint for one in made)


def _is_picture(baseline: object) -> bool:
    """Whether it names a picture, and no baseline that is made from one."""
    return isinstance(baseline, str) and (":" in baseline or Path(baseline).suffix != "")


def _audit(place: Path, model: "Classifier") -> "Audit":
    from fluoroscope.attribution.audit.result import Audit
    from fluoroscope.errors import InvalidParameterError

    found = Audit.load(place)
    if not found.is_of(model):
        raise InvalidParameterError(
            f"--audit {place} is of another network than {model.name}, or of other weights or "
            f"code; expected one that was made of it: fluoroscope audit -m {model.name}"
        )
    return found


def _targets(
    model: "Classifier", to: list[str] | None, rival: str | None, winner: int
) -> "list[int] | list[tuple[int, int]]":
    from fluoroscope.errors import UnknownLabelError

    found = [model.find_class(name) for name in to] if to else [winner]
    classes = list(dict.fromkeys(found))
    if rival is None:
        return classes
    other = model.find_class(rival)
    if other in classes:
        raise UnknownLabelError(
            f"--rather-than is {model.labels[other]}, which is a class to explain, too; expected "
            "another one"
        )
    return [(one, other) for one in classes]


def _explain(
    model: "Classifier",
    picture: "Tensor",
    said: "Prediction",
    targets: Any,
    method: str,
    options: dict[str, Any],
    seed: int,
    batch_size: int | None,
    told: _Progress,
) -> "Attribution":
    """The maps of one method for all classes, which draw the same randomness."""
    from dataclasses import replace

    import torch

    from fluoroscope.attribution.attribute import answers_of
    from fluoroscope.attribution.attribute import attribute as explain
    from fluoroscope.engine.predict import Prediction

    copies = picture.repeat(len(targets), 1, 1, 1)
    found = explain(
        model, copies, targets, method=method, batch_size=batch_size, seed=seed,
        numbers=torch.zeros(len(targets), dtype=torch.long, device="cpu"), on_step=told.step,
        on_share=told.share, **options,
    )  # fmt: skip
    # Of all rows, as they are of one picture.
    of_all = Prediction(said.logits.expand(len(targets), -1), said.labels)
    answers = answers_of(of_all, found.targets)
    return replace(found, record=found.record | {"answers": answers})


class _Drawing:
    """The files of one call; those of an earlier one go."""

    def __init__(
        self, directory: Path, picture: "Tensor", made: "list[Attribution]", anyway: bool
    ) -> None:
        self._directory, self._picture, self._made = directory, picture, made
        self._rows = list(range(len(made[0].maps)))
        self._shown = [anyway or not one.complaint for one in made]

    def write(self) -> list[Path]:
        """Write them all."""
        from fluoroscope.files import remove
        from fluoroscope.pictures.maps import write_figure

        ours = _ours()
        remove(*(file for file in self._directory.iterdir() if ours.fullmatch(file.name)))
        written = []
        for name, overlay in (("sheet", False), ("overlay", True)):
            figure = self._sheet(overlay)
            for kind in ("png", "svg"):
                written.append(write_figure(self._directory / f"{name}.{kind}", figure))
        for one, shown in zip(self._made, self._shown, strict=True):
            if shown:
                written += [self._tile(one, row) for row in self._rows]
            written += one.save(self._directory, f"attribution-{_safe(one.method)}")
        return written

    def _sheet(self, overlay: bool) -> Any:
        from fluoroscope.pictures.attributions import attribution_sheet

        columns = [
            one.column(self._rows, drawn=shown)
            for one, shown in zip(self._made, self._shown, strict=True)
        ]
        first = self._made[0]
        pictures = [self._picture, *[None] * (len(self._rows) - 1)]
        return attribution_sheet(
            columns,
            [first.spoken(row) for row in self._rows],
            pictures,
            [first.answer(0)],
            overlay=overlay,
        )

    def _tile(self, one: "Attribution", row: int) -> Path:
        from fluoroscope.pictures.write import write_png

        classes = one.targets[row].reshape(-1).tolist()
        which = "-over-".join(f"{number}-{_safe(one.labels[number])}" for number in classes)
        return write_png(
            self._directory / f"map-{_safe(one.method)}-{which}.png", one.tile(row, self._rows)
        )


def _ours() -> re.Pattern[str]:
    """The names of files that an earlier call may have left, of other methods and classes."""
    from fluoroscope.attribution.names import METHODS

    methods = "|".join([*map(re.escape, map(_safe, METHODS)), r"captum-[\w.-]+"])
    return re.compile(
        rf"(sheet|overlay)\.(png|svg)|map-({methods})-\d+-[\w.-]*\.png|"
        rf"attribution-({methods})\.(safetensors|json)"
    )


def _safe(name: str) -> str:
    """A part of the name of a file, in which a label is no path."""
    return re.sub(r"[^\w.]+", "-", shortened(name))


def _tell(output: Output, made: "list[Attribution]", anyway: bool) -> None:
    from fluoroscope.attribution.audit.verdict import same_maps
    from fluoroscope.attribution.doubts import shown
    from fluoroscope.attribution.reading import LOGIT, coverage_words
    from fluoroscope.attribution.result import NOT_VALID

    output.say(f"the network says: {made[0].answer(0)}")
    output.table(
        ["method", "of", "least>", "most>", "passes>", "sum off by>"],
        (
            [
                one.method if not row else "",
                one.spoken(row),
                *(f"{each[key]:.3g}" for key in ("lowest", "highest")),
                each["forwards"],
                "–" if each["error"] is None else shown(each["error"]),
            ]
            for one in made
            for row, each in enumerate(one.describe()["maps"])
        ),
        named=True,
    )
    if any("logit" in one.unit for one in made):
        output.say(LOGIT)
    for one in made:
        if words := coverage_words(one.record.get("coverage"), one.promise):
            output.say(f"{one.method}: {words}")
        if one.verdict is not None and one.verdict["verdict"] != NOT_VALID:
            output.say(f"{one.method}: {one.verdict['verdict']}")
        for note in one.notes:
            of_all = all(note in other.notes for other in made)
            told = note if of_all or note.startswith(one.method) else f"{one.method}: {note}"
            if not (one.complaint and one.complaint.partition(": ")[2] in told):
                output.note(told)
    # The plainest of those that are valid is what others are a copy of.
    plainest = sorted(made, key=lambda one: (bool(one.complaint), _place(one.method)))
    for method, other in same_maps({one.method: one.maps for one in plainest}).items():
        output.say(f"{method}: the same map as {other}")
    for one in made:
        if one.complaint:
            output.say(
                f"warning: {one.complaint}" + ("" if anyway else "; not drawn: --anyway draws it")
            )


def _place(method: str) -> int:
    """Where a method is listed; those of others come last."""
    from fluoroscope.attribution.names import METHODS

    return [*METHODS, method].index(method)


def _described(
    model: "Classifier",
    image: str,
    said: Any,
    made: "list[Attribution]",
    anyway: bool,
    written: list[Path],
) -> dict[str, Any]:
    from fluoroscope.pictures.display import shown_channels

    return {
        "model": model.name,
        "image": image,
        "winner": said.top(1)[0][0][0],
        "probability": said.top(1)[0][0][1],
        "attributions": [{**one.describe(), "drawn": anyway or not one.complaint} for one in made],
        "shown_channels": shown_channels(model.channels),
        "files": [str(path) for path in written],
    }
