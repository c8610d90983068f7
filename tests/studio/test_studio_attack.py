"""An attack in the studio tells what the library's own attack does."""

import base64
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fluoroscope import attack, load_images, load_model, predict
from fluoroscope.attacks.parts import attack_parts, first_part, fit_to, other_pictures
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.engine.stream import Step
from fluoroscope.errors import UnknownDataError
from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.kinds import trajectory
from fluoroscope.studio.studio import Studio
from tests.studio.conftest import Served

MODEL = load_model("digits-cnn")
ONE = load_images("digits", channels=1).select([7])
SHORT: dict[str, dict[str, Any]] = {
    "apgd-t": {"steps": 4, "targets": 2},
    "cr": {"steps": 22, "targets": 2, "repeats": 1},
    "feature-adversary": {"steps": 4, "layer": "0"},
    "fab-t": {"steps": 4, "targets": 2},
    "cw": {"steps": 8, "searches": 2},
    "cw-linf": {"steps": 2, "largest_c": 1e-4},
    "cw-l0": {"steps": 2, "largest_c": 0.01},
    "ead": {"steps": 8, "searches": 2},
    "l-bfgs": {"steps": 4, "searches": 2},
    "zoo": {"steps": 3, "searches": 1},
    "sparse-rs": {"queries": 30},
    "one-pixel": {"population": 8, "generations": 3},
    "jsma": {"gamma": 0.02},
    "square": {"queries": 40},
    "nes": {"queries": 60, "samples": 10},
    "spsa": {"queries": 60, "samples": 10},
    "simba": {"queries": 40},
    "boundary": {"queries": 60},
    "hopskipjump": {"queries": 150},
    "geoda": {"queries": 100},
    "rotation-translation": {"angles": 3, "moves": 3},
    "stadv": {"steps": 4},
    "universal": {"epochs": 2},
    "patch": {"epochs": 2},
}
BOUNDS = {"linf": "0.2", "l2": "1.5", "l1": "12", "l0": "12", "none": None}


def _asked(name: str) -> dict[str, Any]:
    kind, params = ATTACKS[name], dict(SHORT.get(name, {}))
    if name not in SHORT and "steps" in kind.__dataclass_fields__:
        params["steps"] = 4
    eps = None if kind.minimum_norm else BOUNDS[kind.norms[0]]
    others = "digits" if {"guides", "pool"} & {*other_pictures(name)} else None
    return {"attack": name, "eps": eps, "params": params, "others": others}


def _floats(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").copy())


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "latent"])
def test_every_attack_tells_what_the_library_does(served: Served, name: str) -> None:
    asked = _asked(name)
    told = served.job(kind="attack", network="digits-cnn", picture="digits:7", **asked)
    assert told[-1]["state"] == "done", told[-1]
    pictures: dict[str, Tensor] = {}
    if asked["others"]:
        [held] = other_pictures(name)
        pictures[held] = first_part(MODEL, load_images("digits", channels=1))
    method = attack(name, eps=asked["eps"], **asked["params"], **pictures)
    if isinstance(method, Fitted):
        method, _ = fit_to(MODEL, method, ONE, batch_size=128)
    looks: list[Step] = []
    [own] = attack_parts(MODEL, method, ONE, on_step=looks.append)
    number, expected = 0, {0: (ONE[0].image, own.read_probability[0])}
    for look in looks:
        number += len(look.indices)
        last = look.ends()
        expected[number] = last.images[0], last.answer.logits[0].softmax(0)
    steps = [event for event in told if event["event"] in ("step", "winner")]
    assert [event["step"] for event in steps if not event.get("result")] == sorted(expected)
    for event in steps:
        if event.get("result"):
            image, probabilities = own.images[0], own.logits[0].softmax(0)
        elif event["step"]:
            image, probabilities = expected[event["step"]]
        else:
            continue
        sent = _floats(event["probabilities"])
        assert torch.equal(sent, probabilities)
        now = np.frombuffer(base64.b64decode(event["frames"]["now"]["pixels"]), dtype=np.uint8)
        assert now.tolist() == (image * 255).round().flatten().int().tolist()
        assert event["winner"] == int(probabilities.argmax())
    end = told[-1]
    assert end["success"] == bool(own.success)
    assert end["distance"] == (float(own.distance) if bool(own.success) else None)
    assert end["summary"].startswith(own.in_words(method.threat))
    assert (end["saved"] is not None) == bool(own.success)
    if end["saved"] is not None:
        saved = predict(MODEL, (own.images * 255).round() / 255).winners
        assert end["saved"]["fools"] == bool((saved != own.classes).all())


