"""Every door that a stranger's file may come through: a result, or one of our errors.

In the suite so many inputs of a fixed seed. ``make fuzz MINUTES=30`` gives each door its share of
half an hour, with inputs of another seed each time.
"""

import os

import pytest

from tests.fuzz.room import faults
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0) or None
SEED = int(os.environ.get("FUZZ_SEED") or 0)


@pytest.mark.parametrize("target", TARGETS)
def test_only_results_and_errors_of_ours(target: str) -> None:
    found = faults(target, SEED, None if SECONDS else TARGETS[target].inputs, SECONDS)
    assert not found, "\n\n".join(found)
