"""Depth from one picture, by units that each answer to a depth of their own (2108.05312)."""

from typing import TYPE_CHECKING, Any

from fluoroscope.lazy import public

if TYPE_CHECKING:
    from fluoroscope.depth.ablation import Ablation, ablate
    from fluoroscope.depth.bins import Bins
    from fluoroscope.depth.diagnosis import Diagnosis, diagnose
    from fluoroscope.depth.measure import DepthErrors, depth_errors
    from fluoroscope.depth.network import DepthNetwork, build_network
    from fluoroscope.depth.network_files import TrainedDepth
    from fluoroscope.depth.pictures import ablation_map, heat_maps, sheet
    from fluoroscope.depth.scenes import Scenes, render_scenes
    from fluoroscope.depth.selectivity import (
        SelectiveDepthLoss,
        Selectivity,
        depth_selectivity,
    )
    from fluoroscope.depth.task import DepthTask
    from fluoroscope.depth.training import DepthRun, DepthSettings, train, unseen_scenes

_HOMES = {
    "Ablation": "ablation",
    "Bins": "bins",
    "DepthErrors": "measure",
    "DepthNetwork": "network",
    "DepthRun": "training",
    "DepthSettings": "training",
    "DepthTask": "task",
    "Diagnosis": "diagnosis",
    "Scenes": "scenes",
    "SelectiveDepthLoss": "selectivity",
    "Selectivity": "selectivity",
    "TrainedDepth": "network_files",
    "ablate": "ablation",
    "ablation_map": "pictures",
    "build_network": "network",
    "depth_errors": "measure",
    "depth_selectivity": "selectivity",
    "diagnose": "diagnosis",
    "heat_maps": "pictures",
    "sheet": "pictures",
    "render_scenes": "scenes",
    "unseen_scenes": "training",
    "train": "training",
}
__all__ = [
    "Ablation",
    "Bins",
    "DepthErrors",
    "DepthNetwork",
    "DepthRun",
    "DepthSettings",
    "DepthTask",
    "Diagnosis",
    "Scenes",
    "SelectiveDepthLoss",
    "Selectivity",
    "TrainedDepth",
    "ablate",
    "ablation_map",
    "build_network",
    "depth_errors",
    "depth_selectivity",
    "diagnose",
    "heat_maps",
    "render_scenes",
    "sheet",
    "train",
    "unseen_scenes",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)
