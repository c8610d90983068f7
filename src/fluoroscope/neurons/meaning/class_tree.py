"""A tree of classes as a user writes it down: nested JSON, or a line ``child: parent`` for each.

    {"animal": {"cat": ["tabby", "siamese"], "dog": {}}, "vehicle": ["car", "lorry"]}

    tabby: cat
    cat: animal

A table with two columns, ``child,parent``, says the same. Classes are found in it by name, as names
of classes are everywhere: without regard to case, underscores, hyphens and accents, and by each of
the synonyms of a name that lists several.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import regular_file
from fluoroscope.models.matching import fold, loosened
from fluoroscope.words import count, some

# Of a file that is read at all.
_BYTES, _NODES = 16 * 2**20, 200_000
_EXPECTED = (
    'expected nested JSON such as {"animal": ["cat", "dog"]}, or a line "child: parent" (or '
    "child,parent) for each class"
)
Tree = dict[str, list[str]]
"""Of each node those above it; of one at the top none."""


def read_tree(path: str | Path) -> Tree:
    """The tree that a file holds.

    Raises:
        InvalidParameterError: no such file, or none that holds a tree.
    """
    file = regular_file(path, "a file with a tree of classes", InvalidParameterError)
    try:
        if file.stat().st_size > _BYTES:
            raise ValueError(f"it has {file.stat().st_size:,} bytes, and {_BYTES:,} are read")
        text = file.read_text("utf-8-sig")
        nested = text.lstrip()[:1] in ("{", "[")
        tree = _of_pairs(_pairs_of(json.loads(text)) if nested else _lines(text))
        _check_top(tree)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise InvalidParameterError(
            f"the class tree {file} cannot be read: {reason}; {_EXPECTED}"
        ) from error
    return tree


def nodes_of(tree: Tree, labels: Sequence[str], name: str) -> list[str]:
    """The node of each class.

    Raises:
        InvalidParameterError: the tree lacks some, or has several that a class may be.
    """
    steps = [_index(tree, lambda node: {node}), _index(tree, lambda node: {fold(node)}),
             _index(tree, _synonyms)]  # fmt: skip
    found: list[str] = []
    lacking = []
    for label in labels:
        keys = ({label}, {fold(label)}, _synonyms(label))
        fits = (
            {node for key in wanted for node in step.get(key, ())}
            for step, wanted in zip(steps, keys, strict=True)
        )
        nodes = next(filter(None, fits), set())
        if len(nodes) > 1:
            raise InvalidParameterError(
                f"the class {label!r} may be {some(sorted(nodes), 3)} of the class tree {name}; "
                "expected one node for each class: name it there as the network does"
            )
        found += nodes
        lacking += [] if nodes else [label]
    if lacking:
        many = count(len(labels), "class", "classes")
        raise InvalidParameterError(
            f"the class tree {name} lacks {len(lacking)} of {many} ({some(lacking, 5)}); expected "
            "a node for each class of the network: add what is missing, or take another similarity "
            "(weights, confusion, wordnet)"
        )
    return found


def _synonyms(name: str) -> set[str]:
    return {key for key in map(loosened, (name, *name.split(","))) if key}


def _index(tree: Tree, keys: Any) -> dict[str, list[str]]:
    found = defaultdict(list)
    for node in tree:
        for key in keys(node):
            found[key].append(node)
    return found


def _of_pairs(pairs: Iterator[tuple[str, str | None]]) -> Tree:
    tree: Tree = {}
    for child, parent in pairs:
        uppers = tree.setdefault(child, [])
        if parent is not None:
            tree.setdefault(parent, [])
            if parent not in uppers:
                uppers.append(parent)
        if len(tree) > _NODES:
            raise ValueError(f"it has more than {_NODES:,} nodes")
    if not any(tree.values()):
        raise ValueError("nothing in it lies above anything")
    return tree


def _pairs_of(nested: Any) -> Iterator[tuple[str, str | None]]:
    """Each node with the one above it, from the top down."""
    left: list[tuple[Any, str | None]] = [(nested, None)]
    while left:
        inner, parent = left.pop()
        if isinstance(inner, dict):
            for name, below in inner.items():
                yield _named(name), parent
                left.append((below, _named(name)))
        elif isinstance(inner, list):
            left += [(one, parent) for one in inner]
        elif isinstance(inner, str | int) and not isinstance(inner, bool):
            yield _named(str(inner)), parent
        elif inner is not None:
            raise ValueError(f"it holds {inner!r} in the place of a class")


def _lines(text: str) -> Iterator[tuple[str, str | None]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # A name may have commas, as ImageNet's, and is then in quotes or before a colon.
        cells = line.rsplit(":", 1) if ":" in line else next(csv.reader([line]))
        if len(cells) != 2 or not all(cell.strip() for cell in cells):
            raise ValueError(f"line {number} is {line[:80]!r}")
        child, parent = map(_named, cells)
        if number == 1 and (fold(child), fold(parent)) == ("child", "parent"):
            continue
        yield child, parent


def _named(name: str) -> str:
    name = name.strip()
    if not name:
        raise ValueError("a node has no name")
    return name


def _check_top(tree: Tree) -> None:
    """No node may lie above itself."""
    done: set[str] = set()
    left = {node: len(uppers) for node, uppers in tree.items()}
    below = defaultdict(list)
    for node, uppers in tree.items():
        for upper in uppers:
            below[upper].append(node)
    edge = [node for node, many in left.items() if not many]
    while edge:
        node = edge.pop()
        done.add(node)
        for lower in below[node]:
            left[lower] -= 1
            edge += [] if left[lower] else [lower]
    if len(done) < len(tree):
        odd = sorted(tree.keys() - done)
        raise ValueError(f"{odd[0]!r} lies above itself")
