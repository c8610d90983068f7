"""From what was measured to a word and its reasons: every threshold of the audit is here.

*not valid here*: it gives no map, changes the network, explains pictures by their neighbours, finds
relevance where nothing can matter, explains another class or none, is far from its promise, as one
is that loses more than half of a score, or has no rule for what the network is made of; nor is a
map valid that is the same as one with a fault, or is made of a gradient that is wrong.
*the same map as X*: to rounding, on every picture, and X is sound; also where it met no rule of its
own, which is why. *partly*: right but for operations without a rule, or a promise that is missed by
little, or relevance that is lost on the way, or a half that is left out, or an order that is worse
than a random one. *valid*: nothing of that was seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from fluoroscope.attribution.audit.looks import BESIDE, DERIVATIVE, Evidence
from fluoroscope.attribution.doubts import Told, of_coverage, of_promise, shown
from fluoroscope.attribution.peer_names import PREFIX
from fluoroscope.attribution.rules.graph import Graph
from fluoroscope.words import count, sentence

Word = Literal["valid", "partly", "the same map as", "not valid here"]

# Maps whose cosine is nearer to 1 than this are the same: they differ by less than half a per cent.
_SAME = 1e-5
# And of one size too, to this share.
_SIZE = 1e-3
_OF_SLOPES_WORDS = """
    gradient-x-input input-x-gradient saliency smoothgrad smoothgrad-squared vargrad
    integrated-gradients expected-gradients
"""
_OF_SLOPES = frozenset(_OF_SLOPES_WORDS.split())
"""Made of the plain gradient, by our names and Captum's."""
# What rounding leaves of a map where nothing can matter, as a share.
_FRAME = 1e-6


@dataclass(frozen=True)
class Verdict:
    """What an audit says of one method on one network."""

    method: str
    word: Word
    same_as: str | None = None
    """The method of which this one's maps are."""
    reasons: tuple[str, ...] = ()
    """Why, a sentence each, the weightiest first; in words and numbers."""
    remarks: tuple[str, ...] = ()
    """What is worth knowing of its maps here, and bears on no verdict."""

    @property
    def words(self) -> str:
        """``valid``, ``partly``, ``the same map as X`` or ``not valid here``."""
        return f"{self.word} {self.same_as}" if self.same_as else self.word

    @property
    def passed(self) -> bool:
        """Whether its maps can be shown without a warning."""
        return self.word == "valid"

    @property
    def sound(self) -> bool:
        """Whether it is more than *not valid here*."""
        return self.word != "not valid here"

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "method": self.method,
            "verdict": self.words,
            "same_as": self.same_as,
            "reasons": list(self.reasons),
            "remarks": list(self.remarks),
        }


def judge_all(
    seen: Mapping[str, Evidence],
    maps: Mapping[str, Tensor | None],
    graph: Graph | None,
    below: Mapping[str, str] | None = None,
) -> dict[str, Verdict]:
    """The verdicts on methods, each held against the maps of the others.

    ``below`` says of which the scores are below those of random maps.
    """
    below = below or {}
    alone = {name: judge(name, each, graph, below.get(name, "")) for name, each in seen.items()}
    # Of methods of one map the others are called after a sound one.
    order = sorted(seen, key=lambda name: not alone[name].sound)
    same = same_maps({name: maps.get(name) for name in order})
    found = dict(alone)
    for name, other in same.items():
        words = f"On every picture its map is that of {other}."
        if alone[other].sound and not _broken(seen[name]):
            reasons = (words, *alone[name].reasons)
            found[name] = Verdict(name, "the same map as", other, reasons)
        else:
            found[name] = replace(alone[name], remarks=(words,))
    for name, other in _spoilt(seen, maps).items():
        words = f"On every picture its map is that of {other}, which is not valid here."
        reasons = (words, *_of_the_map(seen[other]), *alone[name].reasons)
        found[name] = Verdict(name, "not valid here", None, reasons)
    slope = seen.get("gradient")
    if slope is not None and (off := _off(slope)):
        for name, said in found.items():
            if name.removeprefix(PREFIX) in _OF_SLOPES:
                reasons = (
                    f"It is made of gradient, which is not valid here: it is {off}",
                    *said.reasons,
                )
                found[name] = Verdict(name, "not valid here", None, reasons, said.remarks)
    return found


