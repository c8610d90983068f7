"""The line that a job tells does the same in a shell."""

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fluoroscope import load_images, load_model
from fluoroscope.cli import app
from fluoroscope.studio.command import command
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio
from tests.studio.conftest import Served


def _pasted(line: str, out: Path) -> Any:
    """What the command writes as JSON."""
    words = shlex.split(line)
    assert words[0] == "fluoroscope"
    made = CliRunner().invoke(app, [*words[1:], "--out", str(out), "--json", str(out / "own.json")])
    assert made.exit_code == 0, made.output
    return json.loads((out / "own.json").read_text())


def _job(served: Served, **asked: Any) -> tuple[str, list[dict[str, Any]]]:
    job = served.client.post("/api/jobs", json={"network": "digits-cnn", **asked}).json()["id"]
    told = list(served.events(job))
    assert told[-1]["state"] == "done", told[-1]
    return job, told


def _begin(told: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in told if event["event"] == "begin")


def _steps(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in told if event["event"] in ("step", "winner")]


def _share(event: dict[str, Any], of: int) -> float:
    return float(np.frombuffer(base64.b64decode(event["probabilities"]), "<f4")[of])


def _file(served: Served, job: str, name: str) -> bytes:
    answer = served.client.get(f"/api/jobs/{job}/files/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


MORPHS: list[dict[str, Any]] = [
    {"to": "2", "eps": "0.3", "steps": 6},
    {"to": "2", "steps": 3, "step_size": "0.02", "objective": "logit", "norm": "l2", "eps": "3"},
    {"away": True, "on_grid": True, "eps": "0.2", "stop_at": 0.4, "direction": "sign"},
    {"less": "7", "direction": "raw", "steps": 3, "seed": 5},
]


@pytest.mark.parametrize("asked", MORPHS)
def test_a_morph_is_the_same_in_a_shell(
    served: Served, tmp_path: Path, asked: dict[str, Any]
) -> None:
    job, told = _job(served, kind="morph", picture="digits:7", **asked)
    begin, steps = _begin(told), _steps(told)
    own = _pasted(begin["command"], tmp_path)
    assert len(own["steps"]) == len(steps)
    for event, step in zip(steps, own["steps"], strict=True):
        assert _share(event, begin["target"]) == step["target_probability"]
        assert event["linf"] == step["linf"]
    for name, own_name in (("morph.png", "slide.png"), ("morph.gif", "morph.gif")):
        assert _file(served, job, name) == (tmp_path / own_name).read_bytes()
    left = json.loads(_file(served, job, "morph.json"))
    assert left == json.loads((tmp_path / "morph.json").read_text())


@pytest.mark.parametrize("on_grid", [True, False])
def test_a_step_to_go_on_from_is_a_file_there(
    served: Served, tmp_path: Path, on_grid: bool
) -> None:
    job, _ = _job(served, kind="morph", picture="digits:7", to="2", eps="0.1", on_grid=on_grid)
    picture = f"step:{job}:5"
    _, told = _job(served, kind="morph", picture=picture, to="4", eps="0.1", steps=5)
    begin = _begin(told)
    kind = "png" if on_grid else "npy"
    file = tmp_path / f"PICTURE.{kind}"
    query = {"name": picture, "network": "digits-cnn"}
    file.write_bytes(served.client.get(f"/api/pictures/{kind}", params=query).content)
    assert file.name in begin["command"]
    own = _pasted(begin["command"].replace(file.name, str(file)), tmp_path)
    last = _steps(told)[-1]
    assert _share(last, begin["target"]) == own["steps"][-1]["target_probability"]


ATTACKS: list[dict[str, Any]] = [
    {"attack": "pgd", "eps": "0.2", "steps": 5, "seed": 3},
    {"attack": "fgsm|square", "eps": "0.05", "params": {"queries": 30}},
    {"attack": "ddn", "params": {"steps": 20, "loss": "margin"}},
    {"attack": "apgd", "eps": "0.2", "targeted": True, "to": "3", "steps": 5, "on_grid": True},
    {"attack": "boundary", "params": {"queries": 60}, "targeted": True, "to": "2",
     "others": "digits"},
]  # fmt: skip


@pytest.mark.parametrize("asked", ATTACKS, ids=lambda asked: asked["attack"])
def test_an_attack_is_the_same_in_a_shell(
    served: Served, tmp_path: Path, asked: dict[str, Any]
) -> None:
    job, told = _job(served, kind="attack", picture="digits:7", **asked)
    own = _pasted(_begin(told)["command"], tmp_path)
    end = told[-1]
    assert end["success"] == own["picture"]["success"]
    assert end["distance"] == own["picture"]["distance"]
    assert end["became"] == own["picture"]["to"]
    assert end["probability"] == own["picture"]["to_probability"]
    assert end["forwards"] == own["forwards_mean"]
    assert end["backwards"] == own["backwards_mean"]
    assert _file(served, job, "attack.png") == (tmp_path / "slide.png").read_bytes()
    left = json.loads(_file(served, job, "attack.json"))
    assert left.items() >= json.loads((tmp_path / "part-00000.json").read_text()).items()


def test_what_was_said_of_a_network_is_in_it(tmp_path: Path) -> None:
    model = load_model("digits-cnn", mean=[0.2], std=[0.5])
    said = ("--mean", "0.2", "--std", "0.5")
    studio = Studio(
        Networks({"digits-cnn": lambda: model}, options={"digits-cnn": said}),
        Pictures({"digits": lambda channels: load_images("digits", channels=channels)}),
    )
    try:
        line = command(
            studio, "morph", network="digits-cnn", picture="digits:7", image=torch.zeros(1, 2, 2),
            options={"to": "2", "steps": 2},
        )  # fmt: skip
    finally:
        studio.close()
    own = _pasted(line, tmp_path)
    assert own["provenance"]["model_sha256"] == model.fingerprint()


def test_nothing_of_a_name_means_more_in_a_shell(served: Served) -> None:
    line = command(
        served.studio, "attack", "pgd|fgsm", network="a b; rm", picture="it's $HOME:3",
        image=torch.zeros(1, 2, 2), options={"to": "-x", "param": ["a=1", "b=2"], "eps": None},
    )  # fmt: skip
    assert shlex.split(line) == [
        "fluoroscope", "attack", "pgd|fgsm", "--model", "a b; rm", "--image", "it's $HOME:3",
        "--to=-x", "--param", "a=1", "--param", "b=2",
    ]  # fmt: skip
