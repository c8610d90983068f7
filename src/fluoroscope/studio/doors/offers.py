"""What is on offer: networks, data sets, and what each kind of job can do on a network."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from fluoroscope.engine.first_look import first_look, notes_of
from fluoroscope.errors import FluoroscopeError
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected, distinct
from fluoroscope.process import one_thread
from fluoroscope.studio.kinds.kind import Name
from fluoroscope.studio.kinds.readable import readable
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.kinds.usual_data import check_pictures, picture_of
from fluoroscope.studio.lanes import Lane
from fluoroscope.studio.networks import Offered, State, beside
from fluoroscope.studio.own import own
from fluoroscope.studio.studio import Studio

_LOADING = 2
"""Networks that are loaded at a time."""
_LOOKED_AT = 4

NameAsked = Annotated[
    str, Query(min_length=1, max_length=300, description="A network, by its name.")
]


class NetworkState(BaseModel):
    """A network on offer, and how it stands."""

    name: str
    state: State
    problem: str | None = Field(description="Why it could not be loaded; asking again tries again.")
    added: bool = Field(description="A client added it; it can be taken away.")


class DataOffered(BaseModel):
    """A data set on offer."""

    name: str
    count: int | None = Field(
        description="How many pictures it has, once it was opened: with a network, or soon after."
    )
    problem: str | None = Field(description="Why it cannot be opened.")


class StudioOffers(BaseModel):
    """All that is on offer."""

    version: str
    networks: list[NetworkState] = Field(description="The first is what the page begins with.")
    data: list[DataOffered] = Field(description="The first is what the page begins with.")
    allow_load: bool = Field(description="Other networks can be added.")


class NetworkInfo(BaseModel):
    """A network, and what can be done with it."""

    name: str
    labels: list[str] = Field(description="Its classes, in the order of its probabilities.")
    channels: int
    input_size: tuple[int, int] | None = Field(description="Height and width, where it has one.")
    parameters: int = Field(description="Numbers that were learnt.")
    device: str
    notes: list[str] = Field(description="What makes its results doubtful.")
    beside: str | None = Field(description="What to know of it beside the other network.")
    picture: str | None = Field(
        description="What the page begins with; none where no data on offer fit."
    )
    offers: dict[str, dict[str, Any]] = Field(
        description="What each kind of job offers on it, or `why_not`."
    )


class NetworkAdded(BaseModel):
    """A network to be added."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="As `fluoroscope` takes it after `--model`.")


def offers(studio: Studio, version: str) -> APIRouter:
    """The doors over a studio."""
    doors = APIRouter(prefix="/api", tags=["offers"])
    loading = Lane(_LOADING)

    @doors.get("/studio")
    async def what_is_on_offer() -> StudioOffers:
        """Networks and data sets by name."""
        return StudioOffers(
            version=version,
            networks=[_state(one) for one in studio.networks.all()],
            data=[_data(studio, name) for name in studio.pictures.data],
            allow_load=studio.networks.load_any,
        )

    @doors.get("/network")
    @loading.door
    def one_network(
        name: NameAsked,
        other: Annotated[
            str | None,
            Query(min_length=1, max_length=300, description="A network to see it beside."),
        ] = None,
    ) -> NetworkInfo:
        """A network, loaded if it is not yet, and what each kind of job offers on it."""
        return _info(studio, name, other)

    @doors.post("/networks", status_code=201)
    @loading.door
    def add_network(asked: NetworkAdded) -> NetworkState:
        """Load another network; only where the studio was started with `--allow-load`."""
        return _state(studio.networks.add(asked.name))

    @doors.delete("/networks", status_code=204)
    async def remove_network(name: NameAsked) -> None:
        """Take away a network that was added."""
        studio.networks.remove(name)

    return doors


def _state(one: Offered) -> NetworkState:
    return NetworkState(name=one.name, state=one.state, problem=one.problem, added=one.added)


def _data(studio: Studio, name: str) -> DataOffered:
    count, problem = studio.pictures.standing(name)
    return DataOffered(name=name, count=count, problem=problem)


def _info(studio: Studio, name: str, other: str | None) -> NetworkInfo:
    one = studio.networks.one(name)
    with one_thread(), collected():
        model = one.loaded()
        _look(studio, model)
        mine = own(model)  # layers are found with hooks
        return NetworkInfo(
            name=name,
            labels=list(model.labels),
            channels=model.channels,
            input_size=model.input_size,
            parameters=sum(each.numel() for each in model.module.parameters()),
            device=str(model.device),
            notes=list(distinct([*one.notes, *model.notes, *notes_of(model)])),
            beside=None if other is None else beside(model, studio.networks.get(other)),
            picture=picture_of(studio, model),
            offers={kind.name: _offer(studio, mine, kind.offer) for kind in KINDS},
        )


def _look(studio: Studio, model: Classifier) -> None:
    """The first look at it, with pictures of the data that were named for it.

    Where none were named the digits say nothing of a network for other pictures: it is looked at
    with the first picture that it is used on.
    """
    data = studio.pictures.data[0]
    if model.look is not None or (data == "digits" and model.channels != 1):
        return
    try:
        images = readable(studio.pictures.images(data, model.channels), _LOOKED_AT)
        batch = next(iter(images.batches(_LOOKED_AT, fit=model.preprocessing)))
        first_look(model, batch.images.to(model.device, model.dtype))
    except FluoroscopeError:
        return  # whoever uses it on them is told


def _offer(studio: Studio, model: Classifier, offer: Any) -> dict[str, Any]:
    try:
        check_pictures(studio, model)
        found: dict[str, Any] = offer(studio, model)
    except FluoroscopeError as problem:
        return {"why_not": str(problem)}
    return found
