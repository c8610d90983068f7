"""Reading two pictures in the latent: the parts, their pictures, and what is said of them."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import fluoroscope as fs
from fluoroscope.invertible import LatentReading, bounds_of, latents_of, read_latent, split
from fluoroscope.invertible.parts import expected
from fluoroscope.pictures import tile_sheet
from fluoroscope.pictures.tile_sheet import Tile
from tests.attacks.invertible_networks import invertible


def pair() -> tuple[fs.Classifier, torch.Tensor, torch.Tensor]:
    model = invertible(1, 8, 5)
    images = 0.3 + 0.4 * torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    found = fs.attack("latent")(model, images, fs.predict(model, images).winners)
    row = int(found.success.nonzero()[0])
    return model, images[row], found.images[row]


def test_parts_are_at_right_angles_and_move_what_they_say() -> None:
    torch.manual_seed(0)
    head, difference = nn.Linear(9, 4).double(), torch.randn(9).double()
    parts = split(difference, head, 1, 3)
    torch.testing.assert_close(parts.sum(0), difference)
    products = parts @ parts.T
    torch.testing.assert_close(products, products.diagonal().diag())
    weight = head.weight.detach()
    moved = parts @ (weight - weight.mean(0)).T  # what each does to the logits, but for a constant
    margins = moved - moved[:, 1:2]
    assert margins[0, 3].abs() > 1e-3
    torch.testing.assert_close(margins[0, 3], difference @ (weight[3] - weight[1]))
    torch.testing.assert_close(margins[1, 3], torch.zeros(()).double(), atol=1e-12, rtol=0)
    assert margins[1, [0, 2]].abs().min() > 1e-6
    torch.testing.assert_close(margins[2], torch.zeros(4).double(), atol=1e-12, rtol=0)
    # Of many differences in no direction the shares are as the dimensions.
    many = torch.stack([split(torch.randn(9).double(), head, 1, 3) for _ in range(3000)])
    shares = many.square().sum(2) / many.square().sum((1, 2))[:, None]
    wanted = torch.tensor(expected(head)).double()
    torch.testing.assert_close(shares.mean(0), wanted, atol=0.02, rtol=0)
    assert expected(head) == (pytest.approx(1 / 9), pytest.approx(2 / 9), pytest.approx(6 / 9))
    # Two classes have no others, and rows that are alike tell nothing.
    assert split(difference, nn.Linear(9, 2).double(), 0, 1)[1].abs().max() < 1e-12
    with torch.no_grad():
        head.weight.copy_(head.weight[:1].expand(4, 9).clone())
    alike = split(difference, head, 0, 1)
    torch.testing.assert_close(alike[2], difference, atol=1e-9, rtol=0)


def test_a_reading_says_what_the_network_does() -> None:
    model, before, after = pair()
    found = read_latent(model, before, after, how="latent")
    here, there = found.record["classes"]
    assert [here, there] == model(torch.stack([before, after])).argmax(1).tolist()
    both = latents_of(model, torch.stack([before, after]))
    torch.testing.assert_close(found.latents, both)
    torch.testing.assert_close(found.parts.sum(0).float(), both[1] - both[0], atol=1e-5, rtol=0)
    # The pictures are what the inverse makes of each part: the network sees the logits there.
    torch.testing.assert_close(model(found.pictures), found.logits[2:].float(), atol=1e-4, rtol=0)
    margins = found.record["margins"]
    assert margins[0] > 0 > margins[1]
    assert margins[2] == pytest.approx(margins[1], abs=1e-4)
    assert margins[3] == pytest.approx(margins[0], abs=1e-4)
    assert margins[4] == pytest.approx(margins[0], abs=1e-4)
    torch.testing.assert_close(found.logits[4], found.logits[0], atol=1e-4, rtol=0)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.by_channel.sum() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found.by_channel.sum(), found.by_place.sum())
    low, high = bounds_of(model)
    lengths = found.lengths
    assert lengths[0] == pytest.approx(found.record["distance"], rel=1e-5)
    assert lengths[-1] == pytest.approx(found.record["latent_distance"], rel=1e-5)
    assert low * lengths[0] <= lengths[-1] <= high * lengths[0]
    for block, (shorter, longer) in zip(model.module.blocks(), pairwise(lengths), strict=True):
        norm = block.contraction()
        assert (1 - norm) * shorter <= longer * (1 + 1e-5)
        assert longer <= (1 + norm) * shorter * (1 + 1e-5)
    assert max(found.record["inverse_off"]) < 1e-5
    assert found.notes == ()
    assert f"{model.labels[here]} over {model.labels[there]}" in found.summary


def test_what_the_latent_attack_moves_lies_between_both_classes() -> None:
    model = invertible(1, 8, 5)
    images = 0.5 + 0.02 * torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    classes = fs.predict(model, images).winners
    found = fs.attack("latent")(model, images, classes)
    inside = found.success & (found.images > 0).flatten(1).all(1)
    inside &= (found.images < 1).flatten(1).all(1)
    assert inside.any()
    row = int(inside.nonzero()[0])
    share = read_latent(model, images[row], found.images[row]).shares
    assert share["both classes"] > 0.999  # nothing was clamped


def test_pictures_of_one_class_are_told() -> None:
    model, before, after = pair()
    near = before + 0.01 * (after - before)
    found = read_latent(model, before, near)
    assert "both pictures are predicted as" in found.notes[0]
    assert found.record["margins"][1] > 0
    same = read_latent(model, before, before)
    assert sum(same.shares.values()) == 0
    assert same.sheet().width > 100


def test_saved_and_shown(tmp_path: Path) -> None:
    model, before, after = pair()
    found = read_latent(model, before, after, how="latent")
    written = found.save(tmp_path / "new")
    assert [path.name for path in written] == ["latent.json", "latent.safetensors", "latent.png"]
    assert found.describe()["latent_channels"][0]["channel"] == int(found.by_channel.argmax())
    assert json.loads(written[0].read_text()) == json.loads(json.dumps(found.describe()))
    assert torch.equal(load_file(written[1])["pictures"], found.pictures)
    assert isinstance(found, LatentReading)
    page = found._repr_html_()
    assert "between both classes" in page
    assert page.count("<img") == 5


def test_what_it_refuses() -> None:
    model, before, after = pair()
    with pytest.raises(fs.FluoroscopeError, match="digits-cnn is a Sequential, which has none"):
        read_latent(fs.load_model("digits-cnn"), torch.rand(1, 28, 28), torch.rand(1, 28, 28))
    with pytest.raises(fs.FluoroscopeError, match="expected two pictures"):
        read_latent(model, before, after[:, :6])
    with pytest.raises(fs.FluoroscopeError, match="the size of this invertible network"):
        read_latent(model, before[:, :6], after[:, :6])
    with pytest.raises(fs.FluoroscopeError):
        read_latent(model, before, after + 3)


def test_no_panel_of_the_sheet_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    model, before, after = pair()
    shown: list[Tile] = []
    drawn = tile_sheet.tile_sheet

    def kept(rows: list[list[Tile]], *words: Any, **more: Any) -> Any:
        shown.extend(tile for row in rows for tile in row)
        return drawn(rows, *words, **more)

    monkeypatch.setattr(tile_sheet, "tile_sheet", kept)
    read_latent(model, before, after).sheet()
    assert len(shown) == 10
    assert all(tile.picture is not None for tile in shown)
