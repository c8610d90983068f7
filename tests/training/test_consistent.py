"""The consistent loss against a slow version, and any attack within a training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine import randomness
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.losses.adversarial import FGSMLoss, PGDLoss, TRADESLoss
from fluoroscope.training.losses.attacked import AttackLoss, attack_loss
from fluoroscope.training.losses.consistent import ConsistentLoss, feature_distance
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.losses.multi_norm import MultiNormLoss
from fluoroscope.training.trainer.companion import begun
from fluoroscope.training.trainer.fitting import fit, fit_stream
from fluoroscope.training.trainer.preprocessed import as_learner
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment, named_terms

BALL = fs.Linf(0.2)
FGSM = FGSMLoss(threat=BALL)
IMAGES = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
LABELS = torch.arange(6) % 3
MOMENT = Moment(torch.tensor([40, 2, 77, 5, 13, 21]), epoch=2, share=1.0, seed=9)


class Twice(nn.Module):
    """Uses one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.again = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(72, 3)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.first(images).tanh()
        for _ in range(2):
            seen = self.again(seen).tanh_()
        return self.head(seen.flatten(1))


def network(kind: str = "plain") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        if kind == "twice":
            return Twice().double()
        between = [nn.BatchNorm2d(3), nn.Dropout(0.5)] if kind == "layered" else []
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), *between, nn.Tanh(), nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(16, 3),
        ).double()  # fmt: skip


def lowered(loss: Any, module: nn.Module, images: Tensor = IMAGES) -> dict[str, Tensor]:
    """The terms, by name."""
    with torch.random.fork_rng():
        torch.manual_seed(3)  # of dropout
        return named_terms(begun(loss, module, 3)(module, images, LABELS, MOMENT)[0])


def gradients(module: nn.Module, terms: dict[str, Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(torch.stack(list(terms.values())).sum(), module.parameters()))


def slow_distance(real: Tensor, moved: Tensor, distance: str) -> Tensor:
    found = []
    common = real.flatten(1).mean(0)
    for one, other in zip(real.flatten(1), moved.flatten(1), strict=True):
        a, b = (one - common).tolist(), (other - common).tolist()
        aa, bb = sum(x * x for x in a), sum(x * x for x in b)
        ab = sum(x * y for x, y in zip(a, b, strict=True))
        far = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        found.append(far / (aa + bb) if distance == "l2" else 1 - ab / (aa * bb) ** 0.5)
    return torch.tensor(found, dtype=torch.double).mean()


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_terms_are_both_cross_entropies_and_the_distance_of_features(distance: Any) -> None:
    module = network()
    loss = ConsistentLoss(base=FGSM, layer="0", weight=3.0, distance=distance)
    terms = lowered(loss, module)
    assert list(terms) == ["clean", "adversarial", "consistent"]
    x = IMAGES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(module(x), LABELS), x)
    moved = (IMAGES + 0.2 * slope.sign()).clamp(0, 1)
    torch.testing.assert_close(terms["clean"], 0.5 * F.cross_entropy(module(IMAGES), LABELS))
    torch.testing.assert_close(terms["adversarial"], 0.5 * F.cross_entropy(module(moved), LABELS))
    real, adversarial = module[0](IMAGES), module[0](moved)  # type: ignore[index]
    expected = 3 * slow_distance(real, adversarial, distance)
    torch.testing.assert_close(terms["consistent"], expected)
    assert expected > 0.01
    (slope,) = torch.autograd.grad(terms["consistent"], module[0].weight)  # type: ignore[index]
    apart = 3 * feature_distance(real, adversarial, distance)
    torch.testing.assert_close(slope, *torch.autograd.grad(apart, module[0].weight))  # type: ignore[index]


