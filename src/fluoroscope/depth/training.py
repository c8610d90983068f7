"""The whole job behind ``fluoroscope depth train``: render, fit, judge, write.

Everything about the training itself is `fluoroscope.training.fit_stream`: a run that was broken off
goes on from its checkpoint to the same bytes.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fluoroscope.depth.bins import Bins
from fluoroscope.depth.measure import depth_errors
from fluoroscope.depth.network import build_network
from fluoroscope.depth.network_files import TrainedDepth
from fluoroscope.depth.reading import check_bins
from fluoroscope.depth.scenes import Scenes, render_scenes
from fluoroscope.depth.selectivity import SelectiveDepthLoss, depth_selectivity
from fluoroscope.depth.task import DepthTask
from fluoroscope.engine.provenance import processor
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_path, output_directory
from fluoroscope.hashing import as_seed
from fluoroscope.pictures.maps import write_figure
from fluoroscope.training.job.history import History, Keeping
from fluoroscope.training.job.trained import curves_of
from fluoroscope.training.trainer.books import training_identity
from fluoroscope.training.trainer.checkpoint import describe, read_step
from fluoroscope.training.trainer.fitting import fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep
from fluoroscope.words import count

TEST_SEED = 2**40
"""Added to the seed of the scenes that judge, so that none of them is learnt from."""
TESTED = 200
"""So many of these."""


@dataclass(frozen=True)
class DepthSettings:
    """What is learnt, and from what.

    Raises:
        InvalidParameterError: settings that say nothing sensible.
    """

    scenes: int = 2000
    """Rendered, to learn from."""
    size: tuple[int, int] = (48, 64)
    units: int = 32
    """Of the last features, which are assigned to the bins."""
    width: int = 16
    """Of the first layer; the others have as many, or a small multiple."""
    bins: Bins = field(default_factory=Bins)
    weight: float = 0.0
    """Of the selectivity: 0.1 is the paper's."""
    recipe: Recipe = field(
        default_factory=lambda: Recipe(epochs=10, batch_size=16, weight_decay=1e-4)
    )


def unseen_scenes(size: tuple[int, int], *, seed: int = 0, many: int | None = None) -> Scenes:
    """Scenes that no training from this seed sees; by default as many as judge one."""
    many = TESTED if many is None else many
    return render_scenes(many, size=size, seed=(as_seed(seed) + TEST_SEED) % 2**63)


class DepthRun:
    """One training of a `DepthNetwork`: iterate for its steps, then take its ``result``.

    Args:
        out: the directory for ``depth.safetensors``, ``depth.json`` and the curves. A run that is
            broken off leaves ``depth.checkpoint.safetensors`` there, and the same run goes on.
        settings: what is learnt, and from what.
        seed: for everything random: scenes, first weights, order.

    Raises:
        InvalidParameterError: settings that do not fit, a directory that cannot be written to, or
            the checkpoint of another run.
        ModelFormatError: a checkpoint that cannot be read.
    """

    def __init__(
        self, *, out: str | Path, settings: DepthSettings | None = None, seed: int = 0
    ) -> None:
        self.settings = settings or DepthSettings()
        self.seed = as_seed(seed)
        self.network = build_network(self.settings.units, self.settings.width, seed=self.seed)
        self._loss = SelectiveDepthLoss(self.settings.bins, self.settings.weight)
        self.out = output_directory(out)
        self._scenes = render_scenes(self.settings.scenes, size=self.settings.size, seed=self.seed)
        self._test = unseen_scenes(self.settings.size, seed=self.seed)
        check_bins(self._test, self.settings.bins)
        self.checkpoint = self.out / "depth.checkpoint.safetensors"
        learnt = (self._scenes.images, self._scenes.depth)
        self.history: Keeping = History().begin(self.network, 1)
        identity = training_identity(
            self.network, *learnt, self.settings.recipe, self.seed, self._loss, [self.history]
        )
        found = read_step(self.checkpoint, identity)
        self.behind: int = 0 if found is None else found["number"]
        """Steps that an earlier run of the same training made."""
        self._result: TrainedDepth | None = None

    def __len__(self) -> int:
        """How many steps there will be; the last of an earlier run is seen again."""
        total = self.settings.recipe.steps(self.settings.scenes)
        return total - self.behind + 1 if self.behind else total

    def __iter__(self) -> Iterator[FitStep]:
        step = None
        for step in fit_stream(
            self.network,
            self._scenes.images,
            self._scenes.depth,
            self.settings.recipe,
            seed=self.seed,
            held_out=(self._test.images, self._test.depth),
            loss=self._loss,
            beside=[self.history],
            task=DepthTask(),
            checkpoint=self.checkpoint,
        ):
            yield step
        assert step is not None
        self.network.eval().requires_grad_(False)
        self._result = TrainedDepth(self.network, self.settings.bins, self._record(step.seconds))
        self._result.save(self.out)
        self._draw()
        self.checkpoint.unlink(missing_ok=True)

    @property
    def result(self) -> TrainedDepth:
        """The trained network; there is one after the last step."""
        if self._result is None:
            raise InvalidParameterError(
                "the network is not trained yet; iterate over the run first"
            )
        return self._result

    def _draw(self) -> None:
        """The curves, as a picture and as numbers."""
        recipe = self.settings.recipe
        figure = curves_of(
            self.history,
            recipe.steps(self.settings.scenes),
            recipe.epochs,
            "depth",
            "pixels within a factor of 1.25",
        )
        path = write_figure(self.out / "depth.curves.png", figure)
        with atomic_path(path.with_suffix(".csv")) as draft:
            draft.write_text(self.history.csv(), encoding="utf-8")

    def _record(self, seconds: float) -> dict[str, Any]:
        errors = depth_errors(self.network, self._test)
        found = depth_selectivity(self.network, self._test, self.settings.bins)
        told = asdict(self.settings) | {"recipe": describe(self.settings.recipe)}
        return {
            "settings": told,
            "seed": self.seed,
            "test": {"scenes": len(self._test), "seed": self._test.seed, **errors.describe()},
            "selectivity": {
                "mean": found.mean,
                "mean_of_assigned": found.mean_of_assigned,
                "dead": found.dead,
                "answer_most_to_their_own": found.own,
            },
            "parameters": sum(weight.numel() for weight in self.network.parameters()),
            "history": self.history.describe(),
            "seconds": round(seconds, 1),
            "date": datetime.now(UTC).date().isoformat(),
            "fluoroscope": version("fluoroscope"),
            "torch": torch.__version__,
            "machine": f"{processor()}, {count(torch.get_num_threads(), 'thread')}",
        }


def train(*, out: str | Path, settings: DepthSettings | None = None, seed: int = 0) -> TrainedDepth:
    """Train a depth network and write it; `DepthRun` with nobody watching."""
    run = DepthRun(out=out, settings=settings, seed=seed)
    for _ in run:
        pass
    return run.result
