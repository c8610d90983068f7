"""Top pictures and patches of units, by activation and by relevance, and their sheets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.models.layers import tapped
from fluoroscope.neurons.answers import kept, top
from fluoroscope.neurons.answers.kept import kept_relevance
from fluoroscope.neurons.answers.relevance import GRADIENT_WAY, relevance_map, unit_relevance
from fluoroscope.neurons.answers.sheets import draw, outlined, sheet
from fluoroscope.neurons.answers.top import TopPicture, TopPictures, top_pictures
from fluoroscope.neurons.reading.units import find_units


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
        nn.init.constant_(self.body[0].bias, 0.5)  # no unit is off
        self.head = nn.Linear(6 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(
        Network().eval(), channels=1, input_size=10, labels=["ant", "bee", "cat"], mean=[0.0],
        std=[1.0],
    )  # fmt: skip


@pytest.fixture
def images() -> fs.ImageSet:
    return fs.load_images(torch.rand(30, 1, 10, 10), labels=[0, 1, 2] * 10, channels=1)


def maps_of(model: fs.Classifier, images: fs.ImageSet, layer: str) -> Tensor:
    pictures = torch.stack([one.image for one in images])
    with torch.no_grad(), tapped(model, layer) as found:
        model(pictures)
    return found[0]


def test_by_activation_they_are_the_largest_with_the_patch_they_saw(
    model: fs.Classifier, images: fs.ImageSet
) -> None:
    maps = maps_of(model, images, "body.1")
    found = top_pictures((model, images, "body.1"), [4, 1], n=5)
    for unit, tops in zip([4, 1], found.found, strict=True):
        values = maps[:, unit].flatten(1).amax(1)
        order = values.argsort(descending=True)[:5]
        assert [one.index for one in tops] == order.tolist()
        for one in tops:
            assert one.value == pytest.approx(float(values[one.index]), rel=1e-5)
            assert one.place == int(maps[one.index, unit].argmax())
            row, column = divmod(one.place, 8)
            assert one.box == (row, column, row + 3, column + 3)
            cut = images[one.index].image[:, row : row + 3, column : column + 3]
            assert torch.equal(found.patch(one), cut)
            assert one.label == one.index % 3
    assert len(found.images) == len({one.index for tops in found.found for one in tops})


def test_by_relevance_they_are_those_in_which_the_unit_decided(
    model: fs.Classifier, images: fs.ImageSet
) -> None:
    shares = unit_relevance(model, images, None, "body.1").values
    found = top_pictures((model, images, "body.1"), 2, n=4, by="relevance")
    assert found.way == "lrp"
    order = shares[:, 2].argsort(descending=True)[:4]
    assert [one.index for one in found.found[0]] == order.tolist()
    assert found.found[0][0].value == pytest.approx(float(shares[order[0], 2]), rel=1e-4)
    assert found.maps is not None
    for one in found.found[0]:
        picture = images[one.index].image[None]
        looked = relevance_map(model, picture, None, "body.1", 2)
        torch.testing.assert_close(found.maps[one.map], looked[0], rtol=1e-3, atol=1e-5)
        assert float(found.maps[one.map].sum()) == pytest.approx(one.value, rel=1e-3)
    by_gradient = top_pictures((model, images, "body.1"), 2, n=4, by="relevance", way=GRADIENT_WAY)
    assert by_gradient.way == GRADIENT_WAY
    weights = model.module.head.weight.detach().view(3, 6, 8, 8)
    maps = maps_of(model, images, "body.1")
    for one in by_gradient.found[0]:
        assert one.place == int((maps[one.index, 2] * weights[one.predicted, 2]).argmax())


def test_without_names_the_units_of_most_relevance_are_taken(
    model: fs.Classifier, images: fs.ImageSet
) -> None:
    shares = unit_relevance(model, images, None, "body.1").shares.abs().mean(0)
    found = top_pictures((model, images, "body.1"), n=2)
    assert list(found.chosen) == shares.argsort(descending=True)[:4].tolist()
    assert found.shares[found.chosen[0]] == pytest.approx(float(shares.max()), rel=1e-5)


def test_what_was_read_before_ranks_as_it_was_read(
    model: fs.Classifier, images: fs.ImageSet
) -> None:
    read = fs.neurons.read(model, images, "body.1", reduction="mean")
    found = top_pictures(read, [0], n=3, model=model)
    means = maps_of(model, images, "body.1")[:, 0].mean((1, 2))
    assert [one.index for one in found.found[0]] == means.argsort(descending=True)[:3].tolist()
    with pytest.raises(fs.FluoroscopeError, match="model is missing"):
        top_pictures(read, [0])


def test_numbers_that_many_pictures_share_are_told(images: fs.ImageSet) -> None:
    network = Network().eval()
    network.body[1] = nn.ReLU6()
    nn.init.constant_(network.body[0].weight[:1], 1.5)
    model = fs.Classifier(network, channels=1, input_size=10)
    found = top_pictures((model, images, "body.1"), [0], n=3)
    assert any("30 pictures share the number 6" in note for note in found.notes)
    assert "all pictures of unit 0 share one number" in _foot_of(found)[0]
    for one in found.found[0]:
        still = not found.patch(one).numel()
        assert (found.said(one)[-1] == "no pixel moves it there") == still
    found = top_pictures((model, images, "body.1"), [0], n=3, reduction="mean")
    assert not any("share the number" in note for note in found.notes)
    assert "share one number" not in _foot_of(found)[0]


def test_a_relevance_that_was_stopped_goes_on_to_the_same_numbers(
    model: fs.Classifier, images: fs.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "part_size", lambda model: 8)
    whole = kept_relevance(model, images, "body.1", batch_size=4)
    asked = iter([False] * 4 + [True])
    begun = kept_relevance(
        model, images, "body.1", out=tmp_path, batch_size=4, cancelled=lambda: next(asked)
    )
    assert begun.values.shape == (16, 6)
    seen: list[float] = []
    again = kept_relevance(
        model, images, "body.1", out=tmp_path, batch_size=4, on_share=seen.append
    )
    assert seen[0] == pytest.approx(20 / 30)  # the first two parts were there
    assert np.array_equal(again.values, whole.values)
    assert np.array_equal(again.predicted, whole.predicted)
    seen.clear()
    third = kept_relevance(
        model, images, "body.1", out=tmp_path, batch_size=4, on_share=seen.append
    )
    assert seen == []
    assert np.array_equal(third.values, whole.values)
    with pytest.raises(fs.FluoroscopeError, match="another reading"):
        kept_relevance(model, images, "body.0", out=tmp_path, batch_size=4)


def test_a_transformer_has_top_pictures_too() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, depth=1, embed_dim=12, num_heads=2,
        num_classes=3,
    ).eval()  # fmt: skip
    model = fs.Classifier(network, channels=3, input_size=16)
    images = fs.load_images(torch.rand(6, 3, 16, 16), labels=[0, 1, 2] * 2)
    found = top_pictures((model, images, "blocks.0.mlp.act"), [5, 40], n=2, by="relevance")
    assert found.units.count == 48
    for tops in found.found:
        for one in tops:
            assert one.place >= 1  # the class token lies nowhere
            assert found.sees_all(one)
    assert "nearly the whole picture" in "".join(_foot_of(found))
    network.blocks[0].mlp.fc1.bias.data[5] += 9  # a class token that is above all places
    network.cls_token.data *= 0
    plain = top_pictures((model, images, "blocks.0.mlp.act"), [5], n=6)
    tokens = maps_of(model, images, "blocks.0.mlp.act")[:, :, 5]
    for one in plain.found[0]:
        assert one.place == 1 + int(tokens[one.index, 1:].argmax())


def _foot_of(found: fs.neurons.TopPictures) -> list[str]:
    from fluoroscope.neurons.answers.sheets import _foot

    return [_foot([found], "")]


def test_sheets_have_a_row_for_the_pictures_and_one_for_the_patches(
    model: fs.Classifier, images: fs.ImageSet, tmp_path: Path
) -> None:
    found = top_pictures((model, images, "body.1"), [4, 1], n=3)
    other = top_pictures((model, images.select(range(9)), "body.1"), [4, 1], n=3)
    alone, both = sheet(found), sheet(found, other)
    assert both.height > 1.8 * alone.height
    looked = sheet(top_pictures((model, images, "body.1"), [4, 1], n=3, by="relevance"))
    assert looked.height > 1.3 * alone.height
    written = draw(found, tmp_path, other)
    assert {file.name for file in written} == {"units.png", "unit-1.png", "unit-4.png"}
    draw(top_pictures((model, images, "body.1"), [3], n=3), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"units.png"}
    with Image.open(tmp_path / "units.png") as made:
        made.load()


def test_an_outline_lies_around_its_box() -> None:
    drawn = outlined(torch.full((1, 10, 10), 0.5), (2, 3, 6, 8))
    orange = (drawn[0] == 1) & (drawn[2] == 0)
    rows, columns = orange.any(1).nonzero()[:, 0], orange.any(0).nonzero()[:, 0]
    factor = drawn.shape[1] // 10
    assert (int(rows[0]), int(rows[-1]) + 1) == (2 * factor, 6 * factor)
    assert (int(columns[0]), int(columns[-1]) + 1) == (3 * factor, 8 * factor)
    assert bool((drawn[:, 4 * factor, 5 * factor] == 0.5).all())


def test_refusals(model: fs.Classifier, images: fs.ImageSet) -> None:
    what = (model, images, "body.1")
    for given, said in [
        ({"by": "fame"}, "by is 'fame'"),
        ({"n": 0}, "n is 0"),
        ({"units": [6]}, "unit is 6"),
        ({"way": "shap"}, "way is 'shap'"),
    ]:
        with pytest.raises(fs.FluoroscopeError, match=said):
            top_pictures(what, **given)


def test_directories_are_named_without_paths() -> None:
    assert top._called("a/../b", 1, "max") == "a-..-b-call-1-max"


def test_classes_of_one_first_name_are_told_apart() -> None:
    units = find_units(fs.load_model("digits-cnn"), "5")
    one = TopPicture(0, 0, "a", 1.0, 0, (0, 0, 1, 1), (0, 0, 1, 1), 0, 1, 0.5, 0)
    shown = TopPictures(units, (0,), "activation", "", ((one,),), torch.zeros(1, 1, 2, 2),
                        ("truck, red", "truck, blue"))  # fmt: skip
    assert shown.said(one)[0] == "truck, red, predicted as truck, blue"
