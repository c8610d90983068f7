"""What the card of a data set, its ``README.md``, states: which files make a part, class names.

Only files that lie in the folder are ever matched with what it says, so a card cannot lead out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

_MAX_BYTES = 2**24


@dataclass(frozen=True)
class Card:
    """``patterns`` of the files of each part, and the class ``names`` of columns."""

    patterns: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def splits(self, files: Sequence[str]) -> dict[str, list[str]]:
        """Those of the files that make each part; none where the card does not tell."""
        found = {
            split: [file for file in files if any(fnmatch(file, one) for one in patterns)]
            for split, patterns in self.patterns.items()
        }
        return {split: mine for split, mine in found.items() if mine}


def read_card(path: Path) -> Card:
    """The card, or an empty one where there is none that can be read."""
    if not path.is_file():
        return Card()
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_BYTES)
        start, head, _ = text.split("---\n", 2)
        if start.strip():
            return Card()
        import yaml  # type: ignore[import-untyped]

        stated = yaml.safe_load(head)
        return Card(_patterns(stated.get("configs")), _names(stated.get("dataset_info")))
    # A README is written for people: whatever is not as expected in it, it states nothing.
    except Exception:
        return Card()


def _patterns(configs: Any) -> dict[str, list[str]]:
    if not configs:
        return {}
    chosen = next(
        (one for one in configs if one.get("default") or one.get("config_name") == "default"),
        configs[0],
    )
    files = chosen.get("data_files") or []
    if isinstance(files, str):
        files = [{"split": "train", "path": files}]
    return {str(one["split"]): [*_listed(one["path"])] for one in files if isinstance(one, dict)}


def _listed(paths: Any) -> list[str]:
    return [str(one) for one in (paths if isinstance(paths, list) else [paths])]


def _names(infos: Any) -> dict[str, tuple[str, ...]]:
    found = {}
    for info in infos if isinstance(infos, list) else [infos or {}]:
        for feature in info.get("features", []):
            kind = feature.get("dtype")
            names = kind.get("class_label", {}).get("names") if isinstance(kind, dict) else None
            if isinstance(names, dict):
                names = [names[key] for key in sorted(names, key=int)]
            if names:
                found[feature["name"]] = tuple(map(str, names))
    return found
