"""All that a running studio holds: networks, pictures, jobs, and what is known of networks."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from torch import Tensor

from fluoroscope.attacks.morph import morph_stream
from fluoroscope.attacks.morph_result import MorphResult
from fluoroscope.data.imageset import ImageSet
from fluoroscope.data.sources import ArraySource
from fluoroscope.errors import UnknownDataError
from fluoroscope.notices import collected
from fluoroscope.process import one_thread
from fluoroscope.studio.bounded import Bounded
from fluoroscope.studio.jobs.queue import Jobs
from fluoroscope.studio.known import Audits, Known
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures, with_channels

if TYPE_CHECKING:
    from fluoroscope.inversion.generator.result import Inversion
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.neurons.reading.activations import Activations
    from fluoroscope.studio.jobs.job import Job

MOST_STEP_BYTES = 32 * 2**20
"""Pictures of steps that are kept; those that are gone are searched for anew."""

MOST_RESULT_BYTES = 32 * 2**20
"""Trajectories for the files that jobs leave; those that are gone are made anew."""


class Studio:
    """What the doors of the API and the kinds of jobs are given."""

    def __init__(
        self, networks: Networks, pictures: Pictures, *, generator: Path | None = None
    ) -> None:
        """``generator`` is what ``fluoroscope invert`` wrote, to show samples of."""
        self.networks = networks
        self.pictures = pictures
        self.audits = Audits()
        self.readings: Known[Activations] = Known()
        self.inversions: Known[Inversion] = Known()
        self.twins: Known[Classifier] = Known(2)
        self.generator = generator
        self.jobs = Jobs(forget=self._forget)
        self._again = Lock()
        self.steps: Bounded[Tensor] = Bounded(MOST_STEP_BYTES)
        self.results: Bounded[MorphResult] = Bounded(MOST_RESULT_BYTES)

    def picture(self, name: str, model: "Classifier") -> Tensor:
        """The picture of that name as the network receives it, ``(1, C, H, W)``.

        ``DATA:INDEX`` is one of a data set on offer, ``kept:HASH`` one that was brought or kept,
        ``step:JOB:NUMBER`` the exact one at a step of a job.

        Raises:
            UnknownDataError: there is no such picture, or it is not kept any more.
        """
        kind, _, rest = name.partition(":")
        image = self._step(rest) if kind == "step" else self.pictures.raw(name, model.channels)
        fitting = with_channels(image, model.channels)[None]
        return model.fit(fitting.to(model.device, model.dtype))

    def one(self, name: str, model: "Classifier") -> ImageSet:
        """The same picture as a set that has but this one, with its label where it has one."""
        data, _, index = name.rpartition(":")
        image = self.picture(name, model)[0]
        if data in self.pictures.data:
            return self.pictures.images(data, model.channels).select([int(index)])
        return ImageSet(ArraySource(image[None].cpu(), name), name, channels=model.channels)

    def check_picture(self, name: str) -> None:
        """Refuse the name of no picture, as far as that is known before data are opened.

        Raises:
            UnknownDataError: there is no such picture, or it is not kept any more.
        """
        kind, _, rest = name.partition(":")
        if kind == "step":
            self._moved(rest)
        else:
            self.pictures.check_picture(name)

    def _moved(self, rest: str) -> "tuple[Job, Callable[[int], Tensor], int]":
        """The job of a step, what makes its pictures, and the step's number."""
        identifier, _, number = rest.rpartition(":")
        job = self.jobs.get(identifier)
        if job is None or job.picture_at is None:
            raise UnknownDataError(
                f"there is no job {identifier!r} any more whose steps are pictures; expected one "
                "that the studio still keeps: start it again"
            )
        if not (number.isascii() and number.isdecimal()):
            raise UnknownDataError(f"the step {number!r} is no number; expected 0 or more")
        return job, job.picture_at, int(number)

    def _step(self, rest: str) -> Tensor:
        job, picture_at, number = self._moved(rest)
        image = self.steps.get((job.id, number))
        if image is None:
            # One after the other: each may take as long as a small job.
            with self._again, one_thread(), collected():
                image = picture_at(number)
            self.steps.put((job.id, number), image, image.nbytes)
        return image

    def _forget(self, job: "Job") -> None:
        """Let go of what only that job's name leads to."""
        self.results.forget(lambda key: key == job.id)
        self.steps.forget(lambda key: isinstance(key, tuple) and key[0] == job.id)

    def warm_up(self) -> None:
        """Make ready what the page asks for first: the first network, a picture, a first step."""
        model = self.networks.get(self.networks.names[0])
        picture = self.picture(f"{self.pictures.data[0]}:0", model)
        for _ in morph_stream(model, picture, away=True, steps=1):
            pass

    def close(self) -> None:
        """End all jobs and threads."""
        self.jobs.close()
