"""The verdict in a sentence, and whether it can be trusted."""

from dataclasses import replace

from fluoroscope.engine.intervals import wilson
from fluoroscope.evaluation.behind import classes_behind, in_words
from fluoroscope.evaluation.check import FEW, by_share, few_pictures
from fluoroscope.evaluation.check import Check as Found
from fluoroscope.evaluation.verdict import Verdict
from fluoroscope.report.blocks import (
    Block,
    Check,
    Checks,
    Content,
    Heading,
    Number,
    Numbers,
    Status,
    Table,
    Text,
)
from fluoroscope.report.findings import EightBits
from fluoroscope.report.judged import required, sliced
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.report.subject import LeftOutError
from fluoroscope.words import count, duration, interval, listed, percent, sentence

_SURE = "95\N{NO-BREAK SPACE}% interval"


@section("verdict", "The verdict", order=10, cost=20)
def verdict(study: Study) -> Content:
    found = study.verdict
    eight, why = _eight_bits(study)
    blocks: list[Block] = [
        Text(_sentence(study, found), "lead"),
        _numbers(study, found, eight),
        *_behind(study, found),
    ]
    cut, notes = sum(one.unfinished for one in found.components), list(found.notes)
    if found.count < len(study.images) and not cut:
        notes = notes[1:]  # the sentence says it in other words
    notes = [*why, *study.naming, *(note for note in notes if note not in in_words(found.behind))]
    if found.count < FEW:
        notes.insert(0, f"{count(found.count, 'picture')} say little: see how wide the interval is")
    blocks += [Text(sentence(note), "note") for note in notes]
    blocks.append(_attacks(found))
    blocks += sliced(found.slices)
    blocks.append(Heading("Can this number be trusted?"))
    data = found.describe()
    data["eight_bits"] = None if eight is None else eight.describe()
    try:
        study.go_on("The trust checks")
        checks = study.trust
        blocks += _trust(checks)
        data["trust"] = [check.describe() for check in checks]
    except LeftOutError as reason:
        checks = (Found("trust checks", "not made", str(reason)),)
        blocks.append(Text(sentence(reason), "note"))
    outcomes = study.judge(checks)
    data["requirements"] = [one.describe() for one in outcomes]
    # Whoever asked for something wants to see first whether it is so.
    blocks[2:2] = required(outcomes)
    return Content(blocks, data)


def _eight_bits(study: Study) -> tuple[EightBits | None, list[str]]:
    """The verdict in 8 bits, and what is to be said of it."""
    try:
        found = study.eight_bits
    except LeftOutError as reason:
        return None, [str(reason)]
    if found is None:
        return None, []
    if found.whole:
        return found, []
    return found, [
        f"of the {count(found.fooled, 'picture')} that were fooled, {found.searched} were attacked "
        f"again in 8 bits before the time was up, and {found.again} of these are fooled in 8 bits "
        "too"
    ]


def _sentence(study: Study, found: Verdict) -> str:
    right = study.reading.right
    start = (
        f"{study.name} classifies {percent(float(right.double().mean()))} of "
        f"{count(len(right), 'picture')} correctly. "
    )
    whom, when = "of them", f"When {study.ruler.bound(study.eps)}, "
    if found.count < len(right):
        start += (
            f"There was time to attack {found.count:,} of them, drawn at random, of which it "
            f"classifies {percent(found.clean_accuracy)} correctly. "
        )
        whom = f"of these {found.count:,}"
    start += when
    sure = f"({_SURE} {interval(found.robust_interval)})"
    if found.robust_accuracy == 0:
        return f"{start}none {whom} is classified correctly any more {sure}."
    return (
        f"{start}{percent(found.robust_accuracy)} {whom} are still classified correctly, whatever "
        f"attack was tried {sure}."
    )


def _numbers(study: Study, found: Verdict, eight: EightBits | None) -> Numbers:
    right = study.reading.right
    whole = found.count == len(right)
    numbers = [
        Number(
            percent(float(right.double().mean())),
            "clean accuracy",
            f"{_SURE} {interval(wilson(int(right.sum()), len(right)))}",
        ),
        Number(
            percent(found.robust_accuracy),
            f"robust accuracy within {study.bound}" + (" in 8 bits" if study.grid else ""),
            f"{_SURE} {interval(found.robust_interval)}"
            + (
                ""
                if whole
                else f"; of the {count(found.count, 'picture')} attacked, of which "
                f"{percent(found.clean_accuracy)} are classified correctly as they are"
            ),
        ),
    ]
    if eight is not None and eight.whole:
        numbers.append(
            Number(
                percent(eight.robust / eight.count),
                "robust accuracy in 8 bits",
                f"the {count(eight.fooled, 'picture')} fooled "
                f"{'was' if eight.fooled == 1 else 'were'} attacked again, with pictures that a "
                "file can hold",
            )
        )
    if found.curve is not None and found.curve.right:
        numbers.append(
            Number(
                study.ruler.short(found.curve.median),
                "fools half of those classified correctly",
                f"median of the smallest changes found, {study.ruler.measure}"
                + (
                    "; less than half a level of 8 bits (0.5/255), so a saved picture cannot "
                    "hold it"
                    if study.vanishes(found.curve.median)
                    else ""
                ),
            )
        )
    return Numbers(numbers)


