"""Invertible networks as they are learnt: resumed to the same bytes, moved through the latent."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fluoroscope as fs
from fluoroscope.models.invertible.bounded import BoundedConvolution
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape
from fluoroscope.training import Moment, Recipe, TrainingRun, fit_stream
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.latent import LatentLoss

SHAPE = Shape(1, 6, 6, 3, scales=1, blocks=2, hidden=4)
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.02)


def network() -> InvertibleNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InvertibleNetwork(SHAPE)


def pictures() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    images = torch.rand(60, 1, 6, 6, generator=drawn) / 2
    labels = torch.arange(60) % 3
    for row, label in enumerate(labels.tolist()):
        images[row, 0, 2 * label : 2 * label + 2] += 0.4
    return images, labels


def moment(share: float = 1.0) -> Moment:
    return Moment(torch.arange(60), 1, share, 0)


def latent(eps: float = 0.5, **settings: Any) -> LatentLoss:
    return LatentLoss(threat=fs.L2(eps), **settings)


def test_a_training_that_was_broken_off_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    images, labels = pictures()
    whole, broken = network(), network()
    for _ in fit_stream(whole, images, labels, RECIPE, loss=latent(ramp=0.5)):
        pass
    place = tmp_path / "going"
    for step in fit_stream(broken, images, labels, RECIPE, loss=latent(ramp=0.5), checkpoint=place):
        if step.number == 6:  # within the second epoch: it goes on from the end of the first
            break
    other = network()
    for layer in other.modules():
        if isinstance(layer, BoundedConvolution):
            layer.direction.normal_()  # what the power method has come to is in the checkpoint
    for _ in fit_stream(other, images, labels, RECIPE, loss=latent(ramp=0.5), checkpoint=place):
        pass
    for name, value in whole.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert fs.training.accuracy(whole, images, labels) > 0.9
    # The bound holds after training, too, though the power method comes from below.
    low, high = whole.lipschitz_bounds()
    assert (1 - 0.9) ** 2 * (1 - 1e-6) <= low <= high <= (1 + 0.9) ** 2 * (1 + 1e-6)


def test_pictures_move_by_eps_towards_what_lies_over_the_nearest_border() -> None:
    images, labels = pictures()
    module = network()
    for _ in fit_stream(module, images, labels, RECIPE):
        pass
    module.eval()
    inside = 0.3 + 0.4 * images  # so that no pixel meets an end
    found = latent(0.05, rounds=200).moved(module, inside, labels, moment())
    away = found - inside
    torch.testing.assert_close(away.flatten(1).norm(dim=1), torch.full((60,), 0.05))
    with torch.no_grad():
        latents, logits = module.encode(inside), module(inside)
        moved = module(found)
    for row in range(60):
        own, weight = int(labels[row]), module.head.weight.detach()
        ways = {
            rival: float(
                (logits[row, own] - logits[row, rival]) / (weight[own] - weight[rival]).norm()
            )
            for rival in range(3)
            if rival != own
        }
        rival = min(ways, key=lambda each: ways[each])
        normal = (weight[rival] - weight[own]) / (weight[rival] - weight[own]).norm()
        wanted = latents[row] + 1.5 * abs(ways[rival]) * normal
        direction = module.decode(wanted[None]).images[0] - inside[row]
        assert torch.cosine_similarity(away[row].flatten(), direction.flatten(), dim=0) > 0.999
        # The class loses against that rival.
        before, after = (each[row, own] - each[row, rival] for each in (logits, moved))
        assert after < before
    grown = latent(0.05, ramp=0.5).moved(module, inside, labels, moment(0.25))
    torch.testing.assert_close((grown - inside).flatten(1).norm(dim=1), torch.full((60,), 0.025))


def test_terms_are_halves_of_both() -> None:
    images, labels = pictures()
    module = network().eval()
    loss = latent()
    terms, logits = loss(module, images, labels, moment())
    found = loss.moved(module, images, labels, moment())
    assert isinstance(terms, dict)
    torch.testing.assert_close(logits, module(found))
    expected = torch.nn.functional.cross_entropy(module(images), labels) / 2
    torch.testing.assert_close(terms["clean"], expected)
    assert loss.describe() == {
        "method": "latent", "norm": "l2", "eps": 0.5, "ramp": 0.0, "rounds": 5
    }  # fmt: skip


def test_what_it_refuses() -> None:
    with pytest.raises(fs.FluoroscopeError, match="expected a length in L2"):
        LatentLoss(threat=fs.Linf(0.1))
    with pytest.raises(fs.FluoroscopeError, match="rounds is 0"):
        latent(rounds=0)
    with pytest.raises(fs.FluoroscopeError, match="eps is 0"):
        latent(0)
    with pytest.raises(fs.FluoroscopeError, match="needs a network's inverse"):
        latent().moved(torch.nn.Flatten(), *pictures(), moment())
    with pytest.raises(fs.FluoroscopeError, match="reads the network's inverse; expected"):
        AttackLoss(attack=fs.attack("latent", eps=0.5))


def test_it_is_made_for_the_data_at_hand(tmp_path: Path) -> None:
    run = TrainingRun(
        "invertible", "digits", out=tmp_path, epochs=1, limit=40, adversarial="latent", eps=0.5,
        options={"blocks": 1, "hidden": 4, "scales": 1, "contraction": 0.8},
    )  # fmt: skip
    steps = list(run)
    assert steps[-1].terms.keys() == {"clean", "adversarial"}
    assert steps[-1].held_out_adversarial is not None
    record = json.loads(run.result.weights.with_suffix(".json").read_text())
    assert (record["adversarial"]["method"], record["adversarial"]["norm"]) == ("latent", "l2")
    found = fs.load_model("invertible", checkpoint=run.result.weights)
    assert found.module.shape == Shape(1, 28, 28, 10, 1, 1, 4, 0.8)
    assert found.labels == tuple("0123456789")
    assert found.fingerprint() == run.result.classifier.fingerprint()
    assert run.command.startswith("fluoroscope train invertible --data digits")
    # A checkpoint says the shape when it is learnt on.
    again = TrainingRun(
        "invertible", "digits", out=tmp_path / "on", epochs=1, limit=50,
        checkpoint=run.result.weights,
    )  # fmt: skip
    assert again.classifier.module.shape == found.module.shape


def test_colours_and_sizes_come_from_the_pictures(tmp_path: Path) -> None:
    drawn = torch.rand(20, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    data = fs.load_images(drawn, labels=torch.arange(20) % 2)
    few = {"blocks": 1, "hidden": 2}
    run = TrainingRun("invertible", data, out=tmp_path, epochs=1, options=few)
    assert run.classifier.module.picture_shape == (3, 6, 4)
    run = TrainingRun("invertible", data, out=tmp_path, epochs=1, options=few, input_size=8)
    assert run.classifier.module.picture_shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"architecture": "digits-cnn", "recipe": "invertible"}, "digits-cnn has no inverse"),
        (
            {"architecture": "digits-cnn", "adversarial": "latent", "eps": 1},
            "needs a network's inv",
        ),
        ({"adversarial": "latent"}, "eps is missing; latent training expects .* in L2"),
        ({"adversarial": "latent", "eps": 1, "adversarial_steps": 3}, "latent makes one"),
        ({"options": {"blocks": 0}}, "blocks is 0; expected a whole number from 1"),
        ({"options": {"contraction": 1.5}}, "contraction is 1.5"),
        ({"architecture": "digits-cnn", "options": {"blocks": 2}}, "expected --recipe invertible"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=said):
        TrainingRun(
            **({"architecture": "invertible"} | given), data="digits", out=tmp_path, limit=50
        )
