"""How a verdict looks on a terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from fluoroscope.cli.output import Output
from fluoroscope.cli.slices import report_slices
from fluoroscope.models.labels import printable
from fluoroscope.words import NORMS, Ruler, threat_name

if TYPE_CHECKING:
    from fluoroscope.engine.intervals import Interval
    from fluoroscope.evaluation.curve import Curve
    from fluoroscope.evaluation.verdict import Component, Verdict


def report(output: Output, verdict: "Verdict") -> None:
    """The accuracies, what each attack did, and what is to be known of them."""
    identity = verdict.record["identity"]
    data, plan = identity["data"], identity["plan"]["name"]
    split = f":{data['split']}" if data["split"] else ""
    output.table(
        [printable(identity["model"]), ">", "95 % interval"],
        [
            ["data", printable(data["name"] + split), f"{verdict.count} pictures"],
            [
                "threat",
                threat_name(identity["threat"])
                + (", 8-bit pictures" if "grid" in identity else ""),
                f"plan {printable(plan)}",
            ],
            ["clean accuracy", share(verdict.clean_accuracy), interval(verdict.clean_interval)],
            *(
                [["robust accuracy", share(verdict.robust_accuracy),
                  interval(verdict.robust_interval)]]
                if verdict.bounded
                else []
            ),
        ],
    )  # fmt: skip
    right = round(verdict.clean_accuracy * verdict.count)
    attacks = [
        [each.name, each.given, each.fooled, share(each.robust_accuracy), *_spent(each)]
        for each in verdict.components
    ]
    looks = [
        whole - sum(parts)
        for whole, *parts in zip(_costs(verdict), *map(_costs, verdict.components), strict=True)
    ]
    output.table(
        ["attack", "given>", "fooled>", "left>", "forwards>", "backwards>", "seconds>"],
        [
            [
                "none", verdict.count, verdict.count - right, share(verdict.clean_accuracy),
                *looks[:2], f"{looks[2]:.1f}",
            ],
            *attacks,
            ["in all", "", "", "", *_spent(verdict)],
        ],
        named=True, whole=True,
    )  # fmt: skip
    if verdict.curve is not None:
        _report_curve(output, verdict.curve, _channels(verdict))
    report_slices(output, verdict.slices)
    if verdict.trust:
        output.table(
            ["can it be trusted?", "", "what was seen"],
            (
                [printable(check.name), check.status, printable(check.words)]
                for check in verdict.trust
            ),
        )
    for note in verdict.notes:
        output.note(note)


def draw_curve(verdict: "Verdict", directory: Path) -> Path:
    """Accuracy against the bound, as ``curve.png``."""
    from fluoroscope.pictures.curves import robustness_curves
    from fluoroscope.pictures.maps import write_figure

    curve, identity = verdict.curve, verdict.record["identity"]
    assert curve is not None
    eps = identity["threat"]["eps"]
    figure = robustness_curves(
        {"all": [(point.eps, point.accuracy, *point.interval) for point in curve.points()]},
        norm=curve.norm,
        channels=_channels(verdict),
        mark=eps if isinstance(eps, float) else None,
        title=f"{identity['model']} on {identity['data']['name']}",
    )
    return write_figure(directory / "curve.png", figure)


def _channels(verdict: "Verdict") -> int:
    """Of the pictures; runs of earlier versions do not say."""
    found = verdict.record.get("channels")
    return found if isinstance(found, int) else 1


def _report_curve(output: Output, curve: "Curve", channels: int) -> None:
    from fluoroscope.evaluation.curve import QUANTILES

    ruler = Ruler(curve.norm, channels)
    quantiles = [(share, curve.quantile(share)) for share in QUANTILES]
    output.table(
        ["fooled, of those correct", *(f"{at:.0%}>" for at, _ in quantiles)],
        [
            [
                f"within {NORMS.get(curve.norm, curve.norm)}",
                *(ruler.short(eps, 4) for _, eps in quantiles),
            ]
        ],
    )


def share(value: float) -> str:
    """In percent."""
    return f"{100 * value:.2f} %"


def interval(of: "Interval") -> str:
    """In percent."""
    return f"{100 * of[0]:.2f} to {100 * of[1]:.2f} %"


def _costs(of: "Verdict | Component") -> tuple[int, int, float]:
    return of.forwards, of.backwards, of.seconds


def _spent(of: "Verdict | Component") -> list[object]:
    return [of.forwards, of.backwards, f"{of.seconds:.1f}"]
