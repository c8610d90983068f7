"""What a network says of a picture at once: for whoever draws, and waits for no job."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from fluoroscope.engine.predict import predict
from fluoroscope.errors import InvalidParameterError
from fluoroscope.notices import collected, distinct
from fluoroscope.process import one_thread
from fluoroscope.studio.doors.answers import Drawing, Frame
from fluoroscope.studio.frames import floats, frame
from fluoroscope.studio.kinds.kind import Name
from fluoroscope.studio.lanes import Lane
from fluoroscope.studio.pictures import with_channels
from fluoroscope.studio.studio import Studio


class Asked(BaseModel):
    """A network and a picture, by its name or as pixels."""

    model_config = ConfigDict(extra="forbid")

    network: Name
    picture: Name | None = None
    pixels: Drawing | None = Field(None, description="A drawing, in place of a picture's name.")


class Predicted(BaseModel):
    """What the network receives, and what it says of it."""

    frame: Frame
    """As the network receives it, after its resizing."""
    probabilities: str
    """Of all classes, float32 in base64."""
    winner: int
    notes: list[str]


def predictions(studio: Studio) -> APIRouter:
    """The door over a studio."""
    doors = APIRouter(prefix="/api/predictions", tags=["pictures"])
    lane = Lane(4)

    @doors.post("")
    @lane.door
    def predict_picture(asked: Asked) -> Predicted:
        """Evaluate one picture."""
        if (asked.picture is None) == (asked.pixels is None):
            raise InvalidParameterError(
                "a prediction is of one picture; expected either picture, a name, or pixels"
            )
        model = studio.networks.get(asked.network)
        with one_thread(), collected() as notes:
            if asked.pixels is not None:
                drawn = with_channels(asked.pixels.picture(), model.channels)[None]
                image = model.fit(drawn.to(model.device, model.dtype))
            else:
                image = studio.picture(str(asked.picture), model)
            found = predict(model, image)
            return Predicted(
                frame=Frame(**frame(image[0].cpu())),
                probabilities=floats(found.probabilities[0]),
                winner=int(found.winners[0]),
                notes=list(distinct(notes)),
            )

    return doors
