"""Pictures in the studio: named, brought, drawn, kept, and what a network says of them."""

import base64
import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fluoroscope import load_images, load_model, predict
from fluoroscope.errors import UnknownDataError
from fluoroscope.studio.bounded import Bounded
from fluoroscope.studio.pictures import with_channels
from tests.studio.conftest import Served

DIGITS = load_images("digits", channels=1)
MODEL = load_model("digits-cnn")


def _pixels(frame: dict[str, Any]) -> torch.Tensor:
    values = np.frombuffer(base64.b64decode(frame["pixels"]), dtype=np.uint8)
    shape = frame["height"], frame["width"], frame["channels"]
    return torch.from_numpy(values.copy().reshape(shape)).permute(2, 0, 1)


def _floats(text: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").copy())


def _drawing(levels: torch.Tensor) -> dict[str, Any]:
    channels, height, width = levels.shape
    pixels = base64.b64encode(levels.permute(1, 2, 0).contiguous().numpy().tobytes()).decode()
    return {"width": width, "height": height, "channels": channels, "pixels": pixels}


def test_a_drawing_arrives_as_it_was_drawn(served: Served) -> None:
    drawn = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8)
    body = {"network": "digits-cnn", "pixels": _drawing(drawn)}
    answer = served.client.post("/api/predictions", json=body).json()
    assert torch.equal(_pixels(answer["frame"]), drawn)
    own = predict(MODEL, drawn[None] / 255)
    assert torch.equal(_floats(answer["probabilities"]), own.probabilities[0])
    assert answer["winner"] == int(own.winners)
    kept = served.client.post("/api/pictures/kept", json=body).json()["name"]
    assert torch.equal(served.studio.picture(kept, MODEL)[0], drawn / 255)


def test_a_drawing_of_another_size_is_resized_as_the_network_says(served: Served) -> None:
    drawn = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    body = {"network": "digits-cnn", "pixels": _drawing(drawn)}
    answer = served.client.post("/api/predictions", json=body).json()
    grey = with_channels(drawn / 255, 1)
    assert torch.equal(_pixels(answer["frame"]), (MODEL.fit(grey) * 255).round().byte())


def test_colour_becomes_grey_as_in_a_file() -> None:
    levels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    own = np.asarray(Image.fromarray(levels.permute(1, 2, 0).numpy()).convert("L"))
    grey = with_channels(levels / 255, 1)
    assert torch.equal(grey, torch.from_numpy(own.copy())[None] / 255)


def test_a_step_is_the_exact_picture_and_can_be_kept(served: Served) -> None:
    asked = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2", "steps": 5}
    job = served.client.post("/api/jobs", json=asked).json()["id"]
    list(served.events(job))
    from fluoroscope import morph_stream

    third = [step.image for step in morph_stream(MODEL, "digits:7", to="2", steps=5)][3]
    name = f"step:{job}:3"
    assert torch.equal(served.studio.picture(name, MODEL)[0], third)
    served.studio.steps.put((job, 3), third, 10**12)  # too large: it is gone
    assert served.studio.steps.get((job, 3)) is None
    assert torch.equal(served.studio.picture(name, MODEL)[0], third)
    body = {"network": "digits-cnn", "picture": name}
    kept = served.client.post("/api/pictures/kept", json=body).json()["name"]
    assert torch.equal(served.studio.picture(kept, MODEL)[0], third)
    query = {"name": kept, "network": "digits-cnn"}
    exact = served.client.get("/api/pictures/npy", params=query).content
    assert np.array_equal(np.load(io.BytesIO(exact)), third.numpy())
    png = Image.open(io.BytesIO(served.client.get("/api/pictures/png", params=query).content))
    assert np.array_equal(np.asarray(png), (third[0] * 255).round().byte().numpy())
    for wrong in (f"step:{job}:6", f"step:{job}:x", "step:gone:3", "kept:gone"):
        answer = served.client.post("/api/predictions", json=body | {"picture": wrong})
        assert answer.status_code == 404
        assert "expected" in answer.json()["detail"]


def test_a_file_is_brought(served: Served) -> None:
    levels = torch.randint(0, 256, (28, 28), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(levels.numpy()).save(file, format="PNG")
    brought = served.client.post("/api/pictures", content=file.getvalue())
    assert brought.status_code == 201
    assert torch.equal(served.studio.picture(brought.json()["name"], MODEL)[0, 0], levels / 255)
    for body in (b"", b"no picture", file.getvalue()[:60]):
        answer = served.client.post("/api/pictures", content=body)
        assert answer.status_code == 422
        assert "expected" in answer.json()["detail"]


def test_samples_are_pages_of_the_data(served: Served) -> None:
    query = {"data": "digits", "network": "digits-cnn", "offset": 5, "count": 4, "predicted": True}
    page = served.client.get("/api/samples", params=query).json()
    assert page["total"] == len(DIGITS)
    assert [one["name"] for one in page["samples"]] == [f"digits:{n}" for n in range(5, 9)]
    for position, one in enumerate(page["samples"], 5):
        sample = DIGITS[position]
        assert one["label"] == str(sample.label)
        assert torch.equal(_pixels(one["frame"]), (sample.image * 255).round().byte())
        assert one["winner"] == int(predict(MODEL, sample.image).winners)
    assert served.client.get("/api/samples", params=query | {"data": "x"}).status_code == 404


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_one_that_it_gets_wrong(served: Served, seed: int) -> None:
    query = {"data": "digits", "network": "digits-cnn", "seed": seed}
    found = served.client.get("/api/samples/wrong", params=query).json()
    order = random.Random(seed).sample(range(len(DIGITS)), 512)
    searched = 0
    for position in order:  # slowly, one after the other
        sample, searched = DIGITS[position], searched + 1
        if int(predict(MODEL, sample.image).winners) != sample.label:
            break
    assert found["sample"]["name"] == f"digits:{position}"
    assert found["searched"] == searched


def test_what_was_used_last_is_kept_longest() -> None:
    kept: Bounded[str] = Bounded(10)
    for key in "abc":
        kept.put(key, key, 4 if key == "c" else 5)
        kept.get("a")
    assert [kept.get(key) for key in "abc"] == ["a", None, "c"]
    assert kept.bytes == 9
    kept.put("a", "A", 11)
    assert kept.get("a") is None
    assert kept.bytes == 4


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=40) | st.from_regex(r"(digits|kept|step|/etc|\.\.)[:/].{0,20}"))
def test_an_unknown_name_is_refused_in_a_sentence(served: Served, name: str) -> None:
    index = name.removeprefix("digits:")
    if name != index and index.isascii() and index.isdecimal() and int(index) < len(DIGITS):
        return
    with pytest.raises(UnknownDataError, match="expected"):
        served.studio.picture(name, MODEL)


def test_one_picture_is_asked_for(served: Served) -> None:
    for door in ("/api/predictions", "/api/pictures/kept"):
        answer = served.client.post(door, json={"network": "digits-cnn"})
        assert answer.status_code == 422
        assert "one picture" in answer.json()["detail"]


@pytest.mark.parametrize("change", [{"pixels": "?"}, {"width": 3}, {"channels": 2}])
def test_a_drawing_of_other_values_is_refused(served: Served, change: dict[str, Any]) -> None:
    drawn = _drawing(torch.zeros(1, 28, 28, dtype=torch.uint8)) | change
    answer = served.client.post("/api/predictions", json={"network": "digits-cnn", "pixels": drawn})
    assert answer.status_code == 422
    assert "expected" in answer.json()["detail"]
