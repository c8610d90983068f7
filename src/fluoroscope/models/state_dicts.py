"""Which tensors of a checkpoint are the weights of a network.

Training scripts keep them at any depth, beside optimisers, averages and counters, and wrappers put
prefixes before every name. Here each mapping in the file and each prefix is held against the names
and shapes that the network wants; what fits whole is taken, and nothing is made up or left out in
silence.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.errors import ModelFormatError

COUNTER = "num_batches_tracked"  # of no use outside training, and old checkpoints lack it
_DEPTH = 8
# Wrappers that put themselves into the middle of a name.
_WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Left by profilers beside every module, and the state of losses and metrics beside the network.
_PROFILED = ("total_ops", "total_params")
_OF_TRAINING = re.compile(r"(^|[._])(loss|criterion|metrics?|acc|accuracy|n_averaged)([._\d]|$)")


@dataclass(frozen=True)
class _Found:
    """Weights under a prefix of one mapping in a file."""

    place: tuple[str, ...]
    prefix: str
    mapping: Mapping[str, Any]
    """Names and values of the whole mapping, wrappers taken out of the names."""
    names: Mapping[str, str]
    """For each name that the network wants, the one it has behind the prefix."""

    @property
    def key(self) -> str:
        return ".".join((*self.place, *filter(None, self.prefix.split("."))))

    @property
    def weights(self) -> dict[str, Any]:
        return {
            wanted: self.mapping[self.prefix + name]
            for wanted, name in self.names.items()
            if self.prefix + name in self.mapping
        }

    def beside(self) -> list[str]:
        """The tensors of the mapping that are none of the weights."""
        taken = {self.prefix + name for name in self.names.values()}
        return [name for name in _tensors(self.mapping) if name not in taken]


def find_weights(
    content: Any, wanted: Mapping[str, Any], file: Path, key: str | None = None
) -> dict[str, Any]:
    """The values in a file's content for the names of a network's ``state_dict``.

    Args:
        content: what the file holds.
        wanted: the network's own ``state_dict``.
        file: for messages.
        key: where the weights lie, or some parts of that: keys and prefix with dots between.

    Raises:
        ModelFormatError: nothing fits, several that differ fit, or there is more beside them that
            the network may need.
    """
    if not isinstance(content, Mapping):
        raise ModelFormatError(
            f"checkpoint {file} holds a {type(content).__name__}; expected a state_dict: "
            "names and tensors"
        )
    mappings = [(place, _unwrapped(mapping)) for place, mapping in _mappings(content)]
    if not mappings:
        raise ModelFormatError(
            f"checkpoint {file} holds no tensors but {some(map(str, content))}; expected a "
            "state_dict: names and tensors"
        )
    found: list[_Found] = []
    fitting: list[_Found] = []
    for names in _spellings(wanted):
        spelt = [
            _Found(place, prefix, mapping, names)
            for place, mapping in mappings
            for prefix in _prefixes(mapping, names)
        ]
        found += spelt
        fitting = [one for one in _named(spelt, key) if not any(_lacks(one, wanted))]
        if fitting:
            break
    if not fitting:
        raise _misfit(found, mappings, wanted, file, key)
    best = min(fitting, key=lambda one: len(_unexpected(one, fitting, key)))
    rivals = _differing(fitting, best)
    if rivals:
        keys = [one.key for one in (best, *rivals) if one.key]
        raise ModelFormatError(
            f"checkpoint {file} holds {len(rivals) + 1} sets of weights that fit and differ "
            f"({some(keys, 5)}); choose one: checkpoint_key={keys[-1]!r}"
        )
    unexpected = _unexpected(best, fitting, key)
    if unexpected:
        choose = f" or checkpoint_key={best.key!r} to leave them out" if best.prefix else ""
        raise ModelFormatError(
            f"checkpoint {file} does not fit the network; {len(unexpected)} unexpected: "
            f"{some(unexpected)}; expected the state_dict of the same architecture{choose}"
        )
    # A counter may be none, or no tensor.
    return {
        name: value
        for name, value in best.weights.items()
        if isinstance(value, Tensor) == isinstance(wanted[name], Tensor)
    }


def some(names: Iterable[str], count: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def _mappings(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every mapping that holds tensors, and the keys that lead to it."""
    if not isinstance(content, Mapping) or len(place) > _DEPTH:
        return
    if any(isinstance(value, Tensor) for value in content.values()):
        yield place, content
    for key, value in content.items():
        yield from _mappings(value, (*place, str(key)))


