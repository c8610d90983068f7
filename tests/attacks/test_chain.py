"""Attacks one after the other: who is attacked by whom, and what it cost."""

import json
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.engine.stream import Budget

CHEAP = fs.attacks.FGSM(threat=fs.Linf(0.1))
STRONG = fs.attacks.PGD(threat=fs.Linf(0.1), steps=10)
BLIND = fs.attacks.Square(threat=fs.Linf(0.1), queries=20)


Reader = tuple[fs.Classifier, torch.Tensor, torch.Tensor]


def test_the_second_attacks_what_the_first_left(reader: Reader) -> None:
    model, images, labels = reader
    both = (CHEAP | STRONG)(model, images, labels, seed=3)
    first = CHEAP(model, images, labels, seed=3)
    left = (~first.success).nonzero().squeeze(1)
    assert 0 < len(left) < len(images)
    second = STRONG(model, images[left], labels[left], seed=3, numbers=left)
    assert second.success.any()
    torch.testing.assert_close(both.images[left], second.images)
    assert torch.equal(both.success, first.success.index_copy(0, left, second.success))
    assert torch.equal(both.forwards[left], first.forwards[left] + second.forwards)
    assert torch.equal(both.backwards[left], first.backwards[left] + second.backwards)
    fooled = first.success.nonzero().squeeze(1)
    assert torch.equal(both.images[fooled], first.images[fooled])
    assert torch.equal(both.forwards[fooled], first.forwards[fooled])
    assert torch.equal(both.at_start, first.at_start)
    assert both.success.sum() == (model(both.images).argmax(1) != labels).sum()


def test_a_longer_chain_is_flat_and_says_what_it_is(reader: Reader, tmp_path: Path) -> None:
    model, images, labels = reader[0], reader[1][:3], reader[2][:3]
    chain = CHEAP | (STRONG | BLIND)
    assert chain == (CHEAP | STRONG) | BLIND
    result = chain(model, images, labels, budget=Budget(seconds=60))
    assert result.record["attack"] == "FGSM | PGD | Square"
    assert [each["attack"] for each in result.record["parameters"]] == ["FGSM", "PGD", "Square"]
    assert result.record["parameters"][1]["steps"] == 10
    result.save(tmp_path)
    assert json.loads((tmp_path / "attack.json").read_text())["parameters"][2]["queries"] == 20


def test_nobody_is_attacked_after_a_cancellation_or_the_last_second(reader: Reader) -> None:
    model, images, labels = reader
    alone = CHEAP(model, images, labels)
    stopped = (CHEAP | STRONG)(model, images, labels, cancelled=lambda: True)
    assert (stopped.forwards <= alone.forwards).all()
    late = (CHEAP | STRONG)(model, images, labels, budget=Budget(seconds=1e-9))
    assert (late.forwards <= alone.forwards).all()


def test_chains_by_name_share_their_parameters_out() -> None:
    chain = fs.attack("fgsm|pgd | square", eps=0.1, steps=7, queries=9)
    pgd = fs.attacks.PGD(threat=fs.Linf(0.1), steps=7)
    assert chain == CHEAP | pgd | fs.attacks.Square(threat=fs.Linf(0.1), queries=9)
    with pytest.raises(fs.FluoroscopeError, match=r"none of fgsm, pgd has a parameter 'queries'"):
        fs.attack("fgsm|pgd", eps=0.1, queries=9)
    with pytest.raises(fs.FluoroscopeError, match="there is no attack ''"):
        fs.attack("fgsm|", eps=0.1)
    with pytest.raises(fs.FluoroscopeError, match="apgd is not defined for the norm 'l7'"):
        fs.attack("apgd|square", eps=0.1, norm="l7")


def test_threat_models_that_differ_are_refused() -> None:
    with pytest.raises(fs.FluoroscopeError, match=r"Linf\(eps=0.1\).*Linf\(eps=0.2\)"):
        CHEAP | fs.attacks.PGD(threat=fs.Linf(0.2))
