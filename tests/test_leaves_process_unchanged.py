"""No public call changes what belongs to the whole process, alone or with another beside it."""

import locale
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.pictures.maps import map_figure, write_figure
from fluoroscope.pictures.plots import Canvas
from fluoroscope.process import one_thread, usual_threads

TWO = torch.linspace(0, 1, 72).view(2, 1, 6, 6)


class Drawing(nn.Module):
    """A network that draws; expectation over it must not move the generators."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images + 0.1 * torch.randn_like(images)).flatten(1)[:, :4]


def state() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "matplotlib": dict(matplotlib.rcParams),
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "umask": mask,
        "threads": torch.get_num_threads(),
        "chance": (
            torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state()),
        ),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "locale": locale.setlocale(locale.LC_ALL),
        "directory": Path.cwd(),
        "environment": dict(os.environ),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads take turns often, and PyTorch has several to give up."""
    before, threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-4)
    torch.set_num_threads(2)
    yield
    sys.setswitchinterval(before)
    torch.set_num_threads(threads)


def evaluate(out: Path, model: fs.Classifier) -> None:
    for trial in range(3):
        place = out / f"{threading.get_ident()}-{trial}"
        fs.evaluate(model, DIGITS, threat="linf:0.1", plan="fast", out=place, part=4)


def drawn(out: Path, model: fs.Classifier) -> None:
    for _ in range(4):
        with Canvas(2, 2) as axes:
            axes.plot([1, 2])
        write_figure(out / "map.png", map_figure([("a", TWO[0])]))


def trained(out: Path, model: fs.Classifier) -> None:
    net = nn.Sequential(nn.Flatten(), nn.utils.skip_init(nn.Linear, 36, 2), nn.Dropout())
    net.load_state_dict({"1.weight": torch.ones(2, 36), "1.bias": torch.zeros(2)})
    recipe = fs.training.Recipe(epochs=2, batch_size=1)
    fs.training.fit(net, TWO, torch.tensor([0, 1]), recipe, checkpoint=out / "c.safetensors")


DIGITS = fs.load_images("digits", channels=1).take(8)
NOISY = fs.EOT(fs.Classifier(Drawing(), channels=1, input_size=6), samples=3)
CALLS: dict[str, Callable[[Path, fs.Classifier], object]] = {
    "predict": lambda out, model: [fs.predict(model, DIGITS[0].image) for _ in range(20)],
    "expectation": lambda out, model: [fs.predict(NOISY, TWO) for _ in range(20)],
    "attack": lambda out, model: fs.attack("pgd", eps=0, steps=2)(
        model, DIGITS[0].image, [7]
    ).save(out),
    "captum": lambda out, model: [
        fs.attribute(model, DIGITS[0].image, 7, method=f"captum:{name}")
        for name in ("deep-lift", "gradient-shap", "noise-tunnel")
    ],
    "morph": lambda out, model: fs.morph(model, "digits:7", to=2, steps=2).save(out),
    "evaluate": evaluate,
    "read": lambda out, model: [
        fs.neurons.read(model, DIGITS, "1", out=out / str(threading.get_ident())).values.sum()
        for _ in range(5)
    ],
    "drawn": drawn,
    "trained": trained,
    "shown": lambda out, model: fs.morph(model, "digits:7", to=2, steps=2)._repr_html_(),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.filterwarnings("ignore::fluoroscope.errors.FluoroscopeWarning")
def test_the_process_is_as_before(name: str, count: int, tmp_path: Path) -> None:
    model, call = fs.load_model("digits-linear"), CALLS[name]
    call(tmp_path, model)  # what is imported or set up once
    before, problems = state(), []

    def safely() -> None:
        try:
            call(tmp_path, model)
        except BaseException as problem:
            problems.append(problem)

    if count == 1:
        safely()
    else:
        threads = [threading.Thread(target=safely) for _ in range(count)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not problems
    after = state()
    assert [key for key in before if before[key] != after[key]] == []


def test_threads_that_overlap_give_back_what_there_was() -> None:
    first, second = one_thread(), one_thread()
    with first:
        second.__enter__()
        assert torch.get_num_threads() == 1
        assert usual_threads() == 2
    assert usual_threads() == 2
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 2
