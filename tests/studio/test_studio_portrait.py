"""Portraits and samples in the studio are the library's, with what is not to be concluded."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fluoroscope as fs
from fluoroscope import load_model
from fluoroscope.engine.predict import predict
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.portrait import portrait
from fluoroscope.inversion.usual_judge import usual_judge
from tests.studio.conftest import Served
from tests.studio.odd_networks import run, studio
from tests.studio.test_studio_why import pixels


def test_portraits_form_live_and_end_as_the_library_s(served: Served) -> None:
    told = served.job(kind="portrait", network="digits-cnn", classes=["7", "2"], steps=24)
    pictures = [event for event in told if event["event"] == "picture"]
    live = [one for one in pictures if not one["final"]]
    assert len(live) > 6
    assert [one["step"] for one in live if one["class"] == 7] == sorted(
        one["step"] for one in live if one["class"] == 7
    )
    model = load_model("digits-cnn")
    judge = usual_judge(model)
    assert judge is not None
    own = portrait(model, [7, 2], steps=24, numbers=torch.zeros(2, dtype=torch.long))
    own = own.judged_by(judge)
    final = [one for one in pictures if one["final"]]
    assert [one["class"] for one in final] == [7, 2]
    for row, one in enumerate(final):
        shown = (own.images[row] * 255).round().to(torch.uint8).permute(1, 2, 0)
        assert torch.equal(pixels(one["frames"]["now"]), shown)
        said = [line.replace("second: ", "a second network says ") for line in own.said(row)]
        assert one["words"] == said
        assert np.isclose(one["probability"], float(own.probabilities[row]))
    assert any("random weights" in words for words in final[0]["not_measured"])
    names = {measure["name"]: measure for measure in final[0]["measures"]}
    right = sum(winner == target for winner, target in zip(own.winners, [7, 2], strict=True))
    assert names["own accuracy"]["words"].startswith(f"{100 * right / 2:.1f}")
    (said,) = (event for event in told if event["event"] == "told")
    assert own.caution in said["notes"]


def test_presets_that_are_not_sound_say_why(served: Served) -> None:
    offer = served.client.get("/api/network?name=digits-cnn").json()["offers"]["portrait"]
    why = {one["name"]: one["why_not"] for one in offer["presets"]}
    assert "no batch norm" in why["deepinversion"]
    assert why["fourier"] is None
    assert why["vital"] is None  # digits are on offer, with their labels


def test_samples_of_a_generator_that_was_given(tmp_path: Path) -> None:
    model = load_model("digits-cnn")
    fs.invert(model, features=4, batch_size=20, noise=8, steps=2, conditioning="vector").save(
        tmp_path
    )
    place = studio(generator=tmp_path)
    told = run(place, kind="samples", network="digits-cnn", classes=["3", "8"], number=2, seed=4)
    samples = [one for one in told if one["event"] == "sample"]
    own = fs.Inversion.load(tmp_path, model).sample(["3", "8"], 2, 4)
    said = predict(model, own.images)
    assert [one["class"] for one in samples] == [3, 8]
    assert [winner for one in samples for winner in one["winners"]] == said.winners.tolist()
    shown = [pixels(each) for one in samples for each in one["frames"]["now"]]
    levels = (own.images * 255).round().to(torch.uint8)
    assert torch.equal(torch.stack(shown), levels.permute(0, 2, 3, 1))
    assert f"invert sample {tmp_path}" in told[0]["command"]
    with pytest.raises(InvalidParameterError, match="holds a generator for another network"):
        run(place, kind="samples", network="functions")
    place.close()
