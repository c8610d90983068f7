"""Who changed their mind: between two pictures, and along a way."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, ResultFormatError
from fluoroscope.neurons import Along, Turned, along, turned
from fluoroscope.neurons.tracing.sides import sides, turned_units


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    return fs.load_model("digits-cnn")


@pytest.fixture(scope="module")
def morph(model: fs.Classifier) -> fs.MorphResult:
    return fs.morph(model, "digits:7", to="2", steps=8)


def planted() -> fs.Classifier:
    """Four units: of the picture's left and right half, of their difference, and a constant."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        left = torch.tensor([[1.0, 1, 0, 0]] * 4).flatten() / 8
        right = torch.tensor([[0.0, 0, 1, 1]] * 4).flatten() / 8
        module[1].weight.copy_(torch.stack([left, right, left - right, 0 * left]))
        module[1].bias.copy_(torch.tensor([0.0, 0, 0, 1]))
        module[2].weight.copy_(torch.tensor([[1.0, 0, 2, 0.001], [0, 1, 0, 0]]))
        module[2].bias.zero_()
    return fs.Classifier(module, input_size=4, channels=1)


def half(side: str) -> Tensor:
    picture = torch.zeros(1, 4, 4)
    picture[..., :2] = side == "left"
    picture[..., 2:] = side == "right"
    return picture


def test_the_unit_that_turns_in_a_planted_network() -> None:
    found = turned(planted(), half("left"), half("right"), layer="1")
    assert found.pair == ("0", "1")
    expected = torch.tensor([[1.0, 0, 2, 0.001], [0, -1, -2, 0.001]]).double()
    torch.testing.assert_close(found.effects, expected, atol=1e-6, rtol=0)
    assert found.turned == [2]  # the others fell silent, and the last is on no side
    assert found.record["margins"] == pytest.approx([3.001, -2.999])
    assert sides(found.effects).tolist() == [[1, 0, 1, 0], [0, -1, -1, 0]]
    assert turned_units(found.effects[1], found.effects[0]).tolist() == [2]
    assert "1 turned, 1 of them to 1" in found.summary
    assert not any("no unit turned" in note for note in found.notes)
    same = turned(planted(), half("left"), half("left"), layer="1")
    assert any("both pictures are the same" in note for note in same.notes)
    other = turned(planted(), half("left"), half("right"), ("1", 0), layer="1")
    torch.testing.assert_close(other.effects, -expected, atol=1e-6, rtol=0)


def test_turned_units_with_their_favourite_pictures(
    model: fs.Classifier, morph: fs.MorphResult, tmp_path: Path
) -> None:
    images = fs.load_images("digits", channels=1).take(40)
    found = turned(model, morph.original, morph.image, images=images, shown=3, favourites=2)
    assert found.maps.shape == (2, 3, 1, 28, 28)
    assert found.favourites.shape == (3, 2, 1, 28, 28)
    unit = int(found.shown[0])
    read = fs.neurons.read(model, images, found.record["layer"], reduction="max")
    best = int(read.values[:, unit].argmax())
    assert int(found.favourite_numbers[0, 0]) == images.indices[best]
    assert torch.equal(found.favourites[0, 0], images[best].image)
    found.save(tmp_path)
    again = Turned.load(tmp_path)
    assert again.describe() == found.describe()
    assert "<img" in again._repr_html_()
    again.figure()
    assert again.sheet().width > 400
    path = tmp_path / "turned.json"
    path.write_text(path.read_text().replace('"pair": [7, 2]', '"pair": [7, 12]')
                    .replace('"pair": [\n   7,\n   2\n', '"pair": [\n   7,\n   12\n'))  # fmt: skip
    with pytest.raises(ResultFormatError, match="broken"):
        Turned.load(tmp_path)


