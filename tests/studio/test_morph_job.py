"""A morph in the studio tells what the library's own morph says."""

import base64
import csv
import io
import shlex
import time

import numpy as np
import pytest
import torch

from fluoroscope import load_model, morph, morph_stream
from tests.studio.conftest import Served

ASKED = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7", "to": "2",
         "eps": "0.3", "steps": 12}  # fmt: skip


def test_every_step_is_that_of_the_library(served: Served) -> None:
    told = served.job(**ASKED)
    steps = [event for event in told if event["event"] in ("step", "winner")]
    model, size = load_model("digits-cnn"), "0.3/12"
    own = list(morph_stream(model, "digits:7", to="2", eps="0.3", steps=12, step_size=size))
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


@pytest.mark.parametrize(
    ("bound", "size"),
    [
        ({"eps": "8/255"}, "8/3060"),
        ({"eps": "8/255", "step_size": "1/255"}, "1/255"),
        ({"eps": "2", "norm": "l2"}, "2/12"),
        ({"eps": "2", "norm": "l2", "direction": "sign"}, repr(2 / 12 / 28)),
        ({"eps": "0.3", "direction": "normalized"}, repr(0.3 / 12 * 28)),
        ({"eps": "0.3", "direction": "raw"}, None),
        ({"eps": None}, None),
    ],
)
def test_a_step_is_a_part_of_the_bound_and_the_command_says_it(
    served: Served, bound: dict[str, str], size: str | None
) -> None:
    told = served.job(**{**ASKED, **bound})
    words = shlex.split(told[0]["command"])
    assert ("--step-size" in words) is (size is not None)
    if size is not None:
        assert words[words.index("--step-size") + 1] == size
    steps = [one for one in told if one["event"] in ("step", "winner")]
    asked = {"step_size": size, **bound}
    own = list(morph_stream(load_model("digits-cnn"), "digits:7", to="2", steps=12, **asked))
    assert [one["linf"] for one in steps] == [step.linf for step in own]


def test_a_reader_comes_back_to_where_it_was(served: Served) -> None:
    job = served.client.post("/api/jobs", json=ASKED).json()["id"]
    whole = list(served.events(job))
    assert list(served.events(job, after=5)) == whole[5:]


def test_way_stations_are_changes_of_the_winner_and_marks_of_the_target(served: Served) -> None:
    asked = {**ASKED, "steps": 40, "step_size": "0.005"}
    told = served.job(**asked)
    own = morph(load_model("digits-cnn"), "digits:7", to="2", eps="0.3", steps=40, step_size=0.005)
    steps = [event for event in told if event["event"] in ("step", "winner")]
    changes = [event["step"] for event in steps if {"why": "winner"} in event["stations"]]
    assert [0, *changes] == [step for step, _ in own.way_stations]
    shares = own.target_probability
    for mark in (0.1, 0.5, 0.9):
        first = next(step for step, share in enumerate(shares) if share >= mark)
        [found] = [
            event["step"]
            for event in steps
            if {"why": "reaches", "share": mark} in event["stations"]
        ]
        assert found == first
    leaving = served.job(**{**ASKED, "to": None, "less": "7"})
    steps = [event for event in leaving if event["event"] in ("step", "winner")]
    falls = [station for event in steps for station in event["stations"] if "share" in station]
    assert sorted(station["share"] for station in falls) == [0.1, 0.5, 0.9]
    assert {station["why"] for station in falls} == {"falls below"}


def test_the_curve_has_every_step_and_class(served: Served) -> None:
    job = served.client.post("/api/jobs", json=ASKED).json()["id"]
    steps = [event for event in served.events(job) if event["event"] in ("step", "winner")]
    text = served.client.get(f"/api/jobs/{job}/files/curve.csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(steps) == 13
    for row, event in zip(rows, steps, strict=True):
        sent = np.frombuffer(base64.b64decode(event["probabilities"]), dtype="<f4")
        assert [np.float32(row[f"p({label})"]) for label in range(10)] == sent.tolist()
        assert float(row["l2"]) == event["l2"]
        assert row["winner"] == str(event["winner"])


def test_files_are_made_anew_where_the_result_is_gone(served: Served) -> None:
    job = served.client.post("/api/jobs", json=ASKED).json()["id"]
    list(served.events(job))
    kept = served.studio.results.get(job)
    assert kept is not None
    served.studio.results.put(job, kept, 10**12)  # too large: it is gone
    assert served.studio.results.get(job) is None
    left = served.client.get(f"/api/jobs/{job}/files/morph.json").json()
    own = kept.describe()
    assert left["steps"] == own["steps"]
    assert left["summary"] == own["summary"]


def test_of_a_forgotten_job_neither_steps_nor_results_stay(served: Served) -> None:
    """One job after another takes no more memory than the last few."""
    asked = {"kind": "morph", "network": "digits-cnn", "picture": "digits:3", "to": "5", "steps": 2}
    most = served.studio.jobs.bounds.of_a_kind
    for _ in range(most):
        served.job(**asked)
    steps, results = served.studio.steps.bytes, served.studio.results.bytes
    for _ in range(most + 1):
        served.job(**asked)
    until = time.monotonic() + 20
    while served.studio.steps.bytes > steps or served.studio.results.bytes > results:
        assert time.monotonic() < until
        time.sleep(0.01)
