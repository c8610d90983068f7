"""``--display``: which channels of a picture are drawn, for the commands that draw some."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.output import Output
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

Display = Annotated[
    str | None,
    typer.Option(
        help="Channels to draw as red, green and blue, counted from 1, as 4,3,2; one is drawn as "
        "grey. Default: the first three. Nothing but the pictures changes."
    ),
]


def with_display(command: Callable[..., bool | None]) -> Callable[..., None]:
    """Give a command that draws pictures for ``model`` the option that says how.

    Where not all of their channels can be seen, it ends by saying which are, unless the command
    returns that it drew none.
    """

    @wraps(command)
    def drawing(*, model: "Classifier", display: str | None, **rest: Any) -> None:
        from fluoroscope.pictures.display import said_at_length, showing

        with nullcontext() if display is None else showing(*_channels(display)):
            words = said_at_length(model.channels)  # a channel that there is not is refused here
            drew = command(model=model, **rest)
        if words and drew is not False:
            others = "" if display else " --display chooses others."
            Output(rest["json"]).say(f"note: {words}{others}")

    own = inspect.signature(command, eval_str=False).parameters.values()
    option = inspect.Parameter(
        "display", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Display
    )
    kept = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    drawing.__signature__ = inspect.Signature([*kept, option])  # type: ignore[attr-defined]
    return drawing


def _channels(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidParameterError(
            f"--display is {text!r}; expected numbers of channels with commas between, such as "
            "4,3,2"
        ) from error
