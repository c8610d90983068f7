"""What an audit comes back with: a verdict on each method, and everything it was made of."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluoroscope.attribution.audit.computed import Computed, computed, same
from fluoroscope.attribution.audit.faithfulness import METRICS, Score
from fluoroscope.attribution.audit.looks import Evidence
from fluoroscope.attribution.audit.randomise import Likeness
from fluoroscope.attribution.audit.verdict import Verdict
from fluoroscope.attribution.metrics import metric
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import output_directory, regular
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wording import did_you_mean
from fluoroscope.pictures import html
from fluoroscope.sealed_files import read_record, write_record
from fluoroscope.words import count, listed, network_name

FORMAT = 2
FILE = "audit.json"
# Bytes of a file that is read back; numbers of a picture that an audit says it is of.
_MOST, _MOST_PIXELS = 16 * 2**20, 2**26
# Letters of what is said of a method in a notebook: whole sentences.
_LETTERS = 2_000


@dataclass(frozen=True)
class Audited:
    """What an audit says of one method, and what it was made of."""

    verdict: Verdict
    evidence: Evidence
    random: tuple[Likeness, ...] = ()
    """How alike its maps are to those of networks of which layers are drawn anew."""
    scores: dict[str, Score] = field(default_factory=dict)
    """By metric: srg, insertion, deletion, road."""
    rivals: dict[str, str] = field(default_factory=dict)
    """By metric: the best control of the same pictures, where the method's mean is no better."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self.verdict.describe(),
            "evidence": self.evidence.describe(),
            "random_weights": [one.describe() for one in self.random],
            "scores": {name: one.describe() for name, one in self.scores.items()},
            "no_better_than": dict(self.rivals),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit(html.Shown):
    """What methods' maps are worth on one network."""

    rows: tuple[Audited, ...]
    """A method each, in the order in which they were asked for."""
    controls: dict[str, dict[str, Score]]
    """The scores of maps that know nothing of the network, by control and metric."""
    telling: dict[str, str]
    """By metric: whether the best method beats the best control here, in a sentence; of methods
    that are *not valid here* none is spoken of."""
    non_linear: dict[str, int]
    """Operations of the network that are not linear, by name."""
    record: dict[str, Any]
    """Network with its content hash, pictures, classes, settings and versions, as plain values."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""
    informative: tuple[str, ...] = ()
    """The metrics by which the best method does."""
    complete: bool = True
    """Whether all looks were made that were asked for."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have a verdict."""
        return tuple(row.verdict.method for row in self.rows)

    def of(self, method: str) -> Audited:
        """Everything about one method.

        Raises:
            InvalidParameterError: it was not audited.
        """
        for row in self.rows:
            if row.verdict.method == method:
                return row
        raise InvalidParameterError(
            f"the audit has no method {method!r}; {did_you_mean(method, self.methods)}expected one "
            f"of {', '.join(self.methods) or 'none'}"
        )

    def verdict(self, method: str) -> Verdict:
        """What it says of a method.

        Raises:
            InvalidParameterError: it was not audited.
        """
        return self.of(method).verdict

    @property
    def valid(self) -> tuple[str, ...]:
        """The methods whose verdict is *valid*, in the order in which they were asked for."""
        return tuple(row.verdict.method for row in self.rows if row.verdict.passed)

    @property
    def best(self) -> tuple[str, ...]:
        """The valid methods, the best first, by :attr:`ranked_by`; none where no metric ranks them.

        Behind them come those that were scored on fewer pictures, or not at all.
        """
        by = self.ranked_by
        if by is None:
            return ()
        sign = 1 if metric(by).higher_is_better else -1

        def place(name: str) -> tuple[int, float]:
            score = self.of(name).scores.get(by)
            return (0, 0.0) if score is None else (-score.pictures, -sign * score.mean)

        return tuple(sorted(self.valid, key=place))

    @property
    def ranked_by(self) -> str | None:
        """The metric that ranks :attr:`best`: the relevance gain (SRG) where it tells methods from
        controls here, else the first metric that does; ``None`` where none does."""
        return next((name for name in METRICS if name in self.informative), None)

    def no_better_than(self, method: str) -> str | None:
        """The best control, where on average the method scores no better by :attr:`ranked_by`.

        ``None`` where it scores better, and where nothing ranks.

        Raises:
            InvalidParameterError: the method was not audited.
        """
        return self.of(method).rivals.get(self.ranked_by or "")

    def is_of(self, model: Classifier) -> bool:
        """Whether it is of this network: of its weights, and of what its code makes of them."""
        model, found = model.plain, Computed(**self.record["computed"])
        return bool(self.record.get("model_sha256") == model.fingerprint()) and same(
            found, computed(model, found.shape)
        )

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "complete": self.complete,
            "methods": [row.describe() for row in self.rows],
            "controls": {
                name: {metric: one.describe() for metric, one in scores.items()}
                for name, scores in self.controls.items()
            },
            "telling": dict(self.telling),
            "informative": list(self.informative),
            "non_linear": dict(self.non_linear),
            "record": self.record,
            "notes": list(self.notes),
        }

    def save(self, directory: str | Path) -> Path:
        """Write ``audit.json`` into a directory; it appears whole or not at all.

        Raises:
            InvalidParameterError, StorageError: it cannot be written.
        """
        return write_record(place_in(directory), _without_nan(self.describe()), FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> "Audit":
        """Read back what :meth:`save` wrote: the file, or the directory it is in.

        Raises:
            ResultFormatError: no such file, or one that is broken or of another version.
        """
        return read_record(
            path, FILE, FORMAT, _read, most=_MOST, one="audit", wrote="fluoroscope audit"
        )

    def _line(self) -> str:
        said = f"{len(self.valid)} of {count(len(self.rows), 'method')} valid"
        return f"{network_name(str(self.record.get('model')))}: {said}"

    def _view(self) -> Iterator[html.Html]:
        yield html.table(
            ("method", "verdict", "SRG", "why"),
            [
                (
                    row.verdict.method,
                    marked(self, row.verdict),
                    score_words(row.scores.get("srg")),
                    " ".join((*row.verdict.reasons, *row.verdict.remarks)),
                )
                for row in self.rows
            ],
            right=(2,),
            most=40,
            letters=_LETTERS,
        )
        yield html.paragraph(" ".join(f"{each}." for each in self.telling.values()))
        yield html.notes(self.notes)


def marked(found: Audit, verdict: Verdict) -> str:
    """The verdict, and whether the method's maps are no better than some that know nothing."""
    rival = found.no_better_than(verdict.method)
    return verdict.words if rival is None else f"{verdict.words}, no better than {rival}"


def place_in(directory: str | Path) -> Path:
    """Where an audit is written in a directory, which is made.

    Raises:
        InvalidParameterError: a file that no audit wrote is in its place; it cannot be written to.
    """
    path = output_directory(directory) / FILE
    if path.exists() and not _of_an_audit(path):
        raise InvalidParameterError(
            f"{path} is a file that no audit wrote, and stays; expected a directory without one"
        )
    return path


def _of_an_audit(path: Path) -> bool:
    """Whether a file is what some version of this wrote."""
    try:
        if regular(path).stat().st_size > _MOST:
            return False
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"format", "methods", "record"} <= found.keys()


