"""Adversarial samples from a generator: bounded, towards a class, judged as every attack's are."""

import pytest
import torch

import fluoroscope as fs
from fluoroscope.attacks.universal.fitting import FitStep
from fluoroscope.inversion.generator.perturbing import (
    GeneratedPerturbation,
    Perturber,
    drawn_targets,
    fit_perturbation,
)


@pytest.fixture(scope="module")
def digits() -> tuple[fs.Classifier, torch.Tensor, torch.Tensor]:
    model = fs.load_model("digits-linear")
    batch = next(fs.load_images("digits", channels=1).batches(240, fit=model.preprocessing))
    return model, batch.images, batch.labels


@pytest.mark.parametrize("threat", ["linf:0.2", "l2:4"])
def test_it_leads_pictures_that_it_has_not_seen_within_the_bound(digits, threat: str) -> None:
    model, images, labels = digits
    told: list[FitStep] = []
    attack = fit_perturbation(
        model, images[:160], labels[:160], threat=threat, steps=40, batch_size=32, width=8,
        on_batch=told.append,
    )  # fmt: skip
    assert [one.number for one in told] == list(range(1, 41))
    assert told[-1].objective > told[0].objective + 2
    unseen, wanted = images[160:], drawn_targets(labels[160:], 10, seed=1)
    assert not bool((wanted == labels[160:]).any())
    found = attack(model, unseen, wanted, targeted=True, grid=8)
    before = (fs.predict(model, unseen).winners == wanted).float().mean()
    assert float(found.success.float().mean()) > float(before) + 0.25
    # Judged anew, by hand: saved pictures within the bound that the network calls as wanted.
    levels = found.images * 255
    assert float((levels - levels.round()).abs().max()) < 1e-3
    away = (found.images - found.originals).flatten(1)  # of the nearest saved picture
    norm = away.abs().amax(1) if threat.startswith("linf") else away.norm(dim=1)
    assert float(norm.max()) <= float(threat.split(":")[1]) + 1e-5
    again = fs.predict(model, found.images).winners == wanted
    assert found.success.tolist() == again.tolist()
    alone = attack(model, unseen[:1], wanted[:1], targeted=True, grid=8)
    torch.testing.assert_close(alone.images, found.images[:1], atol=1 / 254, rtol=0)


def test_the_same_seed_makes_the_same_and_the_process_stays_as_it_was(digits) -> None:
    model, images, labels = digits
    state = torch.random.get_rng_state()
    options = {"threat": "linf:0.3", "steps": 2, "batch_size": 8, "width": 4}
    first, second = (
        fit_perturbation(model, images[:16], labels[:16], seed=5, **options) for _ in range(2)
    )
    assert first.stated == second.stated
    other = fit_perturbation(model, images[:16], labels[:16], seed=6, **options)
    assert other.stated != first.stated
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_takes_colour_odd_sizes_and_a_cancellation() -> None:
    made = Perturber(3, 4, width=4)
    assert made(torch.rand(2, 3, 9, 14), torch.tensor([0, 3])).shape == (2, 3, 9, 14)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 9 * 14, 4))
    model = fs.Classifier(module, channels=3, input_size=(9, 14))
    attack = fit_perturbation(
        model, torch.rand(4, 3, 9, 14), torch.arange(4), threat="l2:1", steps=50,
        cancelled=lambda: True,
    )  # fmt: skip
    assert isinstance(attack, GeneratedPerturbation)


def test_what_it_cannot_do_is_said(digits) -> None:
    model, images, labels = digits
    attack = fit_perturbation(model, images[:8], labels[:8], threat="linf:0.3", steps=1, width=4)
    with pytest.raises(fs.FluoroscopeError, match="expects targeted=True"):
        attack(model, images[:2], labels[:2])
    for threat, words in (("l1:3", "not defined for the norm l1"), ("linf", "eps is infinite")):
        with pytest.raises(fs.FluoroscopeError, match=words):
            fit_perturbation(model, images[:8], labels[:8], threat=threat, steps=1)
    with pytest.raises(fs.FluoroscopeError, match="learning_rate is 0"):
        fit_perturbation(model, images[:8], labels[:8], threat="linf:0.3", learning_rate=0)
