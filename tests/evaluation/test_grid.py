"""Verdicts in 8 bits: what is found survives being saved, and is not mixed with what does not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from short_plans import plan

import fluoroscope as fs
from fluoroscope.evaluation.plan import Plan, Stage

Run = Callable[..., fs.Verdict]


@pytest.fixture(scope="module")
def floats(few: fs.ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures that are on no grid, and their labels."""
    batch = next(iter(few.batches(len(few))))
    assert batch.labels is not None
    moved = batch.images + 0.4 / 255 * torch.rand(batch.images.shape)
    return moved.clamp(0, 1), batch.labels


@pytest.mark.parametrize("eps", [0.02, 3.5 / 255])
def test_every_success_is_one_that_a_file_holds(
    small: fs.Classifier,
    floats: tuple[torch.Tensor, torch.Tensor],
    tmp_path: Path,
    eps: float,
) -> None:
    images, labels = floats
    verdict = fs.evaluate(
        small, images, labels, threat=f"linf:{eps}", plan=plan(eps), grid=8, save_images=True,
        out=tmp_path,
    )  # fmt: skip
    saved = (images * 255).round() / 255
    fooled = fs.predict(small, saved).winners != labels
    assert round(verdict.clean_accuracy * len(labels)) == int((~fooled).sum())
    left = torch.arange(len(labels))[~fooled]
    for stage in ("fgsm", "pgd"):
        found = load_file(tmp_path / "parts" / f"00000-{stage}.safetensors")["images"]
        levels = found * 255
        assert (levels - levels.round()).abs().max() < 1e-4
        assert (found - saved[left]).abs().max() <= eps + 1e-6
        wrong = fs.predict(small, found).winners != labels[left]
        fooled[left[wrong]] = True
        left = left[~wrong]
    assert round(verdict.robust_accuracy * len(labels)) == int((~fooled).sum())
    assert 0 < verdict.robust_accuracy < verdict.clean_accuracy
    assert verdict.record["identity"]["grid"] == 8


def test_smallest_changes_are_whole_levels(small: fs.Classifier, few: fs.ImageSet) -> None:
    closest = fs.attack("fmn", eps=float("inf"), norm="linf", steps=20)
    stages = Plan("closest", (Stage("fmn", closest, "nearest", everyone=True),))
    curves = [
        fs.evaluate(small, few, threat="linf", plan=stages, grid=grid).curve for grid in (8, None)
    ]
    eight, free = curves
    assert eight is not None
    assert free is not None
    levels = torch.tensor([one for one in eight.distance if 0 < one < 1]) * 255
    assert len(levels) > 40
    assert (levels - levels.round()).abs().max() < 1e-3
    assert free.median < eight.median < free.median + 1.01 / 255


def test_a_bound_below_a_level_is_told(run: Run) -> None:
    fine = run("fine", threat="linf:0.001", plan=plan(0.001))
    assert any("less than half a level" in note for note in fine.notes)
    eight = run("eight", threat="linf:0.001", plan=plan(0.001), grid=8)
    assert eight.robust_accuracy == eight.clean_accuracy
    assert any("no 8-bit picture but the original" in note for note in eight.notes)
    assert not any("level" in note for note in run("usual").notes)


def test_a_run_is_not_mixed_with_one_in_8_bits(run: Run, tmp_path: Path) -> None:
    run()
    with pytest.raises(fs.FluoroscopeError, match="grid of 8 bits is None, and here 8"):
        run(grid=8)
    run("other", grid=8)
    with pytest.raises(fs.FluoroscopeError, match="grid of 8 bits is 8, and here None"):
        run("other")
    run("other", grid=8)
    found = fs.compare_runs(tmp_path / "run", tmp_path / "other")
    assert found.apart["threat"] == ("linf:0.02", "linf:0.02, 8-bit pictures")


@pytest.mark.parametrize("grid", [16, True, "8"])
def test_another_grid_is_refused(run: Run, grid: object) -> None:
    with pytest.raises(fs.FluoroscopeError, match="expected 8"):
        run(grid=grid)


def test_a_map_in_8_bits_has_whole_levels(
    small: fs.Classifier, floats: tuple[torch.Tensor, torch.Tensor]
) -> None:
    found = fs.class_map(small, *floats, classes=[0, 1, 7], pictures=1, grid=8)
    levels = torch.tensor([pair.distance for pair in found.pairs]) * 255
    assert len(levels) == 6
    assert (levels - levels.round()).abs().max() < 1e-3
    assert found.record["grid"] == 8
