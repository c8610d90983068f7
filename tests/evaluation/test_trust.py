"""Trust checks: networks built to fool evaluators are found out, honest ones are left in peace."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.errors import InvalidImagesError
from fluoroscope.evaluation.check import FAIL, WARN, Check, by_share
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.rows import SCHEMA
from fluoroscope.evaluation.trust import checks as trust
from fluoroscope.evaluation.trust import of_run
from fluoroscope.evaluation.trust.checks import trust_checks
from fluoroscope.evaluation.trust.of_run import from_rows
from fluoroscope.evaluation.trust.searches import another_loss
from reproductions.deceivers import DECEIVERS, deceiver

PICTURES = 12

# What must not pass, and how bad it is. Each deceiver is caught for what it does.
CAUGHT = {
    "quantised": {"zero gradient": "fail", "finite differences": "fail", "black box": "fail"},
    "straight-through": {"finite differences": "warn"},
    "wrong gradient": {"finite differences": "fail", "black box": "warn"},
    "saturated": {"saturation": "fail", "loss": "fail", "no bound": "fail"},
    "random resize": {"randomness": "fail", "smoothness": "fail"},
    "not differentiable": {"differentiable": "fail", "black box": "fail"},
    "switched off": {"differentiable": "fail", "black box": "fail"},
    "ripple": {"single step": "fail"},
    "bent": {"single step": "fail"},
    "finely bent": {"single step": "fail"},
    "softmax": {"outputs": "warn"},
    "optimised": {"test-time optimisation": "warn"},
}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    batch = next(iter(fs.load_images("digits", channels=1).take(30).batches(30)))
    assert batch.labels is not None
    return batch.images, batch.labels


def _found(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.status for check in checks if check.status != "pass"}


@pytest.mark.parametrize("name", DECEIVERS)
def test_a_deceiver_is_caught(name: str, digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    checks = trust_checks(DECEIVERS[name](), *digits, "linf:0.1", pictures=PICTURES)
    found = _found(checks)
    assert CAUGHT[name].items() <= found.items()
    for check in checks:
        assert check.words.endswith(".")
        assert "\n" not in check.words
        if check.status != "pass":
            assert len(check.words) > 80  # says how to mend it
    json.dumps([check.describe() for check in checks], allow_nan=False)


def _before(change: Callable[[torch.Tensor], torch.Tensor]) -> fs.Classifier:
    class Changed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = fs.load_model("digits-linear").module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(change(x))  # type: ignore[no-any-return]

    return fs.Classifier(Changed(), channels=1, input_size=28)


def test_what_the_first_look_doubts_the_checks_measure(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    few = (digits[0][:8], digits[1][:8])

    def statuses(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Check]:
        found = trust_checks(_before(change), *few, "none")
        return {check.name: check for check in found}

    root = statuses(lambda x: (x ** (1 / 2.2)) ** 2.2)["finite gradient"]
    assert (root.status, root.evidence["lost"]) == ("warn", 0)
    assert root.evidence["not_finite"] == root.evidence["pictures"]
    nowhere = statuses(lambda x: x + (0 * x[:, :, :1, :1]).square().sqrt())["finite gradient"]
    assert nowhere.status == "fail"
    beside = statuses(lambda x: x + 0.2 * x.mean(0, keepdim=True))["neighbours in the batch"]
    assert beside.status == "fail"
    assert beside.forwards >= beside.evidence["pictures"]
    cut = statuses(lambda x: x.detach())
    assert cut["differentiable"].status == "fail"
    for name in ("finite gradient", "zero gradient", "no bound"):
        assert cut[name].status == "not applicable"
        assert "no gradient" in cut[name].words


def test_one_step_may_miss_for_two_reasons(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    def evidence(name: str) -> dict[str, int]:
        checks = trust_checks(DECEIVERS[name](), *digits, "linf:0.1", pictures=PICTURES)
        (check,) = (check for check in checks if check.name == "single step")
        return check.evidence

    assert evidence("bent")["between"] > PICTURES / 2  # misclassified half way
    found = evidence("finely bent")  # the steps that are looked at see nothing
    assert by_share(found["between"], PICTURES) != "fail"
    assert found["by_one_alone"] == 0
    assert found["fooled_by_many"] > PICTURES / 2
    assert found["fooled_by_one"] < found["fooled_by_many"] / 10


@pytest.mark.parametrize(
    ("name", "threat"),
    [("digits-cnn", "linf:0.1"), ("digits-robust", "linf:0.3"), ("digits-linear", "linf:0.2"),
     ("digits-linear", "l2:1"), ("digits-cnn", "l1:5")],
)  # fmt: skip
def test_an_honest_network_passes(
    name: str, threat: str, digits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    checks = trust_checks(fs.load_model(name), *digits, threat, pictures=PICTURES // 2)
    assert _found(checks) == {}
    assert len(checks) == 19


def test_mean_answers_of_a_random_network_may_be_followed(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    model = fs.EOT(DECEIVERS["random resize"](), samples=4)
    images, labels = digits[0][:6], digits[1][:6]
    names = {check.name: check.status for check in trust_checks(model, images, labels, "none")}
    assert names["randomness"] == "pass"
    assert "finite differences" not in names  # of other images there are other draws
    assert not {"black box", "loss"} & names.keys()  # without a bound


@pytest.mark.parametrize(
    ("left", "fooled", "status"),
    # About what a plain adversarial training leaves of 64, what MART does, and a masked loss.
    [(40, 3, "pass"), (45, 6, "pass"), (45, 10, "warn"), (45, 31, "fail"), (2, 1, "pass"),
     (0, 0, "pass")],
)  # fmt: skip
def test_another_loss_tells_what_pgd_hides(left: int, fooled: int, status: str) -> None:
    when = torch.full((64,), torch.inf)
    when[left:] = 5.0
    bench = SimpleNamespace(
        count=64, white_box=(when, torch.arange(fooled, left)), left=torch.arange(fooled, left)
    )
    check = another_loss(bench)  # type: ignore[arg-type]
    assert check.status == status
    assert check.evidence == {"pictures": 64, "left": left, "fooled": fooled}
    assert ("several losses" in check.words) == (status != "pass")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 8, 11, 12, 30, 64])
def test_the_rule_of_shares(count: int) -> None:
    # Wilson's lower end by its formula.
    z, n = 1.959963984540054, 64
    p = count / n
    middle = p + z * z / (2 * n)
    low = (middle - z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5) / (1 + z * z / n)
    assert wilson(count, n)[0] == pytest.approx(max(low, 0), abs=1e-12)
    assert by_share(count, n) == ("fail" if low > FAIL else "warn" if low > WARN else "pass")
    assert (count >= 4) == (by_share(count, n) != "pass")  # as the docstring says
    assert (count >= 12) == (by_share(count, n) == "fail")
    assert by_share(1, 4) == "pass"
    assert by_share(1, 1) == by_share(2, 4) == "fail"


def test_differences_find_what_backpropagation_leaves_out(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    class Half(nn.Module):
        """Half of the picture is read through a detached copy."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = fs.load_model("digits-linear").module

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            kept = images.clone()
            kept[..., 14:] = kept[..., 14:].detach()
            logits: torch.Tensor = self.inner(kept)
            return logits

    model = fs.Classifier(Half().eval(), channels=1, input_size=28)
    checks = {c.name: c for c in trust_checks(model, *digits, "none", pictures=PICTURES)}
    assert checks["zero gradient"].status == "pass"
    assert checks["finite differences"].status != "pass"
    assert checks["finite differences"].evidence["plateaus"] == 0


