"""Which class of a network a class of some data is: by name as people write it, number or place.

ImageNet's thousand classes go by several lists of names. What the installed libraries know of them
(torchvision's names; timm's, with the numbers of WordNet, where it is installed) is read from them.
"""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

How = Literal["name", "number", "place"]
# From this share of names that fit their places on, the few others go by theirs too.
_NEARLY_ALL = 0.9
# Classes of ImageNet.
_IMAGENET = 1000


@dataclass(frozen=True)
class Matching:
    """Which of a network's classes the classes of some data are."""

    names: tuple[str, ...]
    """Of the data."""
    labels: tuple[str, ...]
    """Of the network."""
    numbers: tuple[int | None, ...]
    """For each name the network's number; ``None`` where that is not certain."""
    how: tuple[How | None, ...]
    """What told it."""
    notes: tuple[str, ...] = ()
    """What is to be said of it."""
    refusal: str | None = None
    """Why the classes cannot be told; ``None`` where they can."""

    @property
    def in_order(self) -> bool:
        """Whether both number the same classes alike, and hardly a name is told by its place."""
        alike = self.numbers == tuple(range(len(self.labels)))
        return alike and self.how.count("place") <= (1 - _NEARLY_ALL) * len(self.names)

    def partners(self) -> tuple[str | None, ...]:
        """For each of the network's classes the data's name, ``None`` where it has none."""
        found = dict(zip(self.numbers, self.names, strict=True))
        return tuple(found.get(number) for number in range(len(self.labels)))


def match(
    names: Sequence[str],
    labels: Sequence[str],
    *,
    of: str = "the data",
    network: str = "the network",
    ordered: bool = True,
) -> Matching:
    """The classes that the names stand for.

    A class goes by its whole name or by any of the synonyms that ImageNet's names list with commas
    between, without regard to case, underscores, hyphens, accents and articles; spelled the same
    comes first. Names that are numbers are the network's, or follow its order where they are
    exactly as many in a row. Where nearly all fit their places, or there are as many and none says
    otherwise, places decide, and a note says so.

    Args:
        names: of the data's classes, in its order.
        labels: of the network's, in its order.
        of: whose names these are, in messages.
        network: whose labels, in messages.
        ordered: whether the places of the names say anything.
    """
    names, labels = tuple(names), tuple(labels)
    who = _Who(of, network)
    if ordered and list(map(fold, names)) == list(map(fold, labels)):
        return Matching(names, labels, tuple(range(len(names))), _all("name", names))
    found = _meant(_without_prefixes(names), labels)
    unnamed = labels == tuple(map(str, range(len(labels))))
    if names and all(map(str.isdecimal, names)) and (unnamed or not any(map(bool, found))):
        return _by_number(names, labels, who)
    placed = None
    if ordered and len(names) == len(labels):
        placed = _by_place(names, labels, found, who, unnamed)
    return placed or _by_name(names, labels, found, who)


def _without_prefixes(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names such as ``n02817516_bearskin``: WordNet's number; and ``003.tench``: what follows."""
    wordnet = [re.match(r"(n\d{8})[\W_]", name) for name in names]
    if names and all(wordnet):
        return tuple(found[1] for found in wordnet if found)
    counted = [re.match(r"\d+[\W_]+(?=\D)(.+)", name) for name in names]
    if names and all(counted):
        return tuple(found[1] for found in counted if found)
    return names


def _all(how: How, names: tuple[str, ...]) -> tuple[How | None, ...]:
    return (how,) * len(names)


@dataclass(frozen=True)
class _Who:
    of: str
    network: str


@dataclass(frozen=True)
class _Meant:
    """The classes that a name may stand for: by the best fit there is, and by any."""

    best: frozenset[int]
    any: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.any)


def _by_number(names: tuple[str, ...], labels: tuple[str, ...], who: _Who) -> Matching:
    numbers, count = [int(name) for name in names], len(labels)
    low, high = min(numbers), max(numbers)
    how = _all("number", names)
    if len(set(numbers)) == len(names):
        if high < count:
            notes = (
                (
                    f"{who.of}'s classes are named by numbers from {low} to {high}; they are taken "
                    f"for {who.network}'s, which begin at 0",
                )
                if low
                else ()
            )
            return Matching(names, labels, tuple(numbers), how, notes)
        if len(names) == count and high - low == count - 1:
            note = (
                f"{who.of}'s classes are numbered from {low} to {high} and {who.network}'s from 0 "
                f"to {count - 1}, so they are matched in the order of their numbers: "
                f"{names[numbers.index(low)]!r} is {labels[0]!r}"
            )
            return Matching(names, labels, tuple(n - low for n in numbers), how, (note,))
    kept = [number if number < count else None for number in numbers]
    refusal = (
        f"{who.of} has {len(names)} classes named by numbers from {low} to {high}, and "
        f"{who.network} has {count}, from 0 to {count - 1}"
    )
    if len(set(numbers)) < len(names):
        refusal = f"several of {who.of}'s classes are named by the same number"
    return Matching(names, labels, tuple(kept), how, (), refusal)


