"""A morph in the studio tells what the library's own morph says."""

import base64

import numpy as np
import torch

from fluoroscope import load_model, morph_stream
from tests.studio.conftest import Served

ASKED = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2",
         "eps": "0.3", "steps": 12}  # fmt: skip


def test_every_step_is_that_of_the_library(served: Served) -> None:
    told = served.job(**ASKED)
    steps = [event for event in told if event["event"] in ("step", "winner")]
    own = list(morph_stream(load_model("digits-cnn"), "digits:7", to="2", eps="0.3", steps=12))
    assert [event["step"] for event in steps] == [step.number for step in own]
    for event, step in zip(steps, own, strict=True):
        sent = np.frombuffer(base64.b64decode(event["probabilities"]), dtype="<f4")
        assert torch.equal(torch.from_numpy(sent.copy()), step.probabilities)
        assert event["linf"] == step.linf
        now = np.frombuffer(base64.b64decode(event["frames"]["now"]["pixels"]), dtype=np.uint8)
        assert now.tolist() == (step.image * 255).round().flatten().int().tolist()
    changes = [event["step"] for event in told if event["event"] == "winner"]
    assert changes[0] == 0
    assert len(changes) > 1
    assert told[-1]["event"] == "end"
    assert told[-1]["state"] == "done"
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))


def test_a_reader_comes_back_to_where_it_was(served: Served) -> None:
    job = served.client.post("/api/jobs", json=ASKED).json()["id"]
    whole = list(served.events(job))
    assert list(served.events(job, after=5)) == whole[5:]
