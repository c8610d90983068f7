"""A data set, attacked a part at a time."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.attacks import parts
from fluoroscope.attacks.parts import attack_parts, part_name, remove_parts

DIGITS = fs.load_images("digits", channels=1).take(24)
MODEL = fs.load_model("digits-cnn")
PGD = fs.attack("pgd", eps=0.1, steps=5)


def test_parts_together_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = attack_parts(MODEL, PGD, DIGITS, seed=4)
    monkeypatch.setattr(parts, "_VALUES", 10 * 784)
    pieces = list(attack_parts(MODEL, PGD, DIGITS, seed=4))
    assert [len(piece.images) for piece in pieces] == [10, 10, 4]
    assert torch.equal(torch.cat([p.numbers for p in pieces]), torch.arange(24))
    assert torch.equal(torch.cat([p.success for p in pieces]), whole.success)
    images = torch.cat([piece.images for piece in pieces])
    torch.testing.assert_close(images, whole.images, atol=1e-4, rtol=0)


def test_parts_of_an_earlier_attack_make_room(tmp_path: Path) -> None:
    [result] = attack_parts(MODEL, PGD, DIGITS.take(2))
    for number in range(3):
        result.save(tmp_path, part_name(number))
    mine = [tmp_path / name for name in ("part-00007.json", "part-00008.parquet", "part-1.json")]
    for file in mine:
        file.write_text('{"attack": "mine"}')
    os.mkfifo(tmp_path / "part-00009.json")
    assert remove_parts(tmp_path) == 3
    assert {file.name for file in tmp_path.iterdir()} == {
        *(file.name for file in mine), "part-00009.json",
    }  # fmt: skip


def test_a_part_killed_over_an_earlier_one_has_no_record(tmp_path: Path) -> None:
    [result] = attack_parts(MODEL, PGD, DIGITS.take(2))
    result.save(tmp_path, "part")
    (child := os.fork()) or _killed_at_its_second_move(lambda: result.save(tmp_path, "part"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert {file.name for file in tmp_path.glob("[!.]*")} == {"part.parquet", "part.safetensors"}
    result.save(tmp_path, "part")
    assert len(list(tmp_path.iterdir())) == 3


def _killed_at_its_second_move(work: Callable[[], object]) -> None:
    moves = 0
    move = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return move(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]
    try:
        work()
    finally:
        os._exit(1)


def test_a_selection_keeps_its_chance() -> None:
    [whole] = attack_parts(MODEL, PGD, DIGITS)
    [some] = attack_parts(MODEL, PGD, DIGITS.select([20, 3]))
    assert some.numbers.tolist() == [20, 3]
    torch.testing.assert_close(some.images, whole.images[[20, 3]], atol=1e-4, rtol=0)


def test_targets() -> None:
    labels = torch.tensor([sample.label for sample in DIGITS])
    [random] = attack_parts(MODEL, PGD, DIGITS, to="random")
    assert (random.classes != labels).all()
    assert len(random.classes.unique()) > 4
    [least] = attack_parts(MODEL, PGD, DIGITS, to="least-likely")
    batch = next(iter(DIGITS.batches(24)))
    logits = MODEL(batch.images).detach()
    right = logits.argmin(1) != labels
    assert torch.equal(least.classes[right], logits.argmin(1)[right])
    # Also of a search through a change of the input the network itself says which that is.
    [through] = attack_parts(fs.ScaleInvariant(MODEL), PGD, DIGITS, to="least-likely")
    assert torch.equal(through.classes, least.classes)
    [three] = attack_parts(MODEL, PGD, DIGITS, to="3")
    assert three.classes.tolist() == [3] * 24
    assert three.record["targeted"]
    everything = list(attack_parts(MODEL, PGD, DIGITS, to="all"))
    assert [result.classes[0].item() for result in everything] == list(range(10))


def test_rows_have_the_names_of_pictures_and_labels_by_name() -> None:
    data = fs.load_images("digits", channels=1).take(20)
    model = fs.load_model("digits-linear")
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (plain,) = attack_parts(model, fs.attack("fgsm", eps=0.1), data)
    assert plain.rows()["name"] == [f"digits:{index}" for index in data.indices]
    assert plain.record["seen"] == data.class_counts()
    data.labels = tuple(reversed(words))
    (turned,) = attack_parts(model.restated(labels=words), fs.attack("fgsm", eps=0.1), data)
    assert turned.classes.tolist() == [9 - label for label in plain.classes.tolist()]
    (led,) = attack_parts(model, fs.attack("fgsm", eps=0.1), data, to=3)  # asks for no label
    assert set(led.classes.tolist()) == {3}
