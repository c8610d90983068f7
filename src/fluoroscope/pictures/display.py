"""Which channels of a picture are shown: a screen has three colours, a picture may have thirteen.

One channel is shown as grey and three as red, green and blue. Of two the first is red and blue and
the second green, so that a pixel where they agree is grey. Of four or more it is the first three,
or those that :func:`showing` names; a fourth is never transparency. What is shown is for eyes: the
numbers of all channels are in the ``.safetensors`` file beside a picture.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.errors import InvalidParameterError

_chosen: ContextVar[tuple[int, ...] | None] = ContextVar("chosen", default=None)


@contextmanager
def showing(*channels: int) -> Iterator[None]:
    """Inside the block pictures show these channels, counted from 1.

    ``with fs.showing(4, 3, 2): result.save("out")`` shows the fourth as red, the third as green and
    the second as blue; a single one is shown as grey. Nothing but what is drawn changes.

    Raises:
        InvalidParameterError: not one channel or three, or no whole numbers from 1 on.
    """
    numbers = all(type(channel) is int and channel > 0 for channel in channels)
    if len(channels) not in (1, 3) or not numbers:
        raise InvalidParameterError(
            f"channels to show are {_listed(channels) or 'none'}; expected three for red, green "
            "and blue, or one for grey, counted from 1"
        )
    token = _chosen.set(channels)
    try:
        yield
    finally:
        _chosen.reset(token)


def shown_channels(channels: int) -> tuple[int, ...]:
    """Which of so many channels are shown, counted from 1: one as grey, or three as colours.

    Raises:
        InvalidParameterError: :func:`showing` named one that there is not.
    """
    chosen = _chosen.get()
    if chosen is None:
        return {1: (1,), 2: (1, 2, 1)}.get(channels, (1, 2, 3))
    if max(chosen) > channels:
        raise InvalidParameterError(
            f"channels to show are {_listed(chosen)}; the pictures have {channels}: expected "
            f"numbers from 1 to {channels}"
        )
    return chosen


def shown(image: Tensor) -> Tensor:
    """Of an image ``(C, H, W)`` what is shown of it: ``(1, H, W)`` grey or ``(3, H, W)`` RGB."""
    return image[[channel - 1 for channel in shown_channels(len(image))]]


def shown_array(image: Tensor) -> NDArray[Any]:
    """What is shown of an image as Matplotlib takes it: ``(H, W)`` grey or ``(H, W, 3)`` RGB."""
    array: NDArray[Any] = shown(image).detach().cpu().permute(1, 2, 0).numpy()
    return array[:, :, 0] if array.shape[2] == 1 else array


def said(channels: int) -> str:
    """``"channels 1, 2, 3 of 13"``; nothing where a picture is shown as anyone would expect."""
    which = shown_channels(channels)
    if which == tuple(range(1, channels + 1)):
        return ""
    return f"channel{'s' if len(which) > 1 else ''} {_listed(which)} of {channels}"


def said_at_length(channels: int) -> str:
    """A sentence for those who look at pictures of so many channels; mostly an empty one."""
    short = said(channels)
    colours = "grey" if len(shown_channels(channels)) == 1 else "red, green and blue"
    return f"Pictures show {short} as {colours}." if short else ""


def _listed(channels: Sequence[object]) -> str:
    return ", ".join(map(str, channels))