def _behind(study: Study, found: Verdict) -> list[Block]:
    """Classes that fall far behind; in clean accuracy of all pictures, as the section on it has."""
    reading = study.reading
    clean = classes_behind(reading.labels.numpy(), reading.right.numpy(), study.labels)
    robust = [
        replace(one, name=study.labels[one.label])
        for one in found.behind
        if one.measure == "robust"
    ]
    words = in_words([*clean, *robust])
    if not words:
        return []
    return [Checks([Check("fail", "Not alike for all classes", sentence(one)) for one in words])]


def _attacks(found: Verdict) -> Table:
    return Table(
        ["attack", "pictures attacked", "fooled", "robust after it", "passes", "time"],
        [
            [
                one.name,
                f"{one.given:,}",
                f"{one.fooled:,}",
                percent(one.robust_accuracy),
                f"{one.forwards + one.backwards:,}",
                duration(one.seconds),
            ]
            for one in found.components
        ],
        f"The attacks on {count(found.count, 'picture')}, one after the other",
        right=(1, 2, 3, 4, 5),
        folded=True,
    )


def _trust(checks: tuple[Found, ...]) -> list[Block]:
    without = [check for check in checks if check.status == "not applicable"]
    open_ = [check for check in checks if check.status == "not made"]
    made = [check for check in checks if check.status in ("pass", "warn", "fail")]
    if not made:
        return [Text("No check could be made of this network.", "plain")]
    marks: dict[str, Status] = {
        "fail": "fail",
        "warn": "warn",
        "not made": "unknown",
        "pass": "pass",
    }

    few = few_pictures(made)

    def mark(check: Found) -> Status:
        doubted = few and check.status == "pass" and "pictures" in check.evidence
        return "few" if doubted else marks[check.status]

    ranked = sorted([*made, *open_], key=lambda check: [*marks].index(check.status))
    blocks: list[Block] = [
        Text(_trusted(made, open_)),
        Checks([Check(mark(one), one.name.capitalize(), sentence(one.words)) for one in ranked]),
    ]
    blocks += [Text(sentence(one.words), "note") for one in without if one.name == "transfer"]
    blind = [one for one in without if one.name != "transfer"]
    if blind:
        needs = "needs" if len(blind) == 1 else "need"
        words = f"{count(len(blind), 'more check')} {needs} a gradient, and none comes through."
        blocks.append(Text(words, "note"))
    return blocks


def _trusted(made: list[Found], open_: list[Found]) -> str:
    """Whether the number can be trusted, as far as the checks that were made can tell."""
    worrying = [check for check in made if check.status != "pass"]
    failed = [check for check in worrying if check.status == "fail"]
    if failed:
        words = (
            f"Not as it stands. {listed([check.name for check in failed]).capitalize()} "
            f"{'speaks' if len(failed) == 1 else 'speak'} against it: the network may be easier to "
            "fool than these attacks could show."
        )
    elif open_:
        whole = len(made) + len(open_)
        words = f"That is open: of {whole} checks {len(made)} were made before the time was up."
        words += (
            f" {_calls(worrying)}." if worrying else " None of those speaks against the number."
        )
        return words + _of_few(made)
    elif worrying:
        words = f"Mostly. Of {count(len(made), 'check')} {_calls(worrying)}."
    elif few := _of_few(made):
        return f"As far as so few pictures tell: all {len(made)} checks came out well.{few}"
    else:
        words = (
            f"Nothing speaks against it: all {len(made)} checks for a hidden gradient, randomness "
            "and attacks that failed by themselves came out well."
        )
    if open_:
        words += f" Another {count(len(open_), 'check')} had no time."
    return words + _of_few(made)


def _calls(worrying: list[Found]) -> str:
    return "one calls for a look" if len(worrying) == 1 else f"{len(worrying)} call for a look"


def _of_few(made: list[Found]) -> str:
    """What checks on few pictures could have seen at all."""
    pictures = few_pictures(made)
    if not pictures:
        return ""
    needed = next((n for n in range(1, pictures + 1) if by_share(n, pictures) != "pass"), None)
    looked = f" They looked at {count(pictures, 'picture')} alone"
    if needed is None:
        return f"{looked}, too few for most of them to find anything."
    return f"{looked}: most of them only see a fault that shows on {needed} of these or more."
