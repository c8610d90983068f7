"""The engine ``ray``: the rows of the plain loop, whoever is killed."""

import logging
import os
import pickle
import random
import socket
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import runs
import torch

import fluoroscope as fs
from fluoroscope.engine import cluster as handing_out
from fluoroscope.evaluation import cluster
from fluoroscope.evaluation.evaluate import Job, Part
from fluoroscope.evaluation.runs.run_directory import RunDirectory

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'fluoroscope[cluster]'")
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the plain loop."""
    out = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each worker has
    assert runs.run(out).complete
    torch.set_num_threads(threads)
    return out


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a small cluster of two processors, which this process is connected to."""
    with handing_out._quiet():
        found = ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80_000_000,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    yield found.address_info["gcs_address"]
    ray.shutdown()


def workers() -> list[int]:
    """Processes of this one's cluster that evaluate parts."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::MapWorker" in (folder / "cmdline").read_bytes() and os.getpid() in ancestors(
                int(folder.name)
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])
        found.append(process)
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="workers are found in /proc")
def test_a_killed_worker_loses_no_row_and_doubles_none(
    head: str, whole: Path, tmp_path: Path
) -> None:
    killed: list[int] = []
    told: list[fs.evaluation.evaluate.Progress] = []

    def progress(state: fs.evaluation.evaluate.Progress) -> None:
        told.append(state)
        if not killed:
            killed.append(random.Random(1).choice(workers()))
            os.kill(killed[0], 9)

    verdict = runs.run(tmp_path, engine="ray", workers=2, on_progress=progress)
    assert killed
    assert verdict.complete
    assert runs.parts(tmp_path) == runs.parts(whole)
    assert runs.rows(tmp_path) == runs.rows(whole)
    indices = RunDirectory(tmp_path).tables().filter(_is_clean(tmp_path))["index"].to_pylist()
    assert indices == list(range(runs.PICTURES))
    assert told[-1].looked == runs.PICTURES
    assert runs.run(whole).forwards == verdict.forwards


def _is_clean(out: Path) -> Any:
    import pyarrow.compute as pc

    return pc.equal(RunDirectory(out).tables()["attack"], "clean")


def test_a_killed_command_goes_on(head: str, whole: Path, tmp_path: Path) -> None:
    at_work = runs.process(runs.run, tmp_path, engine="ray", address=head, workers=1)
    while at_work.is_alive() and len(runs.parts(tmp_path)) < 4:
        time.sleep(0.002)
    assert runs.kill(at_work)
    assert len(runs.parts(tmp_path)) < len(runs.parts(whole))
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 3

    # An interruption does not wait for the part in hand.
    partial = runs.run(tmp_path, engine="ray", workers=1, cancelled=stop)
    assert not partial.complete
    assert runs.run(tmp_path).complete
    assert runs.rows(tmp_path) == runs.rows(whole)


def packed(out: Path, **options: Any) -> tuple[Job, bytes]:
    """A job as it is sent, of a run that is begun."""
    jobs: list[Job] = []

    def engine(job: Job, *_: object) -> Iterator[Any]:
        jobs.append(job)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fluoroscope.evaluation.cluster._run", lambda *given, **_: engine(*given))
        runs.run(out, engine="ray", **options)
    return jobs[0], cluster._packed(jobs[0])


def worker(package: bytes, begun: int = 1) -> handing_out._Worker:
    """One that needs no cluster."""
    tries = SimpleNamespace(begin=SimpleNamespace(remote=lambda part: begun))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "get", lambda value: value)
        patch.setattr(handing_out, "keep_freed_memory", lambda: None)
        return handing_out._Worker(package, tries, handing_out._Pool(1, 0, torch.get_num_threads()))


def test_without_a_shared_disk_the_command_writes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    # At chance or not: so that nothing was looked at beforehand.
    _, package = packed(there, at_chance=True)
    there.rename(here)
    monkeypatch.setattr(ray, "get", lambda value: value)
    answer = worker(package)._evaluate(Part(1, range(8, 16)))
    assert isinstance(answer, list)
    assert not there.exists()
    directory = RunDirectory(here)
    directory.file(1, "apgd").write_bytes(b"damaged")
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cluster._keep(directory, Part(1, range(8, 16)), answer)
    assert runs.parts(here) == {name for name in runs.parts(whole) if name.startswith("00001")}
    kept = RunDirectory(here).tables().drop_columns(["seconds"]).to_pylist()
    of_part = range(8, 16)
    expected = RunDirectory(whole).tables().drop_columns(["seconds"]).to_pylist()
    assert kept == [row for row in expected if row["index"] in of_part]
    # The next start goes on from what this process wrote.
    assert runs.run(here).complete
    assert runs.rows(here) == runs.rows(whole)


def test_images_that_nobody_would_see_are_refused(tmp_path: Path) -> None:
    _, package = packed(tmp_path / "there", save_images=True)
    (tmp_path / "there").rename(tmp_path / "here")
    answer = worker(package)._evaluate(Part(1, range(8, 16)))
    assert "does not see" in str(answer)
    assert isinstance(pickle.loads(pickle.dumps(answer)), fs.FluoroscopeError)


def test_a_part_that_kills_its_workers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, package = packed(tmp_path)
    monkeypatch.setattr(ray, "get", lambda value: value)
    answer = worker(package, begun=handing_out._TRIES + 1)._evaluate(Part(1, range(8, 16)))
    assert "part 1 (pictures 8 to 15) was begun 6 times" in str(answer)


def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, package = packed(tmp_path)
    monkeypatch.setattr(handing_out, "_versions", lambda: {"torch": "1.0"})
    answer = worker(package)._evaluate(Part(0, range(8)))
    assert "has torch 1.0 and the command" in str(answer)


class Held(torch.nn.Flatten):
    """What cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = socket.socket()


def test_what_cannot_travel_is_said(tmp_path: Path) -> None:
    job, _ = packed(tmp_path)
    bad = fs.Classifier(Held(), channels=1, input_size=28, labels=[str(n) for n in range(784)])
    with pytest.raises(fs.FluoroscopeError, match=r"Held or digits cannot be sent.*engine local"):
        cluster._packed(replace(job, model=bad))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers is 0; expected 1 or more"),
        ({"address": "nowhere"}, "nowhere .it is no host:port.; expected the host:port"),
        ({"address": "ray://127.0.0.1:1"}, "no Ray cluster answers at ray://127.0.0.1:1"),
        ({"address": "127.0.0.1:1"}, "127.0.0.1:1 .Connection refused.; expected"),
        ({"engine": "spark"}, "engine is 'spark'; expected 'local' or 'ray'"),
        ({"engine": "local", "workers": 2}, "the engine is local"),
    ],
)
def test_bad_input(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        runs.run(tmp_path / "run", **{"engine": "ray"} | options)
    assert not (tmp_path / "run").exists()


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing_out, "find_spec", lambda name: None)
    with pytest.raises(fs.FluoroscopeError, match=r"pip install 'fluoroscope\[cluster\]'"):
        runs.run(tmp_path, engine="ray")
