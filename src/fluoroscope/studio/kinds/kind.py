"""What a kind of job is: what may be asked, on which networks it works, and the work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

Name = Annotated[str, Field(min_length=1, max_length=300)]
"""A network, a picture, a class or a method by its name."""


class Request(BaseModel):
    """What every job is asked with; each kind has a ``kind`` of its own beside it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=1000)

    network: Name = Field(description="A network that `GET api/studio` lists, by its name.")
    seed: int = Field(0, ge=0, lt=2**63, description="For everything random.")
    unattended: bool = Field(
        False, description="Go on though nobody reads the events; otherwise it is cancelled."
    )


@dataclass(frozen=True)
class Kind:
    """One kind of job."""

    name: str
    request: type[Request]
    work: "Callable[[Studio, Job, Any], None]"
    """Does what the request asks for, telling and leaving files through the job."""
    offer: "Callable[[Studio, Classifier], dict[str, Any]]"
    """What the page may offer on a network: choices and defaults.

    Raises a :class:`.FluoroscopeError` that says why where it does not work there.
    """
    long: bool = False
    """It may take minutes: only one worker takes such jobs."""
