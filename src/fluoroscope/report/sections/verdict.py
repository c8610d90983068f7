"""The verdict in a sentence, and whether it can be trusted."""

from fluoroscope.evaluation.verdict import Verdict
from fluoroscope.report.blocks import Block, Content, Number, Numbers, Table, Text
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.report.words import count, duration, interval, percent


@section("verdict", "The verdict", order=10, cost=20)
def verdict(study: Study) -> Content:
    found = study.verdict
    blocks: list[Block] = [
        Text(_sentence(study, found), "lead"),
        Numbers(
            [
                Number(
                    percent(found.clean_accuracy),
                    "right on clean pictures",
                    f"95 % interval {interval(found.clean_interval)}",
                ),
                Number(
                    percent(found.robust_accuracy),
                    f"still right under attack within {study.bound}",
                    f"95 % interval {interval(found.robust_interval)}",
                ),
                Number(
                    study.ruler.short(study.closest.median()),
                    "half are fooled by less",
                    f"median of the smallest {study.ruler.unit}",
                ),
            ]
        ),
    ]
    blocks += [Text(note[:1].upper() + note[1:] + ".", "note") for note in found.notes]
    blocks.append(
        Table(
            ["attack", "pictures attacked", "fooled", "still right after it", "passes", "time"],
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
            f"The attacks, on {count(found.count, 'picture')}",
            right=(1, 2, 3, 4, 5),
            folded=True,
        )
    )
    return Content(blocks, found.describe())


def _sentence(study: Study, found: Verdict) -> str:
    name = study.model.name
    bound = study.ruler.bound(study.eps)
    clean, robust = found.clean_accuracy, found.robust_accuracy
    start = f"{name} reads {percent(clean)} of {count(found.count, 'picture')} right, and when {bound}, "
    sure = f"{percent(robust)} (95 % interval {interval(found.robust_interval)})"
    if robust == 0:
        return start + f"none: {sure}."
    return start + f"{sure} under the strongest attacks tried."
