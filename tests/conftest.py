"""What several test files share."""

import os
import random
import tempfile
from pathlib import Path

# Before anything imports the library that reads it: no test may write into the user's own cache.
_CACHE = tempfile.TemporaryDirectory(prefix="fluoroscope-datasets-")
os.environ["HF_DATASETS_CACHE"] = _CACHE.name

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared"

# A busy machine is no failure, and in CI a failure must come back when it is looked into.
settings.register_profile("fluoroscope", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fluoroscope")


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    """Whatever ran before in this process, a test draws the same numbers."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real networks and data sets beside the checkout; a user's clone has none."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: real networks and data sets are needed")
    return SHARED
