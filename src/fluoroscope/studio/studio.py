"""All that a running studio holds: networks, pictures, jobs, and what audits found."""

from pathlib import Path

from fluoroscope.attacks.morph import morph_stream
from fluoroscope.studio.audits import Audits
from fluoroscope.studio.jobs.queue import Jobs
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures


class Studio:
    """What the doors of the API and the kinds of jobs are given."""

    def __init__(
        self, networks: Networks, pictures: Pictures, *, generator: Path | None = None
    ) -> None:
        """``generator`` is what ``fluoroscope invert`` wrote, to show samples of."""
        self.networks = networks
        self.pictures = pictures
        self.audits = Audits()
        self.generator = generator
        self.jobs = Jobs()

    def warm_up(self) -> None:
        """Make ready what the page asks for first: the first network, a picture, a first step."""
        model = self.networks.get(self.networks.names[0])
        data = self.pictures.data[0]
        picture = self.pictures.get(f"{data}:0", model)
        for _ in morph_stream(model, picture, away=True, steps=1):
            pass

    def close(self) -> None:
        """End all jobs and threads."""
        self.jobs.close()
