"""From measures to words of warning: every threshold of an assessment is here, with its reason.

A flag is raised where a number would be read as a success that it is not. None is raised of what
was not measured, and the assessment says what that was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fluoroscope.engine.intervals import wilson
from fluoroscope.inversion.measures.layer_path import AtLayer
from fluoroscope.inversion.measures.measure import Measure, Value
from fluoroscope.words import count, number, percent, some

# Of the variety beyond a single picture that real ones have (Vendi - 1, or the spread of pixels),
# less than a tenth is one picture with a little noise on it: dropout alone gives so much.
COLLAPSED = 0.1
# Half of real pictures' variety is what a generator is asked for; between that and a tenth it is
# said, and is no collapse.
NARROW = 0.5
# Pictures that mostly have a near twin in their class are fewer than they look.
REPEATS = 0.5
# Without real pictures: pixels of a class that differ by less than two and a half 8-bit levels are
# one picture to any eye.
SAME_PIXELS = 0.01
# Test pictures are copies by the same rule in one of a hundred; five times that is not by chance
# with the dozens of pictures that there are, and two pictures at least must be.
COPIES, FEWEST_COPIES = 0.05, 2
# The network sees a class in a picture, or does not: without half of the pictures there is nothing
# that a second network could confirm.
SEES = 0.5
# Real pictures pass from one network to another with a few per cent lost. Of what only half passes
# over, the other half was made of what the one network alone looks at. A second network that
# misses real pictures too is asked for no more than it gives of these.
AGREES = 0.5
# A judge classifies real pictures itself: a quarter of them at least, by the lower end of the
# interval, so that a few real pictures do not make one; and more than by chance.
JUDGES = 0.25
# Half of the pictures that had a class before they became a file have none after it.
SURVIVES = 0.5
# A layer where a picture is nearer to other classes than to its own: below the middle. It is
# flagged where that is so in half of the layers that tell classes apart, and not in the last, in
# which the answer was what was asked for.
MIDDLE, LAYERS = 0.5, 0.5
# Two pictures of a class that a network with random weights gives as well show the method.
ALIKE = 0.5


@dataclass(frozen=True)
class Flag:
    """A word of warning."""

    name: str
    """``collapsed``, ``leaks``, …"""
    words: str
    """A sentence with its numbers."""
    spoils: bool = True
    """Whether the pictures' good numbers are none; else it is worth knowing."""
    where: str = ""
    """``2 of 5 classes``; ``""`` of all."""

    @property
    def short(self) -> str:
        """Its name, and where, in brackets."""
        return f"{self.name} ({self.where})" if self.where else self.name

    def describe(self) -> dict[str, object]:
        """As plain values."""
        return {"name": self.name, "words": self.words, "spoils": self.spoils, "where": self.where}


@dataclass(frozen=True)
class ClassVariety:
    """How different the pictures of one class are."""

    label: str
    spread: float
    """The standard deviation of a pixel."""
    part: float | None
    """Of real pictures' variety beyond a single one; ``None`` where there are no real ones."""


def has_collapsed(one: ClassVariety) -> bool:
    """Whether a class hardly has more than one picture."""
    return one.spread < SAME_PIXELS if one.part is None else one.part < COLLAPSED


def raised(
    measures: Mapping[str, Measure],
    ways: Mapping[str, tuple[AtLayer, ...]],
    classes: Sequence[ClassVariety] = (),
    chance: float = 0.0,
) -> tuple[Flag, ...]:
    """All flags that the measures raise, the weightiest first.

    By ``chance`` a network that learnt nothing classifies so many real pictures correctly.
    """
    return (
        *_collapsed(measures, classes),
        *_leaks(measures),
        *_unseen(measures),
        *_alone(measures, chance),
        *_fragile(measures),
        *_another_way(ways),
        *_random(measures),
    )


def _value(measures: Mapping[str, Measure], name: str, of: str = "") -> Value | None:
    found = measures.get(name)
    if found is None:
        return None
    return found.references.get(of) if of else found.value


def _collapsed(measures: Mapping[str, Measure], classes: Sequence[ClassVariety]) -> Iterator[Flag]:
    narrow: list[str] = []
    for name, least in (
        ("Vendi within a class", 1.0),
        ("pixel spread within a class", 0.0),
        ("Vendi over all", 1.0),
    ):
        made, real = _value(measures, name), _value(measures, name, "real")
        if made is None or real is None or real.value <= least:
            continue
        part = (made.value - least) / (real.value - least)
        told = f"{name} is {number(made.value)}, of real pictures {number(real.value)}"
        if part < COLLAPSED:
            what = "all classes show" if name == "Vendi over all" else "a class has"
            yield Flag("collapsed", f"Collapsed: {what} hardly more than one picture ({told}).")
            return
        if part < NARROW:
            narrow.append(told)
    made, real = (_value(measures, "pixel spread within a class", of) for of in ("", "real"))
    if made is not None and real is None and made.value < SAME_PIXELS:
        told = f"their pixels differ by {number(made.value)} of full white"
        yield Flag("collapsed", f"Collapsed: the pictures of a class are the same ({told}).")
        return
    gone = [one.label for one in classes if has_collapsed(one)]
    if gone:  # which the means over classes hide
        where = f"{len(gone):,} of {count(len(classes), 'class', 'classes')}"
        has = "has" if len(gone) == 1 else "have"
        yield Flag(
            "collapsed",
            f"Collapsed: {where} {has} hardly more than one picture ({some(gone, 6)}).",
            where=where,
        )
    yield from _repeats(measures)
    if narrow:
        words = f"Less than half as varied as real pictures: {'; '.join(narrow)}."
        yield Flag("less varied", words, spoils=False)


