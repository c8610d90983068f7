"""A picture that moves: what is told of each step, its way stations, and all of it as a table."""

import csv
import io
import json
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from torch import Tensor

from fluoroscope.errors import UnknownDataError
from fluoroscope.studio.frames import difference, floats, frame

if TYPE_CHECKING:
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

MARKS = 0.1, 0.5, 0.9
"""Probabilities of the target at which a step is a way station."""
ALL_TOLD = 300
"""Steps of which every one is told; of those behind them as many as an eye can follow."""
BETWEEN = 0.02
"""Seconds between two of these."""
MOST_TOLD = 3000
"""Steps that are told; behind them a change of winner is no longer told in any case."""
PATIENCE = 20.0
"""Seconds that a step which is not kept may take to be found again."""
S = TypeVar("S")
_MOST_TEXT = 24 * 2**20
"""Bytes of all probabilities that are told."""


class Trajectory:
    """Tells of the steps of one search, and keeps their pictures while there is room."""

    def __init__(
        self,
        studio: "Studio",
        job: "Job",
        original: Tensor,
        target: int | None,
        *,
        every: bool = True,
    ) -> None:
        """
        Args:
            studio: where pictures are kept.
            job: what tells.
            original: ``(C, H, W)``, what distances and differences are from.
            target: the class whose probability has way stations.
            every: tell every step, however many.
        """
        self._studio, self._job, self._original = studio, job, original
        self._target, self._every = target, every
        self._winner: int | None = None
        self._open: dict[float, bool] | None = None
        self._told, self._at, self._most = 0, 0.0, MOST_TOLD
        self.unseen = 0
        """Changes of winner that were not told."""

    def due(self, winner: int) -> bool:
        """Whether a step with this winner is told; of a change that is not, it is kept count."""
        if self._shown:
            return True
        if winner == self._winner:
            return False
        if self._told < self._most:
            return True
        self.unseen += 1
        self._winner = winner
        return False

    @property
    def _shown(self) -> bool:
        """Whether there was time to look at the last step."""
        late = time.monotonic() - self._at >= BETWEEN
        return self._every or self._told < ALL_TOLD or late

    def tell(
        self,
        number: int,
        image: Tensor,
        probabilities: Tensor,
        objective: float | None,
        distances: tuple[int, float, float],
        **more: Any,
    ) -> None:
        """Tell of a step, ``image`` ``(C, H, W)`` and ``probabilities`` ``(classes,)``."""
        winner = int(probabilities.argmax())
        changed, self._winner = winner != self._winner, winner
        stations = self._stations(number, probabilities, changed)
        self._studio.steps.put((self._job.id, number), image, image.nbytes)
        matters = bool(stations) or bool(more.get("result"))
        frames = None
        if self._shown or more.get("result"):
            self._at = time.monotonic()
            now, apart = frame(image), difference(image, self._original)
            frames = {"now": now, "difference": apart}
        l0, l2, linf = distances
        self._job.tell(
            "winner" if changed else "step",
            {
                "step": number,
                "winner": winner,
                "probabilities": floats(probabilities),
                "objective": objective,
                "l0": l0,
                "l2": l2,
                "linf": linf,
                "stations": stations,
                **more,
            },
            frames=frames,
            matters=changed or matters,
        )
        if not self._told:
            self._most = min(MOST_TOLD, _MOST_TEXT // (6 * len(probabilities) + 500))
        self._told += 1

    def _stations(self, number: int, probabilities: Tensor, changed: bool) -> list[dict[str, Any]]:
        """Why the step is a way station: a change of winner, and the first crossings of marks."""
        found: list[dict[str, Any]] = [{"why": "winner"}] if changed and number else []
        if self._target is None:
            return found
        share = float(probabilities[self._target])
        if self._open is None:
            self._open = {mark: share < mark for mark in MARKS}
            return found
        for mark, below in [*self._open.items()]:
            if (share < mark) != below:
                del self._open[mark]
                found.append({"why": "reaches" if below else "falls below", "share": mark})
        return found


class Again:
    """A search made once more for the picture of one of its steps, while somebody would wait."""

    def __init__(self, number: int, last: int) -> None:
        """``number`` is the step, of those up to ``last``.

        Raises:
            UnknownDataError: there is none of that number.
        """
        if number > last:
            raise UnknownDataError(
                f"the search has no step {number}; expected one that it told of, from 0 to {last}"
            )
        self._number, self._end = number, time.monotonic() + PATIENCE

    @property
    def late(self) -> bool:
        """Whether it has taken too long."""
        return time.monotonic() >= self._end

    def until(self, steps: Iterable[S]) -> Iterator[S]:
        """The steps, as long as it does not take too long."""
        return takewhile(lambda _: not self.late, steps)

    def found(self, image: Tensor | None) -> Tensor:
        """The picture, if it was come to.

        Raises:
            UnknownDataError: it was not.
        """
        if image is not None:
            return image
        why = "is not kept any more, and takes too long to be found again" if self.late else (
            "was none that the search told of"
        )  # fmt: skip
        raise UnknownDataError(
            f"step {self._number} {why}; expected a step that was told: choose another, or start "
            "the search again"
        )


def told_steps(job: "Job") -> Iterator[dict[str, Any]]:
    """What was told of each step, its probabilities as numbers."""
    number = 0
    while True:
        events, last = job.log.after(number)
        for event in events:
            if event.name in ("step", "winner"):
                told = json.loads(event.text)
                told["probabilities"] = np.frombuffer(b64decode(told["probabilities"]), "<f4")
                yield told
        number += len(events)
        if last or not events:
            return


def curve_csv(job: "Job", labels: Sequence[str]) -> bytes:
    """Every step that was told as a row: numbers, and the probability of each class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = ("objective", "l0", "l2", "linf")
    table.writerow(["step", "winner", *columns, *(f"p({_plain(label)})" for label in labels)])
    for told in told_steps(job):
        winner = _plain(labels[told["winner"]])
        shares = (f"{value:.9g}" for value in told["probabilities"].tolist())
        table.writerow([told["step"], winner, *(told[name] for name in columns), *shares])
    return text.getvalue().encode()


def _plain(label: str) -> str:
    """A label that no table takes for a formula."""
    return f"'{label}" if label[:1] in ("=", "+", "-", "@", "\t", "\r") else label
