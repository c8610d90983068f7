"""Attacks by name, and what they say of themselves."""

import json
from dataclasses import fields
from math import inf
from typing import get_args

import pytest

import fluoroscope as fs
from fluoroscope.attacks import registry
from fluoroscope.attacks.attack import Access, Method
from fluoroscope.attacks.catalogue import catalogue

FAMILIES = (
    "gradient", "minimum norm", "sparse", "transfer", "score", "decision", "spatial", "universal",
    "latent",
)  # fmt: skip


def test_a_name_gives_the_class_with_its_parameters() -> None:
    made = fs.attack("pgd", eps="8/255", steps=7)
    assert made == fs.attacks.PGD(threat=fs.Linf("8/255"), steps=7)
    assert fs.attack("pgd", eps=1, norm="l2") == fs.attacks.PGD(threat=fs.L2(1))
    assert fs.attack("ddn").threat == fs.L2(inf)


@pytest.mark.parametrize("name", registry.ATTACKS)
def test_each_says_what_it_is(name: str) -> None:
    [described] = [each for each in registry.describe_attacks() if each["name"] == name]
    assert described["paper"]
    assert described["cost"]
    assert described["norms"]
    assert described["family"] in FAMILIES
    assert described["access"] in get_args(Access)
    kind = registry.ATTACKS[name]
    for norm in kind.norms:
        assert fs.attack(name, eps=None if norm == "none" else 1, norm=norm).threat.name == norm
    with pytest.raises(fs.FluoroscopeError, match="not defined for the norm 'l7'"):
        fs.attack(name, eps=1, norm="l7")


def test_every_method_of_the_package_has_a_name() -> None:
    classes = {getattr(fs.attacks, name) for name in fs.attacks.__all__}
    assert all(issubclass(each, Method) for each in classes)
    assert classes == set(registry.ATTACKS.values())


def test_what_they_say_is_written_down_as_it_is() -> None:
    """`make catalogue` writes it anew."""
    assert [*catalogue().values()] == json.loads(json.dumps(registry.describe_attacks()))
    assert [*catalogue()] == [*registry.ATTACKS]


@pytest.mark.parametrize("name", registry.ATTACKS)
def test_no_parameter_is_accepted_and_ignored_by_name(name: str) -> None:
    known = {field.name for field in fields(registry.ATTACKS[name])}  # type: ignore[arg-type]
    assert "threat" in known
    with pytest.raises(fs.FluoroscopeError, match="has no parameter 'strength'"):
        fs.attack(name, eps=1, strength=3)


def test_what_is_missing_or_misspelt_is_said() -> None:
    with pytest.raises(fs.FluoroscopeError, match="pgd needs an eps"):
        fs.attack("pgd")
    for name, norm in (("pgd", "linf"), ("pgd", "l2"), ("apgd", "l1"), ("one-pixel", "l0")):
        with pytest.raises(fs.FluoroscopeError, match="needs an eps") as refused:
            fs.attack(name, norm=norm)
        suggested = str(refused.value).rpartition("eps=")[2].strip("'")
        assert fs.attack(name, norm=norm, eps=suggested).threat.name == norm
    with pytest.raises(fs.FluoroscopeError, match="did you mean pgd"):
        fs.attack("pdg", eps=0.1)
    with pytest.raises(fs.FluoroscopeError, match="eps is -1"):
        fs.attack("pgd", eps=-1)
    with pytest.raises(fs.FluoroscopeError, match="no parameter 'steps'"):
        fs.attack("fgsm", eps=0.1, steps=3)