def _repeats(measures: Mapping[str, Measure]) -> Iterator[Flag]:
    for name in ("pixels", "features"):
        twins = _value(measures, f"repeats, {name}")
        if twins is not None and twins.value >= REPEATS:
            yield Flag(
                "repeats itself",
                f"Repeats itself: of {percent(twins.value)} of the pictures another of their class "
                f"is not half as far away as of real ones (by {name}).",
                spoils=False,
            )
            return


def _leaks(measures: Mapping[str, Measure]) -> Iterator[Flag]:
    # In features a good picture of a class may lie near the middle of it, where training pictures
    # lie too: copies are told by pixels and structure.
    for name in ("pixels", "structure"):
        copies = _value(measures, f"copies, {name}")
        if copies is None:
            continue
        many = round(copies.value * copies.count)
        turned = _value(measures, f"copies, {name}", "mirrored")
        mirrored = "" if turned is None else f", {round(turned.value * turned.count):,} mirrored"
        if copies.value >= COPIES and many >= FEWEST_COPIES:
            yield Flag(
                "leaks",
                f"Leaks: {many:,} of {copies.count:,} pictures are training pictures, or nearly"
                f"{mirrored} "
                f"(by {name}; nearer than 99 % of test pictures and half of what those mostly "
                "are).",
            )
            return


def _unseen(measures: Mapping[str, Measure]) -> Iterator[Flag]:
    own = _value(measures, "own accuracy")
    if own is not None and own.value < SEES:
        yield Flag(
            "not seen",
            f"The network itself classifies {percent(own.value)} of the pictures as their class.",
        )


def _alone(measures: Mapping[str, Measure], chance: float) -> Iterator[Flag]:
    own, second = _value(measures, "own accuracy"), _value(measures, "second accuracy")
    if own is None or second is None:
        return
    real = _value(measures, "second accuracy", "real")
    doubt = _no_judge(real, chance)
    accused = own.value >= SEES and second.value < AGREES * own.value
    # Of a network known to be none its features are none either, whatever it says of these.
    if doubt and (accused or real is not None):
        yield Flag(
            "second network is no judge",
            f"The second network is no judge here: that it classifies {percent(second.value)} as "
            f"their class says nothing of the pictures, for {doubt}. Nor do measures of its "
            "features (Vendi, Fréchet and kernel distance, precision, recall, the two-alternative "
            "test).",
            spoils=False,
        )
    elif accused and real is not None and second.value < AGREES * own.value * real.value:
        yield Flag(
            "only this network agrees",
            f"Only this network agrees: it classifies {percent(own.value)} as their class, the "
            f"second network {percent(second.value)} (of real pictures {percent(real.value)}).",
        )


def _no_judge(real: Value | None, chance: float) -> str:
    """Why a second network with this accuracy on real pictures is no judge; ``""`` of a judge."""
    if real is None:
        return "no real pictures were given that would show whether it classifies these"
    right = round(real.value * real.count)
    lower = wilson(right, real.count)[0]
    if lower >= JUDGES and lower > chance:
        return ""
    pictures = count(real.count, "real picture")
    by_chance = f" (by chance {percent(chance)})" if chance else ""
    return (
        f"it classifies {right:,} of {pictures}{by_chance}; expected more real ones, or another "
        "network"
    )


def _fragile(measures: Mapping[str, Measure]) -> Iterator[Flag]:
    for name, told in (
        ("survives rounding", "after rounding to 8 bits"),
        ("survives JPEG", "after JPEG"),
        ("survives a shift", "after a shift of two pixels"),
    ):
        kept, real = _value(measures, name), _value(measures, name, "real")
        # What real pictures do not survive either says nothing of these.
        if kept is None or kept.value >= SURVIVES * (1.0 if real is None else real.value):
            continue
        beside = "" if real is None else f", of real pictures {percent(real.value)}"
        yield Flag(
            "no class in it after rounding" if "rounding" in name else f"no class {told}",
            f"No class in it {told}: {percent(kept.value)} keep theirs{beside}.",
            spoils="rounding" in name,
        )


def _another_way(ways: Mapping[str, tuple[AtLayer, ...]]) -> Iterator[Flag]:
    made = [one for one in ways.get("made", ()) if one.place is not None]
    apart = [one for one in made[:-1] if one.place is not None and one.place < MIDDLE]
    if len(made) > 1 and len(apart) >= LAYERS * (len(made) - 1):
        yield Flag(
            "goes another way through the layers",
            f"Goes another way through the layers: in {len(apart)} of the {len(made)} layers that "
            "tell classes apart the pictures are not half as like real ones of their class as "
            f"those are to each other (layers: {some([one.layer for one in apart], 4)}).",
        )


def _random(measures: Mapping[str, Measure]) -> Iterator[Flag]:
    alike = _value(measures, "likeness to random weights")
    real = _value(measures, "likeness to random weights", "real")
    if alike is not None and alike.value > ALIKE and (real is None or alike.value > real.value):
        yield Flag(
            "the same with random weights",
            "The same with random weights: pictures of a network that learnt nothing correlate by "
            f"{number(alike.value)} with these, so what they share shows the method.",
        )
