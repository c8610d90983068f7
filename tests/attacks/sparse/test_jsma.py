"""JSMA: the paper's map over all pairs, its loop for one image, what always holds, peers."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from l2_networks import curved, path
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.sparse.jsma import JSMA, best_pair
from fluoroscope.engine.threats import L0
from fluoroscope.errors import InvalidParameterError


def slow_pair(gain: Tensor, fall: Tensor) -> tuple[float, tuple[int, int] | None]:
    """The best product over all pairs, and its pair."""
    best: tuple[float, tuple[int, int] | None] = (-1.0, None)
    for p in range(len(gain)):
        for q in range(p + 1, len(gain)):
            alpha, beta = float(gain[p] + gain[q]), -float(fall[p] + fall[q])
            if alpha > 0 and beta < 0 and -alpha * beta > best[0]:
                best = (-alpha * beta, (p, q))
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 25), st.sampled_from([-0.9, 0.0, 0.9]), st.booleans())
def test_no_pair_is_better_than_the_one_found(
    seed: int, values: int, together: float, tied: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    gain = torch.randn(3, values, generator=generator).double()
    fall = together * gain + torch.randn(3, values, generator=generator).double() / 2
    if tied:
        gain, fall = (2 * gain).round(), (2 * fall).round()
    out = torch.rand(3, values, generator=generator) < 0.2
    gain, fall = gain.masked_fill(out, -torch.inf), fall.masked_fill(out, -torch.inf)
    pairs, found = best_pair(gain, fall)
    for row in range(3):
        best, any_pair = slow_pair(gain[row], fall[row])
        assert found[row] == (any_pair is not None)
        if any_pair is not None:
            p, q = pairs[row].tolist()
            assert p != q
            product = (gain[row, p] + gain[row, q]) * (fall[row, p] + fall[row, q])
            assert float(product) == pytest.approx(best)


def test_many_pairs_in_parts_and_tiny_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    # On such a curve no value beats another.
    gain = torch.linspace(0.1, 1, 40).double()[None]
    fall = 1.1 - gain.square()
    whole, _ = best_pair(gain, fall)
    monkeypatch.setattr("fluoroscope.attacks.sparse.jsma._PAIRS", 100)
    parts, _ = best_pair(gain, fall)
    best, _ = slow_pair(gain[0], fall[0])
    for pair in (whole, parts):
        p, q = pair[0].tolist()
        assert float((gain[0, p] + gain[0, q]) * (fall[0, p] + fall[0, q])) == pytest.approx(best)
    small, found = best_pair(1e-30 * gain.float(), 1e-30 * fall.float())
    assert found.all()
    assert set(small[0].tolist()) == set(whole[0].tolist())


def slowly(
    model: fs.Classifier, image: Tensor, target: int, theta: float, pairs: int, softmax: bool
) -> list[Tensor]:
    """What the paper's loop looks at, for one image towards a class."""
    x, seen = image, [image]
    for _ in range(pairs):
        if int(model(x[None]).argmax()) == target:
            break

        def outputs(flat: Tensor) -> Tensor:
            z = model(flat.view(1, *image.shape))[0]
            return z.softmax(0) if softmax else z

        jacobian = torch.autograd.functional.jacobian(outputs, x.flatten())
        gain, fall = jacobian[target], -(jacobian.sum(0) - jacobian[target])
        if theta < 0:
            gain, fall = -gain, -fall
        free = x.flatten() < 1 if theta > 0 else x.flatten() > 0
        _, pair = slow_pair(
            gain.masked_fill(~free, -torch.inf), fall.masked_fill(~free, -torch.inf)
        )
        if pair is None:
            break
        flat = x.flatten().clone()
        flat[list(pair)] = (flat[list(pair)] + theta).clamp(0, 1)
        x = flat.view_as(image)
        seen.append(x)
    return seen


@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3])
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_the_path_in_colour_is_the_papers(theta: float, outputs: Any) -> None:
    model, images, own = curved()
    wanted = (own + 1) % 4
    attack = JSMA(theta=theta, gamma=1, outputs=outputs)
    _, paths = path(attack, model, images, wanted, targeted=True)
    lengths = []
    for image, target, found in zip(images, wanted.tolist(), paths, strict=True):
        expected = slowly(model, image, target, theta, 6, outputs == "probabilities")
        # Without a pair the same image is shown once more.
        torch.testing.assert_close(found[: len(expected)], torch.stack(expected), rtol=0, atol=1e-9)
        assert len(found) <= len(expected) + 1
        lengths.append(len(expected))
    assert max(lengths) >= 3


