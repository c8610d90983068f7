"""What several test files share."""

import gc
import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports the library that reads it: no test may write into the user's own cache.
_CACHE = tempfile.TemporaryDirectory(prefix="fluoroscope-datasets-")
os.environ["HF_DATASETS_CACHE"] = _CACHE.name

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared"

# A busy machine is no failure, and in CI a failure must come back when it is looked into.
settings.register_profile("fluoroscope", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fluoroscope")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, lest one process waits for the other at the end."""
    items.sort(key=lambda item: not {"examples", "your_own_network"} & {*item.path.parts})


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Of the many objects that are there before the first test nearly all stay: garbage is
    collected once, behind them, and no later collection goes through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """Nor are the last tests' leavings, for which pytest would collect five times."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    """Whatever ran before in this process, a test draws the same numbers."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw no curves, which takes longer than the trainings of these tests."""
    monkeypatch.setattr("fluoroscope.training.job.run.TrainingRun._draw", lambda run: None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real networks and data sets beside the checkout; a user's clone has none."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: real networks and data sets are needed")
    return SHARED


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of a few numbers, with a tokenizer of letters."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(each) for each in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=30
    )
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": len(words), "max_position_embeddings": 30,
                     "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder
