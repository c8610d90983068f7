"""Data sets made on the spot, and a cache of their own for the library that reads them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where ``datasets`` keeps its working copies during these tests."""
    import datasets

    cache = tmp_path_factory.mktemp("datasets-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        yield cache


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Write a picture of one colour to a path, with its folders."""

    def write(path: Path, red: int, size: tuple[int, int] = (4, 6)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), (red, 0, 0), np.uint8)).save(path)
        return path

    return write
