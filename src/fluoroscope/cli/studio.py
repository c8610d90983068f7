"""``fluoroscope studio``: the page in the browser where a network is watched."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import (
    NETWORK,
    MaybeModel,
    SeveralData,
    load,
    nothing_stated,
    with_statements,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.waiting import waiting

if TYPE_CHECKING:
    from fluoroscope.studio.studio import Studio


@with_statements
def studio(
    stated: dict[str, Any],
    model: MaybeModel = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="NAME",
            help="Another network to offer; options that say something of a network are "
            "of --model alone. Repeatable.",
        ),
    ] = None,
    data: SeveralData = None,
    generator: Annotated[
        Path | None,
        typer.Option("--generator", help="What fluoroscope invert wrote, to show samples of."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="The address to serve at. Any other than this machine's own asks for a token, "
            "which is part of the link that is printed.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Default: 8360, or the next that is free."),
    ] = None,
    token_variable: Annotated[
        str | None,
        typer.Option(
            "--token-variable",
            metavar="NAME",
            help="The environment variable that holds the token; it is not printed then.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A name by which a proxy, as of Jupyter, is asked for the page. Repeatable.",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only say the address; open nothing.")
    ] = False,
    allow_load: Annotated[
        bool, typer.Option("--allow-load", help="Let the page load other networks by name.")
    ] = False,
) -> None:
    """Open a page in the browser where you watch a network being fooled, live, and see why.

    The built-in networks and digits are always on offer. Ctrl-C ends it.

    [bold]Examples:[/]
      fluoroscope studio
      fluoroscope studio --model torchvision/resnet18 --data photos
    """
    from fluoroscope.studio import require_studio

    require_studio()
    from fluoroscope.studio.guard.token import make_token
    from fluoroscope.studio.server import PORT, find_place, serve

    if model is None:
        nothing_stated(stated)
    place = find_place(host, port)
    token = None if place.private and not token_variable else make_token(token_variable, place.port)
    words = f"the studio is at {place.url}"
    if token is not None and not token_variable:
        words += f"?token={token.words}"
    if port is None and place.port != PORT:
        words += f" ({PORT} is taken)"
    loaders = {} if model is None else {model: partial(load, model, **stated)}
    loaders |= {name: partial(load, name) for name in also or () if name not in loaders}
    options = {} if model is None else {model: _said(stated)}

    def make() -> "Studio":
        from fluoroscope.data.imageset import load_images
        from fluoroscope.studio.networks import Networks
        from fluoroscope.studio.pictures import Pictures
        from fluoroscope.studio.studio import Studio

        def opener(name: str) -> Any:
            return lambda channels: load_images(name, channels=channels)

        return Studio(
            Networks(loaders, options=options, load_any=allow_load),
            Pictures({name: opener(name) for name in dict.fromkeys([*(data or ()), "digits"])}),
            generator=generator,
        )

    with waiting.hidden():
        serve(
            place,
            make,
            token=token,
            proxies=allow_host or (),
            started=lambda: Output(None).say(f"{words} (Ctrl-C ends it)"),
            # The link with a token would be seen by whoever lists the processes.
            browser=token is None and not no_browser,
        )


def _said(stated: dict[str, Any]) -> tuple[str, ...]:
    """What was said of a network, as the words of another command."""
    words: list[str] = []
    for name, (_, default) in NETWORK.items():
        if stated[name] != default:
            words += [f"--{name.replace('_', '-')}", str(stated[name])]
    return tuple(words)
