"""What the page begins with is what suits the network."""

from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from fluoroscope import load_model
from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.engine.threats import as_text, usual_threat
from fluoroscope.studio.kinds.morph import offer
from fluoroscope.studio.kinds.usual_data import picture_of
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """Pictures of classes that no digit is."""
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.new("L", (9, 9), 40 * number).save(tmp_path / label / f"{number}.png")
    return tmp_path


def test_the_data_of_its_own_classes_and_the_bound_of_the_field(strangers: Path) -> None:
    names = {"strangers": str(strangers), "digits": "digits"}
    opened = {name: partial(_opened, source) for name, source in names.items()}
    model = load_model("digits-cnn")
    both = Studio(Networks({}), Pictures(opened))
    usual = offer(both, model)["usual"]
    assert picture_of(both, model) == "digits:7"
    assert f"linf:{usual['eps']['linf']}" == as_text(usual_threat(model))
    alone = Studio(Networks({}), Pictures({"strangers": opened["strangers"]}))
    assert picture_of(alone, model) == "strangers:3"


def _opened(source: str, channels: int) -> ImageSet:
    return load_images(source, channels=channels)
