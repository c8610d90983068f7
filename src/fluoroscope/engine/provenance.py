"""What a result needs beside its numbers so that somebody can repeat it."""

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.around import Around
from fluoroscope.models.wrappers.prepared import Prepared
from fluoroscope.words import count


def provenance(model: Classifier) -> dict[str, Any]:
    """Versions, machine, and the network's name and content hash, as plain values."""
    asked = model
    while isinstance(asked, Around):
        asked = asked.model
    return {
        "fluoroscope": version("fluoroscope"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{processor()}, {count(torch.get_num_threads(), 'thread')}",
        "device": str(model.device),
        "precision": str(model.precision).removeprefix("torch."),
        "model": model.name,
        "channels": model.channels,
        "model_sha256": model.fingerprint(),
        "prepared": list(asked.steps) if isinstance(asked, Prepared) else [],
    }


@cache
def processor() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