def _by_place(
    names: tuple[str, ...],
    labels: tuple[str, ...],
    found: Sequence[_Meant],
    who: _Who,
    unnamed: bool,
) -> Matching | None:
    """Every name for the class at its place, unless one says otherwise."""
    fits = [place in one.any for place, one in enumerate(found)]
    others = [place for place, one in enumerate(found) if one and not fits[place]]
    # A name that belongs to the class beside which it stands already says nothing of its own place.
    if any(not fits[number] for place in others for number in found[place].any):
        return None
    if others and sum(fits) < _NEARLY_ALL * len(names):
        return None
    notes: list[str] = []
    odd = [place for place, fit in enumerate(fits) if not fit]
    elsewhere = [place for place, one in enumerate(found) if one and place not in one.best]
    if odd and unnamed:
        notes.append(
            f"the classes of {who.network} are named by numbers alone, so {who.of}'s are matched "
            f"by their places ({names[0]!r} is 0); labels= states names"
        )
    elif odd:
        share = f"{sum(fits)} of {len(names)} fit theirs; " if any(fits) else ""
        notes.append(
            f"{who.of}'s class names are not {who.network}'s ({share}{names[odd[0]]!r} stands "
            f"where it has {labels[odd[0]]!r}), so classes are matched by their places"
        )
    elif elsewhere:
        first = elsewhere[0]
        more = f", and so do {len(elsewhere) - 1} more" if elsewhere[1:] else ""
        notes.append(
            f"{who.of}'s name {names[first]!r} also stands for {who.network}'s "
            f"{labels[min(found[first].best)]!r}{more}; all names fit their places, so places "
            "decide"
        )
    how: list[How | None] = [
        "name" if one.best == {place} else "place" for place, one in enumerate(found)
    ]
    return Matching(names, labels, tuple(range(len(names))), tuple(how), tuple(notes))


def _by_name(
    names: tuple[str, ...], labels: tuple[str, ...], found: Sequence[_Meant], who: _Who
) -> Matching:
    left = [set(one.best) for one in found]
    # What one name alone can mean is not what another one means that fits several.
    for _ in names:
        taken = {min(one) for one in left if len(one) == 1}
        fewer = [one - taken if len(one) > 1 else one for one in left]
        if fewer == left:
            break
        left = fewer
    single = Counter(min(one) for one in left if len(one) == 1)
    sure = [min(one) if len(one) == 1 and single[min(one)] == 1 else None for one in left]
    how: tuple[How | None, ...] = tuple(None if one is None else "name" for one in sure)
    refusal = None
    if None in sure:
        refusal = (
            f"{who.of} has {len(names)} classes and {who.network} has {len(labels)}, and their "
            f"names do not match: {_apart(names, left, labels, who)}"
        )
    return Matching(names, labels, tuple(sure), how, (), refusal)


def _apart(
    names: tuple[str, ...], found: Sequence[set[int]], labels: tuple[str, ...], who: _Who
) -> str:
    """What is wrong with the first name that fits nothing, else several, else another's class."""
    for name, numbers in zip(names, found, strict=True):
        if not numbers:
            near = nearest(name, labels)
            like = f" (the nearest: {', '.join(map(repr, near))})" if near else ""
            return f"{who.of}'s {name!r} is none of its{like}"
    for name, numbers in zip(names, found, strict=True):
        if len(numbers) > 1:
            return f"{who.of}'s {name!r} stands for {len(numbers)} of the network's"
    single = [min(one) for one in found]
    doubled = next(number for number in single if single.count(number) > 1)
    same = [name for name, number in zip(names, single, strict=True) if number == doubled]
    return (
        f"several of {who.of}'s names ({', '.join(map(repr, same[:3]))}) stand for the network's "
        f"{labels[doubled]!r}"
    )


def nearest(name: str, labels: Sequence[str]) -> list[str]:
    """At most three labels that are spelled much like the name."""
    spelled = {part: label for label in labels for part in _synonyms(label)}
    found = get_close_matches(loosened(name), spelled, n=3)
    return list(dict.fromkeys(spelled[one] for one in found))


# Names as people write them


