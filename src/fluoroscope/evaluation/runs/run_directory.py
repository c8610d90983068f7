"""A run on disk: what it is in ``run.json``, what it found in ``parts/``, one file for each step.

Every file is written whole or not at all. So a run that was killed goes on with the first step that
has no file, and a file that cannot be used is made anew. A step that takes long leaves a bookmark
there until it is done. One process at a time has the directory.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fluoroscope.errors import InvalidParameterError, ResultFormatError
from fluoroscope.evaluation.rows import CLEAN, SCHEMA
from fluoroscope.evaluation.runs.part_files import read_rows, run_hash, write_rows
from fluoroscope.files import atomic_path, clear_drafts, in_use, output_directory, regular
from fluoroscope.notices import tell

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.engine.bookmark import Bookmark

FORMAT = 3
"""Raised when an older version could not read what this one writes."""
PART = re.compile(r"(\d{5,9})-(.+)\.(parquet|safetensors)")
"""The name of a part's file: its number, its stage, its kind."""
# And of the bookmark in a search that goes on.
_GOING = re.compile(r"(\d{5,9})-(.+)\.going")
# Bytes of a JSON file; run.json holds a class name for each of some thousands of classes at most.
_LARGEST = 10_000_000
# What people call the parts of a run's identity.
_WORDS = {
    "model": "network",
    "model_sha256": "content hash of the network",
    "count": "number of pictures",
    "chosen": "choice of pictures",
    "stages": "stage",
    "grid": "grid of 8 bits",
    "attack": "",
}


