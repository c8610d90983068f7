"""Folders of pictures as they lie about: which folders are parts, which are classes, which neither.

    photos/1.png …                      no labels, or those of a table beside them
    animals/cat/1.png, animals/dog/…    classes: the folders of the first level, sorted by name
    animals/train/cat/1.png, …/val/…    parts of classes, all parts numbered together

Files that are no pictures, empty and hidden folders change nothing. Whatever else is left out is
said in a note with its count.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from fluoroscope.data.classes import MISSING, Classes
from fluoroscope.data.described import Described, Finder, describe
from fluoroscope.data.places import Member
from fluoroscope.data.scan import Folder, Scan
from fluoroscope.data.sources import Columns, Opened, choose_split
from fluoroscope.errors import UnknownDataError
from fluoroscope.pictures.read import read_picture

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# Folders that say what lies in them, not of which class it is.
_CONTAINERS = ("images", "image", "imgs", "img", "pictures", "pics", "photos", "jpegimages", "data")


class FolderSource:
    """Pictures of a folder by their paths in it, or in its archives."""

    def __init__(
        self, root: Path, files: list[str], members: dict[str, Member], numbers: Tensor | None
    ) -> None:
        self._root, self._files, self._members, self._numbers = root, files, members, numbers

    def __len__(self) -> int:
        return len(self._files)

    def image(self, position: int, channels: int) -> Tensor:
        file = self._files[position]
        member = self._members.get(file)
        if member is not None:
            return read_picture(member.read(), channels, name=str(member))
        return read_picture(self._root / file, channels)

    def classes(self) -> Tensor | None:
        return self._numbers

    def name(self, position: int) -> str:
        return readable(self._files[position])


@dataclass
class _Part:
    """The pictures of one part, with the names of their class folders or what a table says."""

    files: list[str] = field(default_factory=list)
    words: list[str | None] = field(default_factory=list)
    within: list[str] = field(default_factory=list)
    """Of each file the folder of its class, from which its own folders are told."""
    table: Described | None = None
    notes: list[str] = field(default_factory=list)
    why: str | None = None

    def names(self) -> set[str]:
        if self.table is None:
            return {word for word in self.words if word is not None}
        from fluoroscope.data.columns import distinct_names

        return set() if self.table.column is None else distinct_names(self.table.column)

    def read(self, names: Sequence[str]) -> Classes:
        """Its class numbers, by the names of all parts together."""
        if self.table is not None:
            read = self.table.classes(names or None)
            if self.table.column is None or read.why is None:
                return read
            return Classes(why=f"the labels in {self.table.name}: it {read.why}")
        if self.why is not None:
            return Classes(why=self.why)
        places = {name: number for number, name in enumerate(names)}
        numbers = [MISSING if word is None else places[word] for word in self.words]
        return Classes(torch.tensor(numbers, device="cpu"), tuple(names))


def open_folder(scan: Scan, name: str, split: str | None) -> Opened:
    """The pictures of one part of a folder that was walked.

    Raises:
        UnknownDataError: no such part, or a ``metadata`` table that cannot be read.
    """
    top, notes = _unwrapped(scan.top), scan.notes()
    splits, beside = _splits(top)
    notes += beside
    tables = _Tables(scan, top)
    if splits:
        parts = {key: _part(folders, key, tables) for key, folders in splits.items()}
    else:
        parts = tables.as_parts(list(top.everything())) or {"": _part([top], "", tables)}
    chosen = choose_split(split, [key for key in parts if key], name, SPLITS)
    part = parts[chosen or ""]
    names = sorted(set().union(*(one.names() for one in parts.values())))
    read, why = part.read(names), None
    if read.why is not None:
        others = sorted(key for key, one in parts.items() if one is not part and one.names())
        why = read.why + (f" (parts that have labels: {', '.join(others)})" if others else "")
    source = FolderSource(
        scan.root,
        part.files if part.table is None else part.table.files,
        scan.members,
        read.numbers,
    )
    notes += part.notes if part.table is None else part.table.notes
    columns = partial(_columns, part, tables, splits.get(chosen or "", [top]), chosen or "")
    return Opened(source, chosen, read.names, tuple(notes), why, columns=columns)


def _columns(part: _Part, tables: "_Tables", folders: Sequence[Folder], split: str) -> Columns:
    """What tables say of the pictures beside their labels, and the folders that they lie in."""
    found: dict[str, Sequence[Any]] = {}
    if part.table is not None:
        found, files = {**part.table.columns}, part.table.files
        within = [""] * len(files)
    else:
        files, within = part.files, part.within
        for table in tables.beside(folders, part.files, split):
            rows = {file: row for row, file in enumerate(table.files)}
            for name, column in table.columns.items():
                values = [column[rows[file]] if file in rows else None for file in files]
                found.setdefault(name, values)
    levels = [
        readable(str(PurePosixPath(file.removeprefix(base)).parent))
        for file, base in zip(files, within, strict=True)
    ]
    if len(set(levels)) > 1:
        found.setdefault("folder", levels)
    return {name: partial(list, column) for name, column in found.items()}


def _unwrapped(folder: Folder, *, part: bool = False) -> Folder:
    """The folder in which parts, classes or pictures lie, where folders lie around it; within a
    ``part`` there are no others.
    """
    while not folder.files and len(folder.folders) == 1:
        (only,) = folder.folders.values()
        if (only.name.lower() in SPLITS and not part) or only.files or not _telling(only):
            break
        folder = only
    return folder


def _telling(folder: Folder) -> list[Folder]:
    """The folders in it that may be classes or parts."""
    return [one for one in folder.folders.values() if one.name.lower() not in _CONTAINERS]


def _splits(top: Folder) -> tuple[dict[str, list[Folder]], list[str]]:
    """The folders of each part, where there are parts, and what lies beside them."""
    found: dict[str, list[Folder]] = {}
    others = []
    for folder in top.folders.values():
        part = SPLITS.get(folder.name.lower())
        if part is None or not folder.count:
            others.append(folder)
        else:
            found.setdefault(part, []).append(folder)
    others = [folder for folder in others if folder.count]
    classes = {one.name for folders in found.values() for part in folders for one in _telling(part)}
    if not found or not (others or top.files):
        return found, []
    # A class may be called "train": parts among other folders hold class folders, and these not.
    if not classes or (len(found) == 1 and any(_telling(folder) for folder in others)):
        return {}, []
    notes = [f"left out {_pictures(len(top.files))} beside the parts"] if top.files else []
    for folder in others:
        if classes & {one.name for one in _telling(folder)}:
            found[folder.name] = [folder]
        else:
            notes.append(
                f"left out {_pictures(folder.count)} in the folder {folder.name!r} beside the parts"
            )
    return found, notes


def _part(folders: list[Folder], split: str, tables: "_Tables") -> _Part:
    part = _Part()
    for folder in folders:
        _read_folders(_unwrapped(folder, part=True), part)
    if len(folders) > 1:
        listed = " and ".join(repr(folder.name) for folder in folders)
        part.notes.append(f"the part {split!r} is the folders {listed} together")
    table, fault = tables.of(folders, part, split)
    if table is not None:
        return _Part(table=table)
    if not any(word is not None for word in part.words):
        part.why = part.why or fault or "no class folders, and no table of labels"
    return part


def _read_folders(folder: Folder, part: _Part) -> None:
    """Classes by the folders of the first level, unless they do not tell."""
    inside = sum(one.count for one in folder.folders.values())
    filled = [one for one in folder.folders.values() if one.count]
    if not inside or (len(filled) == 1 and not _telling(folder)):
        everything = list(folder.everything())
        part.files += everything
        part.words += [None] * len(everything)
        part.within += [""] * len(everything)
        return
    direct = len(folder.files)
    if direct and (len(filled) == 1 or direct >= inside):
        everything = list(folder.everything())
        part.files += everything
        part.words += [None] * len(everything)
        part.within += [""] * len(everything)
        part.why = f"{direct} of its {direct + inside} pictures lie beside its folders, in none"
        return
    if direct:
        part.notes.append(
            f"left out {_pictures(direct)} beside the class folders ({folder.files[0]!r})"
        )
    for one in filled:
        files = list(one.everything())
        part.files += files
        part.words += [readable(one.name)] * len(files)
        part.within += [one.path] * len(files)
    below = {inner.name for one in filled for inner in _telling(one)}
    if all(not one.files and len(_telling(one)) > 1 for one in filled):
        part.notes.append(
            f"classes are the {len(filled)} folders of the first level; {len(below)} folders in "
            f"them, such as {min(below)!r}, are not told apart"
        )


class _Tables:
    """The tables of labels that lie in a folder and in its parts."""

    def __init__(self, scan: Scan, top: Folder) -> None:
        self._scan = scan
        self._find: Finder | None = None
        outer = [scan.top, top] if top is not scan.top else [top]
        self._outer = [(folder.path, one) for folder in outer for one in folder.lists]

    def of(
        self, folders: Sequence[Folder], part: _Part, split: str
    ) -> tuple[Described | None, str | None]:
        """The table that describes these pictures, or why none of those that are there does."""
        candidates = self._candidates(folders, split)
        told = [one for one in candidates if PurePosixPath(one[1]).stem == "metadata"]
        several = len(set(part.words)) > 1
        for below, table in told:
            found = self._read(below, table, part.files)
            if found is not None and (found.labels(several) or not any(part.words)):
                return found, None
        # One folder of all is a class only where nothing says more.
        if several:
            return None, None
        found_all, fault = [], None
        for below, table in (one for one in candidates if one not in told):
            try:
                described = self._read(below, table, part.files)
            except UnknownDataError as error:
                fault = str(error)
                continue
            found_all += [described] if described is not None else []
        labelled = [one for one in found_all if one.column is not None] or found_all
        if len(labelled) > 1:
            listed = ", ".join(one.name for one in labelled)
            return None, f"several tables name its pictures ({listed}): leave one of them"
        if labelled and (labelled[0].column is not None or not any(part.words)):
            return labelled[0], None
        return None, fault

    def beside(
        self, folders: Sequence[Folder], files: list[str], split: str
    ) -> Iterator[Described]:
        """The tables that say something of these pictures, whatever their labels are told by."""
        for below, table in self._candidates(folders, split):
            try:
                described = self._read(below, table, files)
            except UnknownDataError:
                continue  # It says nothing that can be read.
            if described is not None:
                yield described

    def _candidates(self, folders: Sequence[Folder], split: str) -> list[tuple[str, str]]:
        """The tables that may be of these folders: below which folder names start, and theirs."""
        own = [(f.path, one) for folder in folders for f in _chain(folder) for one in f.lists]
        fitting = [one for one in self._outer if split_of(one[1]) in (None, split or None)]
        # Those to be handed in to a competition hold made-up labels.
        return [
            one for one in dict.fromkeys((*own, *fitting)) if "submission" not in one[1].lower()
        ]

    def as_parts(self, files: list[str]) -> dict[str, _Part]:
        """Parts that only tables tell, such as ``train.csv`` and ``test.csv`` beside pictures."""
        named = [one for one in self._outer if split_of(one[1])]
        if len({split_of(one[1]) for one in named}) < 2:
            return {}
        parts = {}
        for below, table in named:
            try:
                found = self._read(below, table, files)
            except UnknownDataError:
                continue
            if found is not None:
                # What this table does not name is another's.
                kept = [note for note in found.notes if "does not name" not in note]
                found.notes[:] = kept
                parts[split_of(table) or ""] = _Part(table=found)
        return parts if len(parts) > 1 else {}

    def _read(self, below: str, table: str, files: list[str]) -> Described | None:
        if self._find is None:
            self._find = Finder(self._scan.top.everything())
        return describe(self._scan.root, below + table, self._find, files, below)


def readable(name: str) -> str:
    """A file's name, with bytes that are no text written out: results are text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def split_of(name: str) -> str | None:
    """The part that a file's name speaks of: ``train-00000-of-00001.parquet``, ``my_test.csv``."""
    words = re.split(r"[^a-z]+", PurePosixPath(name.lower()).stem)
    found = {SPLITS[word] for word in words if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def _chain(folder: Folder) -> Iterator[Folder]:
    """A folder and those that it merely wraps."""
    yield folder
    while len(folder.folders) == 1:
        (folder,) = folder.folders.values()
        yield folder


def _pictures(count: int) -> str:
    return f"{count} picture" if count == 1 else f"{count} pictures"
