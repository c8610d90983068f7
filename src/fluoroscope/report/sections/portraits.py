"""What the network believes a class looks like: a few portraits, and first what they are worth.

A picture that convinces one network may mean nothing to anyone else (Nguyen et al. 2015,
1412.1897), and can be forged (Geirhos et al. 2024, 2306.04719): so its flags come first, beside
each portrait stands one of the network with random weights, and what not to conclude is said in
every case.
"""

from collections.abc import Iterator

from torch import Tensor

from fluoroscope.inversion.measures.flags import AGREES, SEES
from fluoroscope.inversion.measures.measure import REFERENCE_WORDS, REFERENCES
from fluoroscope.inversion.measures.result import Assessment
from fluoroscope.inversion.names import PRESETS
from fluoroscope.pictures.uris import uri
from fluoroscope.report.blocks import (
    Block,
    Card,
    Check,
    Checks,
    Content,
    Gallery,
    Heading,
    Picture,
    Table,
    Text,
)
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.portrayed import AGAIN, OWN, RANDOM, Portrayed, portrayed
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import as_percent, count, network_name, sentence, shortened, some

# Of each flag that can be raised: what it is where it was looked for and not found, and the measure
# by which it was looked for.
_FINE = {
    "collapsed": ("Not one picture for all", "pixel spread within a class"),
    "only this network agrees": ("A second network agrees with most", "second accuracy"),
    "no class in it after rounding": ("Survive being saved in 8 bits", "survives rounding"),
    "no class after JPEG": ("Survive JPEG", "survives JPEG"),
    "no class after a shift of two pixels": ("Survive a shift of two pixels", "survives a shift"),
    "goes another way through the layers": (
        "Go through the layers as real pictures do",
        "way through the layers",
    ),
    "the same with random weights": (
        "Not the same with random weights",
        "likeness to random weights",
    ),
}
_ROWS = (
    "own accuracy", "own confidence", "second accuracy", "second confidence", "survives rounding",
    "survives JPEG", "survives a shift", "way through the layers", "likeness to random weights",
    "agreement over seeds", "pixel spread within a class", "Vendi over all", "two-alternative test",
    "spectrum distance",
)  # fmt: skip
_NOT = (
    "Not that the class looks like this: a portrait is a picture that raises the network's score, "
    "and it may be sure of pictures that mean nothing to anyone else.",
    "Not that the network learnt from such a picture, nor that it decides about real ones by what "
    "is seen here. What it looks at in a picture is another question.",
    "Not that a network is better whose portraits are prettier: how they look depends on the "
    "method and its steps as much as on the network. Only what other starts show too, and random "
    "weights do not, may be its own.",
)


@section("portraits", "What it believes a class looks like", order=65, cost=48)
def portraits(study: Study) -> Content:
    found = portrayed(study)
    blocks: list[Block] = [
        Text(_in_words(found), "lead"),
        Checks([*_flagged(found), *_unknown(found), *_fine(found)]),
        Heading("The portraits"),
        Text(_key(found)),
        *which_channels(study.model.channels),
        Gallery([_card(study, found, row) for row in range(len(found.classes))]),
        Heading("What not to conclude"),
        *(Text(one) for one in _NOT),
        _table(found.found),
        Text(_how(study, found), "note"),
    ]
    return Content(blocks, _data(found))


def _in_words(found: Portrayed) -> str:
    own, second = (found.found.of(name) for name in ("own accuracy", "second accuracy"))
    classes = count(len(found.classes), "class", "classes")
    words = f"It classifies {own.words()} of its portraits of {classes} as their class"
    if second.value is None:
        words += "; no second network was asked, so that may be its own opinion alone."
    else:
        none = any(flag.name == "second network is no judge" for flag in found.found.flags)
        words += f"; a second network, {network_name(found.second)}, {second.words()}"
        words += ", but it is no judge here." if none else "."
    spoiled = [flag.name for flag in found.found.flags if flag.spoils]
    if not spoiled:
        return words
    told = "; ".join(spoiled)
    return f"Do not take these portraits at their word, for they are flagged: {told}. {words}"


def _flagged(found: Portrayed) -> Iterator[Check]:
    for flag in found.found.flags:
        name, colon, rest = flag.words.partition(": ")
        title, text = (name, rest) if colon else (sentence(flag.name)[:-1], flag.words)
        yield Check("fail" if flag.spoils else "warn", title, sentence(text))


def _unknown(found: Portrayed) -> Iterator[Check]:
    if not found.second:
        why = sentence(found.why) if found.why else ""
        yield Check(
            "unknown",
            "No second network was asked",
            f"{why} Give one of the same classes that was trained independently: "
            "--second NETWORK, or second= in Python.".strip(),
        )
    missing = {
        RANDOM: "There was no time for portraits of the network with random weights",
        AGAIN: "There was no time for portraits from another start",
    }
    for kind, words in missing.items():
        if kind not in found.images:
            yield Check("unknown", words, "")


