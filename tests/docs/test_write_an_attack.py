"""The guide's example runs as it stands, and is as short as the guide says."""

import re
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.attacks import registry

GUIDE = Path(__file__).parents[2] / "docs" / "write-an-attack.md"


def test_the_example_is_short_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line]) < 40
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code, str(GUIDE), "exec"), names)
    monkeypatch.setitem(registry.ATTACKS, "walk", names["RandomWalk"])

    model = fs.load_model("digits-cnn")
    batch = next(iter(fs.load_images("digits", channels=1).take(20).batches(20)))
    attack = fs.attack("walk", eps=0.2, queries=100)
    result = attack(model, batch.images, batch.labels)
    assert result.success.sum() > result.at_start.sum() + 4
    assert result.distance.max() <= 0.2 + 1e-6
    assert not result.backwards.any()
    read = model(result.images).argmax(1)
    assert torch.equal(read != batch.labels, result.success)
