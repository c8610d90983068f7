"""Networks on offer: loaded once, tried again where they failed, and added only where allowed."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch
from starlette.testclient import TestClient
from torch import nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelFormatError, UnknownModelError
from fluoroscope.studio.app import create_app
from fluoroscope.studio.guard.guard import Guard
from fluoroscope.studio.networks import MOST_ADDED, Networks, beside
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.refusals.problems import BusyError, NotAllowedError
from fluoroscope.studio.studio import Studio
from tests.studio.conftest import Served


def digits(channels: int) -> fs.ImageSet:
    return fs.load_images("digits", channels=channels)


def linear(labels: list[str]) -> fs.Classifier:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, len(labels))).eval()
    return fs.Classifier(module, input_size=28, channels=1, labels=labels)


@pytest.fixture
def open_studio() -> Iterator[Any]:
    """A studio in this process, over such networks."""
    made: list[Studio] = []

    def opening(networks: Networks, **data: Any) -> httpx.Client:
        studio = Studio(networks, Pictures({**data, "digits": digits}))
        made.append(studio)
        return TestClient(
            Guard(create_app(studio)), base_url="http://localhost", raise_server_exceptions=False
        )

    yield opening
    for studio in made:
        studio.close()


def test_a_network_is_loaded_once_whoever_asks() -> None:
    loads = []

    def load() -> fs.Classifier:
        loads.append(1)
        return fs.load_model("digits-linear")

    networks = Networks({"mine": load})
    assert networks.names[0] == "mine"
    found: list[fs.Classifier] = []
    threads = [
        threading.Thread(target=lambda: found.append(networks.get("mine"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(model) for model in found}) == 1


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InvalidParameterError("no such weights"), InvalidParameterError, "no such weights"),
        (ZeroDivisionError("a stranger's"), ModelFormatError, "ZeroDivisionError: a stranger's"),
    ],
)
def test_what_failed_says_why_and_may_be_tried_again(
    open_studio: Any, error: Exception, kind: type[Exception], words: str
) -> None:
    there: list[fs.Classifier] = []

    def load() -> fs.Classifier:
        if not there:
            raise error
        return there[0]

    networks = Networks({"mine": load})
    client = open_studio(networks)
    assert client.get("/api/studio").json()["networks"][0]["state"] == "named"
    with pytest.raises(kind, match=words):
        networks.get("mine")
    state = client.get("/api/studio").json()["networks"][0]
    assert state["state"] == "failed"
    assert words in state["problem"]
    refused = client.get("/api/network", params={"name": "mine"})
    assert refused.status_code == 422
    assert words in refused.json()["detail"]
    there.append(fs.load_model("digits-linear"))
    assert client.get("/api/network", params={"name": "mine"}).status_code == 200
    state = client.get("/api/studio").json()["networks"][0]
    assert (state["state"], state["problem"]) == ("ready", None)


def test_others_are_loaded_only_where_that_is_allowed(open_studio: Any) -> None:
    name = {"name": "torchvision/squeezenet1_0"}
    for networks in (Networks({}), Networks({"mine": lambda: linear(["a", "b"])})):
        client = open_studio(networks)
        for refused in (
            client.post("/api/networks", json=name),
            client.request("DELETE", "/api/networks", params={"name": "digits-cnn"}),
        ):
            assert refused.status_code == 403
            assert "--allow-load" in refused.json()["detail"]
        assert networks.names == Networks({}).names or networks.names[0] == "mine"
        assert client.get("/api/network", params=name).status_code == 404


def test_what_is_added_can_be_used_and_taken_away(
    open_studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fs.load_model("digits-linear")
    monkeypatch.setattr("fluoroscope.models.loading.load_model", lambda name: made)
    networks = Networks({}, load_any=True)
    client = open_studio(networks)
    added = client.post("/api/networks", json={"name": "torchvision/squeezenet1_0"})
    assert added.status_code == 201
    assert (added.json()["state"], added.json()["added"]) == ("ready", True)
    info = client.get("/api/network", params={"name": "torchvision/squeezenet1_0"}).json()
    assert info["labels"] == list(made.labels)
    own = client.request("DELETE", "/api/networks", params={"name": "digits-cnn"})
    assert own.status_code == 403
    gone = client.request("DELETE", "/api/networks", params={"name": "torchvision/squeezenet1_0"})
    assert gone.status_code == 204
    with pytest.raises(UnknownModelError):
        networks.get("torchvision/squeezenet1_0")


def test_only_so_many_are_added_and_none_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fluoroscope.studio.networks.check_model", lambda name: None)
    made = fs.load_model("digits-linear")

    def load(name: str) -> fs.Classifier:
        if name == "bad":
            raise UnknownModelError("no such network")
        return made

    monkeypatch.setattr("fluoroscope.models.loading.load_model", load)
    networks = Networks({}, load_any=True)
    for _ in range(MOST_ADDED + 1):
        with pytest.raises(UnknownModelError):
            networks.add("bad")
    assert "bad" not in networks.names
    for number in range(MOST_ADDED):
        networks.add(f"net-{number}")
    networks.add("net-0")  # there already
    with pytest.raises(BusyError, match="take one away"):
        networks.add("one-more")
    networks.remove("net-0")
    networks.add("one-more")
    with pytest.raises(NotAllowedError):
        networks.remove("digits-cnn")


def test_other_classes_side_by_side_are_told(open_studio: Any) -> None:
    one, same, turned, other = (
        linear(labels)
        for labels in (["a", "b"], ["a", "b"], ["b", "a"], ["b", "c", "d"])
    )  # fmt: skip
    assert beside(one, same) is None
    assert "in another order" in str(beside(one, turned))
    words = str(beside(one, other))
    assert "has 2 classes" in words
    assert "3; one of them is called the same" in words
    assert "none is called the same" in str(beside(one, linear(["x"])))
    client = open_studio(Networks({"one": lambda: one, "other": lambda: other}))
    asked = {"name": "one", "other": "other"}
    assert client.get("/api/network", params=asked).json()["beside"] == words
    assert client.get("/api/network", params={"name": "one"}).json()["beside"] is None


def test_what_a_network_is_and_what_makes_it_doubtful(open_studio: Any, served: Served) -> None:
    info = served.client.get("/api/network", params={"name": "digits-cnn"}).json()
    model = fs.load_model("digits-cnn")
    assert info["labels"] == list(model.labels)
    assert info["parameters"] == sum(each.numel() for each in model.module.parameters())
    assert (info["channels"], info["input_size"]) == (1, [28, 28])
    assert info["notes"] == []
    blind = nn.Sequential(nn.Flatten(), nn.Linear(784, 3)).eval()
    nn.init.zeros_(blind[1].weight)
    blank = fs.Classifier(blind, input_size=28, channels=1, name="blank")
    client = open_studio(Networks({"blank": lambda: blank}))
    assert client.get("/api/network", params={"name": "blank"}).json()["notes"]


def test_data_that_cannot_be_opened_say_so_and_the_rest_is_there(open_studio: Any) -> None:
    def fails(channels: int) -> fs.ImageSet:
        raise fs.FluoroscopeError("the folder is gone")

    client = open_studio(Networks({}), photos=fails)
    # What is on offer is said before any of it was opened, which may take long.
    unopened = {"count": None, "problem": None}
    data = client.get("/api/studio").json()["data"]
    assert data == [{"name": "photos", **unopened}, {"name": "digits", **unopened}]
    for name in ("photos", "digits"):
        client.get("/api/samples", params={"data": name, "network": "digits-cnn"})
    assert client.get("/api/studio").json()["data"] == [
        {"name": "photos", "count": None, "problem": "the folder is gone"},
        {"name": "digits", "count": 1797, "problem": None},
    ]


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_code_of_a_network_that_ends_programs_is_refused(open_studio: Any, raised: Any) -> None:
    class Ends(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise raised

    def load() -> fs.Classifier:
        raise raised

    made = fs.Classifier(Ends().eval(), input_size=28, channels=1, labels=["a", "b"])
    client = open_studio(Networks({"mine": lambda: made, "never": load}))
    words = type(raised).__name__
    told = client.get("/api/network", params={"name": "never"})
    assert told.status_code == 422
    assert f"never cannot be loaded ({words}: " in told.json()["detail"]
    asked = {"network": "mine", "picture": "digits:7"}
    told = client.post("/api/predictions", json=asked)
    assert told.status_code == (507 if words == "MemoryError" else 422)
    assert ("not enough memory" if words == "MemoryError" else words) in told.json()["detail"]
    assert client.get("/api/network", params={"name": "mine"}).status_code in (200, 422, 507)
