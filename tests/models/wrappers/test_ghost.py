"""Ghost networks: where erosion falls, what it does to numbers, and what it leaves alone."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.models.wrappers.draws import row_keys, row_uniform
from fluoroscope.models.wrappers.ghost import Erosion, Ghost
from fluoroscope.models.wrappers.randomised import EOT, is_random

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """An identity and a projection on the skip, written the usual ways, and sums that are none."""

    def __init__(self, factors: Iterator[Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.factors = factors
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.wide = nn.Sequential(nn.Conv2d(6, 9, 1), nn.ReLU(inplace=True), nn.Conv2d(9, 9, 1))
        self.project, self.head = nn.Conv2d(6, 9, 1), nn.Linear(9, 5)

    def skip(self, x: Tensor) -> Tensor:
        return x if self.factors is None else x * next(self.factors)[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        out = self.one(x)
        out += self.skip(x)  # in place, the skip second
        x = self.skip(out) + self.two(out).tanh() + 0.1  # the skip first
        x = torch.add(self.wide(x), self.skip(self.project(x)))
        x = x + x.square()  # two terms that have passed as many layers: no block
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Sequential(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(8 * 4, 5),
        )  # fmt: skip


class Attention(nn.Module):
    """Tokens with their channels last, of which there are as many as tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.place = nn.Conv2d(3, 4, 4, 4), nn.Parameter(torch.rand(1, 4, 4))
        self.look = nn.MultiheadAttention(4, 2, batch_first=True)
        self.think, self.head = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4)), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.place
        x = x + self.look(x, x, x)[0]
        x = self.think(x) + x
        logits: Tensor = self.head(x.mean(1))
        return logits


def network(module: nn.Module) -> fs.Classifier:
    return fs.Classifier(module, input_size=8, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.1))


def gradient(model: fs.Classifier, images: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(pixels).square().sum(), pixels)
    return found


@pytest.mark.parametrize(
    ("build", "erosion", "blocks"),
    [(Residual, "skip", 3), (Residual, "dropout", 6), (Sequential, "dropout", 2),
     (Attention, "skip", 2), (Attention, "dropout", 3)],
)  # fmt: skip
def test_blocks_are_found_and_without_erosion_a_ghost_is_the_network(
    build: Callable[[], nn.Module], erosion: Erosion, blocks: int
) -> None:
    plain = network(build())
    ghost = Ghost(plain, erosion=erosion, magnitude=0, samples=2)
    assert (ghost.erosion, ghost.blocks, ghost.passes) == (erosion, blocks, 2)
    if build is Attention:  # of which torch has a faster path that a ghost does not take
        torch.testing.assert_close(ghost(IMAGES), plain(IMAGES))
    else:
        assert torch.equal(ghost(IMAGES), plain(IMAGES))
        assert torch.equal(gradient(ghost, IMAGES), gradient(plain, IMAGES))
    assert not torch.allclose(Ghost(plain, erosion=erosion, magnitude=0.3)(IMAGES), plain(IMAGES))


def test_skips_are_eroded_where_there_are_any() -> None:
    residual, sequential = Ghost(network(Residual())), Ghost(network(Sequential()))
    assert (residual.erosion, residual.magnitude) == ("skip", 0.22)
    assert (sequential.erosion, sequential.magnitude) == ("dropout", 0.006)


def test_a_residual_network_against_one_written_out_with_the_same_factors() -> None:
    def factors() -> Iterator[Tensor]:
        for number, channels in enumerate((6, 6, 9)):
            yield 1 + 0.4 * (2 * row_uniform(IMAGES, 5, number, (channels,)) - 1)

    ghost = Ghost(network(Residual()), magnitude=0.4, seed=5)
    torch.testing.assert_close(ghost(IMAGES), network(Residual(factors()))(IMAGES))
    pixels = IMAGES.clone().requires_grad_()
    slow = network(Residual(factors()))(pixels).square().sum()
    (expected,) = torch.autograd.grad(slow, pixels)
    torch.testing.assert_close(gradient(ghost, IMAGES), expected)


def test_factors_of_tokens_belong_to_their_channels() -> None:
    module = Attention()
    first = 1 + 0.4 * (2 * row_uniform(IMAGES, 0, 0, (1, 4)) - 1)
    second = 1 + 0.4 * (2 * row_uniform(IMAGES, 0, 1, (1, 4)) - 1)
    plain, ghost = network(module), Ghost(network(module), magnitude=0.4)
    x = module.embed(plain.preprocessing.normalize(IMAGES)).flatten(2).transpose(1, 2)
    x = x + module.place
    x = first * x + module.look(x, x, x)[0]
    x = module.think(x) + second * x
    torch.testing.assert_close(ghost(IMAGES), module.head(x.mean(1)))


