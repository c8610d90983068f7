"""The studio: a local web page on which a network is watched while it decides.

``create_app`` is the whole of it as an ASGI application; ``fluoroscope studio`` serves it.
"""

from importlib.util import find_spec

from fluoroscope.errors import MissingExtraError


def require_studio() -> None:
    """See whether it can be served.

    Raises:
        MissingExtraError: FastAPI or uvicorn is not installed.
    """
    if not (find_spec("fastapi") and find_spec("uvicorn")):
        raise MissingExtraError(
            "the studio needs FastAPI and uvicorn; install them with "
            "pip install 'fluoroscope[studio]'"
        )
