"""Adversarial data sets: what is saved is what was attacked, and a stop changes nothing of it."""

import json
import shutil
from collections import namedtuple
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, StorageError
from fluoroscope.neurons.adversarial import making, set_files
from fluoroscope.neurons.adversarial.set_files import read_about

ATTACK = fs.attack("ensemble-optimisation", steps=4, step_size=0.05)


def networks(names: tuple[str, ...] | None = ("a", "b", "c", "d")) -> list[fs.Classifier]:
    made = []
    for seed in (0, 1):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
        numbers = torch.Generator().manual_seed(seed)
        for weights in module.parameters():
            weights.data = torch.randn(weights.shape, generator=numbers) / 3
        made.append(fs.Classifier(module, labels=names, channels=3, input_size=8, name=f"n{seed}"))
    return made


def pictures(many: int = 7) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (many, 3, 8, 8), generator=numbers) / 255
    return images, torch.randint(0, 4, (many,), generator=numbers)


def stacked(found: fs.ImageSet) -> Tensor:
    return torch.stack([one.image for one in found])


def test_what_is_saved_is_what_was_attacked(tmp_path: Path) -> None:
    members, (images, labels) = networks(), pictures()
    found = fs.neurons.adversarial_set(
        members, (images, labels), out=tmp_path, targets=2, attack=ATTACK, batch_size=14
    )
    assert found.labels == ("a", "b", "c", "d")
    targets = torch.tensor([found.labels.index(name) for name in found.column("target")])
    sources = torch.tensor(found.column("source"))
    by_hand = ATTACK(
        fs.Ensemble([fs.prepare(each) for each in members], average="loss"),
        images.repeat_interleave(2, 0), targets, targeted=True, keep="last", grid=8,
    )  # fmt: skip
    assert sources.tolist() == [n for n in range(7) for _ in range(2)]
    assert torch.equal(stacked(found), by_hand.images)
    assert found.class_numbers() is not None
    assert torch.equal(found.class_numbers(), labels[sources])  # type: ignore[arg-type]
    assert found.column("success") == by_hand.success.tolist()
    for number, member in enumerate(members, 1):
        led = (member(stacked(found)).argmax(1) == targets).tolist()
        assert found.column(f"success_{number}") == led
    far = (stacked(found) - images[sources]).double().flatten(1).square().mean(1).sqrt()
    torch.testing.assert_close(torch.tensor(found.column("distance")).double(), far)
    before = fs.Ensemble(members, average="loss")(images).argmax(1)[sources]
    assert found.column("before") == [found.labels[one] for one in before.tolist()]
    about = read_about(tmp_path)
    assert about["pictures"] == 14
    assert about["success"] == int(by_hand.success.sum())
    assert [one["success"] for one in about["members"]] == [
        sum(found.column(name)) for name in ("success_1", "success_2")
    ]


def test_targets_are_drawn_of_all_others_and_depend_on_the_picture_alone(tmp_path: Path) -> None:
    model, (images, labels) = networks()[0], pictures(40)
    all_ = fs.neurons.adversarial_set(model, (images, labels), out=tmp_path / "all", attack=ATTACK)
    own = all_.class_numbers()
    assert own is not None
    drawn = torch.tensor(["abcd".index(name) for name in all_.column("target")]).view(40, 3)
    rows = torch.cat([drawn, labels[:, None]], 1).sort(1).values
    assert torch.equal(rows, torch.arange(4).expand(40, 4))
    one = fs.neurons.adversarial_set(
        model, (images[:9], labels[:9]), out=tmp_path / "one", targets=1, attack=ATTACK
    )
    first = torch.tensor(["abcd".index(name) for name in one.column("target")])
    assert torch.equal(first, drawn[:9, 0])
    assert len(first.unique()) > 2
    other = fs.neurons.adversarial_set(
        model, (images[:9], labels[:9]), out=tmp_path / "other", targets=1, attack=ATTACK, seed=1
    )
    assert other.column("target") != one.column("target")


