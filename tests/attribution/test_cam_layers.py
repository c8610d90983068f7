"""Where class activation maps are read: grids in what layers give out, and the layer by itself."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attribution.cam.grids import Grid, find_grid
from fluoroscope.attribution.cam.layers import find_place
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import InvalidParameterError, NoGradientError
from tests.attribution.zoo import TOYS, toy


@pytest.mark.parametrize(
    ("shape", "picture", "expected"),
    [
        ((512, 7, 7), (224, 224), Grid("maps", 7, 7, 512)),
        ((512, 7, 5), (224, 160), Grid("maps", 7, 5, 512)),
        ((7, 5, 512), (224, 160), Grid("channels last", 7, 5, 512)),
        ((7, 7, 7), (224, 224), Grid("maps", 7, 7, 7)),
        ((3, 197, 64), (224, 224), None),  # heads, tokens, and their width
        ((64, 1, 40), (64, 64), None),
        ((197, 192), (224, 224), Grid("tokens", 14, 14, 192, 1)),
        ((198, 192), (224, 224), Grid("tokens", 14, 14, 192, 2)),
        ((261, 384), (224, 224), Grid("tokens", 16, 16, 384, 5)),
        ((196, 1024), (224, 224), Grid("tokens", 14, 14, 1024)),
        ((141, 192), (224, 160), Grid("tokens", 14, 10, 192, 1)),
        ((141, 192), (160, 224), Grid("tokens", 10, 14, 192, 1)),
        ((50, 64), (225, 229), Grid("tokens", 7, 7, 64, 1)),
        ((768, 49), (224, 224), Grid("tokens last", 7, 7, 768)),
        ((28, 6), (28, 28), None),  # rows of the picture, not 25 places and 3 tokens
        ((8, 6), (8, 8), None),
        ((24, 6), (8, 8), None),
        ((28, 32), (28, 28), None),  # rows of 32 numbers, not 25 places and 7 tokens
        ((28, 49), (28, 28), None),
        ((64, 28), (28, 28), None),  # 8×8 patches of 3.5 pixels there are not
        ((64, 32), (32, 32), Grid("tokens", 8, 8, 32)),
        ((30, 64), (28, 28), None),
        ((58, 64), (28, 28), None),  # 7×7 and 9
        ((53, 64), (28, 28), Grid("tokens", 7, 7, 64, 4)),
        ((329, 64), (256, 256), Grid("tokens", 18, 18, 64, 5)),  # patches of 14, 4 pixels left out
        ((1000,), (224, 224), None),
        ((2, 3, 7, 7), (224, 224), None),
    ],
)
def test_grids(shape: tuple[int, ...], picture: tuple[int, int], expected: Grid | None) -> None:
    assert find_grid(shape, picture) == expected


def test_tokens_lie_in_rows_behind_those_of_no_place() -> None:
    maps = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    tokens = torch.cat([torch.full((2, 2, 3), -1), maps.flatten(2).transpose(1, 2)], 1)
    for output, grid in (
        (maps, Grid("maps", 4, 5, 3)),
        (maps.permute(0, 2, 3, 1), Grid("channels last", 4, 5, 3)),
        (tokens, Grid("tokens", 4, 5, 3, 2)),
        (tokens.transpose(1, 2), Grid("tokens last", 4, 5, 3, 2)),
    ):
        assert torch.equal(grid.maps(output), maps)


def chosen(model: fs.Classifier, images: Tensor) -> str:
    record = fs.attribute(model, images, 0, method="grad-cam", relu=False).record["layer"]
    return str(record["name"])


CHOSEN = {
    "relu-module": "3",
    "relu-modules-in-place": "3",
    "max-pool-after-relu": "1",
    "max-pool-before-relu": "2",
    "average-pool": "3",
    "in-place-addition": "3",
    "reused-relu": "1",
    "odd-containers": "3",
    "concatenation": "2",
    "attention-module": "1.parts",
    "cosine-head": "1",
    "dropout": "5",
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_last_maps_before_a_pooling(name: str) -> None:
    case = toy(name)
    assert chosen(case.model, case.images) == CHOSEN[name]


def test_every_toy_has_a_map_or_says_why_not() -> None:
    for name in TOYS:
        case = toy(name)
        if name in ("recurrent", "one-pixel-input"):
            with pytest.raises(InvalidParameterError, match="use a method that needs no layer"):
                fs.attribute(case.model, case.images, 1, method="grad-cam")
            continue
        found = fs.attribute(case.model, case.images, 1, method="grad-cam", relu=False)
        assert bool((found.maps.flatten(1).abs().amax(1) > 0).all()), name


class Block(nn.Module):
    """A block of a vision transformer, with keys and values of their own or from one layer."""

    def __init__(self, width: int, together: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_of_keys = nn.LayerNorm(width)
        self.together = nn.Linear(width, 3 * width) if together else None
        self.key, self.query, self.value = (nn.Linear(width, width) for _ in range(3))
        self.drop, self.mlp = nn.Dropout(0.1), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.together is not None:
            q, k, v = self.together(y).chunk(3, 2)
        else:
            q, k, v = self.query(y), self.key(y), self.value(y)
        k = self.norm_of_keys(k[:, None])[:, 0]  # (N, heads, T, width)
        weights = self.drop((q @ k.transpose(1, 2)).softmax(2)[:, None])[:, 0]
        x = x + weights @ v
        return x + self.mlp(self.norm2(x)).relu()


class Transformer(nn.Module):
    """Patches of 2×2 behind tokens of no place, of which the first alone is read; or the mean."""

    def __init__(self, prefix: int, mean: bool, together: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.mean = nn.Conv2d(1, 10, 2, 2), mean
        self.tokens = nn.Parameter(torch.randn(1, prefix, 10))
        self.blocks = nn.Sequential(Block(10, together), Block(10, together))
        self.norm, self.head = nn.LayerNorm(10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(len(x), -1, -1), x], 1)
        x = self.norm(self.blocks(x))
        return self.head(x.mean(1) if self.mean else x[:, 0])


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("prefix", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (8, 14)])
def test_transformers_that_read_their_class_token(
    together: bool, prefix: int, size: tuple[int, int]
) -> None:
    model = fs.Classifier(Transformer(prefix, False, together), channels=1)
    images = torch.rand(2, 1, *size)
    found = fs.attribute(model, images, 1, method="hires-cam")
    told = found.record["layer"]
    assert (told["name"], told["layout"]) == ("blocks.1.norm1", "tokens")
    assert told["places"] == [size[0] // 2, size[1] // 2]
    assert told["tokens_of_no_place"] == prefix
    assert found.maps.shape == images.shape
    assert bool((found.maps.flatten(1).abs().amax(1) > 0).all())
    for late in ("blocks.1.norm2", "blocks.1", "norm"):
        with pytest.raises(
            NoGradientError, match=rf"zero at every place of its layer '{late}'.* blocks\.1\.norm1"
        ):
            fs.attribute(model, images, 1, method="grad-cam", layer=late)
        without = fs.attribute(model, images, 1, method="eigen-cam", layer=late)
        assert float(without.maps.abs().max()) > 0
    mean = fs.Classifier(Transformer(prefix, True, together), channels=1)
    assert chosen(mean, images) == "norm"


@pytest.mark.parametrize("place", [(0, 0), (1, 4), (3, 6)])
def test_a_token_lies_where_its_patch_lies(place: tuple[int, int]) -> None:
    model = fs.Classifier(Transformer(1, False, True), channels=1)
    pictures = torch.zeros(2, 1, 8, 14)
    pictures[1].unflatten(1, (4, 2)).unflatten(3, (7, 2))[:, place[0], :, place[1]] = 1
    layer = "blocks.0.norm1"
    grid = find_place(model, pictures, layer, None, gradient=True).grid
    output = evaluate(model, pictures, layer=layer).activation
    assert output is not None
    maps = grid.maps(output)
    assert (maps[0] != maps[1]).any(0).nonzero().tolist() == [list(place)]


def test_the_layer_does_not_depend_on_the_pictures() -> None:
    """A picture for which the last layer is dead is still read there."""
    case = toy("relu-module")
    dark = torch.zeros_like(case.images)
    assert chosen(case.model, dark) == chosen(case.model, case.images)


class Beside(nn.Module):
    """Hands on what it was given, and what counts beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.conv(x)


