"""Maps in the studio are those of the library, and carry its audit's verdicts."""

import base64
from typing import Any

import numpy as np
import torch

from fluoroscope import attribute, load_images, load_model, morph_stream
from fluoroscope.attribution.audit.audit import audit
from fluoroscope.attribution.audit.result import marked
from fluoroscope.attribution.metrics.similarity import similarity
from fluoroscope.gradients.randomised import with_random_weights
from tests.studio.conftest import Served


def maps(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert told[-1]["state"] == "done", told[-1]
    return [event for event in told if event["event"] == "map"]


def pixels(sent: dict[str, Any]) -> torch.Tensor:
    # A job tells bytes; server-sent events have them in base64.
    values = sent["pixels"]
    values = base64.b64decode(values) if isinstance(values, str) else values
    found = np.frombuffer(values, dtype=np.uint8)
    return torch.from_numpy(found.reshape(sent["height"], sent["width"], sent["channels"]).copy())


def picture(index: int) -> torch.Tensor:
    model = load_model("digits-cnn")
    return model.fit(load_images("digits", channels=1)[index].image)[None]


def test_maps_are_those_of_the_library(served: Served) -> None:
    methods = ["gradient", "deeplift", "layer-cam"]
    told = served.job(kind="attribution", network="digits-cnn", picture="digits:7",
                      methods=methods, **{"class": "7", "against": "2"})  # fmt: skip
    found = maps(told)
    assert [one["method"] for one in found] == methods
    for one in found:
        own = attribute(load_model("digits-cnn"), picture(7), [(7, 2)], method=one["method"])
        drawn = (own.colours.rgb(own.maps[0]) * 255).round().to(torch.uint8)
        assert torch.equal(pixels(one["frames"]["map"]), drawn.permute(1, 2, 0))
        assert (one["class"], one["against"]) == (7, 2)
        assert own.unit in one["words"]
        assert one["scale"]["end"] == own.colours.end
        assert one["promise"] == own.kept(0)


def test_verdicts_are_those_of_the_audit(served: Served) -> None:
    told = served.job(kind="audit", network="digits-cnn", quick=True,
                      methods=["gradient", "grad-cam", "hires-cam", "lrp"])  # fmt: skip
    said = {event["method"]: event for event in told if event["event"] == "verdict"}
    images = next(load_images("digits", channels=1).take(4).batches(4)).images
    own = audit(
        load_model("digits-cnn"), images, methods=list(said), randomisation=False,
        faithfulness=False,
    )  # fmt: skip
    assert {name: one["word"] for name, one in said.items()} == {
        row.verdict.method: row.verdict.words for row in own.rows
    }
    shown = maps(served.job(kind="attribution", network="digits-cnn", picture="digits:7",
                            methods=["gradient", "lrp", "rise"]))  # fmt: skip
    assert [one["verdict"] and one["verdict"]["word"] for one in shown] == [
        own.verdict("gradient").words, own.verdict("lrp").words, None,
    ]  # fmt: skip
    assert shown[1]["verdict"]["reasons"] == list(own.verdict("lrp").reasons)


def test_a_step_of_a_morph_is_explained_as_it_is(served: Served) -> None:
    morph = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2",
             "eps": "0.3", "steps": 6}  # fmt: skip
    job = served.client.post("/api/jobs", json=morph).json()["id"]
    assert list(served.events(job))[-1]["state"] == "done"
    (one,) = maps(served.job(kind="attribution", network="digits-cnn", picture=f"step:{job}:5",
                             methods=["gradient"], **{"class": "2"}))  # fmt: skip
    model = load_model("digits-cnn")
    steps = {
        step.number: step.image
        for step in morph_stream(model, "digits:7", to="2", eps="0.3", steps=6, step_size=0.05)
    }
    own = attribute(model, steps[5], "2")
    drawn = (own.colours.rgb(own.maps[0]) * 255).round().to(torch.uint8)
    assert torch.equal(pixels(one["frames"]["map"]), drawn.permute(1, 2, 0))
    assert one["scale"]["end"] == own.colours.end


def test_a_verdict_says_what_was_measured_and_a_later_one_of_less_does_not_replace_it(
    served: Served,
) -> None:
    methods = ["gradient", "deconvolution"]
    asked = {"kind": "audit", "network": "digits-linear", "pictures": 4, "methods": methods}
    quick = served.job(**asked, quick=True)
    said = {one["method"]: one for one in quick if one["event"] == "verdict"}
    assert [(one["compared"], one["scored"]) for one in said.values()] == [(False, False)] * 2
    told = served.job(**asked)
    last = {one["method"]: one for one in told if one["event"] == "verdict"}
    images = next(load_images("digits", channels=1).take(4).batches(4)).images
    own = audit(load_model("digits-linear"), images, methods=methods)
    for row in own.rows:
        one, name = last[row.verdict.method], row.verdict.method
        assert one["compared"]
        assert one["scored"]
        beside = one["no_better_than"]
        assert marked(own, row.verdict) == one["word"] + (
            "" if beside is None else f", no better than {beside}"
        )
        assert one["unlearnt"] == any("drawn anew" in each for each in row.verdict.remarks), name
    again = served.job(**asked, quick=True)
    kept = {one["method"]: one for one in again if one["event"] == "verdict"}
    assert all(one["compared"] for one in kept.values())


def test_a_map_is_held_against_that_of_random_weights(served: Served) -> None:
    told = maps(served.job(kind="attribution", network="digits-cnn", picture="digits:7",
                           methods=["gradient", "layer-cam"], random=True))  # fmt: skip
    model = load_model("digits-cnn")
    seen = next(load_images("digits", channels=1).take(16).batches(16)).images
    random = with_random_weights(model, seen)
    for one in told:
        assert ("likeness" in one) == one["random"]
        if one["random"]:
            first, other = (
                attribute(each, picture(7), one["class"], method=one["method"]).maps
                for each in (model, random)
            )
            assert one["likeness"] == float(similarity(first, other, "spearman-abs")[0])
            assert one["alike"] == (one["likeness"] >= 0.9)
