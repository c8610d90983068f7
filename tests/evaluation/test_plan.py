"""Plans: AutoAttack's as published, files, and files with mistakes."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fluoroscope as fs
from fluoroscope.engine.threats import as_threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.plan import History, Plan, Stage
from fluoroscope.evaluation.plans import PLANS, find_plan

FILE = """
samples = 2

[[stages]]
attack = "pgd"
name = "quick"
restarts = 3
keep = "best"
parameters = {steps = 7, step_size = "2/255"}

[[stages]]
attack = "square"
hopeful = 0.5
[stages.parameters]
queries = 50
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FILE)
    plan = find_plan(tmp_path / "mine.toml", fs.Linf("8/255"))
    assert plan == Plan(
        "mine",
        (
            Stage(
                "quick",
                fs.attack("pgd", eps="8/255", steps=7, step_size="2/255"),
                keep="best",
                restarts=3,
            ),
            Stage("square", fs.attack("square", eps="8/255", queries=50), hopeful=0.5),
        ),
        samples=2,
    )
    assert find_plan(plan, fs.Linf(0.1)) is plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no stage"),
        ("stages = []", "no stage"),
        ("stages = 3", "stages is no list of tables"),
        ("steps = 3", "it has 'steps'; did you mean stages? expected samples, stages"),
        ("stage = [{attack='pgd'}]", "did you mean stages"),
        ("[[stages]]\nattack = ", "is no plan: Invalid value"),
        ("[[stages]]\nname = 'x'", "a stage has no attack"),
        ("[[stages]]\nattack = 'pdg'", "stage pdg: there is no attack 'pdg'; did you mean pgd"),
        ("[[stages]]\nattack = 'pgd'\nrestart = 2", "stage pgd has 'restart'; did you mean rest"),
        ("[[stages]]\nattack = 'pgd'\nrestarts = 2.5", "restarts is 2.5; expected a whole number"),
        ("[[stages]]\nattack = 'pgd'\nrestarts = true", "restarts is True"),
        ("[[stages]]\nattack = 'pgd'\neveryone = 'yes'", "everyone is 'yes'; expected true or"),
        ("[[stages]]\nattack = 'pgd'\nhopeful = 0", "hopeful is 0; expected a number above 0"),
        ("[[stages]]\nattack = 'pgd'\nflat = 2", "flat is 2; expected a number from 0 to 1"),
        ("[[stages]]\nattack = 'pgd'\nflat = true", "flat is True; expected a number from"),
        ("[[stages]]\nattack = 'pgd'\nnearly = 2", "nearly is 2; expected 1, as nearer names no"),
        ("[[stages]]\nattack = 'pgd'\nnearly = 0.5", "nearly is 0.5; expected a number of at"),
        ("[[stages]]\nattack = 'pgd'\nnearly = inf", "nearly is inf; expected a number of at"),
        ("[[stages]]\nattack = 'pgd'\nnearer = 'x'", "nearer is 'x'; expected the names of"),
        ("[[stages]]\nattack = 'pgd'\nnearer = ['x']", "nearer of the stage pgd names 'x'; exp"),
        ("[[stages]]\nattack = 'pgd'\nkeep = 'all'", "keep is 'all'; expected one of first"),
        ("[[stages]]\nattack = 'pgd'\nname = '../x'", "called '../x'; expected lower-case"),
        ("[[stages]]\nattack = 'pgd'\nname = 3", "called 3"),
        ("[[stages]]\nattack = 'pgd'\nname = 'clean'", "none called clean"),
        ("[[stages]]\nattack = 'pgd'\nparameters = 3", "parameters of pgd are no table"),
        ("[[stages]]\nattack = 'pgd'\nparameters.eps = 0.1", "has 'eps'; leave it out"),
        ("[[stages]]\nattack = 'pgd'\nparameters.step = 1", "pgd has no parameter 'step'"),
        ("[[stages]]\nattack = 'pgd'\nparameters.steps = 'many'", "steps is 'many'; expected a"),
        ("[[stages]]\nattack = 'pgd'\nparameters.steps = 2.5", "steps is 2.5; expected a whole"),
        ("[[stages]]\nattack = 'pgd'\nparameters.steps = 0", "steps is 0; expected 1 or more"),
        ("[[stages]]\nattack = 'ddn'", "not defined for the norm 'linf'"),
        ("[[stages]]\nattack = 'pgd'\n[[stages]]\nattack = 'pgd'", "'pgd' twice"),
        ("samples = 'few'\n[[stages]]\nattack = 'pgd'", "samples is 'few'"),
        ("x = " + "[" * 5000, "is no plan"),
        ("# " + "x" * 100_000, "more than 100000 bytes"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InvalidParameterError, match="mine") as raised:
        find_plan(path, fs.Linf(0.1))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value).strip()


def test_no_such_plan(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match=r"no plan 'fsat'.*expected standard, .*TOML"):
        find_plan("fsat", fs.Linf(0.1))
    with pytest.raises(InvalidParameterError, match="directory"):
        find_plan(tmp_path, fs.Linf(0.1))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidParameterError, match="is no plan"):
        find_plan(tmp_path / "bytes", fs.Linf(0.1))