def _fine(found: Portrayed) -> Iterator[Check]:
    """What was looked for and not found; on so few pictures that says little."""
    raised = {flag.name for flag in found.found.flags}
    if "less varied" in raised:  # which is no praise of what is more than one picture
        raised.add("collapsed")
    # Where the network itself sees no class there is nothing for others to confirm.
    seen = found.found.of("own accuracy").value
    if seen is None or seen.value < SEES:
        return
    for flag, (title, name) in _FINE.items():
        measure = found.found.of(name)
        if flag in raised or measure.value is None:
            continue
        if name == "second accuracy" and (
            measure.value.value < AGREES or "second network is no judge" in raised
        ):
            continue
        beside = [
            f"{REFERENCE_WORDS[each]} {measure.reference(each)}"
            for each in REFERENCES
            if each in measure.references
        ]
        words = f"{name}: {measure.words()}" + (f" ({', '.join(beside)})" if beside else "")
        yield Check("few", title, sentence(words))


def _key(found: Portrayed) -> str:
    words = (
        "Each card has a real picture of the class, and the portrait: noise that was moved along "
        "the network's gradient until the class's score was high, with the probability that the "
        "network gives it."
    )
    if AGAIN in found.images:
        words += " “Another start” is the same from other noise."
    if RANDOM in found.images:
        words += (
            " “Random weights” is what the same search makes of this architecture with weights "
            "drawn at random: what looks like that is the method, not what was learnt."
        )
    return words


def _card(study: Study, found: Portrayed, row: int) -> Card:
    label = found.classes[row]
    name = study.labels[label]
    behind = " (falls behind the others)" if label in found.behind else ""
    shown = [Picture(uri(found.real[row]), f"A real picture of {name}", "a real one")]
    for kind, title in ((OWN, "portrait"), (AGAIN, AGAIN), (RANDOM, RANDOM)):
        if kind in found.images:
            words = title if kind == RANDOM else f"{title}: {_said(study, found, kind, row)}"
            what = f"Portrait of {name}" + ("" if kind == OWN else f", {kind}")
            shown.append(Picture(uri(found.images[kind][row]), what, words))
    return Card(f"{name}{behind}", shown)


def _said(study: Study, found: Portrayed, kind: str, row: int) -> str:
    answers: Tensor = found.logits[kind][row].double().softmax(0)
    label, winner = found.classes[row], int(answers.argmax())
    words = _together(float(answers[label]))
    if winner != label:
        words += f", predicted as {study.labels[winner]}"
    if kind in found.opinions:
        told = found.opinions[kind][row]
        says = "agrees" if told.agrees else f"says {shortened(told.winner, 18)}"
        words += f"; second {says}, {_together(told.sure)}"
    return words


def _together(probability: float) -> str:
    """A probability that no end of a line takes apart."""
    return as_percent(probability).replace(" ", "\N{NO-BREAK SPACE}")


def _table(found: Assessment) -> Table:
    measures = [found.of(name) for name in _ROWS]
    there = [
        name
        for name in REFERENCES
        if any(name in one.references for one in measures if one.value is not None)
    ]
    return Table(
        ["measure", "portraits", *(REFERENCE_WORDS[name] for name in there)],
        [
            [one.name, one.words(), *(one.reference(name) for name in there)]
            for one in measures
            if one.value is not None
        ],
        "What was measured, and the same of other pictures",
        right=tuple(range(1, len(there) + 2)),
        folded=True,
    )


def _how(study: Study, found: Portrayed) -> str:
    record, method = found.found.record, PRESETS[found.method]
    words = [
        f"The preset {found.method}, {method.summary}; in {found.steps} steps, which are few, "
        f"from noise of seed {study.seed}.",
        f"Held against {record['real'] or 'no real pictures'}.",
    ]
    if found.unfinished:
        words.append(
            f"The time was up before {count(found.unfinished, 'more class', 'more classes')}."
        )
    left = [one.name for one in map(found.found.of, _ROWS) if one.value is None]
    if left:
        words.append(f"Not measured: {some(left)}.")
    words.append(
        "fluoroscope portrait draws them in full, by other methods and of units; fluoroscope "
        "invert assess says more of what they are worth."
    )
    return " ".join(words)


def _data(found: Portrayed) -> dict[str, object]:
    return {
        "classes": found.classes,
        "behind": found.behind,
        "unfinished": found.unfinished,
        "method": found.method,
        "steps": found.steps,
        "second": found.second or None,
        "headline": found.found.headline,
        "probabilities": {
            kind: [
                float(row.double().softmax(0)[label])
                for row, label in zip(found.logits[kind], found.classes, strict=True)
            ]
            for kind in found.images
            if kind != RANDOM
        },
        "assessment": found.found.describe(),
    }