@lru_cache(2**14)
def fold(name: str) -> str:
    """The name without regard to case, underscores and spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).replace("_", " ").casefold().split())


@lru_cache(2**14)
def loosened(name: str) -> str:
    """And without accents, hyphens, brackets, apostrophes and a leading article."""
    plain = (s for s in unicodedata.normalize("NFKD", fold(name)) if not unicodedata.combining(s))
    words = re.sub(r"[\W_]+", " ", re.sub(r"['’`]", "", "".join(plain))).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.split(",") if part.strip()]


def _synonyms(name: str) -> set[str]:
    return {key for key in map(loosened, (name, *_parts(name))) if key}


def _meant(names: tuple[str, ...], labels: tuple[str, ...]) -> list[_Meant]:
    spelled, whole = _index(labels, lambda name: {name}), _index(labels, lambda name: {fold(name)})
    part, loose = _index(labels, lambda name: set(_parts(name))), _index(labels, _loose)
    synonym = _index(labels, _synonyms)
    wider: Mapping[str, set[int]] | None = None
    found = []
    for name in names:
        steps = [
            _look(spelled, {name}),
            _look(whole, {fold(name)}) | _look(part, {name.strip()}),
            _look(loose, _loose(name)),
            _look(synonym, _synonyms(name)),
        ]
        if not any(steps) or len(next(filter(None, steps))) > 1:
            # Only now: the lists take a moment to read.
            wider = _wider(labels) if wider is None else wider
            steps += [
                _look(wider, _loose(name)),
                _look(wider, _known_as([], name)),
                _look(wider, _loose(re.sub(r"\(.*?\)", "", name))),
            ]
        best = next(filter(None, steps), set())
        found.append(_Meant(frozenset(best), frozenset().union(*steps)))
    return found


def _loose(name: str) -> set[str]:
    return {key for key in [loosened(name)] if key}


def _index(labels: Iterable[str], of: Callable[[str], set[str]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for number, label in enumerate(labels):
        for name in of(label):
            found.setdefault(name, set()).add(number)
    return found


def _look(index: Mapping[str, set[int]], names: Iterable[str]) -> set[int]:
    return set().union(*(index.get(name, set()) for name in names))


# ImageNet's lists


@lru_cache(maxsize=8)
def is_imagenet(labels: tuple[str, ...]) -> bool:
    """Whether these are ImageNet's thousand classes in their order, perhaps after one for none."""
    if len(labels) not in (_IMAGENET, _IMAGENET + 1):
        return False
    of = [_known_as(names, names[0]) for names in _imagenet()]
    own = labels[-_IMAGENET:]
    fits = sum(bool(_synonyms(label) & one) for label, one in zip(own, of, strict=True))
    return fits >= _NEARLY_ALL * _IMAGENET


@cache
def _imagenet() -> tuple[tuple[str, ...], ...]:
    """What each of the thousand classes is called in the lists that installed libraries hold."""
    from torchvision.models import ResNet18_Weights

    lists: list[Sequence[str]] = [ResNet18_Weights.DEFAULT.meta["categories"]]
    return tuple(zip(*lists, *_timm_lists(), strict=True))


def _timm_lists() -> list[Sequence[str]]:
    """What timm calls them, and their numbers in WordNet; nothing where it is not installed.

    Its files are read without it: to import it takes a second.
    """
    found = find_spec("timm")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "data" / "_info"
    try:
        numbers = (folder / "imagenet_synsets.txt").read_text("utf-8").splitlines()
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
        called = dict(csv.reader(lines, delimiter="\t"))
        return [[called[number] for number in numbers], numbers]
    except (OSError, ValueError, KeyError):  # another version keeps them elsewhere
        try:
            from timm.data import ImageNetInfo
        except ImportError:
            return []
        info = ImageNetInfo("imagenet-1k")
        return [info.label_descriptions(), info.label_names()]


@cache
def _by_wordnet() -> dict[str, tuple[str, ...]]:
    """The names of a class by its number in WordNet."""
    return {known[-1]: known for known in _imagenet() if re.fullmatch(r"n\d{8}", known[-1])}


def _known_as(called: Sequence[str], label: str) -> set[str]:
    """All that a class is called, and what is known of it if one of that is WordNet's number."""
    stated = [label, *called, *_by_wordnet().get(fold(label), ())]
    return set().union(*map(_synonyms, stated))


def _wider(labels: tuple[str, ...]) -> dict[str, set[int]]:
    """The network's classes by every name in the lists, where its own are ImageNet's."""
    called: Sequence[Sequence[str]] = [()] * len(labels)
    if len(labels) == _IMAGENET and is_imagenet(labels):
        called = _imagenet()
    found: dict[str, set[int]] = {}
    for number, label in enumerate(labels):
        for name in _known_as(called[number], label):
            found.setdefault(name, set()).add(number)
    return found
