"""Training within several norms: each batch in one, the more often the more it breaks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.gradient.apgd import APGD
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.losses.consistent import ConsistentLoss
from fluoroscope.training.losses.multi_norm import LEAST, NEW, MultiNorm, MultiNormLoss
from fluoroscope.training.trainer import books
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep, Moment

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 2
BALLS = (fs.Linf(0.1), fs.L1(1.0), fs.L2(0.3))
LOSS = MultiNormLoss(threats=BALLS, steps=4)
MOMENT = Moment(torch.arange(100, 140), 2, 1.0, 9)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize("steps", [2, 4, 10])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pictures_are_moved_as_the_registered_attack_moves_them(number: int, steps: int) -> None:
    module, threat = network(), BALLS[number]
    loss = MultiNormLoss(threats=BALLS, steps=steps).within[number]
    moved = loss.moved(module, IMAGES, LABELS, MOMENT)
    distance = threat.distance(moved - IMAGES)
    assert bool(threat.allows(moved, IMAGES).all())
    assert float(distance.max()) > 0.9 * float(threat.eps)
    attack = (APGD if threat.name == "l1" else PGD)(threat=threat, steps=steps)
    # The engine's own way: of Auto-PGD the best point of the search, of PGD the last.
    found = attack(
        fs.Classifier(module, channels=1), IMAGES, LABELS, seed=9, numbers=MOMENT.indices,
        keep="best" if threat.name == "l1" else "last",
    )  # fmt: skip

    def lead(images: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(images), LABELS, reduction="none").detach()

    # Its random start is another epoch's, so what is compared is how far it came, of those that it
    # moved: what is misclassified already it leaves.
    right = module(IMAGES).argmax(1) == LABELS
    rise = (lead(moved) - lead(IMAGES))[right]
    theirs = (lead(found.images) - lead(IMAGES))[right]
    assert 8 < len(rise) < 40
    assert rise.mean() == pytest.approx(theirs.mean().item(), rel=0.15)
    assert float(rise.mean()) > 0.05


class Seen(Running):
    def __init__(self, loss: MultiNorm) -> None:
        self.loss, self.drawn, self.errors = loss, [], []

    def after(self, module: nn.Module, moment: Moment) -> None:
        self.drawn.append(self.loss.drawn)
        self.errors.append(self.loss.errors.tolist())


def test_the_running_errors_are_those_of_a_loop_by_hand() -> None:
    module, loss = network(), LOSS.begin(network(), 2)
    seen, errors = Seen(loss), [1.0, 1.0, 1.0]
    steps = fit_stream(module, IMAGES, LABELS, Recipe(6, 8), loss=loss, beside=[seen])
    for number, step in enumerate(steps):
        at = seen.drawn[number]
        errors[at] = (1 - NEW) * errors[at] + NEW * (1 - step.accuracy)
        assert seen.errors[number] == pytest.approx(errors)
    assert set(seen.drawn) == {0, 1, 2}


def test_what_breaks_more_often_is_drawn_more_often() -> None:
    def drawn(by_errors: bool) -> list[float]:
        loss = MultiNormLoss(threats=BALLS, by_errors=by_errors).begin(network(), 2)
        loss.errors = torch.tensor([0.6, 0.3, 0.0], dtype=torch.float64)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            found = torch.tensor([loss._draw() for _ in range(3000)])
        shares: list[float] = (found.bincount(minlength=3) / 3000).tolist()
        return shares

    assert drawn(by_errors=False) == pytest.approx([1 / 3] * 3, abs=0.03)
    whole = 0.9 + LEAST * 0.9
    expected = [0.6 / whole, 0.3 / whole, LEAST * 0.9 / whole]
    assert drawn(by_errors=True) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("consistent", [False, True])
def test_goes_on_to_the_same_bytes(
    consistent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "recipe": Recipe(3, 8),
        "loss": ConsistentLoss(base=LOSS) if consistent else LOSS,
        "beside": [WeightAverage(0.9), AdversarialWeightPerturbation(0.02)],
    }

    def told(step: FitStep) -> tuple[Any, ...]:
        return step.number, step.loss, step.terms, step.accuracy

    whole = network()
    expected = [told(step) for step in fit_stream(whole, IMAGES, LABELS, **settings)]
    monkeypatch.setattr(books, "CHECKPOINT_EVERY", 0.0)
    path = tmp_path / "training.safetensors"
    for step in fit_stream(network(), IMAGES, LABELS, checkpoint=path, **settings):
        if step.number == 7:
            break
    module = network()
    steps = fit_stream(module, IMAGES, LABELS, checkpoint=path, **settings)
    assert [told(step) for step in steps] == expected[6:]
    assert all(torch.equal(module.state_dict()[k], v) for k, v in whole.state_dict().items())


def test_it_hardens_within_each() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(400) % 2
    signs = (2.0 * labels - 1).view(-1, 1)
    strong = torch.where(torch.rand(400, 1, generator=generator) < 0.8, signs, -signs)
    # One pixel falls to L1, many faint ones to Linf; a patch of nine withstands both.
    patch = 0.5 + 0.2 * strong.expand(-1, 9)
    faint = 0.5 + 0.05 * signs.expand(-1, 6)
    images = torch.cat([patch, 0.5 + 0.3 * signs, faint], 1).view(400, 1, 4, 4)
    balls = (fs.Linf(0.1), fs.L1(1.0))
    shares = {}
    for name, loss in (("plain", None), ("both", MultiNormLoss(threats=balls, steps=5))):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        more: dict[str, Any] = {} if loss is None else {"loss": loss}
        fit(module, images, labels, Recipe(10, 50, learning_rate=0.2), **more)
        for ball in balls:
            found = APGD(threat=ball, steps=10)(fs.Classifier(module, channels=1), images, labels)
            shares[name, ball.name] = 1 - found.success.double().mean().item()
    assert min(shares["both", "linf"], shares["both", "l1"]) > 0.7
    assert min(shares["plain", "linf"], shares["plain", "l1"]) < 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threats": (fs.Linf(0.1),)}, "threats are of the norms linf; expected two or more"),
        ({"threats": ()}, "norms none"),
        ({"threats": (fs.Linf(0.1), fs.Linf(0.2))}, "linf, linf; expected .* each once"),
        ({"threats": (fs.Linf(0.1), fs.L1(0))}, "eps is 0"),
        ({"threats": (fs.Linf(0.1), fs.L0(3))}, "not defined for the norm l0"),
        ({"threats": BALLS, "steps": 0}, "steps is 0"),
        ({"threats": BALLS, "ramp": 2.0}, "ramp is 2"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidParameterError, match=says):
        MultiNormLoss(**options)


def test_describes_every_ball() -> None:
    described = MultiNormLoss(threats=(fs.Linf("8/255"), fs.L1(12))).describe()
    assert described["threats"] == [{"norm": "linf", "eps": 8 / 255}, {"norm": "l1", "eps": 12.0}]
    assert (described["method"], described["norm"]) == ("multi-norm", "linf")