def test_gradient_goes_back_through_both_pictures() -> None:
    """By hand: one weight, two pictures of 0.8 and 0.2, of which each is moved by 0.2."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.Linear(1, 2)).double()
    with torch.no_grad():
        for weight, value in zip(module.parameters(), (2.0, 1.0, 1.0, 0.0), strict=True):
            weight.fill_(value)
        module[2].weight[1] = -1.0
    x = torch.tensor([0.8, 0.2], dtype=torch.double).view(2, 1, 1, 1)
    loss = ConsistentLoss(base=FGSM, layer="1", weight=1.0)
    moment = Moment(torch.tensor([0, 1]), 1, 1.0, 0)
    terms = begun(loss, module, 2)(module, x, torch.tensor([1, 1]), moment)[0]
    # Both are moved up. Less the mean 0.5 w: 0.3 w and -0.3 w, moved 0.5 w and -0.1 w.
    value = (0.04 / (0.09 + 0.25) + 0.04 / (0.09 + 0.01)) / 2
    assert terms["consistent"].item() == pytest.approx(value)
    slope, shift = torch.autograd.grad(terms["consistent"], (module[1].weight, module[1].bias))
    # Neither the scale nor a constant for all pictures changes it, so neither has a slope.
    assert slope.item() == pytest.approx(0, abs=1e-12)
    assert shift.item() == pytest.approx(0, abs=1e-12)


def test_gradient_by_differences() -> None:
    real, moved = torch.rand(2, 4, 3, dtype=torch.double).unbind()
    for distance in ("l2", "cosine"):
        assert torch.autograd.gradcheck(
            lambda a, b, d=distance: feature_distance(a, b, d),
            (real.requires_grad_(), moved.requires_grad_()),
        )


def test_a_weight_means_the_same_at_any_size_scale_and_shift() -> None:
    real, moved = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(1)).unbind()
    for distance in ("l2", "cosine"):
        one = feature_distance(real, moved, distance)  # type: ignore[arg-type]
        wider = feature_distance(100 * real.repeat(1, 9), 100 * moved.repeat(1, 9), distance)  # type: ignore[arg-type]
        torch.testing.assert_close(wider, one)
        shifted = feature_distance(real + 50, moved + 50, distance)  # type: ignore[arg-type]
        torch.testing.assert_close(shifted, one, rtol=1e-4, atol=1e-5)
    along = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    turned = torch.tensor([[0.0, 2.0], [0.0, -2.0]])
    for distance in ("l2", "cosine"):
        for other, expected in ((along, 0.0), (turned, 1.0), (-along, 2.0), (0 * along, 1.0)):
            assert feature_distance(along, other, distance).item() == expected  # type: ignore[arg-type]
        assert feature_distance(0 * along, 0 * along, distance).item() == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["plain", "layered"])
@pytest.mark.parametrize(
    "base",
    [
        FGSM, TRADESLoss(threat=BALL, steps=2), MARTLoss(threat=BALL, steps=2),
        PGDLoss(threat=BALL, steps=2),
    ],
    ids=lambda one: one.method,
)  # fmt: skip
def test_without_weight_it_is_its_base(base: Any, kind: str) -> None:
    """To the bit, also where training and evaluation differ; of PGD with the real pictures, too."""
    module = network(kind)
    found = lowered(ConsistentLoss(base=base, weight=0.0), module)
    other = network(kind)
    expected = lowered(base, other)
    assert found["consistent"] == 0
    if base.method == "pgd":
        clean = found.pop("clean")
        assert clean > 0.5
        if kind == "layered":  # the clean pass draws dropout before the moved one does
            return
    assert list(found) == [*expected, "consistent"]
    assert all(torch.equal(found[name], term) for name, term in expected.items())
    if base.learns_clean:
        assert all(map(torch.equal, gradients(module, found), gradients(other, expected)))
    buffers = zip(module.buffers(), other.buffers(), strict=True)
    assert all(torch.equal(one, two) for one, two in buffers)


def test_passes_are_those_of_its_base() -> None:
    counts = []
    for loss in (FGSM, ConsistentLoss(base=FGSM, layer="3")):
        module, seen = network("layered"), [0, 0]
        module.register_forward_hook(lambda part, *_, seen=seen: seen.__setitem__(
            part.training, seen[part.training] + 1))  # fmt: skip
        lowered(loss, module)
        counts.append(seen)
    assert counts[0] == counts[1] == [1, 2]


def test_last_convolution_is_the_layer_and_its_last_use_counts() -> None:
    module = network("twice")
    loss = begun(ConsistentLoss(base=FGSM), module, 3)
    terms, _ = loss(module, IMAGES, LABELS, MOMENT)
    assert loss.layer == "again"
    moved = FGSM.moved(module, IMAGES, LABELS, MOMENT)
    features = []
    for images in (IMAGES, moved):
        seen = module.again(module.first(images).tanh()).tanh()  # type: ignore[operator]
        features.append(module.again(seen))  # type: ignore[operator]
    torch.testing.assert_close(terms["consistent"], feature_distance(*features))
    torch.testing.assert_close(feature_distance(*features), slow_distance(*features, "l2"))
    assert not any(part._forward_hooks for part in module.modules())


def test_layers_are_named_as_the_network_behind_its_preprocessing_names_them() -> None:
    plain = network()
    model = fs.Classifier(network(), mean=[0.5], std=[0.25], channels=1, input_size=6)
    learner = as_learner(model)
    loss = ConsistentLoss(base=FGSM, layer="2")
    found = lowered(loss, learner)
    scaled = nn.Sequential()
    scaled.add_module("scale", _Scale())
    scaled.add_module("net", plain)
    expected = lowered(ConsistentLoss(base=FGSM, layer="net.2"), scaled)
    for name, term in expected.items():
        torch.testing.assert_close(found[name], term)


class _Scale(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) / 0.25


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_floats_of_other_types(kind: torch.dtype) -> None:
    exact = lowered(ConsistentLoss(base=FGSM), network())
    for base in (FGSM, attack_loss("fgsm", 0.2)):
        terms = lowered(ConsistentLoss(base=base), network().to(kind), IMAGES.to(kind))
        for name, term in terms.items():
            assert term.item() == pytest.approx(exact[name].item(), rel=0.05)
    trades = ConsistentLoss(base=TRADESLoss(threat=BALL, steps=2))
    assert all(term > 0 for term in lowered(trades, network().to(kind), IMAGES.to(kind)).values())


def test_an_attack_by_name_moves_as_the_loss_of_the_same_name() -> None:
    module = network("layered")
    quick, slow = FGSM, begun(attack_loss("fgsm", 0.2), module, 3)
    moved = slow.moved(module, IMAGES, LABELS, MOMENT)
    torch.testing.assert_close(moved, quick.moved(module, IMAGES, LABELS, MOMENT))
    assert module.training
    assert (moved - IMAGES).abs().max() == pytest.approx(0.2)
    one, other = lowered(attack_loss("fgsm", 0.2), module), lowered(quick, network("layered"))
    for name, term in other.items():
        torch.testing.assert_close(one[name], term)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mi-fgsm", {"eps": 0.1, "steps": 3}),
        ("ensemble-optimisation", {"steps": 3}),
        ("ensemble-optimisation", {"eps": 0.02, "steps": 3, "targeted": True}),
        ("pgd", {"eps": 0.1, "steps": 3, "targeted": True}),
        ("ddn", {"steps": 5}),
        ("rfgsm", {"eps": 0.1}),
        ("ghost-fgsm", {"eps": 0.1, "steps": 2}),
    ],
)
def test_any_gradient_attack(name: str, options: dict[str, Any]) -> None:
    module = network("layered")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    loss = begun(attack_loss(name, **options), module, 3)
    moved = loss.moved(module, IMAGES, LABELS, MOMENT)
    assert moved.shape == IMAGES.shape
    assert moved.dtype == IMAGES.dtype
    assert not torch.equal(moved, IMAGES)
    far = (moved - IMAGES).abs().max().item()
    assert far <= options.get("eps", 1.0) + 1e-9
    # The same moment, the same pictures; the network is as it was.
    again = begun(attack_loss(name, **options), module, 3)
    assert torch.equal(again.moved(module, IMAGES, LABELS, MOMENT), moved)
    assert all(torch.equal(module.state_dict()[key], value) for key, value in before.items())
    terms = lowered(ConsistentLoss(base=attack_loss(name, **options)), module)
    assert list(terms) == ["clean", "adversarial", "consistent"]


def test_attacks_go_to_the_end_and_not_to_the_first_success() -> None:
    module = network()
    loss = begun(attack_loss("pgd", 0.2, steps=4), module, 3)
    wrong = (module(IMAGES).argmax(1) + 1) % 3  # fooled before anything is moved
    moved = loss.moved(module, IMAGES, wrong, MOMENT)
    assert ((moved - IMAGES).flatten(1).abs().amax(1) > 0.1).all()


def test_targets_are_other_classes_drawn_anew_in_every_epoch() -> None:
    loss = begun(attack_loss("pgd", 0.1, targeted=True), network(), 10)
    labels = torch.arange(1000) % 10
    drawn = []
    for epoch in (1, 2):
        keys = randomness.keys(0, torch.arange(1000), epoch)
        drawn.append(loss._drawn(labels, keys))
    for one in drawn:
        assert (one != labels).all()
        assert one.bincount(minlength=10).min() > 60
    assert (drawn[0] != drawn[1]).float().mean() > 0.8


def test_the_bound_grows() -> None:
    loss = AttackLoss(attack=fs.attack("pgd", eps=0.2, steps=3), ramp=0.5)
    module = network()
    early = Moment(MOMENT.indices, 1, 0.1, 9)
    moved = begun(loss, module, 3).moved(module, IMAGES, LABELS, early)
    assert (moved - IMAGES).abs().max().item() == pytest.approx(0.2 * 0.1 / 0.5, rel=1e-3)


def test_a_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(40, 1, 6, 6, generator=generator)
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    recipe = Recipe(epochs=2, batch_size=10, learning_rate=0.02)

    def run(checkpoint: Path | None = None) -> tuple[nn.Module, Iterator[Any]]:
        module = network("layered").float()
        loss = ConsistentLoss(base=attack_loss("mi-fgsm", 0.1, steps=1, ramp=0.5), weight=5.0)
        steps = fit_stream(module, images, labels, recipe, loss=loss, checkpoint=checkpoint)
        return module, steps

    whole, steps = run()
    *_, last = steps
    assert set(last.terms) == {"clean", "adversarial", "consistent"}
    kept = tmp_path / "c.safetensors"
    _, steps = run(kept)
    for _ in range(5):  # the first epoch is written, the second broken off
        next(steps)
    module, steps = run(kept)
    assert len(list(steps)) == 5  # the last step of the first epoch, and another epoch
    for one, two in zip(whole.state_dict().values(), module.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_the_distance_is_lowered() -> None:
    images = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    recipe = Recipe(epochs=10, batch_size=20, learning_rate=0.02)
    far = []
    for weight in (10.0, 0.0):
        module = network().float()
        fit(module, images, labels, recipe, loss=ConsistentLoss(base=FGSM, weight=weight))
        far.append(lowered(ConsistentLoss(base=FGSM), module, images[:6])["consistent"].item())
    assert far[0] < 0.7 * far[1]


def test_with_perturbed_and_averaged_weights_it_sees_the_same_moved_pictures() -> None:
    """The gradient is taken elsewhere, and its distance there, too; one search all the same."""
    images, labels, seen = IMAGES.float(), LABELS, []
    for beside in ((), (AdversarialWeightPerturbation(gamma=0.1),), (WeightAverage(decay=0.5),)):
        module, searches = network().float(), [0]
        module.register_forward_hook(lambda part, *_, n=searches: n.__setitem__(
            0, n[0] + (not part.training)))  # fmt: skip
        loss = ConsistentLoss(base=PGDLoss(threat=BALL, steps=3), layer="2", weight=4.0)
        recipe = Recipe(epochs=2, batch_size=6)
        step = fit(module, images, labels, recipe, loss=loss, beside=beside)
        seen.append((step.terms["consistent"], searches[0]))
    assert seen[0] == seen[2]  # an average changes nothing until the end
    assert seen[1][0] != seen[0][0]
    assert seen[1][1] == seen[0][1]


def test_what_its_base_keeps_is_kept(tmp_path: Path) -> None:
    """Within two norms: how often each is drawn follows from what was misclassified before."""
    kept, recipe = tmp_path / "c.safetensors", Recipe(epochs=3, batch_size=2)

    def run(checkpoint: Path | None) -> tuple[nn.Module, Iterator[Any]]:
        module = network().float()
        base = MultiNormLoss(threats=(fs.Linf(0.1), fs.L2(0.5)), steps=2)
        loss, images = ConsistentLoss(base=base), IMAGES.float()
        return module, fit_stream(module, images, LABELS, recipe, loss=loss, checkpoint=checkpoint)

    whole, steps = run(None)
    *_, last = steps
    assert list(last.terms) == ["clean", "adversarial", "consistent"]
    _, steps = run(kept)
    for _ in range(4):
        next(steps)
    module, steps = run(kept)
    list(steps)
    for one, two in zip(whole.parameters(), module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_another_layer_is_another_training(tmp_path: Path) -> None:
    kept, recipe = tmp_path / "c.safetensors", Recipe(epochs=1, batch_size=3)
    images, labels = IMAGES.float(), LABELS
    fit(network().float(), images, labels, recipe, checkpoint=kept,
        loss=ConsistentLoss(base=FGSM, layer="0"))  # fmt: skip
    with pytest.raises(InvalidParameterError, match="another training"):
        fit(network().float(), images, labels, recipe, checkpoint=kept,
            loss=ConsistentLoss(base=FGSM, layer="2"))  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConsistentLoss(base=FGSM, layer="2.x"), "layer is '2.x', which Sequential does"),
        (lambda: ConsistentLoss(base=FGSM, layer="convolution"), "expected one of 0, 1, 2"),
        (lambda: ConsistentLoss(base=FGSM, weight=-1.0), "weight is -1.0; expected 0 or more"),
        (lambda: ConsistentLoss(base=FGSM, distance="l1"), "distance is 'l1'; expected"),  # type: ignore[arg-type]
        (lambda: ConsistentLoss(base=WeightAverage()), "base is WeightAverage"),  # type: ignore[arg-type]
        (lambda: ConsistentLoss(base=3), "base is 3; expected a loss of moved"),  # type: ignore[arg-type]
        (lambda: attack_loss("square", 0.1), "square follows no gradient but reads scores"),
        (lambda: attack_loss("hopskipjump"), "hopskipjump follows no gradient but reads"),
        (lambda: attack_loss("universal", 0.1), "universal makes one thing for all pictures"),
        (lambda: attack_loss("sparsefool", 3, targeted=True), "only leads away from a class"),
        (lambda: attack_loss("mi-fgsn", 0.1), "did you mean mi-fgsm?"),
        (lambda: attack_loss("mi-fgsm"), "eps is missing; mi-fgsm training"),
        (lambda: attack_loss("mi-fgsm", 0.0), "eps is 0.0; expected a number above 0"),
        (lambda: attack_loss("rfgsm", 0.1, steps=3), "steps are 3, but rfgsm does not take"),
        (lambda: attack_loss("ddn", ramp=0.2), "ddn has no bound that could grow; expected eps"),
        (lambda: attack_loss("pgd", 0.1, ramp=2.0), "ramp is 2.0; expected a share"),
    ],
)  # fmt: skip
def test_refused_in_a_sentence(make: Any, message: str) -> None:
    with pytest.raises(FluoroscopeError, match=message):
        fit(network().float(), IMAGES.float(), LABELS, Recipe(epochs=1), loss=make())


def test_refused_once_the_network_has_been_looked_at() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    recipe, images = Recipe(epochs=1), IMAGES.float()
    with pytest.raises(InvalidParameterError, match="Sequential has no convolution; expected"):
        fit(flat, images, LABELS, recipe, loss=ConsistentLoss(base=FGSM))
    with pytest.raises(InvalidParameterError, match="layer is '0', up to which Sequential has no"):
        fit(flat, images, LABELS, recipe, loss=ConsistentLoss(base=FGSM, layer="0"))
    unused = network().float()
    unused.add_module("spare", nn.Identity())
    unused.forward = lambda x: nn.Sequential(*list(unused)[:-1])(x)  # type: ignore[method-assign]
    with pytest.raises(InvalidParameterError, match="'spare' of Sequential was not used"):
        fit(unused, images, LABELS, recipe, loss=ConsistentLoss(base=FGSM, layer="spare"))


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_of_one_picture_there_is_no_distance(distance: str) -> None:
    """It is all that it has in common with itself; a batch of one says nothing of features."""
    features = torch.rand(4, 7)
    for one, other in ((features[:1], features[1:2]), (features[:0], features[:0])):
        with pytest.raises(InvalidParameterError, match="of 2 pictures or more"):
            feature_distance(one, other, distance)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match=r"features are \(4, 7\) and \(3, 7\)"):
        feature_distance(features, features[:3], distance)  # type: ignore[arg-type]
    module = network().float()
    loss = ConsistentLoss(base=FGSM, distance=distance)  # type: ignore[arg-type]
    step = fit(module, torch.rand(1, 1, 6, 6), torch.tensor([1]), Recipe(epochs=1), loss=loss)
    assert step.terms["consistent"] == 0
    assert step.loss > 0