@pytest.mark.parametrize("name", ["standard", "rand"])
def test_plans_within_a_bound_need_one(name: str) -> None:
    with pytest.raises(InvalidParameterError, match="not defined for the norm 'none'; expected l"):
        find_plan(name, as_threat("none"))
    with pytest.raises(InvalidParameterError, match=r"eps is infinite; .* expects a bound"):
        find_plan(name, fs.Linf(math.inf))
    with pytest.raises(InvalidParameterError, match="eps is 'inf'; expected a number"):
        as_threat("linf:inf")


def test_a_plan_of_another_norm_is_refused() -> None:
    plan = Plan("mine", (Stage("ddn", fs.attack("ddn")),))
    with pytest.raises(InvalidParameterError, match=r"ddn of the plan mine measures l2 .*linf"):
        find_plan(plan, fs.Linf(0.1))


def test_standard_is_autoattacks() -> None:
    stages = PLANS["standard"](fs.Linf(0.3)).stages
    assert [stage.name for stage in stages] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    said = [stage.describe()["attack"] for stage in stages]
    assert [each.get("steps", each.get("queries")) for each in said] == [100, 100, 100, 5000]
    assert [each.get("targets") for each in said] == [None, 9, 9, None]
    assert said[0]["loss"] == "ce"
    assert all(stage.restarts == 1 and not stage.everyone for stage in stages)
    rand = PLANS["rand"](fs.Linf(0.3))
    assert rand.samples == 20
    assert [stage.describe()["attack"]["loss"] for stage in rand.stages] == ["ce", "dlr"]


def test_in_l1_standard_is_autoattacks_too_and_fast_ends_with_its_stages() -> None:
    stages = PLANS["standard"](fs.L1(12)).stages
    assert [stage.name for stage in stages] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert [stage.restarts for stage in stages] == [5, 1, 1, 1]
    assert [stage.describe()["attack"].get("targets") for stage in stages] == [None, 5, 9, None]
    fast = {stage.name: stage for stage in PLANS["fast"](fs.L1(12)).stages}
    assert fast["apgd-ce-long"].restarts == 5
    assert fast["apgd-ce-long"].attack == stages[0].attack
    assert fast["apgd-t-longest"].attack == stages[1].attack
    assert fast["square-longest"].attack == stages[3].attack
    assert fast["fab-t"].attack == stages[2].attack
    assert "fab-t" not in PLANS["fast"](fs.L2(1)).stage_names
    assert PLANS["fast"](fs.L2(1)).stage_names == PLANS["fast"](fs.Linf(0.1)).stage_names


def test_who_is_attacked() -> None:
    history = History(
        clean_margin=np.array([4.0, 4.0, 4.0, 4.0]),
        margin=np.array([-1.0, 1.0, 3.0, 4.0]),
        distance=np.array([0.1, 0.2, np.inf, np.inf]),
    )
    pgd = fs.attack("pgd", eps=0.1)
    assert Stage("a", pgd).chooses(history).tolist() == [False, True, True, True]
    assert Stage("a", pgd, everyone=True).chooses(history).all()
    assert Stage("a", pgd, hopeful=0.75).chooses(history).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("before", "asked", "expected"),
    [
        (
            (),
            {"hopeful": 0.5},
            "hopeful = 0.5, and so attacks nobody .*expected a stage before it,",
        ),
        ((), {"near": 1.5}, "near = 1.5, and so attacks nobody"),
        (("square",), {"flat": 0.2}, "flat = 0.2, .*expected a stage before it that asks for a"),
        (("square",), {"steep": 4}, "steep = 4, .*a stage before it that asks for a gradient"),
        (("square",), {"nearer": ("square",)}, "nearer = .*expected other stages before it"),
    ],
)
def test_a_stage_that_can_attack_nobody_is_refused(
    before: tuple[str, ...], asked: dict[str, Any], expected: str
) -> None:
    earlier = tuple(Stage(name, fs.attack(name, eps=0.1)) for name in before)
    stage = Stage("x", fs.attack("pgd", eps=0.1), **asked)
    with pytest.raises(InvalidParameterError, match=expected):
        Plan("mine", (*earlier, stage))
    Plan("mine", (Stage("pgd", fs.attack("pgd", eps=0.1)), *earlier, stage))
    Plan("mine", (*earlier, replace(stage, everyone=True)))