def test_it_reads_like_any_other_data_set(tmp_path: Path) -> None:
    members, given = networks(), pictures()
    fs.neurons.adversarial_set(members, given, out=tmp_path, targets=2, attack=ATTACK)
    (tmp_path / "adversarial.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("beside it")
    found = fs.load_images(tmp_path)
    read = fs.neurons.read(members[1], found, "0")
    targets = [found.labels.index(name) for name in found.column("target")]  # type: ignore[union-attr]
    assert read.targets.tolist() == targets
    assert read.sources.tolist() == found.column("source")
    assert read.labels.tolist() == found.class_numbers().tolist()  # type: ignore[union-attr]
    led = (read.predicted == read.targets).tolist()
    assert found.column("success_2") == led


def test_a_member_of_another_size_is_shown_what_its_commands_show_it(tmp_path: Path) -> None:
    [model, _], given = networks(), pictures()
    module = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    small = fs.Classifier(module, labels=tuple("abcd"), channels=3, input_size=6, resize=7)
    found = fs.neurons.adversarial_set(
        [model, small], given, out=tmp_path, targets=3, attack=ATTACK
    )
    assert stacked(found).shape[2:] == (8, 8)
    read = fs.neurons.read(small, found, "2")
    assert found.column("success_2") == (read.predicted == read.targets).tolist()


def test_stopped_and_begun_again_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_PICTURES", 6)
    members, given, shares = networks(), pictures(), []
    options = {"targets": 2, "attack": ATTACK}
    fs.neurons.adversarial_set(
        members, given, out=tmp_path / "whole", on_share=shares.append, **options
    )  # fmt: skip
    assert shares == sorted(shares)
    assert shares[-1] == 1
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 12

    with pytest.warns(fs.FluoroscopeWarning, match="stopped early: the first 12 of 14 pictures"):
        begun = fs.neurons.adversarial_set(
            members, given, out=tmp_path / "again", cancelled=cancelled, **options
        )
    assert len(begun) == 12
    with pytest.raises(fs.FluoroscopeError):  # half a set is none
        fs.load_images(tmp_path / "again")
    (tmp_path / "again" / ".parts" / "part-00001.parquet").write_bytes(b"damaged")
    fs.neurons.adversarial_set(members, given, out=tmp_path / "again", **options)
    contents = [
        {str(file.relative_to(tmp_path / name)): file.read_bytes()
         for file in (tmp_path / name).rglob("*") if file.is_file()}
        for name in ("whole", "again")
    ]  # fmt: skip
    assert contents[0] == contents[1]
    assert len(contents[0]) == 4


def test_the_datas_own_names_and_numbers_stay(tmp_path: Path) -> None:
    """The data has the network's classes in another order."""
    model, (images, labels) = networks()[0], pictures()
    mine = ("d", "a", "c", "b")
    numbers = torch.tensor(["abcd".index(name) for name in mine])
    data = fs.load_images(images, labels=[mine[label] for label in labels.tolist()])
    found = fs.neurons.adversarial_set(model, data, out=tmp_path, targets=1, attack=ATTACK)
    assert found.labels == data.labels
    read = fs.neurons.read(model, found, "0")
    assert read.labels.tolist() == numbers[labels].tolist()
    assert found.column("success_1") == (read.predicted == read.targets).tolist()
    assert (read.targets != read.labels).all()


def test_names_that_several_classes_have_are_told_apart(tmp_path: Path) -> None:
    [model, _], given = networks(("crane", "b", "crane", "d")), pictures()
    found = fs.neurons.adversarial_set(model, given, out=tmp_path, targets=1, attack=ATTACK)
    assert found.labels == ("crane (0)", "b", "crane (2)", "d")
    read = fs.neurons.read(model, found, "0")
    assert found.column("success_1") == (read.predicted == read.targets).tolist()
    unnamed = fs.neurons.adversarial_set(
        networks(None)[0], given, out=tmp_path / "unnamed", targets=1, attack=ATTACK
    )
    assert unnamed.labels == ("0", "1", "2", "3")
    assert set(unnamed.column("target")) <= set(unnamed.labels)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"targets": 4}, "targets is 4; n0 has 4 classes: expected 1 to 3"),
        ({"targets": 0}, "targets is 0"),
        ({"attack": "universal", "eps": 0.1}, "attack is UniversalPerturbation, with which"),
        ({"attack": "sparsefool"}, "attack is SparseFool, with which one picture cannot"),
        ({"attack": ATTACK, "eps": 0.1}, "eps was given beside EnsembleOptimisation"),
        ({"models": []}, "models is empty"),
        ({"seed": 1}, "holds another adversarial set: seed is 0, and here 1"),
        ({"targets": 1}, "holds another adversarial set: targets is 2, and here 1"),
    ],
)
def test_what_cannot_be_is_refused(
    changed: dict[str, object], said: str, tmp_path: Path, small_set: Path
) -> None:
    out = shutil.copytree(small_set, tmp_path / "out")
    asked = {"models": networks()[0], "targets": 2, "attack": ATTACK} | changed
    with pytest.raises(InvalidParameterError, match=said):
        fs.neurons.adversarial_set(images=pictures(), out=out, **asked)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set")
    fs.neurons.adversarial_set(networks()[0], pictures(), out=out, targets=2, attack=ATTACK)
    return out


def test_room_on_the_disk_is_asked_for_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(set_files.shutil, "disk_usage", lambda _: Usage(1, 1, 2000))
    with pytest.raises(StorageError, match=r"14 pictures take up to 1\.67e-05 GB more, and 2e-06"):
        fs.neurons.adversarial_set(networks()[0], pictures(), out=tmp_path, targets=2)


def test_pictures_without_labels_and_of_many_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImagesError, match="has no labels"):
        fs.neurons.adversarial_set(
            networks()[0], fs.load_images(pictures()[0]), out=tmp_path, targets=1
        )
    many = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), channels=2, input_size=8)
    with pytest.raises(InvalidImagesError, match="takes pictures of 2 channels"):
        fs.neurons.adversarial_set(
            many, (torch.rand(2, 2, 8, 8), torch.tensor([0, 1])), out=tmp_path, targets=1
        )


def test_the_record_says_how_it_was_made(small_set: Path) -> None:
    told = json.loads((small_set / "adversarial.json").read_text())
    assert told["identity"]["parameters"]["steps"] == 4
    assert told["identity"]["networks"] == ["n0"]
    assert told["distance"]["largest"] >= told["distance"]["median"] > 0
    far = fs.load_images(small_set).column("distance")
    assert told["distance"]["median"] == median(map(float, far))
    assert randomness.as_seed(told["identity"]["seed"]) == 0
