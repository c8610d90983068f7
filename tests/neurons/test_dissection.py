"""Units held against masks: planted detectors, a slow re-implementation, and strangers' masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.models.layers import tapped
from fluoroscope.neurons.answers import dissection
from fluoroscope.neurons.answers.dissection import dissect
from fluoroscope.neurons.answers.masks import open_masks


class Reads(nn.Module):
    """Units that are the colours of the picture, and one that is noise."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 4, stride=4, bias=False)
        with torch.no_grad():
            self.body.weight[:3] = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture
def model() -> fs.Classifier:
    return fs.Classifier(Reads().eval(), channels=3, input_size=16)


def squares(root: Path, pictures: int = 6) -> tuple[Path, dict[str, list[np.ndarray]]]:
    """Pictures with a red and a green square each, and where these are."""
    rng, folder = np.random.default_rng(0), root / "pictures"
    masks: dict[str, list[np.ndarray]] = {"red": [], "green": []}
    for number in range(pictures):
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8)
        for channel, name in enumerate(masks):
            y, x = rng.integers(0, 9, 2)
            mask = np.zeros((16, 16), bool)
            if number or channel:  # the first picture has no red one
                mask[y : y + 7, x : x + 7] = True
            picture[mask, channel] = 255
            masks[name].append(mask)
        Image.fromarray(picture).save(folder / f"class{number % 2}" / f"{number}.png")
    return folder, masks


def of_concepts(root: Path, masks: dict[str, list[np.ndarray]], scale: int = 1) -> Path:
    for name, many in masks.items():
        for number, mask in enumerate(many):
            place = root / "concepts" / name / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            large = np.kron(mask, np.ones((scale, scale))).astype(bool)
            Image.fromarray(large).save(place / f"{number}.png")
    return root / "concepts"


def slow(
    model: fs.Classifier, images: fs.ImageSet, masks: dict[str, list[np.ndarray]], quantile: float
) -> np.ndarray:
    pictures = torch.stack([one.image for one in images])
    numbers = [int(one.name.rpartition("/")[2].removesuffix(".png")) for one in images]
    with torch.no_grad(), tapped(model, "body") as kept:
        model(pictures)
    maps = kept[0]
    found = np.zeros((4, 2))
    for unit in range(4):
        values = np.sort(maps[:, unit].flatten().numpy())[::-1]
        bar = values[int(quantile * len(values))]
        for concept, many in enumerate(masks.values()):
            both = either = 0
            for number, one in zip(numbers, maps, strict=True):
                large = F.interpolate(one[None, unit : unit + 1], (16, 16), mode="bilinear")[0, 0]
                on = large.numpy() > bar
                both += (on & many[number]).sum()
                either += (on | many[number]).sum()
            found[unit, concept] = both / either
    return found