def _moves(count: int, winners: list[int]) -> list[Tensor]:
    """Probabilities of these winners."""
    return [torch.eye(3)[winners[step % len(winners)]] for step in range(count)]


def _trajectory(studio: Studio, monkeypatch: pytest.MonkeyPatch, told: int) -> tuple[Any, Job]:
    monkeypatch.setattr(trajectory, "BETWEEN", 1e9)
    monkeypatch.setattr(trajectory, "ALL_TOLD", 3)
    monkeypatch.setattr(trajectory, "MOST_TOLD", told)
    job = Job("attack", "test", None)
    return trajectory.Trajectory(studio, job, torch.zeros(1, 4, 4), None, every=False), job


def _go(moving: trajectory.Trajectory, job: Job, winners: list[int], count: int) -> list[int]:
    for number, probabilities in enumerate(_moves(count, winners)):
        if moving.due(int(probabilities.argmax())):
            moving.tell(number, torch.full((1, 4, 4), 0.5), probabilities, None, (1, 1.0, 0.5))
    return [told["step"] for told in trajectory.told_steps(job)]


def test_a_long_search_loses_no_change_of_winner(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving, job = _trajectory(served.studio, monkeypatch, 100)
    assert _go(moving, job, [0] * 10 + [1] * 10, 50) == [0, 1, 2, 10, 20, 30, 40]
    assert moving.unseen == 0
    told, _ = job.log.after(0)
    assert [event.frames is not None for event in told] == [True] * 3 + [False] * 4


def test_a_search_that_changes_its_mind_at_every_step_is_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving, job = _trajectory(served.studio, monkeypatch, 6)
    assert _go(moving, job, [0, 1], 50) == [0, 1, 2, 3, 4, 5]
    assert moving.unseen == 44


def test_a_step_that_is_gone_is_searched_for_anew(served: Served) -> None:
    asked = {"kind": "attack", "network": "digits-cnn", "picture": "digits:7",
             "attack": "hopskipjump", "params": {"queries": 150}}  # fmt: skip
    job = served.client.post("/api/jobs", json=asked).json()["id"]
    steps = [one for one in served.events(job) if one["event"] in ("step", "winner")]
    assert steps[-1].get("result")
    for event in steps:
        kept = served.studio.picture(f"step:{job}:{event['step']}", MODEL)
        served.studio.steps.put((job, event["step"]), kept, 10**12)  # too large: it is gone
        again = served.studio.picture(f"step:{job}:{event['step']}", MODEL)
        assert torch.equal(kept, again)
    answer = served.client.post(
        "/api/predictions", json={"network": "digits-cnn", "picture": f"step:{job}:999"}
    )
    assert answer.status_code == 404
    assert f"from 0 to {steps[-1]['step']}" in answer.json()["detail"]


def test_two_networks_are_asked_about_the_same(served: Served) -> None:
    networks = ("digits-cnn", "digits-robust")
    begun = [
        next(
            event
            for event in served.job(kind="attack", network=network, picture="digits:7",
                                    attack="square", eps="0.1", params={"queries": 20}, seed=4)
            if event.get("step") == 1
        )
        for network in networks
    ]  # fmt: skip
    assert begun[0]["frames"]["now"] == begun[1]["frames"]["now"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"attack": "gone"}, "there is no attack 'gone'"),
        ({"attack": "pgd"}, "needs an eps"),
        ({"attack": "pgd", "eps": "0.1", "norm": "l0"}, "not defined for the norm"),
        ({"attack": "pgd", "eps": "0.1", "params": {"queries": 3}}, "no parameter 'queries'"),
        ({"attack": "square", "eps": "0.1", "params": {"queries": 10**9}}, "expected at most"),
        ({"attack": "nes", "eps": "0.1", "params": {"samples": 10**6}}, "expected at most 1000"),
        ({"attack": "patch", "params": {"patch": 3}}, "holds pictures"),
        ({"attack": "latent"}, "expected an invertible network"),
        ({"attack": "admix", "eps": "0.1"}, "expected at least 3"),
        ({"attack": "sparsefool", "targeted": True, "to": "2"}, "only leads away"),
        ({"attack": "boundary", "targeted": True, "to": "2"}, "begin from"),
        ({"attack": "pgd", "eps": "0.1", "targeted": True}, "expected a class in to"),
        ({"attack": "pgd", "eps": "0.1", "others": "digits"}, "takes no other pictures"),
        ({"attack": "pgd", "eps": "0.1", "to": "cat", "targeted": True}, "'cat'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    served: Served, asked: dict[str, Any], said: str
) -> None:
    wanted = {"kind": "attack", "network": "digits-cnn", "picture": "digits:7", **asked}
    answer = served.client.post("/api/jobs", json=wanted)
    if answer.status_code == 422:  # a name that is none is refused at once
        assert said in answer.json()["detail"]
        return
    end = list(served.events(answer.json()["id"]))[-1]
    assert end["state"] == "failed"
    assert said in end["problem"]


