"""The verdict in a sentence, and whether it can be trusted."""

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
from fluoroscope.report.judged import required, sliced
from fluoroscope.report.registry import section
from fluoroscope.report.study import LeftOutError, Study
from fluoroscope.words import count, duration, interval, listed, percent, sentence


@section("verdict", "The verdict", order=10, cost=20)
def verdict(study: Study) -> Content:
    found = study.verdict
    blocks: list[Block] = [Text(_sentence(study, found), "lead"), _numbers(study, found)]
    cut, notes = sum(one.unfinished for one in found.components), found.notes
    if found.count < len(study.images) and not cut:
        blocks.append(
            Text(
                f"For want of time {found.count:,} of {count(len(study.images), 'picture')} were "
                "attacked, drawn at random.",
                "note",
            )
        )
        notes = notes[1:]  # the same in other words
    blocks += [Text(sentence(note), "note") for note in notes]
    blocks.append(_attacks(found))
    blocks += sliced(found.slices)
    blocks.append(Heading("Can this number be trusted?"))
    data = found.describe()
    try:
        study.go_on("The trust checks")
        checks = study.trust
        blocks += _trust(checks)
        if "trust" in study.cut:
            blocks.append(Text("For want of time the other checks were left out.", "note"))
        data["trust"] = [check.describe() for check in checks]
    except LeftOutError as reason:
        checks = (Found("trust checks", "not made", str(reason)),)
        blocks.append(Text(sentence(reason), "note"))
    outcomes = study.judge(checks)
    data["requirements"] = [one.describe() for one in outcomes]
    # Whoever asked for something wants to see first whether it is so.
    blocks[2:2] = required(outcomes)
    return Content(blocks, data)


def _sentence(study: Study, found: Verdict) -> str:
    name = study.name
    bound = study.ruler.bound(study.eps)
    start = (
        f"{name} classifies {percent(found.clean_accuracy)} of {count(found.count, 'picture')} "
        f"correctly. When {bound}, "
    )
    sure = f"(95\N{NO-BREAK SPACE}% interval {interval(found.robust_interval)})"
    if found.robust_accuracy == 0:
        return f"{start}it classifies none of them correctly {sure}."
    return f"{start}{percent(found.robust_accuracy)} survive every attack tried {sure}."


def _numbers(study: Study, found: Verdict) -> Numbers:
    numbers = [
        Number(
            percent(found.clean_accuracy),
            "right on clean pictures",
            f"95\N{NO-BREAK SPACE}% interval {interval(found.clean_interval)}",
        ),
        Number(
            percent(found.robust_accuracy),
            f"right under attack within {study.bound}",
            f"95\N{NO-BREAK SPACE}% interval {interval(found.robust_interval)}",
        ),
    ]
    if found.curve is not None and found.curve.right:
        numbers.append(
            Number(
                study.ruler.short(found.curve.median),
                "fools half of what it classifies correctly",
                f"median of the smallest changes found, {study.ruler.measure}",
            )
        )
    return Numbers(numbers)


def _attacks(found: Verdict) -> Table:
    return Table(
        ["attack", "pictures attacked", "fooled", "right after it", "passes", "time"],
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
    unmade = [check for check in checks if check.status == "not applicable"]
    checks = tuple(check for check in checks if check.status != "not applicable")
    worrying = [check for check in checks if check.status != "pass"]
    failed = [check for check in worrying if check.status == "fail"]
    if not checks:
        return [Text("No check could be made of this network.", "plain")]
    if failed:
        words = (
            f"Not as it stands. {listed([check.name for check in failed]).capitalize()} "
            f"{'speaks' if len(failed) == 1 else 'speak'} against it: the network may be easier to "
            "fool than these attacks could show."
        )
    elif worrying:
        words = (
            f"Mostly. Of {count(len(checks), 'check')} "
            f"{'one calls' if len(worrying) == 1 else f'{len(worrying)} call'} for a look."
        )
    else:
        words = (
            f"Nothing speaks against it: all {len(checks)} checks for a hidden gradient, for "
            "randomness and attacks that failed by themselves came out well."
        )
    marks: dict[str, Status] = {"fail": "fail", "warn": "warn", "pass": "pass"}
    ranked = sorted(checks, key=lambda check: [*marks].index(check.status))
    blocks: list[Block] = [
        Text(words),
        Checks(
            [Check(marks[one.status], one.name.capitalize(), sentence(one.words)) for one in ranked]
        ),
    ]
    if unmade:
        needs = "needs" if len(unmade) == 1 else "need"
        words = f"{count(len(unmade), 'more check')} {needs} a gradient, and none comes through."
        blocks.append(Text(words, "note"))
    return blocks