@pytest.mark.parametrize("scale", [1, 3])
def test_the_iou_is_that_of_a_slow_count(
    model: fs.Classifier, tmp_path: Path, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, masks = squares(tmp_path)
    images = fs.load_images(folder)
    monkeypatch.setattr(dissection, "_AT_ONCE", 600)  # units in parts
    for quantile in (0.005, 0.2):
        found = dissect(
            model, images, of_concepts(tmp_path, masks, scale), "body", quantile=quantile,
            batch_size=4,
        )  # fmt: skip
        assert found.concepts == ("green", "red")
        wanted = slow(model, images, masks, quantile)[:, ::-1]
        np.testing.assert_allclose(found.iou, wanted, atol=1e-12)
    assert found.detectors[0] == "red"
    assert found.detectors[1] == "green"
    assert found.pictures.tolist() == [6, 5]
    assert found.best(0)[1] > found.control[0] > 0
    assert "detectors" in repr(found)


def test_of_more_units_than_fit_groups_give_the_same(
    model: fs.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, masks = squares(tmp_path)
    images, where = fs.load_images(folder), of_concepts(tmp_path, masks)
    whole = dissect(model, images, where, "body", quantile=0.1)
    monkeypatch.setattr(dissection, "_KEPT", 12)
    told: list[float] = []
    parts = dissect(model, images, where, "body", quantile=0.1, on_share=told.append)
    np.testing.assert_array_equal(parts.iou, whole.iou)
    np.testing.assert_array_equal(parts.thresholds, whole.thresholds)
    assert told == sorted(told)
    assert told[-1] == 1
    some = dissect(model, images, where, "body", [2, 0], quantile=0.1)
    np.testing.assert_array_equal(some.iou, whole.iou[[2, 0]])


def test_one_mask_for_all_concepts_is_the_same(model: fs.Classifier, tmp_path: Path) -> None:
    folder, masks = squares(tmp_path)
    for mask, other in zip(masks["red"], masks["green"], strict=True):
        mask &= ~other
    place = tmp_path / "numbers"
    place.mkdir()
    for number, (red, green) in enumerate(zip(masks["red"], masks["green"], strict=True)):
        numbers = red * 2 + green * 1 + (~red & ~green) * 9
        picture = Image.fromarray(numbers.astype(np.uint8), "P")
        picture.putpalette(list(range(256)) * 3)
        picture.save(place / f"{number}.png")
    (place / "names.txt").write_text("\ngreen\nred\n")
    images = fs.load_images(folder)
    found = dissect(model, images, place, "body", quantile=0.2)
    wanted = dissect(model, images, of_concepts(tmp_path, masks), "body", quantile=0.2)
    assert found.concepts == ("", "green", "red")
    np.testing.assert_array_equal(found.iou[:, 1:], wanted.iou)
    assert np.isnan(found.iou[:, 0]).all()


def test_masks_are_cut_as_pictures_are(tmp_path: Path) -> None:
    model = fs.Classifier(
        Reads().eval(), channels=3, input_size=16, resize=20, mean=[0.0] * 3, std=[1.0] * 3
    )
    folder, place = tmp_path / "pictures", tmp_path / "concepts" / "bright"
    folder.mkdir()
    place.mkdir(parents=True)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    Image.fromarray((mask[..., None] * np.array([255, 0, 0])).astype(np.uint8)).save(
        folder / "a.png"
    )
    Image.fromarray(mask).save(place / "a.png")
    found = dissect(model, fs.load_images(folder), tmp_path / "concepts", "body", quantile=0.3)
    assert found.iou[0, 0] > 0.5


def test_pictures_without_masks_are_left_out_and_counted(
    model: fs.Classifier, tmp_path: Path
) -> None:
    folder, masks = squares(tmp_path)
    where = of_concepts(tmp_path, masks)
    for name in ("red", "green"):
        (where / name / "class1" / "3.png").unlink()
    (where / "red" / "notes.md").write_text("x")
    found = dissect(model, fs.load_images(folder), where, "body")
    assert found.looked == 5
    assert any("1 picture without a mask" in note for note in found.notes)
    assert any("1 file of the masks' folder" in note for note in found.notes)


def test_a_name_that_two_pictures_share_names_neither(tmp_path: Path) -> None:
    place = tmp_path / "masks" / "thing"
    place.mkdir(parents=True)
    Image.new("L", (4, 4), 1).save(place / "1.png")
    masks = open_masks(tmp_path / "masks")
    assert masks.told_apart(["a/1.jpg", "b/2.jpg"]).key("a/1.jpg", 0) == "1"
    assert masks.told_apart(["a/1.jpg", "b/1.jpg"]).key("a/1.jpg", 0) is None
    assert masks.key("b/2.jpg", 1) is None  # a file is not found by its number
    assert masks.key("digits:1", 1) == "1"


def test_nothing_beyond_the_folder_is_opened(tmp_path: Path) -> None:
    place, secret = tmp_path / "masks" / "thing", tmp_path / "secret.png"
    place.mkdir(parents=True)
    Image.new("L", (4, 4), 1).save(secret)
    (place / "1.png").symlink_to(secret)
    with pytest.raises(fs.FluoroscopeError, match="holds none"):
        open_masks(tmp_path / "masks")
    Image.new("L", (4, 4), 1).save(place / "2.png")
    masks = open_masks(tmp_path / "masks")
    assert masks.key("../../secret.png", 0) is None
    assert "link" in masks.notes[0]


def test_strange_masks_are_refused(model: fs.Classifier, tmp_path: Path) -> None:
    folder, masks = squares(tmp_path)
    images, where = fs.load_images(folder), of_concepts(tmp_path, masks)
    file = where / "red" / "class0" / "2.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    with pytest.raises(fs.FluoroscopeError, match=r"2\.png cannot be read"):
        dissect(model, images, where, "body")
    Image.new("L", (16, 40)).save(file)
    with pytest.raises(fs.FluoroscopeError, match="same proportions"):
        dissect(model, images, where, "body")
    file.write_bytes(whole)
    for given, said in [
        ({"layer": "head"}, "no rows and columns"),
        ({"layer": "body", "quantile": 1.0}, "quantile is 1.0"),
        ({"layer": "body", "iou": 0.0}, "iou is 0.0"),
        ({"layer": "body", "units": [4]}, "unit is 4"),
    ]:
        with pytest.raises(fs.FluoroscopeError, match=said):
            dissect(model, images, where, **given)
    with pytest.raises(fs.FluoroscopeError, match="no folder"):
        dissect(model, images, tmp_path / "nowhere", "body")
    (tmp_path / "empty").mkdir()
    with pytest.raises(fs.FluoroscopeError, match="holds none"):
        dissect(model, images, tmp_path / "empty", "body")
    named = of_concepts(tmp_path / "more", masks)
    (named / "names.txt").write_text("\n\n")
    with pytest.raises(fs.FluoroscopeError, match="holds no names"):
        dissect(model, images, named, "body")
    strangers = fs.load_images(torch.rand(40, 3, 16, 16), labels=[0, 1] * 20).select([38, 39])
    with pytest.raises(fs.FluoroscopeError, match="none of any of 2 pictures"):
        dissect(model, strangers, where / "red", "body")
