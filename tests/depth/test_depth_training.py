"""Training for depth: it learns, goes on to the same bytes, and lies on disk whole."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.depth.training import DepthRun, DepthSettings, unseen_scenes
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, ResultFormatError
from fluoroscope.training.trainer.fitting import fit
from fluoroscope.training.trainer.recipe import Recipe

SMALL = DepthSettings(
    scenes=24, size=(16, 16), units=8, width=4, bins=fs.depth.Bins(4, 1.5, 10.0), weight=0.1,
    recipe=Recipe(epochs=3, batch_size=8),
)  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluoroscope.depth.training.TESTED", 10)


def test_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = DepthRun(out=tmp_path / "whole", settings=SMALL, seed=1)
    before = torch.get_rng_state()
    steps = list(whole)
    assert torch.equal(before, torch.get_rng_state())
    assert len(steps) == len(whole) == 9
    assert set(steps[0].terms) == {"depth", "selectivity penalty"}
    assert steps[2].held_out is not None
    for step in DepthRun(out=tmp_path / "broken", settings=SMALL, seed=1):
        if step.number == 5:
            break
    with pytest.raises(InvalidParameterError, match="left by another training"):
        DepthRun(out=tmp_path / "broken", settings=replace(SMALL, weight=0.2), seed=1)
    again = DepthRun(out=tmp_path / "broken", settings=SMALL, seed=1)
    assert again.behind == 3
    assert len(list(again)) == len(again) == 7
    files = [(tmp_path / one / "depth.safetensors").read_bytes() for one in ("whole", "broken")]
    assert files[0] == files[1]
    assert not list(tmp_path.glob("*/*checkpoint*"))
    curves = [(tmp_path / one / "depth.curves.csv").read_bytes() for one in ("whole", "broken")]
    assert curves[0] == curves[1]
    assert curves[0].count(b"\n") == 10
    assert (tmp_path / "whole" / "depth.curves.png").is_file()


def test_an_untrained_network_is_looked_at_by_hand_as_it_is_judged() -> None:
    """Of the scenes' 8 bits, in evaluation: a look changes no statistics of batch norms."""
    scenes, network = fs.depth.render_scenes(3, size=(16, 16)), fs.depth.build_network(8, 4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        seen = network(scenes.images)
    assert torch.equal(seen, network(scenes.images / 255))
    rel = ((seen - scenes.depth).abs() / scenes.depth).mean().item()
    assert rel == pytest.approx(fs.depth.depth_errors(network, scenes).rel, rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_selectivity_rises_when_it_is_asked_for() -> None:
    scenes, bins = fs.depth.render_scenes(24, size=(16, 16)), SMALL.bins
    means = []
    for weight in (0.0, 3.0):
        network = fs.depth.build_network(8, 4)
        recipe = Recipe(epochs=16, batch_size=8, learning_rate=0.01)
        loss = fs.depth.SelectiveDepthLoss(bins, weight)
        fit(network, scenes.images, scenes.depth, recipe, loss=loss, task=fs.depth.DepthTask())
        means.append(fs.depth.depth_selectivity(network, scenes, bins).mean)
    assert means[1] > means[0] + 0.1


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    made = fs.depth.train(out=tmp_path, settings=SMALL, seed=2)
    read = fs.depth.TrainedDepth.load(tmp_path)
    assert read.bins == SMALL.bins
    assert read.size == (16, 16)
    assert read.seed == 2
    images = unseen_scenes((16, 16), seed=2, many=3).images / 255
    assert torch.equal(read.network(images), made.network(images))
    assert read.network(torch.rand(1, 3, 9, 31)).shape == (1, 9, 31)
    assert "8 units" in repr(read)
    assert "RMSE" in read._repr_html_()
    (tmp_path / "depth.json").write_text("{}")
    with pytest.raises(ResultFormatError, match="holds no depth network"):
        fs.depth.TrainedDepth.load(tmp_path)


def test_scenes_that_judge_are_not_learnt_from() -> None:
    learnt = fs.depth.render_scenes(10, size=(16, 16), seed=0)
    judging = unseen_scenes((16, 16), seed=0, many=10)
    for one in judging.depth:
        assert not any(torch.equal(one, other) for other in learnt.depth)


def test_mistakes_in_what_is_learnt(tmp_path: Path) -> None:
    network = fs.depth.build_network(8, 4)
    images, depth = torch.rand(2, 3, 8, 8), torch.ones(2, 8, 8)
    with pytest.raises(InvalidParameterError, match=r"depth is of shape \(2, 4, 4\)"):
        fit(network, images, depth[:, :4, :4], task=fs.depth.DepthTask())
    with pytest.raises(InvalidParameterError, match="not above 0"):
        fit(network, images, depth - 1, task=fs.depth.DepthTask())
    with pytest.raises(InvalidImagesError, match="images are of shape"):
        fit(network, images[0], depth, task=fs.depth.DepthTask())
    with pytest.raises(InvalidParameterError, match="not trained yet"):
        _ = DepthRun(out=tmp_path, settings=SMALL).result
