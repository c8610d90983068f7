"""What a unit sees from a place: the boxes of known networks, and a slow look at every pixel."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.models.layers import tapped
from fluoroscope.neurons.answers import receptive_field as module
from fluoroscope.neurons.answers.receptive_field import receptive_field


def classifier(body: nn.Module, channels: int = 1, side: int = 15) -> fs.Classifier:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).flatten(2).mean(2)[:, :4])

    return fs.Classifier(Network().eval(), channels=channels, input_size=side)


def by_every_pixel(
    model: fs.Classifier, layer: str, unit: int, at: tuple[int, int], many: int = 6
) -> list[int]:
    """Change one pixel after the other, and look whether the unit does."""
    pictures = torch.rand(many, model.channels, *model.input_size)
    seen = torch.zeros(model.input_size, dtype=torch.bool)

    def value(images: Tensor) -> Tensor:
        with torch.no_grad(), tapped(model, layer) as kept:
            model(images)
        return kept[0][:, unit, at[0], at[1]]

    before = value(pictures)
    for y in range(seen.shape[0]):
        for x in range(seen.shape[1]):
            other = pictures.clone()
            other[:, :, y, x] = 1 - other[:, :, y, x]
            seen[y, x] = bool((value(other) != before).any())
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    return [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, (3, 1), dilation=(2, 1), padding=(2, 0)),
        nn.MaxPool2d(2, 1),
    )


@pytest.mark.parametrize("at", [(3, 3), (0, 6)])
def test_the_box_is_what_a_look_at_every_pixel_finds(at: tuple[int, int]) -> None:
    model = classifier(convolutions())
    found = receptive_field(model, "body.3", 1, place=at, samples=16)
    assert list(found.box) == by_every_pixel(model, "body.3", 1, at)
    assert found.certain
    assert found.settled
    assert 0 < found.share < 1
    y0, x0, y1, x1 = found.core
    assert found.box[0] <= y0 < y1 <= found.box[2]
    assert found.box[1] <= x0 < x1 <= found.box[3]
    assert float(found.weight.sum()) == pytest.approx(1)


def test_units_of_a_layer_may_see_different_boxes() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)
            self.joined = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.joined(torch.cat([self.narrow(x), self.wide(x)], 1))

    model = classifier(Mixed())
    assert receptive_field(model, "body.joined", 1).box == (7, 7, 8, 8)
    assert receptive_field(model, "body.joined", 2).box == (5, 5, 10, 10)
    assert receptive_field(model, "body.joined").box == (5, 5, 10, 10)


def test_what_mixes_everything_sees_the_whole_picture() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, depth=1, embed_dim=12, num_heads=2,
        num_classes=3,
    ).eval()  # fmt: skip
    model = fs.Classifier(network, channels=3, input_size=16)
    assert receptive_field(model, "blocks.0.mlp.fc1", 3, samples=2).everything
    patch = receptive_field(model, "patch_embed", 3, place=(1, 2), samples=2)
    assert patch.box == (4, 8, 8, 12)
    assert patch.certain


@pytest.mark.parametrize("seed", range(8))
def test_behind_a_maximum_the_box_is_whole(seed: int) -> None:
    """Where each picture shows but one of the four ways, and few units answer often."""
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2)
    )
    model = classifier(body, side=33)
    for unit in range(4):
        found = receptive_field(model, "body.4", unit)
        y0, x0, y1, x1 = found.box
        assert found.settled == found.certain
        if found.certain:
            # Unless a way is closed for good; then a look at every pixel says the same.
            at = divmod(found.place, 7)
            assert (y1 - y0, x1 - x0) == (7, 7) or list(found.box) == by_every_pixel(
                model, "body.4", unit, at, 400
            )
        elif found.share:
            assert "maybe more" in found.said()
            assert not found.leak > 1e-4


class Gate(nn.Module):
    """Whose derivative is zero almost everywhere, though what it sees matters."""

    def forward(self, x: Tensor) -> Tensor:
        bright = (x.amax((1, 2, 3), keepdim=True) > 0.99).float()
        return torch.cat([x * (1 + bright), x, x, x], 1)


def test_a_box_grows_to_what_changes_the_activation_without_a_derivative() -> None:
    found = receptive_field(classifier(nn.Sequential(Gate()), side=6), "body.0", 0, samples=8)
    assert found.everything
    assert found.certain


def test_a_box_that_is_still_too_small_is_neither_settled_nor_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST", 32)
    monkeypatch.setattr(module._Sight, "grow", lambda *_: None)
    found = receptive_field(classifier(nn.Sequential(Gate()), side=6), "body.0", 0)
    assert found.box == (3, 3, 4, 4)
    assert found.leak > 0
    assert not found.settled
    assert not found.certain
    assert "too small" in found.said()


def test_a_dead_unit_sees_nothing() -> None:
    layer = nn.Conv2d(1, 4, 3)
    nn.init.constant_(layer.bias, -100)
    found = receptive_field(classifier(nn.Sequential(layer, nn.ReLU())), "body.1", 0)
    assert found.box == (0, 0, 0, 0)
    assert "dead" in found.said()


@pytest.mark.parametrize(
    ("given", "said"),
    [({"place": (9, 9)}, "place is"), ({"units": 7}, "unit is 7"), ({"samples": 0}, "samples")],
)
def test_refusals(given: dict[str, object], said: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=said):
        receptive_field(classifier(convolutions()), "body.3", **given)
