"""Options that several commands share, and the loading of the network they all speak of."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.output import one_line
from fluoroscope.errors import InvalidParameterError, UnknownDataError
from fluoroscope.files import regular, user_path

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A built-in (digits-cnn), torchvision/NAME, timm/NAME, hf/OWNER/NAME, a local "
        "directory in the Hugging Face format, a .pt2 file, or python:package.module:function.",
    ),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights to load into the network.")]
CheckpointKey = Annotated[
    str | None,
    typer.Option(help="Where in the checkpoint they lie, as state_dict_ema, where several fit."),
]
Labels = Annotated[Path | None, typer.Option(help="A text file with one class name a line.")]
Mean = Annotated[str | None, typer.Option(help="Override: one number a channel, as 0.5,0.5,0.5.")]
Std = Annotated[str | None, typer.Option(help="Override: one number a channel, as 0.5,0.5,0.5.")]
InputSize = Annotated[str | None, typer.Option(help="Override: 224 or HEIGHTxWIDTH.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; - prints.")
]
Seed = Annotated[int, typer.Option(help="For everything random.")]
Data = Annotated[
    str, typer.Option("--data", "-d", help="digits, class folders, Parquet or a hub id.")
]
Split = Annotated[str | None, typer.Option(help="Its split.")]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Only so many pictures: the first, or some of every class (always the same) if they "
        "lie in order of class.",
    ),
]
First = Annotated[bool, typer.Option("--first", help="With --limit: the first ones always.")]
Plain = Annotated[
    bool,
    typer.Option(
        "--plain",
        help="Search on the network as it is, not on a copy prepared for speed. The plain one "
        "has the last word on every success in any case.",
    ),
]
AtChance = Annotated[
    bool, typer.Option("--at-chance", help="Go on though it reads no better than by chance.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures at once.")]
Image = Annotated[
    str,
    typer.Option(
        "--image",
        "-i",
        help="A picture file, black, white, grey, noise, or DATASET[:SPLIT]:INDEX (digits:7).",
    ),
]
OBJECTIVE_HELP = "logit, log-probability, probability or margin"


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that wants ``model: Classifier`` the options to name and load one."""

    @wraps(command)
    def loading(
        *,
        model: str,
        checkpoint: Path | None,
        checkpoint_key: str | None,
        labels: Path | None,
        mean: str | None,
        std: str | None,
        input_size: str | None,
        device: str,
        **rest: Any,
    ) -> None:
        loaded = load(
            model, checkpoint, labels, mean, std, input_size, device, checkpoint_key=checkpoint_key
        )
        command(model=loaded, **rest)

    own = inspect.signature(command, eval_str=False).parameters
    extra = [
        ("model", Model, inspect.Parameter.empty),
        ("checkpoint", Checkpoint, None),
        ("checkpoint_key", CheckpointKey, None),
        ("labels", Labels, None),
        ("mean", Mean, None),
        ("std", Std, None),
        ("input_size", InputSize, None),
        ("device", Device, "cpu"),
    ]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, kind, default in extra
    ]
    kept = [
        value.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, value in own.items()
        if name != "model"
    ]
    # The command's own options come first on the help page, after the network.
    loading.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameters[0], *kept, *parameters[1:]]
    )
    loading.__annotations__ = {p.name: p.annotation for p in [*parameters, *kept]}
    return loading


def load(
    name: str,
    checkpoint: Path | None = None,
    labels: Path | None = None,
    mean: str | None = None,
    std: str | None = None,
    input_size: str | None = None,
    device: str = "cpu",
    checkpoint_key: str | None = None,
) -> "Classifier":
    """The network that the options describe."""
    from fluoroscope.engine.memory import keep_freed_memory
    from fluoroscope.models.loading import load_model

    keep_freed_memory()
    return load_model(
        name,
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        labels=_lines(labels),
        mean=_numbers(mean, "mean"),
        std=_numbers(std, "std"),
        input_size=_size(input_size),
        device=device,
    )


def open_pictures(
    data: str, split: str | None, limit: int | None, channels: int, first: bool = False
) -> "ImageSet":
    """The pictures that the options name."""
    from fluoroscope.data.imageset import load_images

    if first and limit is None:
        raise InvalidParameterError("--first says which pictures --limit takes; expected both")
    found = load_images(data, split, channels=channels)
    found = found.take(limit, first=first) if limit else found
    for note in found.notes:
        typer.echo(f"note: {one_line(note)}", err=True)
    return found


def _lines(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return regular(user_path(path)).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnknownDataError(
            f"cannot read the labels in {path}: {error}; expected a text file with one a line"
        ) from error


def _numbers(text: str | None, name: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidParameterError(
            f"{name} is {text!r}; expected numbers with commas between, such as 0.5,0.5,0.5"
        ) from error


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        sides = [int(part) for part in text.lower().split("x")]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError as error:
        raise InvalidParameterError(
            f"input-size is {text!r}; expected a side such as 224, or HEIGHTxWIDTH"
        ) from error
    return height, width
