"""Opening networks and data sets, one at a time.

Both import libraries when they are first used, and some of those look at one another: of one that
another thread has imported by half they find a part missing. What is open is not waited for.
"""

from threading import RLock

OPENING = RLock()
"""Held by whoever opens one."""
