"""Several networks that answer as one, against slow means over the members."""

import hashlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import CROSS_ENTROPY, LOGIT
from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.models.wrappers.ensemble import Average, Ensemble
from fluoroscope.models.wrappers.prepared import prepare

CLASSES = 5
IMAGES = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 4, 2])


def member(seed: int, side: int = 12, scale: float = 3.0, **options: object) -> fs.Classifier:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * side**2, 16), nn.Tanh(), nn.Linear(16, CLASSES)
    )
    with torch.no_grad():
        module[3].weight.mul_(scale)
    options.setdefault("mean", (0.1 * seed,) * 3)
    return fs.Classifier(module, input_size=side, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("average", ["logits", "probabilities", "loss"])
def test_against_a_slow_mean(average: Average) -> None:
    members = [member(seed) for seed in (1, 2, 3)]
    answer = Ensemble(members, average=average)(IMAGES)
    for row, image in enumerate(IMAGES):
        each = [one(image[None])[0].double() for one in members]
        for label in range(CLASSES):
            match average:
                case "logits":
                    wanted = sum(float(z[label]) for z in each) / 3
                case "probabilities":
                    wanted = float(torch.stack([z.softmax(0)[label] for z in each]).mean().log())
                case "loss":
                    wanted = -sum(float(F.cross_entropy(z, torch.tensor(label))) for z in each) / 3
            assert float(answer[row, label]) == pytest.approx(wanted, abs=1e-5)


def slow_loss_gradient(members: list[fs.Classifier], images: Tensor, labels: Tensor) -> Tensor:
    """The mean over the members of each one's own gradient of its cross-entropy."""
    gradients = []
    for one in members:
        pixels = images.double().requires_grad_()
        loss = F.cross_entropy(one.to(dtype=torch.float64)(pixels), labels, reduction="sum")
        gradients.append(torch.autograd.grad(loss, pixels)[0])
    return torch.stack(gradients).mean(0)


def test_the_mean_loss_is_what_the_cross_entropy_sees() -> None:
    members = [member(seed, side) for seed, side in ((1, 12), (2, 12), (3, 8))]
    ensemble = Ensemble(members, average="loss")
    asked = evaluate(ensemble, IMAGES, LABELS, -LOGIT, gradient=True)
    assert asked.objective is not None
    assert asked.gradient is not None
    losses = [F.cross_entropy(one(IMAGES), LABELS, reduction="none") for one in members]
    assert torch.allclose(asked.objective.float(), torch.stack(losses).mean(0), atol=1e-5)
    expected = slow_loss_gradient(members, IMAGES, LABELS).float()
    assert torch.allclose(asked.gradient, expected, atol=1e-5)
    # The cross-entropy does not normalise it again, or it would be that of the mean logits.
    again = evaluate(ensemble, IMAGES, LABELS, CROSS_ENTROPY, gradient=True)
    assert again.objective is not None
    assert again.gradient is not None
    assert torch.allclose(again.objective, asked.objective)
    assert torch.allclose(again.gradient, asked.gradient)
    fast = evaluate(prepare(ensemble), IMAGES, LABELS, CROSS_ENTROPY).objective
    assert fast is not None
    assert torch.allclose(fast, asked.objective, atol=1e-5)
    logits = evaluate(Ensemble(members), IMAGES, LABELS, CROSS_ENTROPY).objective
    assert logits is not None
    assert not torch.allclose(again.objective, logits, atol=1e-5)


def test_a_member_that_is_sure_keeps_its_slope() -> None:
    members = [member(seed) for seed in (1, 2)]
    for one in members:
        one.module[3].bias.data[0] += 25  # in float32 the probability of class 0 is 1
    images, labels = IMAGES, torch.zeros_like(LABELS)
    assert min(float(one(images).softmax(1)[:, 0].amin()) for one in members) > 1 - 1e-7
    found = evaluate(Ensemble(members, average="loss"), images, labels, -LOGIT, gradient=True)
    expected = slow_loss_gradient(members, images, labels).flatten(1)
    assert found.gradient is not None
    away = found.gradient.double().flatten(1) - expected
    assert (away.norm(dim=1) / expected.norm(dim=1)).amax() < 1e-2


def test_members_of_other_sizes_see_the_whole_picture() -> None:
    small, large = member(1, 8, resize=10), member(2, 12, resize=14)
    ensemble = Ensemble([small, large])
    assert ensemble.input_size == (12, 12)
    assert ensemble.preprocessing.resize == 14  # pictures come to it as to its largest member
    pixels = IMAGES.clone().requires_grad_()
    stretched = F.interpolate(pixels, (8, 8), mode="bilinear", antialias=True)
    expected = (small(stretched) + large(pixels)) / 2
    answer = ensemble(pixels)
    assert torch.allclose(answer, expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(ensemble(pixels)[:, 0].sum(), pixels)
    (wanted,) = torch.autograd.grad(expected[:, 0].sum(), pixels)
    assert torch.allclose(gradient, wanted, atol=1e-5)
    assert gradient[..., 0, 0].abs().amin() > 0
    # The members themselves crop as before.
    assert small.preprocessing.resize == 10
    assert Ensemble([small, large], input_size=8).input_size == (8, 8)
    assert ensemble(torch.rand(1, 3, 20, 30)).shape == (1, CLASSES)


def test_one_member_is_itself_and_an_ensemble_a_member() -> None:
    one, two = member(1), member(2)
    assert torch.allclose(Ensemble([one])(IMAGES), one(IMAGES), atol=1e-6)
    nested = Ensemble([Ensemble([one, two]), one])
    assert torch.allclose(nested(IMAGES), 0.75 * one(IMAGES) + 0.25 * two(IMAGES), atol=1e-5)
    assert (one.passes, nested.passes) == (1, 3)


def test_all_members_are_held_still_and_given_back() -> None:
    members = [member(seed) for seed in (1, 2)]
    for one in members:
        one.module.append(nn.Dropout())
        one.module.train()
    ensemble = Ensemble(members)
    weights = [weight for one in members for weight in one.module.parameters()]
    with ensemble.held():
        assert not any(part.training for one in members for part in one.module.modules())
        assert not any(weight.requires_grad for weight in weights)
    pixels = IMAGES.clone().requires_grad_()
    answer = ensemble(pixels)
    answer.sum().backward()
    assert torch.equal(ensemble(IMAGES), answer)
    assert all(part.training for one in members for part in one.module.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in weights)


def test_a_copy_in_double_precision() -> None:
    members = [member(seed) for seed in (1, 2)]
    ensemble = Ensemble(members, average="probabilities")
    twin = ensemble.to(dtype=torch.float64)
    assert twin.dtype == torch.float64
    assert torch.allclose(twin(IMAGES.double()).float(), ensemble(IMAGES), atol=1e-5)
    assert (ensemble.dtype, members[0].dtype) == (torch.float32, torch.float32)
    assert ensemble.members[0].module is members[0].module


def test_the_fingerprint_is_of_members_and_averaging() -> None:
    one, two = member(1), member(2)
    prints = {Ensemble([one, two]).fingerprint(), Ensemble([one, two], name="x").fingerprint()}
    assert len(prints) == 1
    assert len(prints.pop()) == hashlib.sha256().digest_size * 2
    others = [
        Ensemble([one, two]),
        Ensemble([one, two], average="loss"),
        Ensemble([one, two], input_size=16),
        Ensemble([one]),
        Ensemble([one, two.restated(mean=(0.9,) * 3)]),
    ]
    assert len({ensemble.fingerprint() for ensemble in others}) == 5


def test_members_may_name_the_same_classes_otherwise() -> None:
    one = member(1, labels=["tabby, tabby cat", "räv", "a bird", "crane", "sea-horse"])
    other = member(2, labels=["Tabby", "Rav", "bird", "Crane", "sea horse"])
    assert Ensemble([one, other]).labels == one.labels
    mixed = member(2, labels=["Rav", "Tabby", "bird", "Crane", "sea horse"])
    with pytest.raises(ModelFormatError, match=r"and 'Rav' for .*, and that is class 1 for"):
        Ensemble([one, mixed])


def test_labels_are_those_of_the_members_that_have_names() -> None:
    named = member(2, labels=list("abcde"))
    assert Ensemble([member(1), named]).labels == tuple("abcde")
    assert Ensemble([member(1), member(3)]).labels == ("0", "1", "2", "3", "4")
    other = member(3, labels=["a", "b", "c", "d", "x"])
    with pytest.raises(ModelFormatError, match=r"class 4 is 'e' for .* and 'x' .*restated\(labels"):
        Ensemble([member(1), named, other])


def test_what_is_no_ensemble() -> None:
    with pytest.raises(ModelFormatError, match="has no members; expected at least one"):
        Ensemble([])
    with pytest.raises(ModelFormatError, match="network is a str; expected a"):
        Ensemble([member(1), "member"])  # type: ignore[list-item]
    fewer = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)), input_size=12)
    with pytest.raises(ModelFormatError, match="has num_classes 5 and Sequential has 4"):
        Ensemble([member(1), fewer])
    grey = fs.Classifier(nn.Flatten(), channels=1, input_size=12)
    with pytest.raises(ModelFormatError, match="has channels 3 and Flatten has 1"):
        Ensemble([member(1), grey])
    with pytest.raises(ModelFormatError, match=r"torch.float64; .* model.to\(dtype"):
        Ensemble([member(1), member(2).to(dtype=torch.float64)])
    with pytest.raises(InvalidParameterError, match="average is 'median'; expected 'logits', "):
        Ensemble([member(1)], average="median")  # type: ignore[arg-type]


def test_attacks_know_nothing_of_it() -> None:
    ensemble = Ensemble([member(1), member(2, 8)])
    images, labels = IMAGES, ensemble(IMAGES).argmax(1)
    moved = fs.fgsm(ensemble, images, labels.tolist(), 0.1)
    found = getattr(moved, "images", moved)
    loss = [F.cross_entropy(ensemble(at), labels) for at in (images, found)]
    assert loss[1] > loss[0]
