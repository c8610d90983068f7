"""Morphs and attacks in the studio on networks of other shapes, types and sizes."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fluoroscope import Classifier, load_images, morph_stream
from fluoroscope.errors import NoGradientError, UnknownLabelError
from fluoroscope.notices import collected
from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.kinds.attack import ATTACK
from fluoroscope.studio.kinds.morph import MORPH
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.sample_pages import examples, wrong_one
from fluoroscope.studio.studio import Studio


class _Frozen(nn.Module):
    """Looks at brightness alone, and hands no gradient on."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.detach().flatten(1).mean(1)
        return torch.stack([bright, 1 - bright, bright * 0 + 0.4], 1)


def _network(
    channels: int, size: tuple[int, int] | None, classes: int = 4, dtype: Any = torch.float32
) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16, classes),
        )  # fmt: skip
    return Classifier(module.to(dtype), channels=channels, input_size=size)


ODD = {
    "four channels": _network(4, (8, 12)),
    "two channels": _network(2, (8, 8)),
    "any size": _network(3, None),
    "wide": _network(3, (6, 300)),
    "double": _network(1, (9, 9), dtype=torch.float64),
    "thousand": _network(3, (16, 16), classes=1000),
    "no gradient": Classifier(_Frozen(), channels=1, input_size=(8, 8)),
}


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    made = Studio(
        Networks({name: (lambda model=model: model) for name, model in ODD.items()}),
        Pictures({"digits": lambda channels: load_images("digits", channels=channels)}),
    )
    yield made
    made.close()


def _told(studio: Studio, kind: Any, **asked: Any) -> tuple[Job, list[Any]]:
    job = Job(kind.name, "test", None)
    with collected() as notes:
        kind.work(studio, job, kind.request(kind=kind.name, **asked))
    job.conclude(notes=notes)
    events, last = job.log.after(0)
    found = list(events)
    while not last and events:
        events, last = job.log.after(len(found))
        found += events
    return job, found


def _picture(studio: Studio, name: str) -> str:
    model = ODD[name]
    size = model.input_size or (11, 17)
    generator = torch.Generator().manual_seed(1)
    return studio.pictures.keep(torch.rand(model.channels, *size, generator=generator))


@pytest.mark.parametrize("name", [name for name in ODD if name != "no gradient"])
def test_odd_networks_are_moved_as_by_the_library(studio: Studio, name: str) -> None:
    model, picture = ODD[name], _picture(studio, name)
    job, told = _told(studio, MORPH, network=name, picture=picture, to="3", eps="0.2", steps=4)
    with collected():
        start = studio.picture(picture, model)
        own = list(morph_stream(model, start, to="3", eps="0.2", steps=4, step_size="0.05"))
    steps = [event for event in told if event.name in ("step", "winner")]
    assert len(steps) == len(own)
    for number, (event, step) in enumerate(zip(steps, own, strict=True)):
        sent = json.loads(event.data)
        probabilities = np.frombuffer(base64.b64decode(sent["probabilities"]), "<f4")
        assert np.array_equal(probabilities, step.probabilities.float().numpy())
        frame = sent["frames"]["now"]
        assert frame["channels"] in (1, 3)
        assert max(frame["width"], frame["height"]) <= 224
        assert job.picture_at is not None
        assert torch.equal(job.picture_at(number), step.image)
    for file in ("morph.png", "morph.gif", "morph.json", "curve.csv"):
        assert len(job.files[file].content()) > 100
    for asked in ({"attack": "pgd", "eps": "0.3", "steps": 4}, {"attack": "square", "eps": "0.3",
                  "params": {"queries": 12}}):  # fmt: skip
        job, told = _told(studio, ATTACK, network=name, picture=picture, **asked)
        assert job.conclusion["summary"]
        assert set(job.files) >= {"attack.json", "curve.csv"}


def test_what_cannot_be_done_on_a_network_is_said(studio: Studio) -> None:
    model = ODD["no gradient"]
    with pytest.raises(NoGradientError, match="do not depend differentiably"):
        MORPH.offer(studio, model)
    offered = {one["name"]: one for one in ATTACK.offer(studio, model)["attacks"]}
    assert offered["pgd"]["why_not"]
    assert offered["latent"]["why_not"]
    assert offered["square"]["why_not"] is None
    assert offered["boundary"]["why_not"] is None
    fine = {one["name"]: one for one in ATTACK.offer(studio, ODD["wide"])["attacks"]}
    assert [name for name, one in fine.items() if one["why_not"]] == ["latent"]


def test_what_a_first_look_finds_is_noted(studio: Studio) -> None:
    for kind, asked in ((MORPH, {"to": "3"}), (ATTACK, {"attack": "fgsm", "eps": "0.1"})):
        for _ in range(2):
            job, _ = _told(studio, kind, network="thousand", picture="digits:7", **asked)
            assert any("nothing was learnt" in note for note in job.conclusion["notes"])


def test_labels_that_are_no_classes_are_not_spoken_of(studio: Studio) -> None:
    model, images = ODD["thousand"], studio.pictures.images("digits", 3)
    job, told = _told(
        studio, ATTACK, network="thousand", picture="digits:7", attack="fgsm", eps="1"
    )
    assert any("no classes of" in note for note in job.conclusion["notes"])
    assert job.conclusion["at_start"] is False
    assert "--image PICTURE." in json.loads(told[0].text)["command"]
    [one] = examples(model, "digits", images, 7, 1)
    assert one.label == "7"
    with pytest.raises(UnknownLabelError, match="nobody can say"):
        wrong_one(model, "digits", images, 0)
