"""An attack in the studio tells what the library's own attack does."""

import base64
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fluoroscope import attack, load_images, load_model
from fluoroscope.attacks.parts import attack_parts, first_part, fit_to, other_pictures
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.engine.stream import Step
from tests.studio.conftest import Served

MODEL = load_model("digits-cnn")
ONE = load_images("digits", channels=1).select([7])
SHORT: dict[str, dict[str, Any]] = {
    "apgd-t": {"steps": 4, "targets": 2},
    "feature-adversary": {"steps": 4, "layer": "0"},
    "fab-t": {"steps": 4, "targets": 2},
    "cw": {"steps": 8, "searches": 2},
    "cw-linf": {"steps": 3},
    "cw-l0": {"steps": 3},
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
    assert end["distance"] == float(own.distance)
    assert end["summary"].startswith(own.in_words(method.threat))
