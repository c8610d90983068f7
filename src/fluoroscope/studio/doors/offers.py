"""What is on offer: networks, data sets, and what each kind of job can do on a network."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from fluoroscope.errors import FluoroscopeError
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.studio import Studio


def offers(studio: Studio, version: str) -> APIRouter:
    """The doors over a studio."""
    doors = APIRouter(tags=["offers"])

    @doors.get("/api/studio")
    def what_is_on_offer() -> dict[str, Any]:
        """Networks and data sets by name."""
        data = [
            {"name": name, "count": len(studio.pictures.images(name))}
            for name in studio.pictures.data
        ]
        return {"version": version, "networks": studio.networks.describe(), "data": data}

    @doors.get("/api/network")
    def one_network(name: Annotated[str, Query(max_length=300)]) -> dict[str, Any]:
        """A network, loaded if it is not yet, and what each kind of job offers on it."""
        model = studio.networks.get(name)
        found: dict[str, Any] = {}
        for kind in KINDS:
            try:
                found[kind.name] = kind.offer(studio, model)
            except FluoroscopeError as problem:
                found[kind.name] = {"why_not": str(problem)}
        return {
            "name": name,
            "labels": list(model.labels),
            "channels": model.channels,
            "input_size": model.input_size,
            "offers": found,
        }

    return doors
