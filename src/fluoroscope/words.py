"""Numbers, labels and distances as people read them, on every screen, page and picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Protocol

# What separates a number from its unit, where a line must not break.
_THIN = "\N{NARROW NO-BREAK SPACE}"


NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent: 0.853 is ``85.3 %``."""
    return f"{100 * share:.{digits}f}{_THIN}%"


def as_percent(probability: float) -> str:
    """A network's probability as people say it: none is 0 or 1 but by rounding, also of floats."""
    if probability < 0.0005:
        return f"< 0.1{_THIN}%"
    if probability >= 0.9995:
        return f"> 99.9{_THIN}%"
    return percent(probability)


def interval(bounds: tuple[float, float], digits: int = 1) -> str:
    """An interval of shares in per cent."""
    low, high = bounds
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}{_THIN}%"


def number(value: float, digits: int = 3) -> str:
    """A number to so many digits that count."""
    if not isfinite(value):
        return "none" if value == inf else "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def average(value: float) -> str:
    """A mean of counts: ``1,004.5``, ``40,401``."""
    return f"{value:,.1f}".removesuffix(".0")


def count(many: int, one: str, several: str | None = None) -> str:
    """A count with its noun: ``1 picture``, ``1,000 pictures``."""
    return f"{many:,} {one if many == 1 else several or one + 's'}"


def of_classes(seen: int, known: int) -> str:
    """How many of the classes there are pictures of: ``all 10 classes``, ``3 of 10 classes``."""
    classes = count(known, "class", "classes")
    if seen < known:
        return f"{seen:,} of {classes}"
    if known == 2:
        return "both classes"
    return f"all {classes}" if known > 1 else classes


def listed(words: Sequence[str], joint: str = "and") -> str:
    """``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {joint} {words[-1]}"


def some(words: Sequence[str], most: int = 10) -> str:
    """The first of several words, and how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(map(shortened, words[:most])) + more


def shortened(text: str, most: int = 28) -> str:
    """A label that fits: its first name where it has several, cut where it is long."""
    first = text.split(",")[0].strip() or text
    return first if len(first) <= most else first[: most - 1].rstrip() + "…"


def class_names(labels: Sequence[str], most: int = 28) -> list[str]:
    """All of a network's labels, short enough for a line and told apart: where the first name is
    another's too the whole label, and where that is long or another's too a number beside it.
    """
    firsts, whole = [shortened(label, most) for label in labels], Counter(labels)
    many, found = Counter(firsts), []
    for number, (first, label) in enumerate(zip(firsts, labels, strict=True)):
        alone = many[first] == 1
        fits = whole[label] == 1 and len(label) <= most
        found.append(first if alone else label if fits else f"{first} ({number})")
    return found


def network_name(name: str) -> str:
    """A network as pictures for others name it: of a path of this machine the last part."""
    local = name.startswith(("/", ".", "~"))
    return name.rstrip("/").rpartition("/")[2] or name if local else name


def picture_name(name: str, index: int, most: int = 32) -> str:
    """What a picture is called in a line: the end of its file's name, else its number."""
    if not name or name.endswith(f":{index}"):
        return str(index)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def sentence(text: object) -> str:
    """With a capital and a full stop."""
    words = " ".join(str(text).split())
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def duration(seconds: float) -> str:
    """``48 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f}{_THIN}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_THIN}s"
    if whole < 3600:
        return f"{whole // 60}{_THIN}min {whole % 60}{_THIN}s"
    return f"{whole // 3600}{_THIN}h {whole % 3600 // 60}{_THIN}min"


def whole_levels(eps: float) -> int | None:
    """A bound as a number of 255ths, where people quote it so: 8 of ``8/255``."""
    levels = eps * 255
    return round(levels) if 1 <= levels <= 32 and abs(levels - round(levels)) < 1e-6 else None


def threat_name(threat: Mapping[str, object]) -> str:
    """A threat model as records hold it: ``linf 8/255``, ``l2 0.5``."""
    norm, eps = threat.get("norm", ""), threat.get("eps")
    if not isinstance(eps, float):
        return str(norm)
    levels = whole_levels(eps)
    return f"{norm} {f'{levels}/255' if levels else f'{eps:g}'}"


class _Named(Protocol):
    @property
    def name(self) -> str:
        """Of a norm."""


class Ruler:
    """How distances of a norm are written and explained.

    Largest changes of colour pictures come in 255ths, as the field quotes them and as files hold
    them.
    """

    def __init__(self, norm: str, channels: int) -> None:
        self.norm = norm
        self.levels = norm == "linf" and channels == 3

    @property
    def unit(self) -> str:
        """What stands on an axis."""
        return {
            "linf": "largest change of a pixel" + (", in 255ths" if self.levels else ""),
            "l2": "Euclidean length of the change (L2)",
            "l1": "sum of the changes (L1)",
            "l0": "pixels changed (L0)",
        }.get(self.norm, f"distance ({self.norm})")

    @property
    def measure(self) -> str:
        """What is measured, as a part of a sentence."""
        return {
            "linf": "by the pixel that changes most",
            "l2": "by Euclidean length",
            "l1": "by the sum over all pixels",
            "l0": "by pixels changed",
        }.get(self.norm, self.norm)

    def scaled(self, distance: float) -> float:
        """As a number on the axis."""
        return 255 * distance if self.levels else distance

    def short(self, distance: float, digits: int = 3) -> str:
        """As a number with its unit: ``1.3/255``, ``0.08``."""
        if not isfinite(distance):
            return "none found"
        return f"{number(self.scaled(distance), digits)}{'/255' if self.levels else ''}"

    def share(self, distance: float) -> str:
        """A largest change as a part of the range: ``10 %``, ``2/255 of black to white``."""
        far = self.short(distance) if self.levels else f"{number(100 * distance)}{_THIN}%"
        return f"{far} of black to white"

    def change(self, distance: float) -> str:
        """A change of this size, as the end of a sentence."""
        far = self.short(distance)
        match self.norm:
            case "linf":
                return f"a change of at most {far} a pixel"
            case "l2":
                return f"a change of Euclidean length {far}"
            case "l1":
                return f"changes that add up to {far}"
            case "l0":
                return f"a change of {count(round(distance), 'pixel')}"
        return f"a change of {far} ({self.norm})"

    def limit(self, eps: float) -> str:
        """A bound with its unit, after "within": ``8/255 a pixel``, ``1 pixel``."""
        far = self.short(eps)
        match self.norm:
            case "linf":
                return f"{far} a pixel"
            case "l2":
                return f"a Euclidean length of {far}"
            case "l1":
                return f"a sum of {far}"
            case "l0":
                return count(round(eps), "pixel")
        return f"{far} ({self.norm})"

    def bound(self, eps: float) -> str:
        """What an attacker may do within ``eps``, as the end of a sentence."""
        far = self.short(eps)
        match self.norm:
            case "linf":
                return f"every pixel may change by up to {far} of the range from black to white"
            case "l2":
                return f"the picture may change by a Euclidean length of up to {far}"
            case "l1":
                return f"the changes of all pixel values may add up to {far}"
            case "l0":
                return f"up to {far} pixels may change"
        return f"the picture may change by up to {far} ({self.norm})"

    @classmethod
    def of(cls, threat: _Named, channels: int) -> "Ruler":
        """For the norm of a threat model; where none bounds it, lengths are Euclidean."""
        return cls("l2" if threat.name == "none" else threat.name, channels)
