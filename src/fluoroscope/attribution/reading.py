"""How maps are read, in words: units, colours, baselines, and what the network answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fluoroscope.attribution.names import METHODS, read_as
from fluoroscope.words import as_percent, count, percent, shortened, some

LOGIT = "logit: the score of a class, before it becomes percent"
"""Said once wherever numbers are in it."""
# A class with less is one that the network does not see.
_REJECTED = 0.01
# Methods whose numbers are falls of the score while a pixel is hidden, which overlap.
_HIDING = ("occlusion", "feature-ablation")
_SEVERAL = {
    "logit": "logits",
    "probability": "probabilities",
    "log-probability": "log-probabilities",
    "margin": "margins",
}


def unit_of(record: Mapping[str, Any], pairs: bool) -> str:
    """What the numbers are in; of pairs they are parts of a difference."""
    method = str(record["method"])
    objective = str(_options(record).get("objective") or "logit")
    if pairs:
        objective = f"difference of {_SEVERAL.get(objective, objective)}"
    if method in _HIDING:
        return f"fall of the {objective} while hidden"
    match read_as(method):
        case "slope":
            return f"{objective} per unit of pixel value"
        case "heat":
            return "no unit"
    return f"parts of the {objective}"


def key_of(method: str, signed: bool, targets: Tensor, labels: Sequence[str]) -> str:
    """What the colours mean, a line each."""
    if not signed:
        return "bright: much\ndark: nothing"
    slope = read_as(method) == "slope"
    if targets.dim() < 2 or not len(targets):
        if slope:
            return "red: brighter pixels raise it\nblue: darker pixels raise it"
        return "red speaks for the class\nblue against it"
    one, rival = (
        shortened(labels[found[0]]) if len(found := side.unique().tolist()) == 1 else other
        for side, other in zip(targets.T, ("the class", "its rival"), strict=True)
    )
    if slope:
        return f"red: brighter pixels favour {one}\nblue: brighter pixels favour {rival}"
    return f"red speaks for {one}\nblue for {rival}"


def ground_of(record: Mapping[str, Any]) -> str:
    """What the picture is compared with, how coarse the map is, and whose it is, a line each."""
    lines = []
    baseline = _options(record).get("baseline")
    if isinstance(baseline, Mapping):
        baseline = "a picture" if len(baseline.get("shape", ())) == 3 else "pictures"
    if baseline is not None:
        lines.append(f"{'hidden by' if _is_mask(record) else 'compared with'} {baseline}")
    if isinstance(places := _places(record), list) and len(places) == 2:
        lines.append(f"{places[0]}×{places[1]} places, enlarged")
    if record["method"] == "eigen-cam":
        lines.append("the same for every class")
    return "\n".join(lines)


def kept(promise: str | None, error: float, missed: bool) -> str:
    """How well a map keeps what its method promises."""
    if promise is None:
        return ""
    size = f"{error:.0e}" if error < 1e-3 else percent(error)
    return f"{'misses the score by' if missed else 'adds up to the score within'} {size}"


def answer_words(best: Sequence[tuple[str, float]]) -> str:
    """What the network says of a picture, of its best classes: ``3 (64 %), then 5 (36 %)``."""
    return ", then ".join(f"{shortened(label)} ({as_percent(sure)})" for label, sure in best[:2])


def doubt_of(record: Mapping[str, Any], signed: bool, shares: Sequence[float]) -> str:
    """Of a map without a sign, as of class activations, whose class the network rejects, a word.

    What is bright there is what little speaks for the class, and nothing shows what outweighs it.
    """
    if signed or not shares or _places(record) is None or record["method"] == "eigen-cam":
        return ""
    if shares[0] < _REJECTED:
        return f"what little speaks for it: the network gives it {as_percent(shares[0])}"
    return "the network answers its rival" if len(shares) > 1 and shares[0] < shares[1] else ""


def coverage_words(
    coverage: Mapping[str, Mapping[str, int]] | None, promise: str | None = "completeness"
) -> str:
    """How many operations had a rule, and which had none; nothing of methods without rules.

    What is counted depends on the promise: relevance passes every operation by a rule, a method
    that promises completeness needs them where operations are not linear, and one that promises
    nothing has them for activations alone.
    """
    if coverage is None:
        return ""
    missed, handled = coverage.get("missed") or {}, coverage.get("handled") or {}
    what = {"conservation": "operation", "completeness": "non-linear operation"}
    if promise is None:
        from fluoroscope.attribution.rules.graph import ACTIVATIONS

        missed = {name: many for name, many in missed.items() if name in ACTIVATIONS}
    words = f"{count(sum(handled.values()), what.get(str(promise), 'activation'))} by a rule"
    if not missed:
        return f"{words}, none without"
    names = some([f"{name} × {times}" for name, times in missed.items()])
    return f"{words}, {sum(missed.values())} without: {names}"


def _options(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.get("options") or {}


def _places(record: Mapping[str, Any]) -> Any:
    """How many places the layer has that a class activation map was read at."""
    layer = record.get("layer")
    return layer.get("places") if isinstance(layer, Mapping) else None


def _is_mask(record: Mapping[str, Any]) -> bool:
    about = METHODS.get(str(record["method"]))
    return about is not None and about.home.startswith("masks.")