def _spoilt(seen: Mapping[str, Evidence], maps: Mapping[str, Tensor | None]) -> dict[str, str]:
    """Of methods in whose own maps no fault was seen: one of the same maps, in which there was."""
    found = {}
    for name, mine in maps.items():
        for other, theirs in maps.items():
            if mine is None or theirs is None or _faults(seen[name]):
                continue
            if _of_the_map(seen[other]) and _equal(mine, theirs):
                found[name] = other
    return found


def _equal(ones: Tensor, others: Tensor) -> bool:
    """Whether maps are alike in size as well, where a fault may lie."""
    both = min(len(ones), len(others))
    first, second = (each[:both].double().flatten(1).norm(dim=1) for each in (ones, others))
    return alike(ones, others) and bool(((first - second).abs() <= _SIZE * second).all())


def judge(method: str, seen: Evidence, graph: Graph | None, below: str = "") -> Verdict:
    """The verdict on a method by itself, from what was seen of it and of the network."""
    there = graph.non_linear if graph else None
    told = [*_promise(seen), *of_coverage(seen.coverage, seen.promise, there)]
    bad, part, well = (
        [reason for word, reason in told if word == one]
        for one in ("not valid here", "partly", "valid")
    )
    bad = [*_faults(seen), *bad]
    part = [*_lacks(seen), *filter(None, [below]), *part]
    well = [*well, *_known(seen)]
    word: Word = "not valid here" if bad else "partly" if part else "valid"
    return Verdict(method, word, None, (*bad, *part, *well))


def same_maps(found: Mapping[str, Tensor | None]) -> dict[str, str]:
    """Of methods whose maps are those of an earlier one: whose."""
    same: dict[str, str] = {}
    kept: list[tuple[str, Tensor]] = []
    for name, maps in found.items():
        if (
            maps is None
            or not bool(maps.isfinite().all())
            or not bool(maps.flatten(1).any(1).all())
        ):
            continue
        other = next((first for first, theirs in kept if alike(maps, theirs)), None)
        if other is None:
            kept.append((name, maps))
        else:
            same[name] = other
    return same


def usable(maps: Tensor) -> bool:
    """Whether maps are finite, and none is zero everywhere."""
    return bool(maps.isfinite().all()) and bool(maps.flatten(1).any(1).all())


def alike(ones: Tensor, others: Tensor) -> bool:
    """Whether maps ``(n, ...)`` point the same way on every picture that both are of."""
    if ones.shape[1:] != others.shape[1:]:
        return False
    both = min(len(ones), len(others))
    first, second = (each[:both].double().flatten(1) for each in (ones, others))
    # Of numbers of any size the lengths are taken before the product.
    first, second = (each / each.norm(dim=1, keepdim=True) for each in (first, second))
    return bool(((first * second).sum(1) > 1 - _SAME).all())


def _promise(seen: Evidence) -> list[Told]:
    told = of_promise(
        seen.promise,
        seen.error,
        seen.share,
        seen.tolerance,
        converges=bool(seen.converges),
        absorbs=seen.absorbs,
    )
    own = " This is of one picture, with its own options in place of the audit's fewer probes."
    if seen.own:
        told = [(word, words + own) for word, words in told]
    behind = (
        " What it explains lies behind a softmax, where most of a score goes to the other classes: "
        "explain the logits, of the network without its softmax."
    )
    missed = seen.behind and max(seen.error, default=0.0) > seen.tolerance
    return [(word, words + behind) for word, words in told] if missed else told