def _unwrapped(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    plain = {_WRAPPERS.sub("", str(name)): value for name, value in mapping.items()}
    return plain if len(plain) == len(mapping) else {str(k): v for k, v in mapping.items()}


def _spellings(wanted: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The network's names as a file may have them: without wrappers, and without the prefix that
    a module around the network puts before all of them."""
    names = dict(zip(wanted, _unwrapped(dict.fromkeys(wanted)), strict=True))
    while names:
        yield names
        heads = {name.partition(".")[0] for name in names.values()}
        if len(heads) > 1 or any("." not in name for name in names.values()):
            return
        names = {name: short.partition(".")[2] for name, short in names.items()}


def _prefixes(mapping: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """What stands before the network's names in a mapping, likeliest first."""
    wanted = set(names.values())
    count: Counter[str] = Counter()
    for name in _tensors(mapping):
        parts = name.split(".")
        for at in range(len(parts)):
            if ".".join(parts[at:]) in wanted:
                count["".join(f"{part}." for part in parts[:at])] += 1
    return [prefix for prefix, _ in count.most_common()]


def _named(found: list[_Found], key: str | None) -> list[_Found]:
    """Those under a key, or with it somewhere on their way; all without one."""
    wanted = "." if key is None else f".{key.strip('.')}."
    exact = [one for one in found if f".{one.key}." == wanted]
    return exact or [one for one in found if wanted in f".{one.key}."]


def _differing(fitting: list[_Found], best: _Found) -> list[_Found]:
    kept = [best]
    for one in fitting:
        if not any(_same(one.weights, other.weights) for other in kept):
            kept.append(one)
    return kept[1:]


def _lacks(one: _Found, wanted: Mapping[str, Any]) -> Iterator[str]:
    """The names that are missing from what was found, or of another shape, with the reason."""
    weights = one.weights
    for name, value in wanted.items():
        if not isinstance(value, Tensor):
            continue
        given = weights.get(name)
        if not isinstance(given, Tensor):
            if not name.endswith(COUNTER):
                yield f"missing {name}"
        elif _shape(given) != value.shape:
            yield f"misshaped {name} {_shape(given)} instead of {tuple(value.shape)}"


def _shape(value: Tensor) -> tuple[int, ...] | None:
    return None if value.is_nested else tuple(value.shape)


def _unexpected(one: _Found, fitting: list[_Found], key: str | None) -> list[str]:
    """Tensors beside the weights that the network may need; outside the prefix only where nobody
    chose it."""
    others = {
        other.prefix + name
        for other in fitting
        if other.mapping is one.mapping and other is not one
        for name in other.names.values()
    }
    return [
        name
        for name in one.beside()
        if name not in others
        and not name.endswith(_PROFILED)
        and (name.startswith(one.prefix) or (key is None and not _OF_TRAINING.search(name)))
    ]


def _misfit(
    found: list[_Found],
    mappings: list[tuple[tuple[str, ...], dict[str, Any]]],
    wanted: Mapping[str, Any],
    file: Path,
    key: str | None,
) -> ModelFormatError:
    if key is not None:
        keys = sorted({one.key for one in found if one.key})
        there = f"it has {some(keys, 5)}" if keys else "it has none by that name"
        return ModelFormatError(
            f"checkpoint {file} has no weights that fit the network under {key!r}; {there}: "
            "expected one of its keys as checkpoint_key=, or none"
        )
    if found:
        nearest = max(found, key=lambda one: len(one.weights))
    else:
        place, mapping = max(mappings, key=lambda pair: len(_tensors(pair[1])))
        nearest = _Found(place, "", mapping, {name: name for name in wanted})
    problems: dict[str, list[str]] = {"missing": [], "unexpected": [], "misshaped": []}
    for lack in _lacks(nearest, wanted):
        kind, _, what = lack.partition(" ")
        problems[kind].append(what)
    problems["unexpected"] = _unexpected(nearest, [], None)
    listed = [f"{len(names)} {kind}: {some(names)}" for kind, names in problems.items() if names]
    return ModelFormatError(
        f"checkpoint {file} does not fit the network; {'; '.join(listed)}; expected the "
        "state_dict of the same architecture with the same number of classes"
    )


def _tensors(mapping: Mapping[str, Any]) -> list[str]:
    return [name for name, value in mapping.items() if isinstance(value, Tensor)]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        value is other[name]
        or not isinstance(value, Tensor)
        or (
            isinstance(other[name], Tensor)
            and value.dtype == other[name].dtype
            and value.layout == other[name].layout == torch.strided
            and torch.equal(value, other[name])
        )
        for name, value in one.items()
    )
