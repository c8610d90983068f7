"""Options that several commands share, and the loading of the network they all speak of."""

import inspect
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand

from fluoroscope.cli.mistakes import tell_mistakes
from fluoroscope.cli.output import Output, one_line, speak_of
from fluoroscope.cli.waiting import waiting
from fluoroscope.errors import InvalidParameterError, UnknownDataError
from fluoroscope.files import regular, user_path

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier

T = TypeVar("T")
MODEL = ("--model", "-m")
MODEL_HELP = (
    "A built-in (digits-cnn), torchvision/NAME, timm/NAME, hf/OWNER/NAME, a local directory in the "
    "Hugging Face format, a .pt2 file, or python:package.module:function (python:FILE.py:function)."
)
Model = Annotated[str, typer.Option(*MODEL, help=MODEL_HELP)]
MaybeModel = Annotated[str | None, typer.Option(*MODEL, help=MODEL_HELP)]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights to load into the network.")]
CheckpointKey = Annotated[
    str | None,
    typer.Option(help="Where in the checkpoint they lie, as state_dict_ema, where several fit."),
]
Labels = Annotated[Path | None, typer.Option(help="A text file with one class name a line.")]
Mean = Annotated[str | None, typer.Option(help="Override: one number a channel, as 0.5,0.5,0.5.")]
Std = Annotated[str | None, typer.Option(help="Override: one number a channel, as 0.5,0.5,0.5.")]
InputSize = Annotated[str | None, typer.Option(help="Override: 224 or HEIGHTxWIDTH.")]
Channels = Annotated[
    int | None, typer.Option(min=1, help="Override: 3 for colour, 1 for grey, or any other number.")
]
Order = Annotated[str | None, typer.Option("--channel-order", help="Override: rgb or bgr.")]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Override: the shorter side, or HEIGHTxWIDTH, before the input size is cut out."
    ),
]
Shrinking = Annotated[
    str | None, typer.Option("--interpolation", help="Override: nearest, bilinear or bicubic.")
]
Returned = Annotated[
    str | None,
    typer.Option(
        "--outputs",
        help="What it returns: logits, logit (one number, whose sign tells two classes), "
        "probabilities or log-probabilities.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; - prints.")
]
Seed = Annotated[int, typer.Option("--seed", help="For everything random.")]
DATA = ("--data", "-d")
DATA_HELP = "digits, a folder, Parquet or a hub id."
Data = Annotated[str, typer.Option(*DATA, help=DATA_HELP)]
MaybeData = Annotated[str | None, typer.Option(*DATA, help=DATA_HELP)]
SeveralData = Annotated[list[str] | None, typer.Option(*DATA, help=f"{DATA_HELP} Repeatable.")]
Split = Annotated[
    str | None, typer.Option("--split", help="The part of the data set, as train or test.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Only so many pictures: the first, or some of every class (always the same) if they "
        "lie in order of class.",
    ),
]
Invert = Annotated[
    bool,
    typer.Option(
        "--invert",
        help="Show the network the negatives: for dark ink on white, if it learnt white on black.",
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
    bool, typer.Option("--at-chance", help="Go on though its clean accuracy is at chance level.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at once.")]
SuitableBatch = Annotated[
    int | None,
    typer.Option(
        "--batch-size", min=1, help="Pictures at once. Default: as many as suit the machine."
    ),
]
SeveralSecond = Annotated[
    list[str] | None,
    typer.Option(
        "--second",
        help="Another network of the same classes, as --model, undefended or trained "
        "independently: do pictures made on it fool this one? With it --trust goes without "
        "saying. Repeatable.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="In this process, or on a Ray cluster.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="ray: processes; default: one for each GPU or processor."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="ray: a cluster's HOST:PORT, or auto; default: one on this machine."
    ),
]
UnitLayer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        help="By its name; see: fluoroscope neurons list. Default: the last with maps that the "
        "logits depend on.",
    ),
]
Call = Annotated[
    int | None,
    typer.Option(
        "--call", min=0, help="Which use of a layer that is reused, from 0. Default: the last."
    ),
]
UnitReduction = Annotated[
    str,
    typer.Option(
        "--reduction",
        help="A unit's number for a picture: the mean over its places, the largest (max), or at "
        "one: ROW,COLUMN, or a token's number (0). The mean and max leave out the class token.",
    ),
]
OnGrid = Annotated[
    bool,
    typer.Option(
        "--8bit",
        help="Only 8-bit pictures: what is found survives being saved as a file.",
    ),
]
IMAGE = ("--image", "-i")
IMAGE_HELP = "A picture file, black, white, grey, noise, or DATASET[:SPLIT]:INDEX (digits:7)."
Image = Annotated[str, typer.Option(*IMAGE, help=IMAGE_HELP)]
MaybeImage = Annotated[str | None, typer.Option(*IMAGE, help=IMAGE_HELP)]
SeveralImages = Annotated[list[str] | None, typer.Option(*IMAGE, help=f"{IMAGE_HELP} Repeatable.")]
Threat = Annotated[
    str | None,
    typer.Option(
        "--threat",
        help="How far a picture may go: NORM:EPS, as linf:8/255 or l2:0.5. Default: linf, 0.3 for "
        "small grey pictures, 8/255 for small ones in colour, 4/255 for large ones.",
    ),
]
Norm = Annotated[str | None, typer.Option("--norm", help="linf, l2 …; default: the method's.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps; default: the method's.")]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", help="The method's own: NAME=VALUE. Repeatable."),
]
OUT = ("--out", "-o")
Out = Annotated[Path, typer.Option(*OUT, help="Directory for the results.")]
OBJECTIVE_HELP = "logit, log-probability, probability or margin"


