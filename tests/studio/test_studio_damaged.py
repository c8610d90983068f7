"""One damaged file in a folder is left out of whatever reads the data, and no path is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from fluoroscope import Classifier, load_images
from fluoroscope.errors import PictureError, UnknownDataError, UnknownLabelError
from fluoroscope.notices import collected
from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.kinds.attack import ATTACK
from fluoroscope.studio.kinds.attribution import ATTRIBUTION
from fluoroscope.studio.kinds.audit import AUDIT
from fluoroscope.studio.kinds.kind import Kind
from fluoroscope.studio.kinds.morph import MORPH
from fluoroscope.studio.kinds.portrait import PORTRAIT
from fluoroscope.studio.kinds.readable import readable
from fluoroscope.studio.kinds.report import REPORT
from fluoroscope.studio.kinds.units import UNITS
from fluoroscope.studio.kinds.usual_data import labelled_pictures, picture_of
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio

NOTE = "1 picture cannot be read and is left out"


def _network(classes: int, labels: list[str] | None = None) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16, classes),
        )  # fmt: skip
    return Classifier(module, labels=labels, channels=3, input_size=None, name="small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first picture is damaged, and so is the place that a page begins with."""
    folder = tmp_path_factory.mktemp("pictures") / "pics"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (16, 16), (40 * number, 90, 30)).save(folder / label / f"{number}.png")
    (folder / "cat" / "0.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    data = {str(folder): lambda channels: load_images(folder, channels=channels),
            "digits": lambda channels: load_images("digits", channels=channels)}  # fmt: skip
    models = {"small": _network(2, ["cat", "dog"]), "large": _network(1000)}
    made = Studio(
        Networks({name: (lambda model=model: model) for name, model in models.items()}),
        Pictures(data),
    )
    yield made
    made.close()


def _notes(studio: Studio, kind: Kind, **asked: Any) -> tuple[Job, list[str]]:
    job = Job(kind.name, "test", None)
    with collected() as notes:
        kind.work(studio, job, kind.request(kind=kind.name, network="small", **asked))
    return job, notes


def test_every_kind_goes_on_without_it(studio: Studio, folder: Path) -> None:
    picture = f"{folder}:3"
    asked: list[tuple[Kind, dict[str, Any]]] = [
        (ATTRIBUTION, {"picture": picture, "methods": ["gradient"], "random": True}),
        (AUDIT, {"pictures": 12, "quick": True, "methods": ["gradient"]}),
        (UNITS, {"picture": picture}),
        (REPORT, {"budget": 10, "sections": ["clean"], "at_chance": True}),
        (ATTACK, {"picture": picture, "attack": "boundary", "params": {"queries": 4}, "eps": "0.1",
                  "others": str(folder)}),
    ]  # fmt: skip
    for kind, more in asked:
        job, notes = _notes(studio, kind, **more)
        assert sum(NOTE in str(note) for note in notes) == 1, (kind.name, notes)
        assert job.log.last > 1


def test_what_is_offered_and_begun_with_can_be_read(studio: Studio, folder: Path) -> None:
    model = studio.networks.get("small")
    for kind in (MORPH, UNITS, PORTRAIT, AUDIT):
        kind.offer(studio, model)
    (folder / "dog" / "1.png").rename(folder / "dog" / "1")
    (folder / "dog" / "1.png").write_bytes(b"")
    try:
        images = load_images(folder)
        assert picture_of(studio, model) == f"{folder}:8"
        assert images.indices[8] == 8
    finally:
        (folder / "dog" / "1").rename(folder / "dog" / "1.png")


def test_who_asks_for_it_is_told_its_name_in_the_data_and_no_path(
    studio: Studio, folder: Path
) -> None:
    with pytest.raises(PictureError) as refused:
        studio.picture(f"{folder}:0", studio.networks.get("small"))
    assert str(refused.value).startswith("cat/0.png ")
    assert str(folder.parent) not in str(refused.value)


def test_where_none_can_be_read_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UnknownDataError, match="none of 1 picture of"):
        readable(load_images(tmp_path), 4)


def test_real_pictures_come_without_it(studio: Studio, folder: Path) -> None:
    model = studio.networks.get("small")
    images = load_images(folder)
    with collected() as notes:
        found, labels = labelled_pictures(model, images, 12, lambda: None)
    assert len(found) == len(labels) == 11
    assert labels.tolist() == [0] * 5 + [1] * 6
    assert NOTE in map(str, notes)


@pytest.mark.parametrize("kind", [REPORT, AUDIT, PORTRAIT])
def test_numbers_of_ten_classes_are_none_of_a_thousand(studio: Studio, kind: Kind) -> None:
    more = {"classes": ["1"], "preset": "vital"} if kind is PORTRAIT else {}
    asked = kind.request(kind=kind.name, network="large", data="digits", **more)
    with pytest.raises(UnknownLabelError, match="10 classes, and small has 1000; expected"):
        kind.work(studio, Job(kind.name, "test", None), asked)
