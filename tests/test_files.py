"""Files are written whole or not at all, and what the dead were writing does not stay."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, StorageError
from fluoroscope.files import atomic_path, clear_drafts, in_use, output_directory, user_path


def in_a_process_that_is_killed(work: Callable[[], object]) -> None:
    child = os.fork()
    if not child:
        try:
            work()
        finally:  # whatever it raises, this is no second run of the tests
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def draft(path: Path) -> None:
    with atomic_path(path) as place:
        place.write_text("half")
        (place.parent / ".tmpXYZ").write_text("as libraries do")
        os.kill(os.getpid(), signal.SIGKILL)


def hold(directory: Path) -> None:
    with in_use(directory):
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_the_dead_were_writing_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for _ in range(2):
        in_a_process_that_is_killed(lambda: draft(path))
    in_a_process_that_is_killed(lambda: draft(tmp_path / "other.json"))
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_path(path) as place:
        place.write_text("whole")
    assert path.read_text() == "whole"
    assert not list(tmp_path.glob(".fluoroscope-result*"))
    clear_drafts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_living_are_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
        clear_drafts(tmp_path)
        assert (first.read_text(), second.read_text()) == ("first", "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_hidden_files_of_others_stay(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in (".result-a1b2c3d4.json", ".fluoroscope-notes")]
    for file in mine:
        file.write_text("mine")
    with atomic_path(tmp_path / "result.json") as place:
        place.write_text("whole")
    clear_drafts(tmp_path)
    assert all(file.read_text() == "mine" for file in mine)


def test_many_threads_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"

    def write() -> None:
        for _ in range(20):
            with atomic_path(path) as place:
                place.write_text("whole")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_files_get_the_mode_that_the_mask_of_the_process_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "result.txt") as place:
            place.write_text("whole")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "result.txt").stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "link", Path("/dev/null")):
        with (
            pytest.raises(StorageError, match="a directory, pipe or device is there"),
            atomic_path(place),
        ):
            pass
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "a\ud800b", "none/such"])
def test_names_that_a_file_system_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="cannot write"), atomic_path(tmp_path / name) as place:
        place.write_text("")
    if name != "none/such":
        with pytest.raises(InvalidParameterError, match="cannot write to"):
            output_directory(tmp_path / name)


def test_a_long_name_that_it_takes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / ("x" * 250)) as place:
        place.write_text("whole")
    assert (tmp_path / ("x" * 250)).read_text() == "whole"


@pytest.mark.parametrize("locks", [True, False])
def test_one_at_a_time(tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not locks:
        monkeypatch.setattr("fluoroscope.files.fcntl", None)
    refused = pytest.raises(InvalidParameterError, match=f"in use by process {os.getpid()} on")
    with in_use(tmp_path), refused, in_use(tmp_path):
        pass
    with in_use(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_dead_use_nothing(tmp_path: Path) -> None:
    in_a_process_that_is_killed(lambda: hold(tmp_path))
    with in_use(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert output_directory("~/made") == tmp_path / "home" / "made"
    with atomic_path("~/made/file.txt") as draft:
        draft.write_text("x")
    assert (tmp_path / "home" / "made" / "file.txt").read_text() == "x"
    assert not Path("~").exists()
    assert user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


def test_results_plans_and_checkpoints_know_the_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model, images = fs.load_model("digits-cnn"), torch.full((1, 1, 28, 28), 0.5)
    result = fs.attack("fgsm", eps=0.1)(model, images, [0])
    result.save("~/saved")
    assert (tmp_path / "saved" / "attack.json").exists()
    (tmp_path / "plan.toml").write_text("[[stages]]\nattack = 'fgsm'\n")
    fs.evaluate(
        model, images, result.read_as, threat="linf:0.1", plan="~/plan.toml", out="~/run",
        at_chance=True,
    )  # fmt: skip
    assert (tmp_path / "run" / "verdict.json").exists()
    torch.save(model.module.state_dict(), tmp_path / "weights.pt")
    fs.load_model("digits-cnn", checkpoint="~/weights.pt")
    assert not Path("~").exists()