def test_float32_alone_warns_of_saturation(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    model = deceiver("steep", after=lambda logits: 20 * logits, network="digits-cnn")
    checks = {c.name: c for c in trust_checks(model, *digits, "none", pictures=PICTURES)}
    evidence = checks["saturation"].evidence
    assert checks["saturation"].status == "warn"
    assert evidence["without_slope_float64"] == 0
    # As every library has it: the cross-entropy of float32 logits.
    images, labels = digits
    right = (fs.predict(model, images).winners == labels).nonzero().squeeze(1)[:PICTURES]
    logits = fs.predict(model, images[right]).logits.requires_grad_()
    nn.functional.cross_entropy(logits, labels[right], reduction="sum").backward()
    assert logits.grad is not None
    flat = int((logits.grad == 0).all(1).sum())
    assert flat == evidence["without_slope_float32"]


def test_only_pictures_that_are_read_right_are_looked_at(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    images, labels = digits
    model = fs.load_model("digits-linear")
    with pytest.raises(InvalidImagesError, match="classifies none of the 4 images"):
        trust_checks(model, images[:4], (labels[:4] + 1) % 10, "linf:0.1")
    with pytest.raises(fs.FluoroscopeError, match="pictures is 0"):
        trust_checks(model, images, labels, "linf:0.1", pictures=0)
    wrong = labels.clone()
    wrong[::2] = (wrong[::2] + 1) % 10
    checks = trust_checks(model, images, wrong, "none")
    assert checks[0].evidence["pictures"] <= 15


def test_cancelled_checks_are_those_made_so_far(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    made: list[Check] = []
    model = fs.load_model("digits-linear")
    checks = trust_checks(
        model, *digits, "linf:0.1", pictures=4, on_check=made.append,
        cancelled=lambda: len(made) >= 8,
    )  # fmt: skip
    assert 8 <= len(made) <= 9
    assert checks[: len(made)] == tuple(made)
    assert {check.status for check in checks[len(made) :]} == {"not made"}
    whole = trust_checks(model, *digits, "linf:0.1", pictures=4)
    assert [check.name for check in checks] == [check.name for check in whole]
    assert "not made" not in {check.status for check in whole}
    none = trust_checks(model, *digits, "linf:0.1", pictures=4, cancelled=lambda: True)
    assert {check.status for check in none[4:]} == {"not made"}
    assert [check.name for check in none] == [check.name for check in whole]


def _table(name: str, success: list[bool], margin: list[float]) -> pa.Table:
    count = len(success)
    columns: dict[str, list[object]] = {
        field.name: [0] * count for field in SCHEMA if field.name not in ("attack", "finished")
    }
    columns |= {"index": list(range(count)), "attack": [name] * count, "finished": [True] * count}
    columns["name"] = [""] * count
    return pa.table({**columns, "success": success, "margin": margin}, schema=SCHEMA)


@pytest.mark.parametrize(("by_square", "status"), [(1, "pass"), (6, "warn"), (30, "fail")])
def test_rows_tell_of_a_black_box_that_beats_the_others(by_square: int, status: str) -> None:
    apgd, square = (fs.attack(name, eps=0.1) for name in ("apgd", "square"))
    plan = Plan("three", (Stage("white", apgd), Stage("other", apgd), Stage("square", square)))
    clean = _table("clean", [False] * 100, [1.0] * 100)
    white = _table("white", [True] * 10 + [False] * 90, [-1.0] * 10 + [1.0] * 90)
    other = _table("other", [False] * 90, [1.0] * 90)
    black = _table("square", [n < by_square for n in range(90)], [1.0] * 90)
    checks = {c.name: c for c in from_rows([[clean, white, other, black]], plan)}
    assert checks["black box in the run"].status == status
    assert checks["black box in the run"].evidence == {
        "pictures": 100, "left": 90, "fooled": by_square,
    }  # fmt: skip
    assert checks["silent success"].status == "pass"
    alone = Plan("one", (Stage("square", square),))
    assert [c.name for c in from_rows([[clean, black]], alone)] == ["silent success"]


def test_rows_tell_of_silent_successes() -> None:
    plan = Plan("one", (Stage("white", fs.attack("apgd", eps=0.1)),))
    clean = _table("clean", [False] * 20, [1.0] * 20)
    white = _table("white", [False] * 20, [-1.0] * 5 + [1.0] * 15)
    (check,) = from_rows([[clean, white]], plan)
    assert (check.name, check.status, check.evidence["silent"]) == ("silent success", "fail", 5)


@pytest.mark.parametrize(
    ("name", "threat"), [("fgsm", "linf:0.1"), ("apgd", "linf:0.1"), ("fgsm", "l2:1")]
)
def test_what_auto_pgd_fools_of_those_that_a_run_left(
    name: str, threat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, _, eps = threat.partition(":")
    model = fs.load_model("digits-cnn")
    digits = fs.load_images("digits", channels=1).take(24)
    plan = Plan("short", (Stage(name, fs.attack(name, norm=norm, eps=float(eps))),))
    looks, wanted = trust._looks, "the run beside Auto-PGD"
    monkeypatch.setattr(
        trust, "_looks", lambda *args: [look for look in looks(*args) if look[0] == wanted]
    )
    verdict = fs.evaluate(model, digits, threat=threat, plan=plan, trust=True)
    (check,) = [check for check in verdict.trust if check.name == wanted]
    # By hand: the pictures that the run left, and what stronger searches fool of them.
    batch = next(iter(digits.batches(24, fit=model.preprocessing)))
    assert batch.labels is not None
    right = fs.predict(model, batch.images).winners == batch.labels
    images, labels = batch.images[right], batch.labels[right]
    left = ~plan.stages[0].attack(model, images, labels).success
    beaten = torch.zeros_like(left)
    for loss in ("ce", "dlr"):
        strong = fs.attack("apgd", norm=norm, eps=float(eps), steps=100, loss=loss)
        beaten |= strong(model, images, labels).success
    assert check.evidence["left"] == int(left.sum())
    # Other pictures have other numbers, and so other starts.
    assert check.evidence["fooled"] == pytest.approx(int((left & beaten).sum()), abs=1)
    assert (check.status == "fail") == (name == "fgsm")
    assert ("its plan is too weak" in check.words) == (name == "fgsm")
    # What lies between the levels says nothing of a run in 8 bits.
    eight = fs.evaluate(model, digits, threat=threat, plan=plan, trust=True, grid=8)
    assert wanted not in {check.name for check in eight.trust}


def test_a_run_keeps_its_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fs.load_model("digits-linear")
    digits = fs.load_images("digits", channels=1).take(40)
    plan = Plan("short", (Stage("fgsm", fs.attack("fgsm", eps=0.05)),))
    monkeypatch.setattr(of_run, "most_pictures", lambda model: 5)
    options = {"threat": "linf:0.05", "plan": plan, "part": 15, "out": tmp_path}
    seen: list[str] = []
    verdict = fs.evaluate(
        model, digits, trust=True, on_progress=lambda p: seen.append(p.stage), **options
    )
    assert verdict.trust[0].evidence["pictures"] == 5
    assert verdict.trust_forwards == sum(check.forwards for check in verdict.trust) > 0
    assert "trust: outputs" in seen
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert [check["name"] for check in written["trust"]] == [c.name for c in verdict.trust]
    plain = fs.evaluate(model, digits, **options)
    assert (plain.trust, plain.forwards) == ((), verdict.forwards)

    def fail(*_: object, **__: object) -> tuple[Check, ...]:
        raise AssertionError("made anew")

    with monkeypatch.context() as patch:
        patch.setattr(of_run, "trust_checks", fail)
        assert fs.evaluate(model, digits, trust=True, **options).trust == verdict.trust
        kept = json.loads((tmp_path / "trust.json").read_text())
        for spoilt in ("nonsense", json.dumps({**kept, "identity": {}})):
            (tmp_path / "trust.json").write_text(spoilt)
            with pytest.raises(AssertionError, match="made anew"):
                fs.evaluate(model, digits, trust=True, **options)
    assert fs.evaluate(model, digits, trust=True, **options).trust == verdict.trust
    fs.evaluate(model, digits, resume=False, **options)
    assert not (tmp_path / "trust.json").exists()


def test_pictures_are_spread_over_the_data() -> None:
    success = [n % 10 == 0 for n in range(100)]
    parts = [[_table("clean", success, [1.0] * 100)]]
    chosen = of_run._spread(parts, 9)
    assert len(set(chosen)) == 9
    assert (min(chosen), max(chosen)) == (1, 99)
    assert np.diff(chosen).min() > 8
    assert not any(success[number] for number in chosen)


def test_what_derivatives_a_network_takes_is_noted_in_this_thread_alone(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    import sys

    def watch(*_: object) -> None: ...

    sys.setprofile(watch)
    try:
        trust_checks(fs.load_model("digits-linear"), *digits, "none", pictures=2)
        assert sys.getprofile() is watch
    finally:
        sys.setprofile(None)


def test_the_network_is_left_as_it_was(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    model: Callable[..., fs.Classifier] = DECEIVERS["random resize"]
    built = model()
    built.module.train()
    before, state = built.fingerprint(), torch.get_rng_state()
    trust_checks(built, *digits, "linf:0.1", pictures=2)
    assert built.module.training
    assert built.fingerprint() == before
    assert torch.equal(torch.get_rng_state(), state)