def score_words(score: Score | None) -> str:
    """``0.31 (0.25 to 0.36)``."""
    if score is None:
        return "–"
    if score.pictures < 2:
        return f"{score.mean:.2f}"
    return f"{score.mean:.2f} ({score.low:.2f} to {score.high:.2f})"


def covered(audit: Audit) -> str:
    """What of the network is not linear, in words."""
    if not audit.non_linear:
        return ""
    parts = [f"{name} {many:,}" for name, many in audit.non_linear.items()]
    total = sum(audit.non_linear.values())
    return f"{count(total, 'operation')} of the network are not linear: {listed(parts)}"


def _read(found: dict[str, Any]) -> Audit:
    from pydantic import TypeAdapter

    of = TypeAdapter(Computed).validate_python(found["record"]["computed"])
    if len(of.shape) != 3 or min(of.shape) < 1 or math.prod(of.shape) > _MOST_PIXELS:
        raise ValueError(f"its pictures have shape {of.shape}")
    rows = []
    for row in found["methods"]:
        verdict = {
            "method": row["method"],
            "word": "the same map as" if row["same_as"] else row["verdict"],
            "same_as": row["same_as"],
            "reasons": row["reasons"],
            "remarks": row["remarks"],
        }
        rows.append(
            {
                "verdict": verdict,
                "evidence": _with_nan(row["evidence"]),
                "random": row["random_weights"],
                "scores": {name: _unbounded(one) for name, one in row["scores"].items()},
                "rivals": row["no_better_than"],
            }
        )
    return TypeAdapter(Audit).validate_python(
        {
            **{
                name: found[name]
                for name in ("telling", "informative", "non_linear", "record", "notes")
            },
            "rows": rows,
            "complete": found["complete"],
            "controls": {
                name: {metric: _unbounded(one) for metric, one in scores.items()}
                for name, scores in found["controls"].items()
            },
        }
    )


def _unbounded(score: dict[str, Any]) -> dict[str, Any]:
    low = float("-inf") if score["low"] is None else score["low"]
    high = float("inf") if score["high"] is None else score["high"]
    return {**score, "low": low, "high": high}


_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _without_nan(value: Any) -> Any:
    """Numbers that JSON does not have, as words."""
    if isinstance(value, float) and not abs(value) < float("inf"):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value


def _with_nan(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {name: _with_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_nan(one) for one in value]
    return value