# What options were called in earlier versions, and are called today.
_OLD_NAMES = {"--images": "--data"}


class Command(TyperCommand):
    """A command that understands the old names of options too; its help has the new ones alone.

    What the names that it was given show to be wrong is told before anything heavy is imported.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        speak_of({str(one.name): one.opts[0].lstrip("-") for one in self.params})
        return super().parse_args(ctx, [_new_name(word) for word in args])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page; what the words of an option say already leaves them the room."""
        for one in self.get_params(ctx):
            if one.param_type_name == "option":
                # This call does nothing but print, so the bounds are not missed.
                told: Any = one
                told.metavar, told.min, told.max = told.metavar or _metavar(told), None, None
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        tell_mistakes(ctx.command.name, ctx.params)
        with waiting.running():
            return super().invoke(ctx)


def _metavar(option: Any) -> str:
    """What stands for a value on the page: nothing for a switch, ``N`` for a whole number."""
    kinds = {"bool": "", "int": "N", "float": "X", "path": "PATH"}
    return kinds.get(option.bare_type().lower().removeprefix("list[").rstrip("]"), "TEXT")


def _new_name(word: str) -> str:
    name, equals, value = word.partition("=")
    return _OLD_NAMES.get(name, name) + equals + value


NETWORK: dict[str, tuple[Any, Any]] = {
    "checkpoint": (Checkpoint, None),
    "checkpoint_key": (CheckpointKey, None),
    "labels": (Labels, None),
    "mean": (Mean, None),
    "std": (Std, None),
    "input_size": (InputSize, None),
    "channels": (Channels, None),
    "channel_order": (Order, None),
    "resize": (Resize, None),
    "interpolation": (Shrinking, None),
    "outputs": (Returned, None),
    "device": (Device, "cpu"),
}
"""What can be said of a network beside its name: of each option its annotation and default."""
for _kind, _ in NETWORK.values():
    _kind.__metadata__[0].rich_help_panel = "The network"


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that wants ``model: Classifier`` the options to name and load one.

    A command whose ``model`` is by default ``None`` can do without.
    """

    @wraps(command)
    def loading(*, model: str | None = None, **given: Any) -> None:
        stated = {name: given.pop(name) for name in NETWORK}
        if model is None:
            nothing_stated(stated)
        command(model=None if model is None else load(model, **stated), **given)

    kept = parameters(command, without="model")
    optional = inspect.signature(command).parameters["model"].default is None
    named = parameter("model", MaybeModel, None) if optional else parameter("model", Model)
    # The command's own options come first on the help page, after the network.
    sign(loading, [named, *kept, *network_parameters()])
    return loading


PICTURES: dict[str, tuple[Any, Any]] = {
    "data": (Data, inspect.Parameter.empty),
    "split": (Split, None),
    "limit": (Limit, None),
    "first": (First, False),
    "invert": (Invert, False),
}
"""What names the pictures of a data set: of each option its annotation and default."""


def with_pictures(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command that wants ``images: ImageSet`` for ``model`` the options to name them."""

    @wraps(command)
    def opening(*, model: "Classifier", **given: Any) -> T:
        data, split, limit, first, invert = (given.pop(name) for name in PICTURES)
        images = open_pictures(data, split, limit, model.channels, first, invert)
        return command(model=model, images=images, **given)

    named = [parameter(name, kind, default) for name, (kind, default) in PICTURES.items()]
    kept = parameters(command, without="images")
    after = 1 + [one.name for one in kept].index("model")
    sign(opening, [*kept[:after], *named, *kept[after:]])
    return opening


def prepared(model: "Classifier", images: "ImageSet", plain: bool) -> "Classifier":
    """The network made ready for many passes, if that is wanted.

    Where nothing says which size it takes, it is tried on the first of the pictures that it is for.
    """
    from fluoroscope.models.wrappers.prepared import prepare

    if plain:
        return model
    if model.input_size is not None or not len(images):
        return prepare(model)
    first = next(images.take(1, first=True).batches(1, fit=model.preprocessing))
    return prepare(model, images=first.images)


def nothing_stated(stated: dict[str, Any]) -> None:
    """Refuse what is said of a network that is not named."""
    said = [name for name, (_, default) in NETWORK.items() if stated[name] != default]
    if said:
        option = said[0].replace("_", "-")
        raise InvalidParameterError(f"--{option} says something of a network; expected --model")


