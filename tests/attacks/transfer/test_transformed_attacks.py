"""MI-FGSM through changes of the input: peers, the parameters, and whose word counts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks import registry

SIDE, COUNT = 18, 6
IMAGES = 0.4 + 0.2 * torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
IMAGES = IMAGES.double()
POOL = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 49, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = 3 * self.body(x)
        return logits


MODULE = Network().double().eval()
MODEL = fs.Classifier(MODULE, input_size=SIDE)
CLASSES = MODEL(IMAGES).argmax(1)
SMALL: dict[str, dict[str, Any]] = {
    "di-fgsm": {"probability": 1.0},
    "ti-fgsm": {"size": 5},
    "si-fgsm": {"copies": 3},
    "admix": {"pool": POOL, "copies": 2},
}


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", ["di-fgsm", "ti-fgsm", "si-fgsm"])
def test_torchattacks_pixel_for_pixel(name: str, targeted: bool) -> None:
    """Without its diversity, which is random; its scales go with NI-FGSM."""
    torchattacks = pytest.importorskip("torchattacks")
    wanted = (CLASSES + 1) % 4 if targeted else CLASSES
    steps: dict[str, Any] = {"eps": 0.02, "alpha": 0.003, "steps": 5, "decay": 0.9}
    ours: dict[str, Any] = {"eps": 0.02, "step_size": 0.003, "steps": 5, "decay": 0.9}
    model = MODEL
    match name:
        case "di-fgsm":
            attack = fs.attack(name, probability=0, **ours)
            theirs = torchattacks.DIFGSM(MODULE, diversity_prob=0, **steps)
        case "ti-fgsm":
            attack = fs.attack(name, **ours)
            theirs = torchattacks.TIFGSM(MODULE, diversity_prob=0, **steps)
            theirs.stacked_kernel = theirs.stacked_kernel.double()
        case _:
            attack, model = fs.attack("ni-fgsm", **ours), fs.ScaleInvariant(MODEL)
            theirs = torchattacks.SINIFGSM(MODULE, m=5, **steps)
    if targeted:
        theirs.set_mode_targeted_by_label(quiet=True)
    result = attack(model, IMAGES, wanted, targeted=targeted, keep="last")
    same = (result.images - theirs(IMAGES, wanted)).abs() < 1e-9
    assert same.double().mean() > 0.9999


def test_di_is_as_strong_as_torchattacks(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    """Tolerance: three of 28 pictures, as much as other draws change."""
    torchattacks = pytest.importorskip("torchattacks")
    model, images, classes = reader

    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x)

    torch.manual_seed(0)
    theirs = torchattacks.DIFGSM(
        Plain().eval(), eps=0.08, alpha=0.008, steps=10, decay=1.0, diversity_prob=1
    )
    by_them = model(theirs(images, classes)).argmax(1) != classes
    result = fs.attack("di-fgsm", eps=0.08, probability=1)(model, images, classes, keep="last")
    assert 2 < int(by_them.sum()) < len(classes)
    assert int(result.success.sum()) >= int(by_them.sum()) - 3


@pytest.mark.parametrize(
    ("name", "options", "around"),
    [
        ("di-fgsm", {"probability": 0.8, "resize": 0.7}, lambda m: fs.DiverseInput(
            m, 0.8, resize=0.7, seed=5)),
        ("ti-fgsm", {"size": 7, "deviations": 2}, lambda m: fs.TranslationInvariant(
            m, 7, deviations=2)),
        ("si-fgsm", {"copies": 3}, lambda m: fs.ScaleInvariant(m, 3)),
        ("admix", {"pool": POOL, "copies": 2, "mixtures": 4, "share": 0.3}, lambda m: fs.Admix(
            m, POOL, copies=2, mixtures=4, share=0.3, seed=5)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("targeted", [False, True])
def test_it_is_momentum_through_the_change(
    name: str, options: dict[str, Any], around: Any, targeted: bool
) -> None:
    options = options | {"eps": 0.05, "steps": 4, "decay": 0.8}
    momentum = {key: options[key] for key in ("eps", "steps", "decay")}
    given: dict[str, Any] = {"targeted": targeted, "keep": "last", "seed": 5}
    one = fs.attack(name, **options)(MODEL, IMAGES, CLASSES, **given)
    two = fs.attack("mi-fgsm", **momentum)(around(MODEL), IMAGES, CLASSES, **given)
    torch.testing.assert_close(one.images, two.images)
    assert torch.equal(one.success, two.success)
    read = MODEL(one.images).argmax(1)
    assert torch.equal(one.success, (read == CLASSES) == targeted)
    torch.testing.assert_close(one.logits, MODEL(one.images).detach())
    plain = fs.attack("mi-fgsm", **momentum)(MODEL, IMAGES, CLASSES, **given)
    assert not torch.equal(one.images, plain.images)
    passes = around(MODEL).passes
    assert one.forwards.tolist() == [1 + 5 * passes] * COUNT
    assert one.backwards.tolist() == [4 * passes] * COUNT


@pytest.mark.parametrize("name", SMALL)
def test_a_sample_does_not_depend_on_its_neighbours(name: str) -> None:
    attack = fs.attack(name, eps=0.15, steps=4, **SMALL[name])
    together = attack(MODEL, IMAGES, CLASSES, batch_size=4, exact=True, seed=2)
    order = torch.arange(COUNT).flip(0)
    flipped = attack(
        MODEL, IMAGES[order], CLASSES[order], numbers=order, batch_size=4, exact=True, seed=2
    )
    assert torch.equal(flipped.images[order], together.images)
    assert (together.distance <= 0.15 + 1e-6).all()
    read = MODEL(together.images).argmax(1)
    assert torch.equal(together.success, read != CLASSES)


@pytest.mark.parametrize("name", ["di-fgsm", "admix"])
def test_the_seed_is_that_of_the_draws(name: str) -> None:
    attack = fs.attack(name, eps=0.05, steps=3, **SMALL[name])
    one, same, other = (
        attack(MODEL, IMAGES, CLASSES, keep="last", seed=seed).images for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_network_itself_says_what_is_a_success() -> None:
    """One that the change of the input makes blind and one that it fools."""

    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x.mean((1, 2, 3))
            return 50 * torch.stack([bright - 0.45, 0.45 - bright], 1)

    model = fs.Classifier(Corner())
    images = torch.full((2, 3, 6, 6), 0.5)
    # Half as bright it is predicted as class 1 throughout, so that the mean over scales is wrong.
    assert fs.ScaleInvariant(model)(images).argmax(1).tolist() == [1, 1]
    weak = fs.attack("si-fgsm", eps=0.01)(model, images, 0)
    assert not weak.success.any()
    assert weak.read_as.tolist() == [0, 0]
    strong = fs.attack("si-fgsm", eps=0.1)(model, images, 0)
    assert strong.success.all()


def test_wrong_parameters() -> None:
    for name, options, message in (
        ("di-fgsm", {"probability": 2}, "probability is 2"),
        ("di-fgsm", {"resize": 1}, "resize is 1"),
        ("ti-fgsm", {"size": 4}, "size is 4"),
        ("ti-fgsm", {"deviations": 0}, "deviations is 0"),
        ("si-fgsm", {"copies": 1}, "copies is 1"),
        ("admix", {"mixtures": 0}, "mixtures is 0"),
        ("admix", {"share": 0}, "share is 0"),
        ("admix", {"decay": -1}, "decay is -1"),
    ):
        with pytest.raises(fs.FluoroscopeError, match=message):
            fs.attack(name, eps=0.1, **options)
    with pytest.raises(fs.FluoroscopeError, match="admix was given no pictures to mix in"):
        fs.attack("admix", eps=0.1)(MODEL, IMAGES, CLASSES)


def test_the_defaults_are_the_papers() -> None:
    found = {name: fs.attack(name, eps=0.1) for name in SMALL}
    assert vars(found["di-fgsm"]).items() >= {"probability": 0.5, "resize": 0.9}.items()
    assert vars(found["ti-fgsm"]).items() >= {"size": 15, "deviations": 3.0}.items()
    assert vars(found["si-fgsm"]).items() >= {"copies": 5}.items()
    assert vars(found["admix"]).items() >= {"copies": 5, "mixtures": 3, "share": 0.2}.items()
    for attack in found.values():
        assert vars(attack).items() >= {"steps": 10, "step_size": None, "decay": 1.0}.items()
        assert attack.reach == 1  # type: ignore[attr-defined]
    assert set(SMALL) <= set(registry.ATTACKS)
