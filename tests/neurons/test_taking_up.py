"""A directory of other work is refused, and the cause is told before what follows from it."""

from pathlib import Path

import pytest

from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.taking_up import check_same


def test_the_cause_is_told_before_its_consequences(tmp_path: Path) -> None:
    there = {"batch_size": 2, "part": 1000, "columns": "a", "model": "one", "model_sha256": "f"}
    here = {"batch_size": 64, "part": 960, "columns": "b", "model": "two", "model_sha256": "e"}
    with pytest.raises(InvalidParameterError) as told:
        check_same(tmp_path, "reading", there, here, {"model": "network"})
    said = str(told.value)
    assert "holds another reading: network is one, and here two; batch_size is 2" in said
    assert "; and 2 more; give another directory, or delete it" in said
    check_same(tmp_path, "reading", here, here, {})
    check_same(tmp_path, "reading", None, here, {})
