"""The line that does in a shell what a job does."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fluoroscope.engine.grid import round_to_grid

if TYPE_CHECKING:
    from fluoroscope.studio.studio import Studio


def command(
    studio: "Studio",
    *words: str,
    network: str,
    options: Mapping[str, Any],
    picture: str | None = None,
    image: Tensor | None = None,
) -> str:
    """``fluoroscope WORDS`` on a network, and on a picture where one is given.

    Args:
        studio: knows how the network was named when it started.
        words: the command and what comes without an option.
        network: by its name.
        options: by name. ``True`` is a switch, of several values each has its option, and what is
            ``None``, ``False`` or empty is left out.
        picture: by its name. What is no data set's stands as the file that the page offers:
            ``PICTURE.png``, or ``PICTURE.npy`` where 8 bits do not hold its values.
        image: ``(C, H, W)``, as the network receives it.
    """
    line = ["fluoroscope", *words, "--model", network, *studio.networks.options(network)]
    if picture is not None and image is not None:
        line += ["--image", file_name(picture, image)]
    for name, value in options.items():
        if value is None or value is False or value in ("", [], ()):
            continue
        option = f"--{name.replace('_', '-')}"
        if value is True:
            line.append(option)
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            # What begins like an option would be taken for one.
            text = str(one)
            line += [f"{option}={text}"] if text.startswith("-") else [option, text]
    return shlex.join(line)


def file_name(picture: str, image: Tensor) -> str:
    """How a command names a picture."""
    if not picture.startswith(("kept:", "step:")):
        return picture
    exact = bool((round_to_grid(image) == image).all())
    return "PICTURE.png" if exact and len(image) in (1, 3) else "PICTURE.npy"