SAME_CASE = ("model", *NETWORK, *PICTURES)
"""The options that say what is looked at: another command with them looks at the same."""


def what_was_named(context: typer.Context) -> str:
    """The options of this call that say what is looked at, for other commands to be shown."""
    words = []
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.name in SAME_CASE and value != option.default:
            words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    return shlex.join(words)


def with_statements(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that wants ``stated``, what :func:`load` takes, the options for it."""

    @wraps(command)
    def stating(**given: Any) -> None:
        stated = {name: given.pop(name) for name in NETWORK}
        command(stated=stated, **given)

    sign(stating, [*network_parameters(), *parameters(command, without="stated")])
    return stating


def network_parameters() -> list[inspect.Parameter]:
    return [parameter(name, kind, default) for name, (kind, default) in NETWORK.items()]


def parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, only, default=default, annotation=kind)


def parameters(command: Callable[..., Any], *, without: str) -> list[inspect.Parameter]:
    own = inspect.signature(command, eval_str=False).parameters
    only = inspect.Parameter.KEYWORD_ONLY
    return [value.replace(kind=only) for name, value in own.items() if name != without]


def sign(command: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}


def load(name: str, **stated: Any) -> "Classifier":
    """The network that the options describe, those of ``NETWORK`` by name."""
    waiting.says("importing PyTorch")
    from fluoroscope.engine.memory import keep_freed_memory
    from fluoroscope.models.loading import load_model

    waiting.says(f"loading {one_line(name)}")
    keep_freed_memory()
    return load_model(name, **statements(**stated))


def statements(
    checkpoint: Path | None = None,
    labels: Path | None = None,
    mean: str | None = None,
    std: str | None = None,
    input_size: str | None = None,
    device: str = "cpu",
    checkpoint_key: str | None = None,
    channels: int | None = None,
    channel_order: str | None = None,
    resize: str | None = None,
    interpolation: str | None = None,
    outputs: str | None = None,
) -> dict[str, Any]:
    """What the options say of a network, as ``load_model`` takes it."""
    sides = sides_of(resize, "resize")
    return {
        "checkpoint": checkpoint,
        "checkpoint_key": checkpoint_key,
        "labels": lines_of(labels),
        "mean": _numbers(mean, "mean"),
        "std": _numbers(std, "std"),
        "input_size": sides_of(input_size, "input-size"),
        "channels": channels,
        "channel_order": channel_order,
        # One number is the length of the shorter side.
        "resize": sides[0] if sides and "x" not in str(resize).lower() else sides,
        "interpolation": interpolation,
        "outputs": outputs,
        "device": device,
    }


def just_one(data: object, image: object, **only_data: object) -> None:
    """Refuse both or neither of ``--data`` and ``--image``, and what goes with the first alone."""
    if bool(data) == bool(image):
        raise InvalidParameterError(
            f"{'both' if data else 'neither'} of --data and --image given; expected one of them: "
            "a data set, or one picture"
        )
    for name, value in only_data.items():
        if image and value:
            raise InvalidParameterError(
                f"--{name} chooses among the pictures of a data set; expected --data with it, and "
                "not --image"
            )


def open_pictures(
    data: str,
    split: str | None,
    limit: int | None,
    channels: int,
    first: bool = False,
    invert: bool = False,
) -> "ImageSet":
    """The pictures that the options name."""
    from fluoroscope.data.imageset import load_images

    if first and limit is None:
        raise InvalidParameterError("--first says which pictures --limit takes; expected both")
    waiting.says(f"opening {one_line(data)}")
    found = load_images(data, split, channels=channels, invert=invert)
    return _told(found.take(limit, first=first) if limit else found)


def open_picture(
    image: str,
    model: "Classifier",
    seed: int,
    *,
    invert: bool,
    size: tuple[int, int] | None = None,
) -> "ImageSet":
    """The one picture that ``--image`` names, as a set that has but this one.

    One that has no size of its own, such as noise, is of ``size``, by default the network's.
    """
    from fluoroscope.data.reference import open_one

    waiting.says(f"opening {one_line(image)}")
    size = size or model.input_size or (224, 224)
    return _told(open_one(image, channels=model.channels, size=size, seed=seed, invert=invert))


def _told(found: "ImageSet") -> "ImageSet":
    for note in found.notes:
        Output("-").note(note)
    waiting.says("working")
    return found


def lines_of(path: Path | None) -> list[str] | None:
    """A text file's lines, of one label each."""
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


def sides_of(text: str | None, name: str = "size") -> tuple[int, int] | None:
    """Height and width, of ``224`` or ``HEIGHTxWIDTH``."""
    if text is None:
        return None
    try:
        sides = [int(part) for part in text.lower().split("x")]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError as error:
        raise InvalidParameterError(
            f"{name} is {text!r}; expected a side such as 224, or HEIGHTxWIDTH"
        ) from error
    return height, width