def test_along_a_morph(model: fs.Classifier, morph: fs.MorphResult, tmp_path: Path) -> None:
    found = along(model, morph)
    assert found.pair == ("7", "2")
    assert found.steps.tolist() == morph.frame_steps.tolist()
    assert found.effects.shape == (len(morph.frames), 64)
    # The same as frame by frame.
    last = turned(model, morph.frames[0], morph.frames[-1], (7, 2), shown=0)
    torch.testing.assert_close(found.effects[[0, -1]], last.effects)
    stations = [(int(found.steps[row]), winner) for row, winner in found.way_stations]
    assert stations == morph.way_stations
    assert found.turned_at(1)
    legend = found.figure().axes[-2].get_legend()
    assert legend is not None
    words = [each.get_text() for each in legend.get_texts()]
    others = [int(each.split()[0]) for each in words if "other" in each]
    assert sum(others) == 64 - sum(each.startswith("unit ") for each in words)
    named = {int(each.split()[1]) for each in words if each.startswith("unit ")}
    assert f"{len(set(found.turned) - named)} others that turned" in words
    found.save(tmp_path)
    again = Along.load(tmp_path)
    assert again.describe() == found.describe()
    assert "turned" in again._repr_html_()
    again.figure()


def test_a_layer_at_which_none_can_turn(model: fs.Classifier, morph: fs.MorphResult) -> None:
    """A ReLU before the last linear layer: a unit is for one of two classes in all pictures."""
    for found in (turned(model, morph.original, morph.image, layer="8"),
                  along(model, morph, layer="8")):  # fmt: skip
        assert any("perhaps none can" in note for note in found.notes)


def test_few_frames_of_many_keep_the_way_stations(model: fs.Classifier) -> None:
    images = fs.load_images("digits", channels=1).take(10)
    frames = torch.stack([images[0].image] * 20 + [images[1].image] * 2 + [images[2].image] * 18)
    found = along(model, frames, most=6, layer="8")
    assert len(found.frames) <= 6
    assert {0, 20, 22, 39} <= set(found.steps.tolist())
    with pytest.raises(InvalidImagesError, match="two or more"):
        along(model, frames[:1])


def test_a_killed_call_goes_on(
    model: fs.Classifier, morph: fs.MorphResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(share: float) -> None:
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        along(model, morph, out=tmp_path, on_share=kill)
    kept = len(list(tmp_path.glob("*.part")))
    assert 0 < kept < len(morph.frames)
    made: list[object] = []
    from fluoroscope.neurons.tracing import along as room

    honest = room.effects_of

    def counted(*given: object) -> object:
        made.append(given)
        return honest(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "effects_of", counted)
    again = along(model, morph, out=tmp_path)
    assert len(made) == len(morph.frames) - kept
    assert torch.equal(again.effects, along(model, morph).effects)
    made.clear()
    along(model, morph, put=0.5, out=tmp_path)  # of something else nothing is taken
    assert len(made) == len(morph.frames)


def test_what_is_refused_of_two_pictures(model: fs.Classifier, morph: fs.MorphResult) -> None:
    other = fs.load_model("digits-robust")
    with pytest.raises(InvalidParameterError, match="is a morph of digits-cnn, with other weights"):
        along(other, morph)
    with pytest.raises(InvalidParameterError, match="both classes of the margin are 7"):
        turned(model, morph.original, morph.image, (7, "7"))
    with pytest.raises(InvalidImagesError, match="one size"):
        turned(model, morph.original, torch.zeros(1, 30, 28))
    with pytest.raises(InvalidParameterError, match="steps have shape"):
        along(model, morph.frames, steps=torch.arange(3))


def test_where_none_can_turn_the_layer_before_is_taken() -> None:
    """A mobilenet's end: the last maps are those of a ReLU, pooled for a linear layer."""
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.BatchNorm2d(5), nn.ReLU()]
    module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).eval()
    model = fs.Classifier(module, input_size=8, channels=1)
    assert fs.neurons.usual_layer(model) == "4"
    both = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for found in (turned(model, *both, (0, 1)), along(model, both, (0, 1))):
        assert found.record["layer"] == "1"  # 2 and 3 are told apart by the last one, too
        assert any("'1', as none was named: the last at which" in note for note in found.notes)
    assert fs.neurons.trace(model, both[0], sets=False).record["layer"] == "4"
    reused = nn.Sequential(*body[:4], body[1], *list(module)[5:]).eval()
    record = turned(fs.Classifier(reused, input_size=8, channels=1), *both, (0, 1)).record
    assert (record["layer"], record["call"]) == ("1", 0)  # at its last use none can
    signed = fs.Classifier(nn.Sequential(*body[:4], *list(module)[5:]).eval(), input_size=8,
                           channels=1)  # fmt: skip
    assert turned(signed, *both, (0, 1)).record["layer"] == "3"  # its units have both signs
