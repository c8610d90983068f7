"""No argument is accepted and ignored: another value changes what is found or what it costs."""

from dataclasses import fields
from typing import Any

import pytest
import torch

import fluoroscope as fs
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.attacks.result import AttackResult
from fluoroscope.data.digits import digits
from tests.attacks.invertible_networks import invertible

# Of attacks that need a bound; the others go without.
EPS = {"linf": 0.15, "l2": 1.5, "l0": 5}
PICTURES = digits()[0][100:130]
# Small searches in which every parameter has something to decide.
SMALL: dict[str, dict[str, Any]] = {
    "apgd": {"steps": 12},
    "apgd-t": {"steps": 12, "targets": 3},
    "cr": {"steps": 25, "targets": 1, "repeats": 1},
    "feature-adversary": {"layer": "4", "guides": PICTURES, "steps": 6},
    "deepfool": {"steps": 5},
    "fmn": {"steps": 12},
    "cw": {"steps": 12, "searches": 3},
    "cw-linf": {"steps": 12, "lr": 0.05, "c": 1.0},
    "cw-l0": {"steps": 12, "lr": 0.05, "c": 1.0, "largest_c": 100.0},
    "ead": {"steps": 40, "searches": 3, "c": 0.1, "lr": 0.05},
    "l-bfgs": {"steps": 12, "searches": 3},
    "ddn": {"steps": 12},
    "latent": {"rounds": 3},
    "fab": {"steps": 6},
    "fab-t": {"steps": 6, "targets": 3},
    "sparse-rs": {"eps": 40, "queries": 30},
    "one-pixel": {"population": 5, "generations": 3},
    "sparsefool": {"steps": 8},
    "vmi-fgsm": {"neighbours": 2},
    "admix": {"pool": PICTURES},
    "square": {"queries": 30},
    "nes": {"samples": 4, "queries": 30},
    "spsa": {"samples": 4, "queries": 30},
    "simba": {"queries": 30, "basis": "dct"},
    "zoo": {"searches": 2, "steps": 8, "coordinates": 32, "c": 10.0, "lr": 0.5},
    "boundary": {"queries": 300},
    "hopskipjump": {"queries": 300, "initial_probes": 20},
    "geoda": {"queries": 300},
    "rotation-translation": {"angles": 3, "moves": 3},
    "stadv": {"steps": 8},
    "ensemble-optimisation": {"steps": 6},
    "universal": {"epochs": 2},
    "patch": {"epochs": 2, "places": 2},
}
# Where one more, half as much or the contrary is no other meaningful value.
OTHERS: dict[tuple[str, str], Any] = {
    ("apgd", "loss"): "dlr",
    ("apgd-t", "candidates"): 9,
    ("feature-adversary", "layer"): "7",
    ("feature-adversary", "guides"): PICTURES[:20],
    ("deepfool", "candidates"): 2,
    ("ddn", "loss"): "margin",
    ("latent", "steps"): 2,
    ("fab", "candidates"): 2,
    ("fab", "eta"): 1.5,
    ("fab-t", "eta"): 1.5,
    ("cw-linf", "steps"): 30,
    ("cw-linf", "smallest"): 0.1,
    ("cw-linf", "c_factor"): 4.0,
    ("cw-linf", "largest_c"): 1.0,
    ("cw-l0", "c_factor"): 4.0,
    ("one-pixel", "base"): "best",
    ("cw-l0", "largest_c"): 1.0,
    ("ead", "rule"): "en",
    ("l-bfgs", "memory"): 1,
    ("fmn", "along"): "steepest",
    ("jsma", "outputs"): "probabilities",
    ("sparsefool", "steps"): 1,
    ("ensemble-optimisation", "distance"): "l2",
    ("sparsefool", "lam"): 1.0,
    ("sparsefool", "candidates"): 2,
    ("ti-fgsm", "size"): 7,
    ("admix", "pool"): PICTURES[:5],
    ("ghost-fgsm", "magnitude"): 0.2,
    ("nes", "queries"): 40,
    ("nes", "samples"): 6,
    ("spsa", "queries"): 40,
    ("spsa", "samples"): 6,
    ("simba", "basis"): "pixel",
    ("simba", "frequencies"): 7,
    ("zoo", "steps"): 2,
    ("boundary", "starts"): PICTURES,
    ("hopskipjump", "starts"): PICTURES,
    ("hopskipjump", "max_probes"): 20,
    ("geoda", "starts"): PICTURES,
    ("geoda", "subspace"): 28,
    ("rotation-translation", "angles"): 5,
    ("rotation-translation", "moves"): 5,
    ("rotation-translation", "random"): {"random": 7, "angles": None, "moves": None},
    ("universal", "cap"): 0.5,
    ("universal", "perturbation"): 0.1 * (PICTURES[0] - PICTURES[1]),
    ("patch", "step_size"): 0.5,
    ("patch", "shape"): "square",
    ("patch", "patch"): PICTURES[0, :, 10:18, 10:18],
}
Reader = tuple[fs.Classifier, torch.Tensor, torch.Tensor]


# What digits-cnn has no blocks for, or the like: refused.
REFUSED = {("ghost-fgsm", "erosion"): "skip"}


def cases() -> list[tuple[str, str]]:
    return [
        (name, field.name)
        for name, kind in ATTACKS.items()
        for field in fields(kind)  # type: ignore[arg-type]
        if field.name != "threat"
    ]


@pytest.fixture(scope="module")
def found() -> dict[str, AttackResult]:
    return {}


@pytest.mark.parametrize(("name", "parameter"), cases())
def test_every_parameter_changes_something(
    name: str, parameter: str, reader: Reader, found: dict[str, AttackResult]
) -> None:
    small = SMALL.get(name, {})
    if name not in found:
        found[name] = run(name, small, reader)
    key = name, parameter
    if key in REFUSED:
        with pytest.raises(fs.FluoroscopeError):
            run(name, small | {parameter: REFUSED[key]}, reader)
        return
    value = getattr(made(name, small), parameter)
    other = OTHERS[key] if key in OTHERS else another(parameter, value)
    changed = other if isinstance(other, dict) else {parameter: other}
    before, after = found[name], run(name, small | changed, reader)
    same = all(
        torch.equal(getattr(before, part), getattr(after, part))
        for part in ("images", "forwards", "backwards")
    )
    assert not same, f"{name} finds the same with {parameter}={value!r} and {other!r}"


def another(parameter: str, value: Any) -> Any:
    if parameter == "step_size":
        return 0.02
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.5
    raise AssertionError(f"name another value than {value!r} in OTHERS")


def made(name: str, parameters: dict[str, Any]) -> Method:
    kind = ATTACKS[name]
    eps = None if kind.minimum_norm else EPS.get(kind.norms[0])
    return fs.attack(name, **{"eps": eps} | parameters)


def run(name: str, parameters: dict[str, Any], reader: Reader) -> AttackResult:
    (model, images, classes), attack = reader, made(name, parameters)
    if name == "latent":  # which needs an inverse
        model = invertible(1, 28, 10)
        classes = fs.predict(model, images).winners
    # A grid of moves ends with the picture itself.
    keep = "best" if name == "rotation-translation" else "last"
    return attack(model, images[:6], classes[:6], keep="nearest" if attack.minimum_norm else keep)
