"""Pictures as files: what a GIF's few colours leave of them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence

from fluoroscope.pictures.write import enlarged, to_pil, write_gif


def frames_of(path: Path) -> list[Image.Image]:
    with Image.open(path) as gif:
        return [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]


def test_a_gif_keeps_greys_and_nearly_keeps_colours(tmp_path: Path) -> None:
    """And what does not change between its frames is the same in each."""
    ramp = torch.linspace(0, 1, 64).expand(1, 64, 64)
    frames = [ramp, ramp.flip(2)]
    made = frames_of(write_gif(tmp_path / "grey.gif", frames, ["one", "two"]))
    for frame, gif in zip(frames, made, strict=True):
        wanted = np.asarray(enlarged(to_pil(frame), 256))
        assert (np.asarray(gif)[: len(wanted)] == wanted[..., None]).all()

    still = torch.stack([ramp[0], ramp[0] / 2, 1 - ramp[0]])  # 64 colours
    spot = still.clone()
    spot[:, :8, :8] = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    made = frames_of(write_gif(tmp_path / "colour.gif", [still, spot, still], ["a"] * 3))
    for frame, gif in zip([still, spot, still], made, strict=True):
        wanted = np.asarray(enlarged(to_pil(frame), 256)).astype(float)
        off = np.abs(np.asarray(gif)[: len(wanted)] - wanted)
        assert off.max() < 12
    apart = np.asarray(made[0]) != np.asarray(made[1])
    assert not apart[32:].any()
    assert apart[:32, :32].any(axis=2).all()
    assert np.array_equal(*map(np.asarray, made[::2]))
