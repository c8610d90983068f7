"""How long a command still takes, as its bar says it."""

import math
import time

# Seconds until an estimate is worth a word.
_SETTLED = 2.0


class TimeLeft:
    """How long something still takes, from the share that lies behind, without jumping.

    What is smoothed is when it will end: so what is shown runs down with the clock, and a new
    estimate moves it by little at a time, the less the longer it has been going on.
    """

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._first: float | None = None
        self._end: float | None = None

    def at(self, now: float, share: float, left: float | None = None) -> str:
        """What to show at this time."""
        if self._first is None:
            # What was there before takes no time.
            self._first, self._began, self._last = share, now, now
        elapsed, made = now - self._began, share - self._first
        if left is None and made > 0:
            left = elapsed * (1 - share) / made
        if left is None or elapsed < _SETTLED:
            return ""
        # A tenth of the time so far, but at least some seconds, is what it takes to be convinced.
        slow = max(_SETTLED, elapsed / 10)
        trust = 1 - math.exp(-(now - self._last) / slow)
        self._last = now
        end = now + left
        self._end = end if self._end is None else self._end + trust * (end - self._end)
        return f"{_clock(max(0.0, self._end - now))} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