class Attending(nn.Module):
    """A head that reads places by attention, with linear layers for keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.beside = nn.Conv2d(1, 4, 3), Beside()
        self.key, self.value, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, x = self.beside(self.conv(x).relu())
        tokens = x.flatten(2).transpose(1, 2)
        weights = self.key(tokens).sum(2, keepdim=True).softmax(1)
        return self.head((weights * self.value(tokens)).sum(1))


def test_neither_what_is_handed_on_beside_nor_within_attention() -> None:
    model = fs.Classifier(Attending(), channels=1)
    assert chosen(model, torch.rand(2, 1, 8, 8)) == "beside.conv"
    with pytest.raises(NoGradientError, match="on what its layer 'beside' gives out"):
        fs.attribute(model, torch.rand(1, 1, 8, 8), 0, method="grad-cam", layer="beside")


def test_a_layer_whose_last_use_has_no_places() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 5, 3), nn.ReLU()
            self.narrow, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.relu(self.narrow(self.relu(self.conv(x)).mean((2, 3)))))

    model = fs.Classifier(Shared(), channels=1)
    images = torch.rand(2, 1, 8, 8)
    found = fs.attribute(model, images, 1, method="grad-cam")
    assert found.record["options"]["layer"] == "relu"
    assert found.record["options"]["call"] == found.record["layer"]["call"] == 0
    again = fs.attribute(model, images, 1, method="grad-cam", layer="relu", call=0)
    assert torch.equal(again.maps, found.maps)


@pytest.mark.parametrize("call", [0, 1, None])
def test_a_layer_that_is_used_twice(call: int | None) -> None:
    case = toy("reused-relu")
    found = fs.attribute(case.model, case.images, 0, method="hires-cam", layer="1.relu", call=call)
    body = case.model.module[1]  # type: ignore[index]
    first = body.relu(body.first(case.model.module[0](case.images)))  # type: ignore[index]
    second = body.relu(body.second(first))
    at = first if call == 0 else second
    value = case.model.module[2:](second)[:, 0].sum()  # type: ignore[index]
    (slope,) = torch.autograd.grad(value, at)
    torch.testing.assert_close(found.maps, (at * slope).sum(1, keepdim=True).detach())
    which = "the last" if call is None else f"number {call} from 0"
    assert f"of its 2 uses in a pass {which} counts" in found.notes[-1]


def test_a_picture_that_the_network_resizes_and_crops() -> None:
    """What the network does not see of a picture has no part in its map."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    model = fs.Classifier(body, channels=1, input_size=8, resize=10)
    wide = torch.rand(1, 1, 20, 30)
    maps = fs.attribute(model, wide, 0, method="hires-cam", layer="0").maps
    assert maps.shape == (1, 1, 20, 30)
    seen = fs.attribute(model, model.preprocessing.resample(wide), 0, method="hires-cam", layer="0")
    # 20×30 becomes 10×15, of which rows 1 to 8 and columns 4 to 11 are seen.
    inner = maps[:, :, 4:16, 10:22]
    shrunk = torch.nn.functional.avg_pool2d(inner, 2)
    torch.testing.assert_close(shrunk, seen.maps[:, :, 1:7, 1:7], atol=0.05, rtol=0.3)
    assert bool((maps[:, :, :1] == 0).all())
    assert bool((maps[:, :, :, :7] == 0).all())
    assert bool((maps[:, :, :, 25:] == 0).all())


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * 1


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "to read; use a method that needs"),
        (scripted, "none to read; load it from Python code, for it is scripted, or use a method"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), Detached(), nn.Linear(72, 3)),
            "depend differentiably on none of its layers",
        ),
    ],
)
def test_networks_without_a_layer_to_read(make: Callable[[], nn.Module], words: str) -> None:
    model = fs.Classifier(make(), channels=1, input_size=8)
    with pytest.raises((InvalidParameterError, NoGradientError), match=words):
        fs.attribute(model, torch.rand(1, 1, 8, 8), 0, method="grad-cam")


