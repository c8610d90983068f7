"""Parts of what is written of a training beside its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fluoroscope.models.classifier import Classifier
from fluoroscope.training.job.data import Data
from fluoroscope.training.job.learnt_from import LearntFrom
from fluoroscope.training.trainer.checkpoint import describe
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import cross_entropy
from fluoroscope.training.trainer.step import Loss


def of_data(data: Data, kept: Path) -> dict[str, Any]:
    """What was learnt from and what judged, and where the latter are kept if they are."""
    return {
        "name": data.parts.train.name,
        "train": len(data.train[0]),  # which are learnt from, or held out
        "learnt_from": len(data.kept[0]),
        "held_out": data.judges,
        "held_out_of_each": data.held_out_of_each,
        "test": len(data.test[0]),
        "test_drawn": data.parts.drawn,
        "test_kept": kept.name if data.keeps_test else None,
        "notes": [*data.unjudged, *filter(None, [data.flatters])],
        "train_sha256": data.train_sha256,
    }


def of_findings(running: Sequence[Running], model: Classifier, data: Data) -> dict[str, Any]:
    """What came of what was begun."""
    found: dict[str, Any] = {}
    for one in running:
        found |= one.findings(model, *data.test)
    return found


def of_lowered(
    loss: Loss, moved_by: object, beside: Sequence[Running], data: Data
) -> dict[str, Any]:
    """What was lowered and what went along, where that is more than the usual."""
    lowered = getattr(loss, "settings", loss)
    usual = lowered is moved_by or lowered is cross_entropy
    along = [
        describe(one) for one in beside if not (one.watches or isinstance(one.settings, LearntFrom))
    ]
    found: dict[str, Any] = {} if usual else {"loss": describe(loss)}
    layer = getattr(loss, "layer", None)
    if layer is not None:  # the one that was found, where nobody named one
        found["loss"] |= {"layer": layer}
    if along:
        found["beside"] = along
    if data.second is not None:
        found["second"] = data.second.describe() | {"note": data.leak}
    doubts = [one for each in (loss, *beside) if isinstance(each, Running) for one in each.doubts]
    if doubts:
        found["doubts"] = doubts
    return found