def test_factors_of_maps_with_channels_last_belong_to_their_channels() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.think, self.head = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 4)

        def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
            x = self.embed(x.permute(0, 2, 3, 1))
            x = self.think(x).tanh() + (x if factor is None else factor * x)
            logits: Tensor = self.head(x.mean((1, 2)))
            return logits

    module = Last()
    factor = 1 + 0.4 * (2 * row_uniform(IMAGES, 0, 0, (1, 1, 5)) - 1)
    torch.testing.assert_close(
        Ghost(fs.Classifier(module, input_size=8), magnitude=0.4)(IMAGES), module(IMAGES, factor)
    )


def test_a_skip_that_is_added_to_in_place_is_eroded_in_place() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.more = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x.add_(self.more(x))  # what it returns is not taken
            return x.mean((2, 3))

    module = InPlace()
    factor = 1 + 0.4 * (2 * row_uniform(IMAGES, 0, 0, (5, 1, 1)) - 1)
    first = module.stem(IMAGES)
    expected = (factor * first + module.more(first)).mean((2, 3))
    ghost = Ghost(fs.Classifier(module, input_size=8), magnitude=0.4)
    torch.testing.assert_close(ghost(IMAGES), expected)


def test_dropout_keeps_a_value_or_none_of_it_and_the_mean() -> None:
    """Behind the first layer a linear reader: it tells of each value what became of it."""
    torch.manual_seed(0)
    first, reader = nn.Conv2d(3, 40, 1, bias=False), nn.Linear(40 * 64, 40 * 64, bias=False)
    nn.init.ones_(first.weight)
    nn.init.eye_(reader.weight)
    plain = fs.Classifier(nn.Sequential(first, nn.Flatten(), reader), input_size=8)
    kept = (Ghost(plain, magnitude=0.3)(IMAGES) / plain(IMAGES)).detach()
    whole = kept > 0
    torch.testing.assert_close(kept, whole / 0.7)
    assert (whole.float().mean(1) - 0.7).abs().max() < 4 * (0.21 / 2560) ** 0.5
    assert abs(float(torch.corrcoef(kept)[0, 1])) < 0.1  # two images are eroded differently


@pytest.mark.parametrize("erosion", ["skip", "dropout"])
def test_many_ghosts_of_a_linear_network_come_to_the_network(erosion: Erosion) -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.parts = nn.ModuleList([nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Linear(384, 5)])

        def forward(self, x: Tensor) -> Tensor:
            x = self.parts[0](x)
            x = x + self.parts[1](x)
            logits: Tensor = self.parts[2](x.flatten(1))
            return logits

    plain = fs.Classifier(Linear(), input_size=8)
    expected = plain(IMAGES).detach()
    one, many = (
        (Ghost(plain, erosion=erosion, magnitude=0.3, samples=count)(IMAGES) - expected)
        .square().mean().sqrt().detach() for count in (1, 100)
    )  # fmt: skip
    assert 0.05 < many / one < 0.2  # shrinks as 1 / √samples


@pytest.mark.parametrize("build", [Residual, Sequential])
def test_a_ghost_follows_from_its_image_alone(build: Callable[[], nn.Module]) -> None:
    ghost = Ghost(network(build()), magnitude=0.2, samples=2)
    before = torch.get_rng_state()
    found = ghost(IMAGES)
    assert torch.equal(torch.get_rng_state(), before)
    assert not is_random(ghost, IMAGES)
    torch.testing.assert_close(ghost(IMAGES[[2, 0]]), found[[2, 0]])
    torch.testing.assert_close(Ghost(network(build()), magnitude=0.2, samples=2)(IMAGES), found)
    # Another step and another seed are other ghosts, and move more than a step so small can.
    for other in (ghost(IMAGES + 1e-6), Ghost(ghost.model, magnitude=0.2, seed=1)(IMAGES)):
        assert ((other - found).abs().amax(1) > 1e-3).all()


def test_several_ghosts_are_different_ones() -> None:
    model = network(Residual())
    one, two = (Ghost(model, samples=count)(IMAGES) for count in (1, 2))
    other = 2 * two - one  # the second alone
    assert ((one - other).abs().amax(1) > 1e-3).all()


