"""Data that do not fit a network are not what a job looks at where nobody names some."""

from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch import nn

from fluoroscope.data.imageset import load_images
from fluoroscope.errors import FluoroscopeError, UnknownDataError
from fluoroscope.models.classifier import Classifier
from fluoroscope.studio.app import create_app
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.kinds.usual_data import data_of, fitting
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio
from tests.studio.odd_networks import run


def _six() -> Classifier:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(6, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    return Classifier(layers, name="six", channels=6, input_size=(12, 20), labels=("neg", "pos"))


def _studio(**data: str) -> Studio:
    opened = {
        name: lambda channels, source=source: load_images(source, channels=channels)
        for name, source in data.items()
    }
    return Studio(Networks({"six": _six}), Pictures(opened))


@pytest.fixture
def sixes(tmp_path: Path) -> str:
    """Pictures of six channels, of which the first is damaged."""
    numbers = np.random.default_rng(0)
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        for number in range(3):
            np.save(
                tmp_path / label / f"{number}.npy", numbers.random((6, 12, 20), dtype=np.float32)
            )
    (tmp_path / "neg" / "0.npy").write_bytes(b"no array")
    return str(tmp_path)


def test_the_first_data_with_its_channels_are_taken(sixes: str) -> None:
    place = _studio(digits="digits", sixes=sixes)
    model = place.networks.get("six")
    assert data_of(place, model, None)[0] == "sixes"
    assert fitting(place, model) == ["sixes"]
    refused = {}
    for kind in KINDS:
        try:
            kind.offer(place, model)
        except FluoroscopeError as problem:
            refused[kind.name] = str(problem)
    assert set(refused) <= {"samples", "latent"}, refused
    told = run(place, kind="units", network="six", picture="sixes:1")
    assert any(one["event"] == "units" and one["complete"] for one in told)


def test_where_none_fit_that_is_said() -> None:
    place = _studio(digits="digits")
    model = place.networks.get("six")
    with pytest.raises(UnknownDataError, match=r"\(digits\) can be read with the 6 channels"):
        data_of(place, model, None)
    told = TestClient(create_app(place)).get("/api/network", params={"name": "six"}).json()
    assert told["picture"] is None
    assert {one["why_not"].split(";")[0] for one in told["offers"].values()} == {
        "no data on offer (digits) can be read with the 6 channels that six takes"
    }