@dataclass(frozen=True)
class RunDirectory:
    """Where one evaluation is kept."""

    path: Path

    @classmethod
    @contextmanager
    def open(
        cls, path: str | Path, identity: dict[str, Any], about: dict[str, Any], *, resume: bool
    ) -> "Iterator[RunDirectory]":
        """Begin a run there, or go on with it; within the block nobody else can.

        Args:
            path: a directory; made if it is not there.
            identity: what must be the same to go on: network, data, plan, seed, shapes.
            about: what else is needed to repeat it: versions, hardware.
            resume: go on with the run that is there; otherwise its files are removed.

        Raises:
            InvalidParameterError: it cannot be written to, is in use, or holds another run.
            ResultFormatError: what is there cannot be read, or a newer version made it.
        """
        run = cls(output_directory(path))
        parts = output_directory(run.path / "parts")
        with in_use(run.path):
            clear_drafts(run.path)
            clear_drafts(parts)
            if not resume:
                run._remove()
            # As it will read back: tuples become lists.
            identity = json.loads(json.dumps(identity))
            if run._about.exists():
                apart = _differences(run.read()["identity"], identity)
                if apart and not run._attacked:
                    # It was refused, or stopped, before it found anything.
                    run._remove()
                elif apart:
                    raise InvalidParameterError(
                        f"{run.path} holds another run: {apart}. Give another directory, or "
                        "--resume never to start anew there"
                    )
            if not run._about.exists():
                run.write_json("run.json", {"format": FORMAT, "identity": identity, **about})
            yield run

    def _remove(self) -> None:
        """Remove what an evaluation wrote there: what its ``run.json`` names, that file last."""
        if not self._about.exists():
            return
        parts = self.path / "parts"
        stages = self._stages()
        (self.path / "verdict.json").unlink(missing_ok=True)
        (self.path / "trust.json").unlink(missing_ok=True)
        (self.path / "slices.parquet").unlink(missing_ok=True)
        for file in [] if parts.is_symlink() else list(parts.iterdir()):
            name = PART.fullmatch(file.name) or _GOING.fullmatch(file.name)
            if name and name[2] in stages:
                file.unlink(missing_ok=True)
        self._about.unlink()

    def _stages(self) -> list[str]:
        """The stages of the plan that is there, the clean look first."""
        stages = self._parsed()["identity"]["plan"]["stages"]
        return [CLEAN, *(str(stage["name"]) for stage in stages)]

    @property
    def _attacked(self) -> bool:
        """Whether there is more than clean looks."""
        names = (PART.fullmatch(file.name) for file in (self.path / "parts").iterdir())
        return any(name and name[2] != CLEAN for name in names)

    @cached_property
    def hash(self) -> str:
        """Of what the run is; stands for it in its files."""
        return run_hash(self.read()["identity"])

    @property
    def _about(self) -> Path:
        return self.path / "run.json"

    def read(self) -> dict[str, Any]:
        """What is in ``run.json``.

        Raises:
            ResultFormatError: there is none, it cannot be read, or a newer version made it.
        """
        found = self._parsed()
        made_by = found["format"]
        if not isinstance(made_by, int) or made_by > FORMAT:
            raise ResultFormatError(
                f"{self._about} has format {made_by} and this version of fluoroscope knows "
                f"{FORMAT}; install a newer one to read it"
            )
        return found

    def _parsed(self) -> dict[str, Any]:
        """The same, whatever version made it, as far as this one can tell."""
        try:
            found = dict(_read_json(self._about))
            found["format"], [stage["name"] for stage in found["identity"]["plan"]["stages"]]
        except FileNotFoundError as error:
            raise ResultFormatError(
                f"{self.path} holds no run; expected a directory with a run.json, as "
                "fluoroscope evaluate --out makes it"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ResultFormatError(
                f"{self._about} cannot be read ({type(error).__name__}: {error}); give another "
                "directory, or delete that file and parts/ if they are an evaluation's"
            ) from error
        return found

    def last_verdict(self) -> dict[str, Any]:
        """What is in ``verdict.json``; nothing if no verdict was reached, or it is damaged."""
        try:
            return dict(_read_json(self.path / "verdict.json"))
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file in the run."""
        with atomic_path(self.path / name) as draft:
            text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
            draft.write_text(text + "\n", "utf-8")

    def file(self, part: int, stage: str, kind: str = "parquet") -> Path:
        """Where the rows (or ``safetensors``) of a part's stage are."""
        return self.path / "parts" / f"{part:05}-{stage}.{kind}"

    def load(self, part: int, stage: str, expected: list[int]) -> pa.Table | None:
        """The rows of a finished stage, for the samples of these indices; ``None`` if not there.

        A damaged file is named in a warning and counts as not there.
        """
        path = self.file(part, stage)
        if not path.exists():
            return None
        try:
            table = read_rows(path, stage, self.hash)
            if table["index"].to_pylist() != expected:
                raise ResultFormatError("its rows are not those of this part")
        except ResultFormatError as error:
            tell(f"{path} cannot be used ({error}); it is made anew")
            return None
        self._forget(part, stage)
        return table

    def bookmark(self, part: int, stage: str, given: list[int]) -> "Bookmark":
        """Where the search of a part's stage, on the samples of these indices, is kept until it is
        done."""
        from fluoroscope.engine.bookmark import Bookmark

        samples = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        about = {"run": self.hash, "part": str(part), "stage": stage, "samples": samples}
        return Bookmark(self.file(part, stage, "going"), about)

    def going(self) -> list[str]:
        """The stages whose search in some part was put down before its end."""
        stages = self._stages()
        names = [_GOING.fullmatch(file.name) for file in (self.path / "parts").glob("*.going")]
        found = {name[2] for name in names if name}
        return [stage for stage in stages if stage in found]

    def _forget(self, part: int, stage: str) -> None:
        with suppress(OSError):
            self.file(part, stage, "going").unlink(missing_ok=True)

    def save(
        self,
        part: int,
        stage: str,
        table: pa.Table,
        *,
        images: "Tensor | None" = None,
        data: str | None = None,
    ) -> pa.Table:
        """Write the rows of a stage, after the images ``(N, C, H, W)`` they are of, if given.

        ``data`` is the hash of what the rows are about; the table is returned with it.
        """
        if images is not None:
            from safetensors.torch import save_file

            with atomic_path(self.file(part, stage, "safetensors")) as draft:
                save_file({"images": images.contiguous()}, draft)
        table = write_rows(self.file(part, stage), table, self.hash, data)
        self._forget(part, stage)
        return table

    def tables(self) -> pa.Table:
        """All rows that are there, part by part and stage by stage.

        Raises:
            ResultFormatError: a file that cannot be read.
        """
        stages, found = self._stages(), []
        for path in sorted((self.path / "parts").glob("*.parquet")):
            name = PART.fullmatch(path.name)
            if name and name[2] in stages:
                found.append((int(name[1]), stages.index(name[2]), path))
        tables = [self._rows(path, stages[stage]) for _, stage, path in sorted(found)]
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()

    def _rows(self, path: Path, stage: str) -> pa.Table:
        try:
            return read_rows(path, stage, self.hash).replace_schema_metadata()
        except ResultFormatError as error:
            raise ResultFormatError(
                f"{path} cannot be read ({error}); the same command that made the run makes it anew"
            ) from error


def data_hash(images: "Tensor", labels: "Tensor") -> str:
    """SHA-256 of images and labels."""
    from fluoroscope.models.classifier import tensor_bytes

    digest = hashlib.sha256(tensor_bytes(images))
    digest.update(tensor_bytes(labels))
    return digest.hexdigest()


def _read_json(path: Path) -> Any:
    with regular(path).open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    found = json.loads(text, parse_float=_finite, parse_constant=_finite)
    # Half of a surrogate pair is text that nobody can write down.
    json.dumps(found, ensure_ascii=False).encode()
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text}")
    return value


def _differences(there: Any, here: dict[str, Any]) -> str:
    """What is not the same, in words; the first few."""
    if not isinstance(there, dict):
        return "its run.json does not say which"
    apart = list(_apart(there, here, ""))
    more = f"; and {len(apart) - 3} more" if len(apart) > 3 else ""
    return "; ".join(apart[:3]) + more


def _apart(there: Any, here: Any, what: str) -> Iterator[str]:
    if there == here:
        return
    both = isinstance(there, dict) and isinstance(here, dict)
    if both and there.get("name") == here.get("name"):
        for key in here | there:
            name = _WORDS.get(key, key)
            if key == "stages" and _short(there.get(key)) != _short(here.get(key)):
                yield (
                    f"its plan {here.get('name')} is that of an earlier version, with the stages "
                    f"{_short(there.get(key))}, and here they are {_short(here.get(key))}"
                )
                continue
            yield from _apart(there.get(key), here.get(key), f"{what} {name}".strip())
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for place, (before, now) in enumerate(zip(there, here, strict=True)):
            own = now.get("name") if isinstance(now, dict) else place
            yield from _apart(before, now, f"{what} {own}")
    else:
        yield f"{what} is {_short(there)}, and here {_short(here)}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "norm" in value:
        return f"{value['norm']}:{value.get('eps', '')}".removesuffix(":")
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return ", ".join(_short(each) for each in value) or "none"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
