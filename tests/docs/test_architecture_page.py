"""The page on the architecture: what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_file_and_folder_that_it_names_is_there() -> None:
    source = ROOT / "src" / "fluoroscope"
    there = {
        f"/{path.relative_to(source).as_posix()}{'/' * path.is_dir()}"
        for path in source.rglob("*")
        if path.is_dir() or path.suffix == ".py"
    }
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE))
    assert len(named) > 100
    lost = [
        name
        for name in sorted(named)
        if not any((top / name).exists() for top in (ROOT, ROOT / "src"))
        and not any(path.endswith(f"/{name}") for path in there)
    ]
    assert not lost
