"""One mutator for all doors: a tree of files, some of it changed in ways that a stranger may.

A tree maps names to bytes. Files are changed as bytes, and where they have parts (JSON, zip,
Parquet, lines) also by their parts, so that what lies behind the first check is reached as well.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Tree = dict[str, bytes]

SECRET = "secret.png"
"""Beside every tree lies a picture of this name, which none of its files may lead to."""
ESCAPE = "\x1b]0;owned\x07\x1b[31m"
TEXTS = (
    *("", " ", "\0", "nan", "-1", "1e999", "x" * 300, "a\nb", "\u202egnp.exe", "\ud800", "åäö"),
    *(ESCAPE, f"{ESCAPE}[bold red]red[/] :smile:", "[/]", "$x^2$", "<script>alert(1)</script>"),
    *("..", "../" + SECRET, "/dev/zero", "~nobody/x", "file:///etc/hostname", "zip://a::x.zip"),
    *("zip://a.png::ftp://127.0.0.1:9/x.zip", "http://127.0.0.1:9/a.png", "s3://bucket/a.png"),
    *("__import__('os').system('true')", "os.system", "builtins.eval", "float32", "torch.int7"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), [], {}, [[]], [1, 2, 3], [None], {"": ""}, {"a": {"b": []}}),
)
_DEEP = 20_000


def mutated(tree: Tree, others: list[Tree], r: Random) -> Tree:
    """The tree with one file or a few changed; ``others`` lend their files."""
    made = dict(tree)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        name = r.choice(sorted(made))
        kind = r.random()
        if kind < 0.9 or len(made) == 1:
            made[name] = _file(name, made[name], others, r)
        elif kind < 0.94:
            del made[name]
        elif kind < 0.97:
            other = r.choice(sorted(made))
            made[name], made[other] = made[other], made[name]
        else:
            made[_named(name, r)] = made.pop(name)
    return made


def write(tree: Tree, folder: Path, r: Random, *, special: bool) -> None:
    """Put a tree into a folder; now and then with something else in a file's place."""
    places = []
    for name, data in tree.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            places.append(path)
        except (OSError, ValueError):
            continue  # no name for this file system
    if special and places and r.random() < 0.08:
        path = r.choice(places)
        path.unlink(missing_ok=True)
        r.choice(_SPECIAL)(path)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


_SPECIAL: tuple[Callable[[Path], None], ...] = (
    *(os.mkfifo, Path.mkdir, Path.touch, _link("/dev/zero"), _link("nowhere")),
    lambda path: path.symlink_to(path.name),
)


def _file(name: str, data: bytes, others: list[Tree], r: Random) -> bytes:
    own = _PARTS.get(Path(name).suffix)
    if own is None and data[:2] == b"PK":
        own = _zip
    if own is not None and r.random() < 0.75:
        try:
            return own(data, r)
        except Exception:  # it was damaged before
            return _bytes(data, r)
    lenders = [other[name] for other in others if name in other]
    if lenders and r.random() < 0.15:
        return _spliced(data, r.choice(lenders), r)
    return _bytes(data, r)


def _named(name: str, r: Random) -> str:
    path = Path(name)
    word = r.choice(TEXTS).replace("/", "_")
    return r.choice((f"{word}{path.suffix}", str(path.parent / f"{word}{path.name}"), path.stem))


def _bytes(data: bytes, r: Random) -> bytes:
    made = bytearray(data)
    size = len(made)
    if not size:
        return r.randbytes(r.randrange(64))
    # Most of what a format says of itself stands at its ends.
    at = r.choice(
        (r.randrange(size), r.randrange(min(size, 300)), max(0, size - r.randrange(1, 99)))
    )
    match r.randrange(8):
        case 0 | 1 | 2:
            for _ in range(r.choice((1, 1, 2, 8))):
                made[r.randrange(at, min(size, at + 64))] ^= 1 << r.randrange(8)
        case 3:
            del made[at:]
        case 4:
            del made[at : at + r.randrange(1, 64)]
        case 5:
            made[at:at] = r.randbytes(r.randrange(1, 64))
        case 6:
            long = r.choice((1, 2, 4, 8))
            made[at : at + long] = r.choice((b"\xff", b"\x00", b"\x7f", b"9")) * long
        case _:
            made = _spliced(bytes(made), bytes(made), r)
    return bytes(made)


def _spliced(data: bytes, other: bytes, r: Random) -> bytes:
    """A piece of another file in place of one of this."""
    if not data or not other:
        return other
    at, start = r.randrange(len(data)), r.randrange(len(other))
    long = r.randrange(1, 1 + min(512, len(other)))
    return data[:at] + other[start : start + long] + data[at + r.randrange(long + 1) :]


