"""The built page as an ASGI application; nothing heavy is imported for it."""

from importlib.resources import files

from starlette.staticfiles import StaticFiles

PAGE = files("fluoroscope.studio") / "page"
"""The built page."""


def page() -> StaticFiles:
    """The page and what it loads."""
    return StaticFiles(directory=str(PAGE), html=True)
