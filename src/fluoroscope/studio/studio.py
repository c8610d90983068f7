"""All that a running studio holds: networks, pictures, jobs, and what audits found."""

from fluoroscope.studio.audits import Audits
from fluoroscope.studio.jobs.queue import Jobs
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures


class Studio:
    """What the doors of the API and the kinds of jobs are given."""

    def __init__(self, networks: Networks, pictures: Pictures) -> None:
        self.networks = networks
        self.pictures = pictures
        self.audits = Audits()
        self.jobs = Jobs()

    def close(self) -> None:
        """End all jobs and threads."""
        self.jobs.close()
