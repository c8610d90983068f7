"""No argument is accepted and ignored: another value changes what is found or what it costs."""

from dataclasses import fields
from typing import Any

import pytest
import torch

import fluoroscope as fs
from fluoroscope.attacks.attack import AttackResult, Method
from fluoroscope.attacks.registry import ATTACKS

EPS = {"linf": 0.15, "l2": 1.5, "l1": 15, "l0": 20, "none": None}
# Small searches in which every parameter has something to decide.
SMALL: dict[str, dict[str, Any]] = {
    "apgd": {"steps": 12},
    "apgd-t": {"steps": 12, "n_target_classes": 3},
    "deepfool": {"steps": 5},
    "cw": {"steps": 12, "searches": 3},
    "ddn": {"steps": 12},
    "fab": {"steps": 6},
    "fab-t": {"steps": 6, "targets": 3},
    "square": {"queries": 30},
}
# Where halving a number, turning a truth or the like is no other meaningful value.
OTHERS: dict[tuple[str, str], Any] = {
    ("apgd", "loss"): "dlr",
    ("bim", "step_size"): 0.02,
    ("pgd", "step_size"): 0.02,
    ("deepfool", "candidates"): 2,
    ("ddn", "loss"): "margin",
    ("fab", "candidates"): 2,
    ("fab", "eta"): 1.5,
    ("fab-t", "eta"): 1.5,
}
Reader = tuple[fs.Classifier, torch.Tensor, torch.Tensor]


def cases() -> list[tuple[str, str]]:
    return [
        (name, field.name)
        for name, kind in ATTACKS.items()
        for field in fields(kind)  # type: ignore[arg-type]
        if field.name != "threat"
    ]


@pytest.fixture(scope="module")
def found(reader: Reader) -> dict[Method, AttackResult]:
    return {}


@pytest.mark.parametrize(("name", "parameter"), cases())
def test_every_parameter_changes_something(
    name: str, parameter: str, reader: Reader, found: dict[Method, AttackResult]
) -> None:
    small = fs.attack(name, eps=EPS[ATTACKS[name].norms[0]], **SMALL.get(name, {}))
    if small not in found:
        found[small] = run(small, reader)
    value = getattr(small, parameter)
    key = name, parameter
    other = OTHERS[key] if key in OTHERS else another(value)
    changed = fs.attack(
        name, eps=EPS[small.threat.name], **SMALL.get(name, {}) | {parameter: other}
    )
    assert changed != small
    before, after = found[small], run(changed, reader)
    same = all(
        torch.equal(getattr(before, part), getattr(after, part))
        for part in ("images", "forwards", "backwards")
    )
    assert not same, f"{name} finds the same with {parameter}={value!r} and {other!r}"


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.5
    raise AssertionError(f"name another value than {value!r} in OTHERS")


def run(attack: Method, reader: Reader) -> AttackResult:
    model, images, classes = reader
    keep = "nearest" if attack.minimum_norm else "last"
    return attack(model, images[:6], classes[:6], keep=keep)