def test_the_plain_network_judges_and_nothing_is_left_on_it() -> None:
    module = Residual().train()
    plain = network(module)
    before = copy.deepcopy(module.state_dict()), [sorted(vars(part)) for part in module.modules()]
    ghost = Ghost(fs.prepare(plain), samples=2)
    assert ghost.plain is plain
    pixels = IMAGES.clone().requires_grad_()
    ghost(pixels).sum().backward()
    assert sorted(vars(pixels)) == []
    assert [sorted(vars(part)) for part in module.modules()] == before[1]
    assert all(torch.equal(value, before[0][name]) for name, value in module.state_dict().items())
    assert all(not part._forward_hooks and part.training for part in module.modules())
    assert all(not vars(tensor) for tensor in [*module.parameters(), *module.buffers()])
    assert ghost.name == "Ghost of Residual"


def test_it_moves_and_is_told_apart() -> None:
    plain = network(Sequential())
    ghost = Ghost(plain, magnitude=0.1)
    wide = ghost.to(dtype=torch.float64)
    assert wide(IMAGES.double()).dtype == torch.float64
    assert ghost(IMAGES).dtype == torch.float32
    prints = {
        each.fingerprint()
        for each in (plain, ghost, Ghost(plain), Ghost(plain, magnitude=0.1, seed=1),
                     Ghost(plain, magnitude=0.1, samples=2))
    }  # fmt: skip
    assert len(prints) == 5
    assert Ghost(plain, magnitude=0.1).fingerprint() == ghost.fingerprint()


def test_it_composes() -> None:
    torch.manual_seed(1)
    ghost = Ghost(network(Residual()))
    both = fs.Ensemble([ghost, network(Residual())])
    assert torch.allclose(both(IMAGES), (ghost(IMAGES) + network(Residual())(IMAGES)) / 2)
    assert EOT(ghost, 2, transform=lambda x: x + 0.1 * torch.rand_like(x))(IMAGES).shape == (4, 5)
    # Images of another size are brought to the network's own first, and so hashed at that size.
    assert ghost(torch.rand(1, 3, 20, 30)).shape == (1, 5)


def test_what_cannot_be_eroded_is_refused() -> None:
    flat = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), input_size=8)
    with pytest.raises(ModelFormatError, match="found 0 sums with a skip and 0 layers after"):
        Ghost(flat)
    with pytest.raises(ModelFormatError, match="sums of two tensors of one shape"):
        Ghost(network(Sequential()), erosion="skip")
    with pytest.raises(ModelFormatError, match="neither scripted"):
        Ghost(network(torch.jit.script(nn.Sequential(*Sequential()).eval())))
    with pytest.raises(ModelFormatError, match="does not take pictures"):
        Ghost(fs.Classifier(Sequential()))
    with pytest.raises(ModelFormatError, match="network is a str; expected a"):
        Ghost("sequential")  # type: ignore[arg-type]
    for options, said in (
        ({"magnitude": 1}, "magnitude is 1"), ({"magnitude": -0.1}, "magnitude is -0.1"),
        ({"magnitude": float("nan")}, "magnitude is nan"), ({"samples": 0}, "samples is 0"),
        ({"erosion": "rust"}, "erosion is 'rust'"), ({"average": "votes"}, "average is 'votes'"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameterError, match=said):
            Ghost(network(Residual()), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "swin_t"])
def test_networks_of_torchvision(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = fs.Classifier(getattr(torchvision.models, name)(weights=None), input_size=64)
    ghost = Ghost(model)
    expected = {
        "resnet18": ("skip", 8), "squeezenet1_1": ("dropout", 25), "swin_t": ("skip", 24)
    }  # fmt: skip
    assert (ghost.erosion, ghost.blocks) == expected[name]


@pytest.mark.parametrize(
    ("name", "erosion", "blocks"),
    [("mobilenet_v1_0.25_128", "dropout", 14), ("mobilenet_v2_1.0_224", "skip", 10)],
)
def test_networks_of_transformers(shared: Path, name: str, erosion: Erosion, blocks: int) -> None:
    pytest.importorskip("transformers")
    ghost = Ghost(fs.load_model(shared / "models" / name))
    assert (ghost.erosion, ghost.blocks) == (erosion, blocks)


def test_each_image_has_its_own_key() -> None:
    assert len(row_keys(IMAGES, 0).unique()) == 4
