"""The trust check by transfer: what is made on another network fools one that misleads attacks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from short_plans import plan
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.randomness import keys, normal
from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.trust import of_run
from fluoroscope.evaluation.trust.bench import Bench, CancelledError, ball_of
from fluoroscope.evaluation.trust.checks import trust_checks
from fluoroscope.evaluation.trust.transfer import second_networks, transfer
from fluoroscope.models.builtin import digits_classifier
from reproductions.deceivers import DECEIVERS

EPS = 0.1
LINF = fs.Linf(EPS)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    batch = next(iter(fs.load_images("digits", channels=1).take(14).batches(14)))
    assert batch.labels is not None
    return batch.images, batch.labels


@pytest.fixture(scope="module")
def linear() -> fs.Classifier:
    return fs.load_model("digits-linear")


def network(side: int = 28, classes: int = 10, seed: int = 0, middle: int = 16) -> fs.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten(), nn.Linear(side * side, middle), nn.BatchNorm1d(middle), nn.ReLU()]
        module = nn.Sequential(*layers, nn.Linear(middle, classes))
    return fs.Classifier(module, channels=1, input_size=side, name=f"net {seed}")


class Moved(nn.Module):
    def __init__(self, module: nn.Module, by: Tensor) -> None:
        super().__init__()
        self.module, self.by = module, by

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module((images + self.by).clamp(0, 1))
        return logits


def bench_of(
    model: fs.Classifier, digits: tuple[Tensor, Tensor], batch_size: int = 128,
    cancelled: Callable[[], bool] | None = None, eps: float = EPS,
) -> Bench:  # fmt: skip
    images, classes = digits
    right = fs.predict(model, images).winners == classes
    found = images[right], classes[right]
    return Bench(model, *found, ball_of(fs.Linf(eps), images), 0, batch_size, cancelled)


def look(
    model: fs.Classifier, second: fs.Classifier | list[fs.Classifier],
    digits: tuple[Tensor, Tensor], batch_size: int = 128, eps: float = EPS,
) -> Check:  # fmt: skip
    bench = bench_of(model, digits, batch_size, eps=eps)
    return transfer(second_networks(model, second, LINF), bench)


def test_a_slow_count(digits: tuple[Tensor, Tensor]) -> None:
    masked = DECEIVERS["switched off"]()
    second, eps = [fs.load_model(name) for name in ("digits-robust", "digits-cnn")], 0.12
    bench = bench_of(masked, digits, eps=eps)
    left = bench.left
    before = bench.forwards, bench.backwards
    check = transfer(second_networks(masked, second, LINF), bench)
    attack, fooled, forwards, backwards = fs.attack("bim", eps=eps, steps=10), set(), 0, 0
    noise = eps * normal(keys(0, torch.arange(4)), 0, (1, 28, 28))
    for other, told in zip(second, check.evidence["networks"], strict=True):
        attacked = there = by = 0
        near = fs.Ensemble([digits_classifier("", Moved(other.module, each)) for each in noise])
        forwards += len(left)
        for row in left.tolist():
            image, label = bench.images[row : row + 1], bench.classes[row : row + 1]
            if int(other(image).argmax()) != int(label):
                continue
            made = attack(near, image, label, keep="last", numbers=torch.tensor([row]))
            attacked += 1
            there += int(other(made.images).argmax()) != int(label)
            # What was made the plain network looks at, and the one under study.
            forwards += 4 * 11 + 1 + 1
            backwards += 4 * 10
            if int(masked(made.images).argmax()) != int(label):
                by += 1
                fooled.add(row)
        assert told == {
            "model": other.name, "model_sha256": other.fingerprint(), "attacked": attacked,
            "fooled_there": there, "fooled": by,
        }  # fmt: skip
        assert f"{other.name} ({there} of {attacked} fooled it)" in check.words
    assert check.evidence["fooled"] == len(fooled) > 5
    assert (bench.forwards - before[0], bench.backwards - before[1]) == (forwards, backwards)
    assert check.status == "fail"
    assert "the gradient misleads attacks" in check.words
    assert len(left) == bench.count
    json.dumps(check.describe(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "eps", "status"),
    [("quantised", EPS, "fail"), ("digits-linear", 0.01, "not applicable")],
)
def test_of_what_white_box_attacks_leave(
    name: str, eps: float, status: str, digits: tuple[Tensor, Tensor]
) -> None:
    model = DECEIVERS[name]() if name in DECEIVERS else fs.load_model(name)
    second = fs.load_model("digits-linear" if status == "fail" else "digits-cnn")
    check = look(model, second, (digits[0][:8], digits[1][:8]), eps=eps)
    assert check.status == status
    assert 4 < check.evidence["left"] <= check.evidence["pictures"]
    said = "that Auto-PGD left, attacks on" if status == "fail" else "nothing to transfer"
    assert said in check.words


def test_where_none_is_left_nothing_is_made(
    linear: fs.Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    check = look(linear, network(), digits)
    assert (check.status, check.evidence["left"]) == ("pass", 0)
    assert check.evidence["networks"][0]["attacked"] == 0
    assert "left none" in check.words


def test_it_is_the_same_whatever_the_batch_size(
    linear: fs.Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    masked = DECEIVERS["switched off"]()
    assert look(masked, linear, digits, 5) == look(masked, linear, digits)


def test_a_network_without_gradient_is_looked_at_and_one_to_attack_needs_some(
    linear: fs.Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    cut = DECEIVERS["switched off"]()
    both = look(cut, [linear, DECEIVERS["not differentiable"]()], digits)
    assert both.status == "fail"
    assert both.evidence["left"] == both.evidence["pictures"]
    assert [each["attacked"] > 0 for each in both.evidence["networks"]] == [True, False]
    none = look(cut, DECEIVERS["not differentiable"](), digits)
    assert none.status == "not applicable"
    assert "lets no gradient through" in none.words


def test_a_network_of_another_size_sees_all_of_the_picture(
    linear: fs.Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    images, _ = digits
    own = fs.Classifier(
        nn.Sequential(nn.Upsample(28), linear.module), channels=1, input_size=14, name="small"
    )
    (shown,) = second_networks(linear, own, LINF)
    read = fs.predict(shown, images).winners
    stretched = nn.functional.interpolate(images, size=14, mode="bilinear", antialias=True)
    assert torch.equal(read, fs.predict(own, stretched).winners)
    both = (read == digits[1]) & (fs.predict(linear, images).winners == digits[1])
    check = look(DECEIVERS["switched off"](), own, digits)
    assert check.evidence["networks"][0]["attacked"] == int(both.sum()) > 5


def test_what_cannot_be_a_second_network(
    linear: fs.Classifier, digits: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ModelFormatError, match="has num_classes 10 and net 0 has 3; expected"):
        trust_checks(linear, *digits, "linf:0.1", second=network(classes=3))
    with pytest.raises(InvalidParameterError, match="second is digits-linear, the network under"):
        trust_checks(fs.prepare(linear), *digits, "linf:0.1", second=[linear])
    for threat in ("none", "linf"):
        with pytest.raises(InvalidParameterError, match="expected one above 0"):
            trust_checks(linear, *digits, threat, second=network())
    with pytest.raises(ModelFormatError, match="choose networks with the same classes"):
        fs.evaluate(linear, *digits, second=network(classes=3), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_second_networks_are_left_as_they_were(
    linear: fs.Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    second = network()
    module = second.module.train()
    masked = DECEIVERS["switched off"]()
    before, state = second.fingerprint(), torch.get_rng_state()
    look(masked, second, digits)
    assert all(part.training for part in module.modules())
    assert second.fingerprint() == before  # batch norm's statistics among it
    assert all(one.requires_grad and one.grad is None for one in module.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in module.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_it_can_be_cancelled(linear: fs.Classifier, digits: tuple[Tensor, Tensor]) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 8

    model = DECEIVERS["switched off"]()
    with pytest.raises(CancelledError):
        transfer([linear], bench_of(model, digits, cancelled=cancelled))
    checks = trust_checks(linear, *digits, "linf:0.1", second=network(), cancelled=lambda: True)
    assert (checks[-1].name, checks[-1].status) == ("transfer", "not made")


def test_a_run_keeps_it_with_the_networks_it_was_made_on(
    linear: fs.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, ...]] = []

    def checks(*_: object, second: tuple[fs.Classifier, ...], **__: object) -> tuple[Check, ...]:
        made.append(tuple(other.name for other in second))
        return (Check("transfer", "pass", "It is so."),)

    monkeypatch.setattr(of_run, "trust_checks", checks)
    images = fs.load_images("digits", channels=1).take(8)

    def names(second: object, **options: object) -> list[str]:
        found = fs.evaluate(
            linear, images, threat="linf:0.02", plan=plan(), out=tmp_path, second=second,
            **options,
        )  # fmt: skip
        return [check.name for check in found.trust]

    one, other = network(seed=1), network(seed=2)
    assert "transfer" in names(one)  # which asks for the checks by itself
    names([one])
    assert made == [("net 1",)]
    names([other])
    names([one, other])
    names((), trust=True)
    assert names(()) == []
    assert made == [("net 1",), ("net 2",), ("net 1", "net 2"), ()]