def _json(data: bytes, r: Random) -> bytes:
    value = json.loads(data)
    if r.random() < 0.04:
        return b"[" * _DEEP + b"]" * _DEEP
    nodes = list(_nodes(value))
    if not nodes:
        return json.dumps(odd(value, r)).encode()
    for _ in range(r.choice((1, 1, 2))):
        holder, key = r.choice(nodes)
        match r.randrange(6):
            case 0 if isinstance(holder, dict):
                holder.pop(key, None)
            case 1 if isinstance(holder, dict):
                holder[r.choice(TEXTS)] = holder.pop(key, None)
            case 2:
                other, name = r.choice(nodes)
                if name in other if isinstance(other, dict) else name < len(other):
                    holder[key] = other[name]
            case _:
                old = holder.get(key) if isinstance(holder, dict) else None
                holder[key] = odd(old, r)
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):  # it holds itself now
        return _bytes(data, r)
    if r.random() < 0.03:
        text = text.replace("[]", "[" * _DEEP + "]" * _DEEP).replace("null", "1e400")
    return text.encode()


def odd(old: Any, r: Random) -> Any:
    """A value that nobody expects there."""
    if isinstance(old, int | float) and r.random() < 0.4:
        return r.choice((old + 1, old - 1, -old, old * 1000, str(old), old + 0.5))
    if isinstance(old, str) and r.random() < 0.3:
        return r.choice((old + r.choice(TEXTS), old[: len(old) // 2], old.upper(), [old]))
    return r.choice(TEXTS) if r.random() < 0.5 else r.choice(VALUES)


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        if not isinstance(holder, dict | list):
            continue
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys]
    return found


def _zip(data: bytes, r: Random) -> bytes:
    """Members of an archive changed, lost, swapped or told twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name, other = (r.choice(sorted(members)) for _ in range(2))
    match r.randrange(8):
        case 0:
            del members[name]
        case 1:
            members[name], members[other] = members[other], members[name]
        case 2:
            members[r.choice(TEXTS) + name] = members.pop(name)
        case 3:
            members[name] = bytes(r.randrange(2**20))
        case _:
            members[name] = _file(name, members[name], [], r)
    made = io.BytesIO()
    method = r.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(made, "w", method) as file:
        for name, content in members.items():
            file.writestr(name.replace("\ud800", "?"), content)
    return made.getvalue()


def _parquet(data: bytes, r: Random) -> bytes:
    """Columns with other values, of other types, under other names, and other metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.ParquetFile(io.BytesIO(data)).read()
    at = r.randrange(table.num_columns)
    name = table.column_names[at]
    match r.randrange(6):
        case 0:
            table = table.drop_columns([name])
        case 1:
            names = list(table.column_names)
            names[at] = r.choice((*TEXTS[:7], r.choice(names), *names))
            table = table.rename_columns(names)
        case 2:
            metadata = dict(table.schema.metadata or {})
            for key, value in metadata.items():
                metadata[key] = _json(value, r) if value[:1] in (b"{", b"[") else _bytes(value, r)
            table = table.replace_schema_metadata(metadata)
        case 3:
            values = [odd(None, r)] * len(table)
            table = table.set_column(at, name, pa.array(values))
        case _:
            values = table.column(at).to_pylist()
            row = r.randrange(len(values))
            old = values[row]
            if isinstance(old, dict):
                key = r.choice(sorted(old))
                old[key] = r.choice(TEXTS).encode() if key == "bytes" else r.choice(TEXTS)
                old["bytes"] = r.choice((None, old["bytes"]))
            else:
                values[row] = odd(old, r)
            kept = table.schema.field(at).type if r.random() < 0.7 else None
            table = table.set_column(at, name, pa.array(values, kept))
    made = io.BytesIO()
    parquet.write_table(table, made, store_schema=r.random() < 0.8)
    return made.getvalue()


def _lines(data: bytes, r: Random) -> bytes:
    """Words and lines changed, lost or told twice."""
    lines = data.decode().split("\n")
    at = r.randrange(len(lines))
    word = r.choice((r.choice(TEXTS), str(r.choice(VALUES))))
    words = lines[at].split(r.choice((" ", ",", "=", '"')))
    match r.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines *= r.choice((2, 30))
        case 2:
            lines[at] = word
        case _:
            lines[at] = lines[at].replace(r.choice(words) or "\r", word)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


_PARTS: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": _json,
    ".pt": _zip,
    ".pt2": _zip,
    ".parquet": _parquet,
    **dict.fromkeys((".txt", ".toml", ".csv", ".jsonl", ".md"), _lines),
}