def _broken(seen: Evidence) -> bool:
    """Whether more is wrong with it than that it met no rule of its own."""
    return bool(_faults(seen)) or any(word == "not valid here" for word, _ in _promise(seen))


def _faults(seen: Evidence) -> list[str]:
    """What no method may do."""
    found = []
    if seen.refused:
        found.append(sentence(seen.refused))
    if seen.traces:
        found.append(f"It changes the network or the process: {', '.join(seen.traces)}.")
    if seen.constant:
        found.append(
            "Nothing depends on the picture: the network gives the same answer whatever it is, so "
            "there is nothing to explain."
        )
    found += _of_the_map(seen)
    if seen.shows == "any":
        found.append(
            "Its map is the same for another class, also where that one's answer is the same for "
            "all pictures: it does not explain the class that is asked for."
        )
    return found


def _of_the_map(seen: Evidence) -> list[str]:
    """What no map may show, whoever made it."""
    found = []
    many = count(seen.pictures, "picture")
    if seen.not_finite:
        found.append(f"Of {seen.not_finite} of {many} its map is not finite.")
    if seen.without and 2 * seen.without >= seen.pictures:
        found.append(f"Of {seen.without} of {many} its map is zero everywhere.")
    if seen.alone is not None and not seen.exactly and seen.alone > BESIDE * seen.rounding:
        found.append(_unsteady(seen, seen.alone))
    if seen.frame is not None and seen.frame > _FRAME:
        found.append(
            f"Where a frame of the picture is hidden from the network, {shown(seen.frame)} of its "
            "map lies in the frame, where no pixel can matter: it is shifted, or has something in "
            "it that is not of this picture."
        )
    if seen.mirror is not None and seen.mirror > BESIDE * seen.rounding:
        found.append(
            f"Of a mirrored picture its map is {shown(seen.mirror)} another than the mirrored map: "
            "it is shifted, or has something in it that is not of this picture."
        )
    if seen.mixes is not None and seen.mixes > BESIDE * seen.rounding:
        found.append(
            "This network mixes the pictures of a batch, and its map is of all of them: alone a "
            f"picture's is {shown(seen.mixes)} another."
        )
    if seen.shows == "another":
        found.append(
            "It is of another class: where the class that is explained alone depends on the "
            "picture, its map is zero everywhere."
        )
    if off := _off(seen):
        found.append(f"It is {off}")
    return found


def _off(seen: Evidence) -> str:
    """How far from finite differences it is, where it is too far."""
    if seen.derivative is None or seen.derivative <= DERIVATIVE:
        return ""
    return (
        f"{shown(seen.derivative)} off the derivative that finite differences give, measured along "
        "random directions in float64."
    )


def _lacks(seen: Evidence) -> list[str]:
    """What it is right but for."""
    found = []
    if seen.mixes is not None and seen.mixes <= BESIDE * seen.rounding:
        found.append(
            "This network mixes the pictures of a batch: its maps of these pictures came out as "
            "those of each alone, to rounding; beside others they may not."
        )
    if seen.empty is not None:
        found.append(
            f"In the {seen.empty} half its map is zero everywhere, though the answer depends on "
            "what is there."
        )
    return found


def _known(seen: Evidence) -> list[str]:
    """What a reader should know, and bears on no verdict."""
    found = [*seen.unseen]
    if seen.kink is not None:
        found.append(
            "The pictures stand on kinks of the network, as flat ground does where a maximum has "
            "ties: there finite differences know no one derivative, and it is one of several; a "
            f"hundredth of noise beside it, it is theirs to {shown(seen.derivative or 0.0)}."
        )
    return found


def _unsteady(seen: Evidence, alone: float) -> str:
    if seen.again is not None and seen.again > BESIDE * seen.rounding:
        return f"Asked again it gives another map of the same picture, {shown(seen.again)} off."
    return f"A picture's map depends on the pictures beside it: alone it is {shown(alone)} another."
