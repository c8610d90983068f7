"""Portraits and samples in the studio are the library's, with what is not to be concluded."""

import numpy as np
import torch

from fluoroscope import load_model
from fluoroscope.inversion.portraits.portrait import portrait
from fluoroscope.inversion.usual_judge import usual_judge
from tests.studio.conftest import Served
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
        assert one["words"] == own.said(row)
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