def test_who_is_attacked_by_what_some_stages_found() -> None:
    history = History(
        clean_margin=np.array([4.0, 4.0, 4.0]),
        margin=np.array([1.0, 1.0, 1.0]),
        distance=np.array([np.inf, np.inf, np.inf]),
        margins={"a": np.array([1.0, 3.0, 2.0]), "b": np.array([np.inf, 1.0, 3.0])},
    )
    pgd = fs.attack("pgd", eps=0.1)

    def chosen(*names: str) -> list[bool]:
        return list(Stage("c", pgd, hopeful=0.5, judged_by=names).chooses(history))

    assert chosen("a") == [True, False, True]
    assert chosen("b") == [False, True, False]
    assert chosen("a", "b") == [True, True, True]
    assert chosen("nobody-was-left") == [False, False, False]
    stage = Stage("a", pgd, hopeful=0.5, judged_by=("b",))
    with pytest.raises(InvalidParameterError, match="judged_by of the stage a names 'b'"):
        Plan("mine", (stage, Stage("b", pgd)))
    with pytest.raises(InvalidParameterError, match="judged_by is 'b'; expected the names"):
        Stage("a", pgd, hopeful=0.5, judged_by="b")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match=r"judged_by is .*; expected none"):
        Stage("a", pgd, judged_by=("b",))


def test_the_stages_that_judge_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        "[[stages]]\nattack = 'fgsm'\n[[stages]]\nattack = 'pgd'\nhopeful = 0.5\n"
        "judged_by = ['fgsm']\n"
    )
    stages = find_plan(path, fs.Linf(0.1)).stages
    assert stages[1].judged_by == ("fgsm",)
    assert stages[1].describe()["judged_by"] == ["fgsm"]


def test_who_is_attacked_as_some_stages_came_nearer_than_others() -> None:
    inf = np.inf
    history = History(
        clean_margin=np.full(5, 4.0),
        margin=np.array([1.0, 1.0, 2.0, 4.0, 1.0]),
        distance=np.full(5, inf),
        margins={
            "cr": np.array([1.0, 2.0, 2.0, 4.0, inf]),
            "square": np.array([2.0, 1.0, 2.0, inf, 1.0]),
            "later": np.array([3.0, 3.0, 3.0, 3.0, 3.0]),
        },
    )
    pgd = fs.attack("pgd", eps=0.1)

    def chosen(*names: str, nearly: float = 1.0) -> list[bool]:
        return list(Stage("x", pgd, nearer=names, nearly=nearly).chooses(history))

    # As near is not nearer; who did not look came nowhere.
    assert chosen("square") == [False, True, False, False, True]
    assert chosen("cr") == [True, False, False, False, False]
    assert chosen("square", nearly=2.1) == [True, True, True, False, True]
    assert chosen("square", nearly=2.0) == [False, True, True, False, True]
    assert chosen("cr", "square") == [True, True, True, False, True]
    assert chosen("nobody") == [False] * 5
    alone = History(np.ones(2), np.ones(2), np.full(2, inf), {"square": np.array([0.5, inf])})
    assert list(Stage("x", pgd, nearer=("square",)).chooses(alone)) == [True, False]


def test_who_is_attacked_as_its_gradient_is_zero() -> None:
    clean, distance = np.ones(4), np.array([np.inf, np.inf, np.inf, 0.05])
    pgd = fs.attack("pgd", eps=0.1)
    history = History(clean, clean, distance, {}, np.array([0.0, 0.25, 1.0, 1.0]))
    assert list(Stage("x", pgd, flat=0.25).chooses(history)) == [False, True, True, False]
    assert list(Stage("x", pgd, flat=0.3).chooses(history)) == [False, False, True, False]
    assert list(Stage("x", pgd).chooses(history)) == [True, True, True, False]
    assert not Stage("x", pgd, flat=0.25).chooses(History(clean, clean, distance)).any()


def test_who_is_attacked_as_its_gradient_promised_too_much() -> None:
    clean, distance = np.ones(4), np.array([np.inf, np.inf, np.inf, 0.05])
    pgd = fs.attack("pgd", eps=0.1)
    none, steep = np.zeros(4), np.array([0.9, 4.0, 60.0, 60.0])
    history = History(clean, clean, distance, {}, none, steep)
    assert list(Stage("x", pgd, steep=4).chooses(history)) == [False, True, True, False]
    assert list(Stage("x", pgd, steep=5).chooses(history)) == [False, False, True, False]
    assert not Stage("x", pgd, steep=4).chooses(History(clean, clean, distance)).any()
    with pytest.raises(InvalidParameterError, match="steep is -1; expected a number of at least 0"):
        Stage("x", pgd, steep=-1)


def test_signs_of_masking_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        "[[stages]]\nattack = 'fgsm'\n[[stages]]\nattack = 'square'\n"
        "[[stages]]\nattack = 'pgd'\nnearer = ['square']\nnearly = 2.5\nflat = 0.25\nsteep = 4\n"
    )
    stage = find_plan(path, fs.Linf(0.1)).stages[2]
    assert (stage.nearer, stage.nearly, stage.flat, stage.steep) == (("square",), 2.5, 0.25, 4)
    said = stage.describe()
    assert (said["nearer"], said["nearly"], said["flat"]) == (["square"], 2.5, 0.25)
    # Plans without them are described as ever, so that their runs go on.
    assert not {"nearer", "nearly", "flat", "steep"} & Stage("a", stage.attack).describe().keys()