def test_a_step_that_takes_too_long_to_find_again_is_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "PATIENCE", -1.0)
    for asked in ({"kind": "morph", "to": "2"}, {"kind": "attack", "attack": "pgd", "eps": "0.2"}):
        body = {"network": "digits-cnn", "picture": "digits:7", **asked}
        job = served.client.post("/api/jobs", json=body).json()["id"]
        list(served.events(job))
        served.studio.steps.put((job, 2), torch.zeros(1), 10**12)  # too large: it is gone
        with pytest.raises(UnknownDataError, match="too long to be found again"):
            served.studio.picture(f"step:{job}:2", MODEL)


def test_a_stopped_attack_says_what_it_had(served: Served) -> None:
    asked = {"kind": "attack", "network": "digits-cnn", "picture": "digits:7", "attack": "boundary",
             "params": {"queries": 100_000}}  # fmt: skip
    job = served.client.post("/api/jobs", json=asked).json()["id"]
    told = []
    for event in served.events(job):
        told.append(event)
        if event.get("step", 0) > 50:
            served.client.delete(f"/api/jobs/{job}")
    end = told[-1]
    assert end["state"] == "cancelled"
    assert "stopped before its end" in end["summary"]
    assert set(end["files"]) >= {"attack.json", "curve.csv"}


def test_the_last_step_is_told_however_fast_it_came(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "BETWEEN", 1e9)
    monkeypatch.setattr(trajectory, "ALL_TOLD", 3)
    asked = {"picture": "digits:7", "attack": "bim", "eps": "0.01", "steps": 9}
    told = served.job(kind="attack", network="digits-cnn", **asked)
    steps = [event["step"] for event in told if event["event"] in ("step", "winner")]
    assert steps == [0, 1, 2, 10]
    assert told[-1]["step"] == 0  # nothing was found: what is said is of the picture as it was


def test_a_failure_has_no_distance_and_its_numbers_are_of_one_picture(served: Served) -> None:
    told = served.job(kind="attack", network="digits-robust", picture="digits:7", attack="pgd",
                      eps="0.001", params={"steps": 3})  # fmt: skip
    end, steps = told[-1], {one["step"]: one for one in told if "winner" in one}
    assert (end["success"], end["distance"]) == (False, None)
    assert end["step"] is not None
    of = _floats(steps[end["step"]]["probabilities"])
    assert end["probability"] == float(of.max())
