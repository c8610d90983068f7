"""Jobs on networks that not every method fits, and jobs that are cancelled on the way."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from fluoroscope.errors import FluoroscopeError
from fluoroscope.studio.jobs.job import Cancelled
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.studio import Studio
from tests.studio.odd_networks import MAKERS, run, studio

METHODS = ["gradient", "guided-backprop", "deeplift", "layer-cam", "lrp", "occlusion"]


@pytest.fixture(scope="module")
def place() -> Iterator[Studio]:
    made = studio()
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore::fluoroscope.notices.FluoroscopeWarning")
@pytest.mark.parametrize("name", [name for name in MAKERS if name != "few"])
def test_each_method_gives_a_map_or_says_why_not(place: Studio, name: str) -> None:
    told = run(place, kind="attribution", network=name, picture="digits:7", methods=METHODS)
    maps = {one["method"]: one for one in told if one["event"] == "map"}
    assert list(maps) == METHODS
    for one in maps.values():
        refused = one.get("why_not") or (
            one["verdict"] and one["verdict"]["word"] == "not valid here"
        )
        assert ("frames" in one) != bool(refused), one
    assert "frames" in maps["occlusion"]
    if name == "steps":
        assert "do not depend differentiably" in maps["gradient"]["why_not"]


@pytest.mark.filterwarnings("ignore::fluoroscope.notices.FluoroscopeWarning")
def test_what_a_map_itself_shows_to_be_wrong_is_not_drawn(place: Studio) -> None:
    told = run(place, kind="attribution", network="linear", picture="digits:7",
               methods=["guided-backprop", "gradient"], random=True)  # fmt: skip
    maps = [one for one in told if one["event"] == "map"]
    # No random map beside one that is not drawn.
    assert [(one["method"], one["random"], "frames" in one) for one in maps] == [
        ("guided-backprop", False, False), ("gradient", False, True), ("gradient", True, True),
    ]  # fmt: skip
    assert maps[0]["verdict"]["word"] == "not valid here"
    assert maps[0]["verdict"]["by"] == "what its maps show"
    assert "Nothing in this network" in maps[0]["verdict"]["reasons"][0]


@pytest.mark.filterwarnings("ignore::fluoroscope.notices.FluoroscopeWarning")
def test_what_the_audit_calls_not_valid_has_its_reasons_and_no_map(place: Studio) -> None:
    methods = ["rise", "occlusion"]
    run(place, kind="audit", network="steps", methods=methods, quick=True)
    found = place.audits.get(place.networks.get("steps"), "steps")
    assert found is not None
    assert found.verdict("rise").word == "not valid here"
    alone = [one for one in run(place, kind="attribution", network="functions", methods=methods,
                                picture="digits:7") if one["event"] == "map"]  # fmt: skip
    assert [one["verdict"] for one in alone] == [None, None]  # the audit is of another network
    told = run(place, kind="attribution", network="steps", picture="digits:7", methods=methods)
    for one in (each for each in told if each["event"] == "map"):
        verdict = found.verdict(one["method"])
        assert one["verdict"]["word"] == verdict.words
        assert one["verdict"]["reasons"] == list(verdict.reasons)
        assert ("frames" in one) == verdict.sound
        assert ("words" in one) == verdict.sound  # it is not even made


def test_networks_without_layers_or_gradients_say_so_in_the_offer(place: Studio) -> None:
    model = place.networks.get("steps")
    kinds = {one.name: one for one in KINDS}
    for name, why in (("units", "has no layer"), ("portrait", "do not depend differentiably"),
                      ("samples", "was given no generator")):  # fmt: skip
        with pytest.raises(FluoroscopeError, match=why):
            kinds[name].offer(place, model)
    assert kinds["attribution"].offer(place, model)["usual"]


JOBS: list[tuple[str, dict[str, Any]]] = [
    ("map", {"kind": "attribution", "picture": "digits:7", "methods": ["lrp", "rise"]}),
    ("progress", {"kind": "attribution", "picture": "digits:7", "methods": ["deeplift"]}),
    ("verdict", {"kind": "audit", "quick": True}),
    ("progress", {"kind": "units", "picture": "digits:7"}),
    ("units", {"kind": "units", "picture": "digits:7", "other": "digits:3"}),
    ("picture", {"kind": "portrait", "classes": ["3"]}),
    ("progress", {"kind": "report", "limit": 20, "budget": 10, "at_chance": True}),
]


@pytest.mark.filterwarnings("ignore::fluoroscope.notices.FluoroscopeWarning")
@pytest.mark.parametrize(("event", "asked"), JOBS, ids=lambda one: str(one)[:40])
def test_a_cancelled_job_leaves_the_network_as_it_was(
    place: Studio, event: str, asked: dict[str, Any]
) -> None:
    module = place.networks.get("functions").module
    module.train()
    before = _state(module)
    with pytest.raises(Cancelled):
        run(place, cancel_at=event, network="functions", **asked)
    assert _state(module) == before


def _state(module: nn.Module) -> list[Any]:
    """Modes, gradients, hooks and numbers of all parts."""
    found: list[Any] = [torch.is_grad_enabled()]
    for part in module.modules():
        hooks = [value for name, value in vars(part).items() if "hooks" in name]
        found += [part.training, *(len(each) for each in hooks)]
    for weight in module.parameters():
        found += [weight.requires_grad, weight.grad is None, float(weight.detach().double().sum())]
    return found


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("no class", {"kind": "attribution", "picture": "digits:7", "class": "eleven"}),
    ("both 7", {"kind": "attribution", "picture": "digits:7", "class": "7", "against": "7"}),
    ("no attribution method", {"kind": "attribution", "picture": "digits:7", "methods": ["smoth"]}),
    ("no picture", {"kind": "attribution", "picture": "digits:999999"}),
    ("there is no job", {"kind": "units", "picture": "step:gone:3"}),
    ("no other picture", {"kind": "units", "picture": "digits:7", "against": "3"}),
    ("both class and against", {"kind": "units", "picture": "digits:7", "other": "digits:3",
                                "class": "7"}),
    ("does not have", {"kind": "units", "picture": "digits:7", "layer": "nowhere"}),
    ("no preset", {"kind": "portrait", "classes": ["3"], "preset": "furrier"}),
    ("accentuation raises", {"kind": "portrait", "classes": ["3"], "preset": "accentuation"}),
    ("not on offer", {"kind": "report", "data": "photos"}),
    ("sections holds", {"kind": "report", "sections": ["verdicts"]}),
    ("no generator", {"kind": "samples"}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::fluoroscope.notices.FluoroscopeWarning")
def test_labels_that_are_not_the_network_s_make_no_report(place: Studio) -> None:
    report = next(kind for kind in KINDS if kind.name == "report")
    with pytest.raises(FluoroscopeError, match="no data on offer have labels"):
        report.offer(place, place.networks.get("few"))
    with pytest.raises(FluoroscopeError, match="expected a network with 10 outputs"):
        run(place, kind="report", network="few", data="digits", limit=20)


@pytest.mark.filterwarnings("ignore::fluoroscope.notices.FluoroscopeWarning")
@pytest.mark.parametrize(("why", "asked"), REFUSED, ids=lambda one: str(one)[:30])
def test_what_cannot_be_is_refused_in_a_sentence(
    place: Studio, why: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(FluoroscopeError, match=why):
        run(place, network="functions", **asked)