class RowByRow(nn.Module):
    """A picture read as a sequence of its rows."""

    def __init__(self, reader: nn.Module, width: int) -> None:
        super().__init__()
        self.reader, self.norm, self.head = reader, nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.reader(x[:, 0])
        found = found[0] if isinstance(found, tuple) else found.transpose(1, 2)
        return self.head(self.norm(found).mean(1))


@pytest.mark.parametrize("width", [16, 32, 49])
@pytest.mark.parametrize("side", [16, 28])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.Conv1d])
def test_rows_of_a_picture_are_no_patches(kind: type[nn.Module], side: int, width: int) -> None:
    torch.manual_seed(0)
    more = (3, 1, 1) if kind is nn.Conv1d else ()
    options = {} if more else {"batch_first": True}
    reader = kind(side, width, *more, **options)
    model = fs.Classifier(RowByRow(reader, width), channels=1, input_size=side)
    for layer in (None, "norm"):
        with pytest.raises(InvalidParameterError, match=r"no layer of|no rows and columns of it"):
            fs.attribute(model, torch.rand(2, 1, side, side), 0, method="grad-cam", layer=layer)


def test_a_gradient_at_the_layer_is_enough() -> None:
    """Without one at the pixels, and for methods that need none, without any."""
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 6, 3), nn.ReLU()
    rest = nn.Flatten(), nn.Linear(216, 3)
    images = torch.rand(2, 1, 8, 8)
    before = fs.Classifier(nn.Sequential(Detached(), *parts, *rest), channels=1, input_size=8)
    assert chosen(before, images) == "2"
    behind = fs.Classifier(
        nn.Sequential(*parts, rest[0], Detached(), rest[1]), channels=1, input_size=8
    )
    for method in ("eigen-cam", "score-cam"):
        found = fs.attribute(behind, images, 0, method=method)
        assert found.record["layer"]["name"] == "1"
        assert bool((found.maps.flatten(1).amax(1) > 0).all())


def test_a_layer_that_only_the_picture_wakes() -> None:
    body = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    with torch.no_grad():
        body[0].weight.fill_(1.0)
        body[0].bias.fill_(-8.5)  # of at most 9
    model = fs.Classifier(body, channels=1, input_size=8)
    found = fs.attribute(model, torch.ones(1, 1, 8, 8), 0, method="hires-cam", layer="0")
    assert bool((found.maps != 0).any())


def test_other_sizes_of_one_network() -> None:
    model = fs.Classifier(toy("average-pool").model.module)
    for height, width in ((8, 8), (16, 10), (9, 21)):
        found = fs.attribute(model, torch.rand(1, 3, height, width), 1, method="layer-cam")
        assert found.maps.shape == (1, 1, height, width)
        assert found.record["layer"]["places"] == [(height + 1) // 2, (width + 1) // 2]
