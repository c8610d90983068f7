"""Pictures to begin from: those of data sets, and those that clients bring, draw or keep."""

import io
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from fluoroscope.errors import InvalidParameterError
from fluoroscope.notices import collected, distinct
from fluoroscope.pictures.display import shown
from fluoroscope.pictures.write import to_pil
from fluoroscope.process import one_thread
from fluoroscope.studio.doors.answers import Drawing, Frame, Named
from fluoroscope.studio.kinds.kind import Name
from fluoroscope.studio.lanes import Lane
from fluoroscope.studio.sample_pages import Example, examples, wrong_one
from fluoroscope.studio.studio import Studio
from fluoroscope.studio.uploads.uploads import decode

NameAsked = Annotated[str, Query(min_length=1, max_length=300)]


class Sample(BaseModel):
    """A picture of a data set."""

    name: str
    label: str | None
    """Its class in words, where it has one."""
    width: int
    height: int
    frame: Frame
    """Small."""
    winner: int | None
    """The class that it is predicted as, where that was asked for."""
    predicted_as: str | None


class Samples(BaseModel):
    """A page of a data set."""

    total: int
    """Pictures of the whole data set."""
    samples: list[Sample]
    notes: list[str]
    """What is to be said of the data."""


class Wrong(BaseModel):
    """A picture that a network gets wrong."""

    sample: Sample
    searched: int
    """How many pictures were looked at to find it."""
    notes: list[str]


class Keeping(BaseModel):
    """A picture to be kept, by its name as a network receives it, or as pixels."""

    model_config = ConfigDict(extra="forbid")

    network: Name
    picture: Name | None = None
    pixels: Drawing | None = Field(None, description="A drawing, in place of a picture's name.")


def pictures(studio: Studio) -> APIRouter:
    """The doors over a studio."""
    doors = APIRouter(prefix="/api", tags=["pictures"])
    lane = Lane(4)

    @doors.get("/samples")
    @lane.door
    def some_samples(
        data: NameAsked,
        network: NameAsked,
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        count: Annotated[int, Query(ge=1, le=60)] = 24,
        predicted: bool = False,
    ) -> Samples:
        """Pictures of a data set in its order, with their labels in words."""
        model = studio.networks.get(network)
        with one_thread(), collected() as notes:
            images = studio.pictures.images(data, model.channels)
            found = examples(model, data, images, offset, count, predicted=predicted)
            samples = [_sample(one) for one in found]
        return Samples(total=len(images), samples=samples, notes=list(distinct(notes)))

    @doors.get("/samples/wrong")
    @lane.door
    def one_wrong(
        data: NameAsked, network: NameAsked, seed: Annotated[int, Query(ge=0, lt=2**63)] = 0
    ) -> Wrong:
        """A random picture that the network gets wrong."""
        model = studio.networks.get(network)
        with one_thread(), collected() as notes:
            images = studio.pictures.images(data, model.channels)
            found, searched = wrong_one(model, data, images, seed)
        return Wrong(sample=_sample(found), searched=searched, notes=list(distinct(notes)))

    @doors.post("/pictures", status_code=201, openapi_extra=_BYTES)
    async def bring(request: Request) -> Named:
        """Bring a picture: the bytes of its file are the body."""
        return await run_in_threadpool(_bring, studio, await request.body())

    @doors.post("/pictures/kept", status_code=201)
    @lane.door
    def keep(asked: Keeping) -> Named:
        """Keep a picture, such as a step of a job or a drawing, to go on from."""
        if (asked.picture is None) == (asked.pixels is None):
            raise InvalidParameterError(
                "one picture is kept at a time; expected either picture, a name, or pixels"
            )
        if asked.pixels is not None:
            image = asked.pixels.picture()
        else:
            model = studio.networks.get(asked.network)
            image = studio.picture(str(asked.picture), model)[0]
        height, width = image.shape[1:]
        return Named(name=studio.pictures.keep(image), width=width, height=height)

    @doors.get("/pictures/{kind}", response_class=Response, responses=_PICTURE)
    @lane.door
    def download(kind: Literal["png", "npy"], name: NameAsked, network: NameAsked) -> Response:
        """A picture as the network receives it: as PNG in 8 bits, or as NumPy's array, exactly."""
        image = studio.picture(name, studio.networks.get(network))[0].cpu()
        file = io.BytesIO()
        if kind == "png":
            to_pil(shown(image)).save(file, format="PNG")
        else:
            np.save(file, image.numpy(), allow_pickle=False)
        headers = {"Content-Disposition": f'attachment; filename="PICTURE.{kind}"'}
        media = "image/png" if kind == "png" else "application/octet-stream"
        return Response(file.getvalue(), media_type=media, headers=headers)

    return doors


_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", "application/octet-stream")
        },
    }
}
_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def _bring(studio: Studio, whole: bytes) -> Named:
    with collected() as notes:
        image = decode(whole)
    height, width = image.shape[1:]
    name = studio.pictures.keep(image)
    return Named(name=name, width=width, height=height, notes=list(distinct(notes)))


def _sample(one: Example) -> Sample:
    return Sample(**{**vars(one), "frame": Frame(**one.frame)})
