"""What several tests of attacks share."""

import pytest
from torch import Tensor

import fluoroscope as fs
from fluoroscope.data.digits import digits


@pytest.fixture(scope="session")
def reader() -> tuple[fs.Classifier, Tensor, Tensor]:
    """The built-in network and digits that it classifies correctly."""
    model = fs.load_model("digits-cnn")
    images, classes = (part[:30] for part in digits())
    right = model(images).argmax(1) == classes
    return model, images[right], classes[right]
