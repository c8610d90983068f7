"""The whole studio as one ASGI application: the page and its API, on one origin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from fluoroscope.studio.doors.description import describe
from fluoroscope.studio.doors.docs import add_docs
from fluoroscope.studio.doors.jobs import jobs
from fluoroscope.studio.doors.offers import offers
from fluoroscope.studio.doors.pictures import pictures
from fluoroscope.studio.doors.predictions import predictions
from fluoroscope.studio.doors.reports import reports
from fluoroscope.studio.files_of_page import page
from fluoroscope.studio.refusals.problems import refuse_the_rest, tell_problems
from fluoroscope.studio.studio import Studio


def create_app(studio: Studio) -> FastAPI:
    """The application over a studio, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    app = FastAPI(
        title="Fluoroscope studio",
        version=version("fluoroscope"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    tell_problems(app)
    for doors in (
        offers(studio, app.version),
        pictures(studio),
        predictions(studio),
        jobs(studio),
        reports(studio),
    ):
        app.include_router(doors)
    describe(app)
    add_docs(app)
    refuse_the_rest(app)
    app.mount("/", page())
    return app
