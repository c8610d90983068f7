"""What is measured of a method on a few pictures: numbers alone, of which the verdict is made.

- *coverage*: which operations had a rule, and functions with a way back of their own.
- *promise*: how far each map is from adding up to what it should.
- *alone*: how far a picture's map changes when the picture is alone.
- *frame*: the share of a map that lies where no pixel can matter; of maps of single pixels that
  follow the slope. A map that is shifted, or has noise in it, shows here.
- *mirror*: how far the map of the network behind a mirror is from the mirrored map; of methods that
  hand relevance on, which may give some to a frame as well.
- *empty*: a half of the picture in which a map is zero everywhere, though what is there matters.
- *class*: whether the map is of the class that was asked for. Of a network of whose logits that one
  alone depends on the picture it is not zero, and not the map of another class.
- *derivative*: how far the gradient is from finite differences, in float64. On flat ground, where
  pixels are alike, a maximum has ties and a ReLU may stand at its kink; there is no one derivative,
  so it is measured again beside it, all in float64.
- *traces*: what of the network and of the process is no longer as it was.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.audit.bench import Behind, Bench, OneClass, mirrored, traces, window_of
from fluoroscope.attribution.audit.subjects import Made, OfFunction, Subject
from fluoroscope.attribution.classes import objective_of
from fluoroscope.attribution.doubts import allowed
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import FluoroscopeError
from fluoroscope.notices import collected

PICTURES = 4
"""Pictures that are looked at."""
PICTURES_DEAR = 2
"""And of methods that take many passes."""
_ALONE, _FRAMED = (0, 1, 2), 2
DEAR = 40.0
"""Passes for a picture from which on a method is looked at on fewer."""
DERIVATIVE = 2e-3
"""Error of a derivative along a direction, as a share: kinks and rounding, not a noise of 1 %."""
# Noise, as a share of the picture, beside whose kinks a derivative is measured.
_BESIDE_KINKS = 0.01
# By how much an error falls at least with four times the points; what remains of a map that is
# zero; the share of the answer that a half matters by.
_FALLS, _NOTHING, _MATTERS = 0.9, 1e-6, 0.05
BESIDE = 4.0
"""How far maps may change with the pictures beside, in units of rounding."""


@dataclass(frozen=True)
class Evidence:
    """What was seen of a method, as plain values."""

    pictures: int = 0
    refused: str = ""
    """What it said, where it gave no maps."""
    passes: float = 0.0
    """Forward and backward, for a picture; 0 where nobody counts them."""
    promise: str | None = None
    tolerance: float = 0.0
    """The error of the promise that counts as none: :func:`~..doubts.allowed`."""
    converges: bool | None = False
    """Whether it keeps it in the limit alone, of ever more points or samples; ``None`` where nobody
    knows, as of a user's own."""
    absorbs: bool = False
    """Whether something keeps relevance by its rules themselves."""
    error: tuple[float, ...] = ()
    """How far each map is, as :func:`~..method.promise_error` has it."""
    share: tuple[float, ...] = ()
    """What each map adds up to, as a share of the number it explains."""
    own: bool = False
    """Whether both are of one picture, the worst, by the method with its own options: with the
    fewer probes of the audit it missed its promise."""
    constant: bool = False
    """Whether the network gives the same answer whatever the picture."""
    behind: bool = False
    """Whether what is explained lies behind a softmax."""
    without: int = 0
    """Maps that are zero everywhere."""
    not_finite: int = 0
    coverage: dict[str, dict[str, int]] | None = None
    rounding: float = 0.0
    """What rounding may change of a map, as a share."""
    alone: float | None = None
    """How far maps change where pictures are alone: the largest share."""
    again: float | None = None
    """How far they change where the same is asked again; asked where ``alone`` is large."""
    exactly: bool = False
    """Whether, where ``alone`` is large, maps are the same in float64: a rounding that falls on the
    other side of a kink changes a gradient by a jump."""
    frame: float | None = None
    """The largest share of a map that lies where no pixel can matter."""
    mirror: float | None = None
    """How far the map is from the mirrored one where the network sees a mirrored picture."""
    empty: str | None = None
    """Half of a picture in which the map is zero though the answer depends on it."""
    shows: str | None = None
    """``another`` where the map is of another class, ``any`` where it is the same for each."""
    mixes: float | None = None
    """How far maps change where pictures are alone, of a network that answers otherwise then."""
    derivative: float | None = None
    """The median error along random directions, as a share of the derivatives' size."""
    kink: float | None = None
    """The same at the pictures themselves, where they stand on a kink: it is right beside them."""
    traces: tuple[str, ...] = ()
    """What is not as it was."""
    unseen: tuple[str, ...] = field(default=())
    """Looks that the network does not allow, a sentence each."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Evidence":
        """From what :meth:`describe` gave, by way of JSON.

        Raises:
            TypeError: there are other fields.
        """
        lists = {name: tuple(each) for name, each in values.items() if isinstance(each, list)}
        return cls(**{**values, **lists})


def look(
    subject: Subject, bench: Bench, before: dict[str, Any] | None = None
) -> tuple[Evidence, Tensor | None]:
    """What is seen of a method on these pictures, and its maps ``(n, ...)``, if it gave any.

    ``before`` is what :func:`~.bench.traces` says of the network as it is.
    """
    before = before or traces(bench.model)
    if isinstance(subject, OfFunction):  # whose writer may do anything to a network: on a copy
        bench = bench.on(bench.model.to())
    try:
        with collected():
            # One alone tells what it costs; not the first, for there mistakes hide.
            row = min(1, len(bench) - 1)
            one = _maps(subject, _only(bench, row))
            bench = bench.first(PICTURES_DEAR if one.passes > DEAR else PICTURES)
            made = _maps(subject, bench)
            found = dict(_seen(subject, bench, made, {row: one.maps}))
    except FluoroscopeError as problem:
        made, found = None, {"refused": str(problem)}
    after = traces(bench.model)
    changed = tuple(name for name in before if before[name] != after[name])
    evidence = Evidence(
        pictures=len(bench), promise=subject.promise, rounding=bench.rounding, traces=changed,
        **found,
    )  # fmt: skip
    return evidence, None if made is None else made.maps


def _seen(
    subject: Subject, bench: Bench, made: Made, alone: dict[int, Tensor]
) -> Iterator[tuple[str, Any]]:
    maps = made.maps.double()
    yield "passes", made.passes
    yield "without", int((maps.flatten(1) == 0).all(1).sum())
    yield "not_finite", int((~maps.flatten(1).isfinite()).any(1).sum())
    if bench.doubt("constant"):  # whatever a map shows is rounding, or of the picture alone
        yield "constant", True
        return
    if made.coverage is not None:
        yield "coverage", made.coverage.describe()
    elif subject.hooks:
        yield "coverage", bench.hooked
    if subject.promise is not None and not bool(made.error.isnan().all()):
        yield from _promised(subject, bench, made)
        yield "absorbs", subject.absorbs
    if not bool(maps.isfinite().all()):
        return
    yield from _again(subject, bench, maps, alone)
    if subject.promise == "conservation":
        yield from _mirror(subject, bench, maps)
    else:
        yield from _frame(subject, bench, made.passes > DEAR)
    if subject.of_class:
        yield "shows", _shows(subject, bench.first(1), maps[:1])
    if subject.name == "gradient":
        yield from _slope(subject, bench, maps)


def _promised(subject: Subject, bench: Bench, made: Made) -> Iterator[tuple[str, Any]]:
    assert subject.promise is not None
    tolerance = allowed(subject.promise, bench.model, converges=subject.converges)
    yield "tolerance", tolerance
    worst = int(made.error.argmax())
    own = subject.unhurried() if float(made.error[worst]) > tolerance else None
    if own is None:
        converges = subject.converges and _converges(subject, bench, made.error, tolerance)
    else:  # what is promised is promised of the method as it is used, not of an audit's short cut
        hurried, made = float(made.error[worst]), _maps(own, _only(bench, worst))
        error = float(made.error[0])
        converges = own.converges and (error <= tolerance or error < _FALLS * hurried)
        yield "own", True
    yield "converges", converges
    yield "error", tuple(made.error.tolist())
    yield "behind", bench.model.outputs != "logits" or bench.doubt("outputs")
    sums = made.maps.double().flatten(1).sum(1)
    yield "share", tuple((sums / made.values).nan_to_num().tolist())


def _again(
    subject: Subject, bench: Bench, maps: Tensor, alone: dict[int, Tensor]
) -> Iterator[tuple[str, Any]]:
    if bench.doubt("random"):
        yield (
            "unseen",
            ("The network itself answers otherwise another time, so maps were not made twice.",),
        )
        return
    apart = _beside(subject, bench, maps, alone)
    if bench.doubt("batch"):
        yield "mixes", apart
        return
    yield "alone", apart
    if apart <= BESIDE * bench.rounding:
        return
    again = _apart(_maps(subject, bench).maps.double(), maps)
    yield "again", again
    exact = bench.exact if again <= BESIDE * bench.rounding else None
    if exact is not None:
        found = _beside(subject, exact, _maps(subject, exact).maps.double(), {})
        yield "exactly", found <= BESIDE * exact.rounding


def _beside(subject: Subject, bench: Bench, maps: Tensor, alone: dict[int, Tensor]) -> float:
    """How far maps change where each of the first pictures is alone; of ``alone`` it is known."""
    rows = [1] if len(bench) == PICTURES_DEAR else [row for row in _ALONE if row < len(bench)]
    found = [alone[row] if row in alone else _maps(subject, _only(bench, row)).maps for row in rows]
    return _apart(torch.cat(found).double(), maps[rows])


def _frame(subject: Subject, bench: Bench, dear: bool) -> Iterator[tuple[str, Any]]:
    window = window_of(bench.images)
    if not subject.of_pixels or window is None:
        return
    # Of noise in part: no pixel is black, or is what some baseline is, and may be zero for that.
    bench = bench.first(1 if dear else _FRAMED).dithered(0.5)
    maps = _maps(subject, bench.on(Behind(bench.model, window))).maps.double()
    outside = (maps * (1 - window.double().cpu())).abs().flatten(1).sum(1)
    whole = maps.abs().flatten(1).sum(1)
    yield "frame", float((outside / whole.where(whole > 0, 1.0)).max())
    if bool((whole > 0).all()):
        yield "empty", _empty(bench, maps, window)


def _empty(bench: Bench, maps: Tensor, window: Tensor) -> str | None:
    """The half of the window in which maps are zero though black there changes the answers."""
    height, width = maps.shape[2:]
    goal = objective_of(bench.classes)

    def answers(images: Tensor) -> Tensor:
        found = evaluate(bench.model, images, bench.classes, goal, look=False).objective
        assert found is not None
        return found.double()

    seen = bench.images * window
    full = answers(seen)
    whole = (full - answers(torch.zeros_like(seen))).abs()
    halves = {
        "upper": (slice(height // 2), slice(None)),
        "lower": (slice(height // 2, None), slice(None)),
        "left": (slice(None), slice(width // 2)),
        "right": (slice(None), slice(width // 2, None)),
    }
    for name, (rows, columns) in halves.items():
        if bool(maps[..., rows, columns].any()):
            continue
        black = seen.clone()
        black[..., rows, columns] = 0
        if bool(((full - answers(black)).abs() > _MATTERS * whole).all()):
            return name
    return None


def _shows(subject: Subject, bench: Bench, maps: Tensor) -> str | None:
    asked = bench.classes[0].flatten().tolist()
    other = next((c for c in range(bench.model.num_classes) if c not in asked), None)
    if other is None or not bool(maps.any()):
        return None
    bench = bench.on(OneClass(bench.model, tuple(asked)))
    classes = bench.classes.clone()
    classes[(0, 0) if classes.dim() == 2 else 0] = other
    try:
        own = _maps(subject, bench).maps.double()
    except FluoroscopeError:
        return None
    if float(own.abs().max()) <= _NOTHING * float(maps.abs().max()):
        return "another"
    try:
        theirs = _maps(subject, replace(bench, classes=classes)).maps.double()
    except FluoroscopeError:  # there is nothing to explain, which it says
        return None
    return "any" if _apart(theirs, own) <= _NOTHING else None


def _converges(subject: Subject, bench: Bench, error: Tensor, tolerance: float) -> bool:
    """Whether the error falls with four times as many points; asked where it counts."""
    more = subject.refined() if float(error.max()) > tolerance else None
    if more is None:
        return True
    worst = int(error.argmax())
    return float(_maps(more, _only(bench, worst)).error[0]) < _FALLS * float(error[worst])


def _mirror(subject: Subject, bench: Bench, maps: Tensor) -> Iterator[tuple[str, Any]]:
    if not subject.of_pixels:
        return
    seen = replace(bench.on(Behind(bench.model)), images=mirrored(bench.images))
    yield "mirror", _apart(mirrored(_maps(subject, seen).maps.double()), maps)


def _slope(subject: Subject, bench: Bench, maps: Tensor) -> Iterator[tuple[str, Any]]:
    if bench.slopes is None:
        yield "unseen", (
            "There is no copy of the network in float64, so whether it is the derivative was not "
            "held against finite differences.",
        )  # fmt: skip
        return
    found = _derivative(maps, *bench.slopes)
    if found > DERIVATIVE:
        beside = (bench.exact or bench).dithered(_BESIDE_KINKS)
        assert beside.slopes is not None
        off = _derivative(_maps(subject, beside).maps.double(), *beside.slopes)
        if off <= DERIVATIVE:
            yield "kink", found
            found = off
    yield "derivative", found


def _derivative(maps: Tensor, ways: Tensor, slopes: Tensor) -> float:
    said = (maps[:, None] * ways).flatten(2).sum(2)
    size = slopes.square().mean().sqrt()
    return float(((said - slopes).abs() / size.where(size > 0, 1.0)).median())


def _apart(ones: Tensor, others: Tensor) -> float:
    """The largest distance of two maps of a picture, as a share of the map."""
    difference = (ones - others).flatten(1).norm(dim=1)
    size = others.flatten(1).norm(dim=1).maximum(ones.flatten(1).norm(dim=1))
    # Beside maps of a size, one of nothing but rounding is zero.
    size = size.maximum(_NOTHING * size.max())
    return float((difference / size.where(size > 0, 1.0)).nan_to_num(torch.inf).max())


def _only(bench: Bench, row: int) -> Bench:
    return Bench(
        bench.model,
        bench.images[row : row + 1],
        bench.classes[row : row + 1],
        bench.numbers[row : row + 1],
        bench.seed,
    )


def _maps(subject: Subject, bench: Bench) -> Made:
    return subject.maps(bench.model, bench.images, bench.classes, bench.numbers, bench.seed)