def test_away_from_a_class_the_strongest_other_is_the_first_target() -> None:
    model, images, own = curved()
    ranked = model(images).detach().argsort(1, descending=True)
    assert torch.equal(ranked[:, 0], own)
    for rank in (1, 2):
        _, paths = path(JSMA(gamma=1), model, images, own, keep="nearest", restarts=3)
        for row, found in enumerate(paths):
            starts = [k for k, image in enumerate(found) if torch.equal(image, images[row])]
            run = found[starts[rank - 1] : starts[rank]]
            expected = slowly(model, images[row], int(ranked[row, rank]), 1, 6, False)
            count = min(len(run), len(expected), 2)
            torch.testing.assert_close(run[:count], torch.stack(expected[:count]))


def test_gamma_and_eps_bound_what_is_moved(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    model, images, classes = reader
    images, wanted = images[:6], (classes[:6] + 1) % 10
    _, paths = path(JSMA(gamma=20 / 784), model, images, wanted, targeted=True)
    for image, found in zip(images, paths, strict=True):
        changed = (found != image).flatten(1).sum(1).tolist()
        assert changed == [2 * k for k in range(len(found))]  # two more at each step
        assert changed[-1] <= 20
    result, paths = path(JSMA(threat=L0(8)), model, images, wanted, targeted=True)
    assert max(len(found) for found in paths) <= 5
    assert (result.distance <= 8).all()
    assert result.backwards.max() <= 2 * 5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([1.0, -1.0, 0.4]))
def test_in_the_box_with_an_honest_verdict_whatever_the_neighbours(
    seed: int, targeted: bool, theta: float
) -> None:
    model, images, own = curved(seed)
    classes = (own + 1) % 4 if targeted else own
    attack = JSMA(theta=theta, gamma=0.7)
    how: dict[str, Any] = {"targeted": targeted, "restarts": 2}
    whole = attack(model, images, classes, **how)
    parts = attack(model, images, classes, batch_size=2, **how)
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=1e-12)
    assert torch.equal(whole.forwards, parts.forwards)
    assert whole.images.min() >= 0
    assert whole.images.max() <= 1
    assert torch.equal((model(whole.images).argmax(1) == classes) == targeted, whole.success)
    moved = whole.images - images
    assert (moved * theta >= 0).all()
    assert torch.equal(whole.distance, (moved != 0).any(1).flatten(1).sum(1).double())


def test_unusable_parameters() -> None:
    model, images, own = curved()
    for bad in (
        lambda: JSMA(threat=fs.L2(1)),
        lambda: JSMA(theta=0),
        lambda: JSMA(theta=1.5),
        lambda: JSMA(gamma=1.1),
        lambda: JSMA(outputs="odds"),  # type: ignore[arg-type]
        lambda: JSMA(gamma=0.1)(model, images, own),  # of 12 values that is not a pair
    ):
        with pytest.raises(InvalidParameterError, match="expected"):
            bad()


# Peers.


def test_as_good_as_art(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    """On probabilities no less successful than ART, and the median no further away.

    ART takes the two values at which the wanted logit rises most, whatever the others do.
    """
    from art.attacks.evasion import SaliencyMapMethod
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = reader
    images, wanted = images[:8], (classes[:8] + 1) % 10
    network = model.module.eval()

    def result(found: Tensor) -> tuple[int, Tensor]:
        reached = model(found).argmax(1) == wanted
        changed = (found != images).flatten(1).sum(1).double()
        return int(reached.sum()), changed.where(reached, torch.inf)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu"
        )
        art = SaliencyMapMethod(wrapped, theta=1.0, gamma=0.1, verbose=False)
        found = torch.from_numpy(art.generate(images.numpy(), np.eye(10)[wanted.numpy()]))
    count, changed = result(found)
    ours = JSMA(outputs="probabilities")(model, images, wanted, targeted=True)
    assert int(ours.success.sum()) >= count
    assert ours.distance.where(ours.success, torch.inf).median() <= changed.median()


def test_the_same_pixels_as_torchattacks(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    import torchattacks

    model, images, classes = reader
    images, classes = images[:3], classes[:3]
    # Its own way to choose a target is the label plus 1.
    found = torchattacks.JSMA(model.module.eval(), gamma=0.04)(images.clone(), classes)
    wanted = (classes + 1) % 10
    ours = JSMA(gamma=0.0409)(model, images, wanted, targeted=True, keep="last")
    assert torch.equal(ours.images, found)
