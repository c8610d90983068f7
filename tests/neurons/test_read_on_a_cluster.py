"""Layers read on a cluster: the numbers of the plain loop."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import fluoroscope as fs
from fluoroscope.engine.cluster import Part, _quiet, _unpacked, packed
from fluoroscope.neurons.reading import read as reading
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.job import Job
from fluoroscope.neurons.reading.reduction import Reduction

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'fluoroscope[cluster]'")
pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each worker has
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def _cluster() -> Iterator[None]:
    with _quiet():
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=80_000_000,
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.usefixtures("_cluster")
def test_it_reads_what_one_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "part_size", lambda model: 8)
    model, data = fs.load_model("digits-cnn"), fs.load_images("digits", channels=1).take(30)
    whole = fs.neurons.read(model, data, "5", batch_size=4)
    shares: list[float] = []
    begun = fs.neurons.read(
        model, data, "5", batch_size=4, out=tmp_path, on_share=shares.append,
        cancelled=lambda: len(shares) > 2,
    )  # fmt: skip
    assert len(begun) == 8
    shares.clear()
    fs.neurons.read(
        model, data, "5", batch_size=4, out=tmp_path, engine="ray", workers=2,
        on_share=shares.append,
    )  # fmt: skip
    assert shares[0] == pytest.approx(8 / 30)
    assert len(shares) == 4  # a share for each part that is left
    found = Activations.open(tmp_path, model, data)
    np.testing.assert_array_equal(found.values, whole.values)
    assert found.rows.equals(whole.rows)


def test_what_travels_reads_a_part() -> None:
    model, data = fs.load_model("digits-cnn"), fs.load_images("digits", channels=1).take(9)
    units = tuple(fs.neurons.find_units(model, name) for name in ("2", "9"))
    package = packed(Job(model, data, units, Reduction("max"), 2), "the job")
    found = _unpacked(package, None)(Part(1, range(4, 9)))
    both = fs.neurons.read_layers(model, data, ["2", "9"], reduction="max", batch_size=2)
    for one, whole in zip(found, both, strict=True):
        np.testing.assert_allclose(one.values, whole.values[4:9], atol=1e-6)
        assert one.seen["predicted"].tolist() == whole.predicted[4:9].tolist()


def test_bad_engines() -> None:
    model, data = fs.load_model("digits-cnn"), fs.load_images("digits", channels=1).take(2)
    with pytest.raises(fs.FluoroscopeError, match="engine is 'spark'; expected 'local' or 'ray'"):
        fs.neurons.read(model, data, engine="spark")
    with pytest.raises(fs.FluoroscopeError, match="the engine is local"):
        fs.neurons.read(model, data, workers=2)
