"""Options that the commands on depth share, and the network and scenes that they speak of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import sides_of
from fluoroscope.cli.waiting import waiting
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.depth.network_files import TrainedDepth
    from fluoroscope.depth.scenes import Scenes

Network = Annotated[
    Path, typer.Option("--network", "-n", help="Directory that fluoroscope depth train wrote.")
]
Many = Annotated[
    int,
    typer.Option("--scenes", min=1, help="Scenes to look at, none of which was learnt from."),
]
Size = Annotated[
    str | None,
    typer.Option("--size", help="Of the scenes: HEIGHTxWIDTH; default: as in the training."),
]


def open_network(path: Path) -> "TrainedDepth":
    """The network that a training wrote."""
    waiting.says("importing PyTorch")
    from fluoroscope.depth.network_files import TrainedDepth
    from fluoroscope.engine.memory import keep_freed_memory

    keep_freed_memory()
    return TrainedDepth.load(path)


def open_scenes(trained: "TrainedDepth", many: int, size: str | None, seed: int | None) -> "Scenes":
    """Scenes that the network did not learn from."""
    from fluoroscope.depth.training import unseen_scenes

    waiting.says(f"rendering {count(many, 'scene')}")
    sides = sides_of(size, "size") or trained.size
    return unseen_scenes(sides, seed=trained.seed if seed is None else seed, many=many)
