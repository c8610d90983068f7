"""What lies in a folder: pictures, tables, and how much of it is left out and why."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fluoroscope.data.places import Member
from fluoroscope.pictures.arrays import ARRAY_SUFFIX, BAND_SUFFIXES
from fluoroscope.pictures.read import picture_suffixes
from fluoroscope.words import count as counted

TABLES = (".parquet", ".arrow", ".tar")
LISTS = (".csv", ".tsv", ".jsonl", ".txt")
DEEPEST = 32
# What lies beside pictures and is none of them.
_DOCUMENTS = {
    *(".md", ".txt", ".rst", ".html", ".pdf", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".log"),
    *(".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".ipynb", ".sh", ".db", ".lock", ".zip"),
    *(".parquet", ".arrow", ".tar", ".mat", ".npz", ARRAY_SUFFIX),
}
_PAPERS = ("readme", "license", "licence", "copying", "notice", "citation", "makefile", "authors")
_SYSTEMS = ("__macosx", "$recycle.bin", "system volume information", "@eadir", "__pycache__")


@dataclass
class Folder:
    """A folder with pictures somewhere in it. ``path`` is from the data set's folder, with ``/``
    at its end, or empty; ``files`` are the names of its own pictures.
    """

    path: str = ""
    files: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    folders: dict[str, "Folder"] = field(default_factory=dict)
    count: int = 0

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]

    def everything(self) -> Iterator[str]:
        """The paths of all its pictures, folder by folder, in the order of names."""
        for name in sorted({*self.files, *self.folders}):
            if name in self.folders:
                yield from self.folders[name].everything()
            else:
                yield self.path + name


@dataclass
class Scan:
    """All that a walk found: the ``top`` folder, ``tables`` and ``archives`` by path, ``members``
    of archives by the path they stand for, and ``left``: what was left out, counted by its kind.
    """

    root: Path
    top: Folder = field(default_factory=Folder)
    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """A line for what was left out, each kind with its count."""
        found = []
        if self.left:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.left.most_common(4))
            more = f" and {len(self.left) - 4} more kinds" if len(self.left) > 4 else ""
            found.append(
                f"{counted(self.left.total(), 'file')} whose ending is no picture's: {kinds}{more}"
            )
        found += [f"{counted(count, 'file')} {kind}" for kind, count in sorted(self.odd.items())]
        return [f"left out {one}" for one in found]


def scan(root: Path, channels: int) -> Scan:
    """Walk a folder in the order of names. Links are followed to files within it only, and hidden
    files and what systems leave behind are passed over.
    """
    found = Scan(root.resolve())
    _walk(found, found.top, 0, _kinds(channels))
    if not found.top.count and channels in (1, 3):
        # Arrays among pictures are features or labels; alone they are the pictures.
        again = Scan(found.root)
        _walk(again, again.top, 0, frozenset({ARRAY_SUFFIX}))
        found = again if again.top.count else found
    if not found.top.count and found.archives and not found.tables:
        _unpack(found, _kinds(channels))
    return found


def scan_file(file: Path, channels: int) -> Scan | None:
    """A table or an archive as if it lay alone in its folder; ``None`` for any other file."""
    found, ending = Scan(file.parent.resolve()), file.suffix.lower()
    if ending in TABLES:
        found.tables.append(file.name)
    elif ending == ".zip":
        found.archives.append(file.name)
        found.seen[ending] += 1
        _unpack(found, _kinds(channels))
    else:
        return None
    return found


def _kinds(channels: int) -> frozenset[str]:
    """Endings of what can be read with so many channels."""
    if channels in (1, 3):
        return picture_suffixes()
    return picture_suffixes() | {ARRAY_SUFFIX, *BAND_SUFFIXES}


def _walk(found: Scan, folder: Folder, depth: int, kinds: frozenset[str]) -> None:
    place = found.root / folder.path
    with os.scandir(place) as inside:
        entries = sorted(inside, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in _SYSTEMS:
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth == DEEPEST:
                found.odd[f"in folders more than {DEEPEST} deep"] += 1
                continue
            below = Folder(f"{folder.path}{entry.name}/")
            _walk(found, below, depth + 1, kinds)
            if below.count or below.lists:
                folder.folders[entry.name] = below
                folder.count += below.count
        else:
            _take(found, folder, entry, kinds)


def _take(found: Scan, folder: Folder, entry: os.DirEntry[str], kinds: frozenset[str]) -> None:
    ending = PurePosixPath(entry.name).suffix.lower()
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))
        if not target.is_relative_to(found.root) or target.is_dir():
            found.odd["that link to folders or out of the data set's own"] += 1
            return
    if not entry.is_file():
        found.odd["that are pipes, sockets, devices or broken links"] += 1
        return
    path = folder.path + entry.name
    found.seen[ending or "without an ending"] += 1
    if ending in kinds:
        folder.files.append(entry.name)
        folder.count += 1
    elif ending in TABLES:
        found.tables.append(path)
    elif ending == ".zip":
        found.archives.append(path)
    elif not (ending in _DOCUMENTS or entry.name.casefold().startswith(_PAPERS)):
        known = ending if ending[1:].isalnum() else repr(ending)
        found.left[known if ending else "without an ending"] += 1
    if ending in LISTS or ending == ".parquet":
        folder.lists.append(entry.name)


def _unpack(found: Scan, kinds: frozenset[str]) -> None:
    """The pictures in the archives as if these were unpacked, each of several into a folder of its
    own.
    """
    for path in found.archives:
        archive = found.root / path
        try:
            with zipfile.ZipFile(archive) as opened:
                names = [one.filename for one in opened.infolist() if not one.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            found.odd["that are damaged archives"] += 1
            continue
        stem = (PurePosixPath(path).stem,) if len(found.archives) > 1 else ()
        for name in sorted(names):
            parts = (*stem, *PurePosixPath(name).parts)
            hidden = any(one[0] in "./" or one.casefold() in _SYSTEMS for one in parts)
            ending = PurePosixPath(name).suffix.lower()
            if hidden or len(parts) > DEEPEST or ending not in kinds - {ARRAY_SUFFIX}:
                continue
            found.members["/".join(parts)] = Member(archive, name)
            _put(found.top, parts)


def _put(folder: Folder, parts: tuple[str, ...]) -> None:
    folder.count += 1
    for part in parts[:-1]:
        folder = folder.folders.setdefault(part, Folder(f"{folder.path}{part}/"))
        folder.count += 1
    folder.files.append(parts[-1])
