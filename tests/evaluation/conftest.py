"""A network and pictures that take no time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from short_plans import plan

import fluoroscope as fs

Run = Callable[..., fs.Verdict]


@pytest.fixture(scope="session")
def small() -> fs.Classifier:
    """The linear network on digits."""
    return fs.load_model("digits-linear")


@pytest.fixture(scope="session")
def few() -> fs.ImageSet:
    """Sixty digits."""
    return fs.load_images("digits", channels=1).take(60)


@pytest.fixture
def run(small: fs.Classifier, few: fs.ImageSet, tmp_path: Path) -> Run:
    """Evaluate into a directory of this name, with what is not as usual."""

    def call(name: str = "run", **changed: object) -> fs.Verdict:
        options = {
            "threat": "linf:0.02", "plan": plan(), "part": 25, "out": tmp_path / name, **changed,
        }  # fmt: skip
        model, images = options.pop("model", small), options.pop("images", few)
        with torch.random.fork_rng():
            return fs.evaluate(model, images, **options)  # type: ignore[arg-type]

    return call
