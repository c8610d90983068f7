"""Jobs beside each other on one network: each has modules of its own, so none sees another's."""

import threading
from typing import Any

import torch

from fluoroscope import load_model
from fluoroscope.studio.own import origin, own
from tests.studio.conftest import Served

METHODS = ["gradient", "grad-cam", "layer-cam", "lrp", "deeplift", "occlusion"]


def beside(served: Served, stop: threading.Event, ends: list[Any], **asked: Any) -> None:
    while not stop.is_set():
        ends.append(served.job(network="digits-cnn", picture="digits:7", **asked)[-1])


def test_an_audit_beside_other_jobs_says_what_it_says_alone(served: Served) -> None:
    stop, ends = threading.Event(), list[Any]()
    others: list[dict[str, Any]] = [
        {"kind": "units"}, {"kind": "attribution", "methods": ["grad-cam"], "random": True}
    ]  # fmt: skip
    threads = [
        threading.Thread(target=beside, args=(served, stop, ends), kwargs=other) for other in others
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            told = served.job(kind="audit", network="digits-cnn", quick=True, methods=METHODS)
            words = {one["method"]: one["word"] for one in told if one["event"] == "verdict"}
            assert words == dict.fromkeys(METHODS, "valid"), told
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert ends
    assert {one["state"] for one in ends} == {"done"}, ends


def test_a_network_of_ones_own_is_the_same_network_without_its_hooks() -> None:
    model = load_model("digits-cnn")
    one, whole = own(model), own(model, weights=True)
    calls: list[None] = []
    layer = dict(model.module.named_modules())["0"]
    layer.register_forward_hook(lambda *_: calls.append(None))
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(one(images), whole(images))
        assert not calls
        assert torch.equal(model(images), one(images))
    assert origin(own(one)) is origin(one) is origin(whole) is model
    there = {each.data_ptr() for each in model.module.parameters()}
    assert there == {each.data_ptr() for each in one.module.parameters()}
    assert not there & {each.data_ptr() for each in whole.module.parameters()}
    assert one.fingerprint() == whole.fingerprint() == model.fingerprint()
