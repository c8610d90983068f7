"""A few portraits for a report, and what they are worth, within a share of its time.

The search is that of :func:`fluoroscope.portrait` in few steps, and the measures are those of
:func:`fluoroscope.inversion.assess`: of portraits from two starts of noise, beside the same made
from the network with random weights, which learnt nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.errors import FluoroscopeError
from fluoroscope.evaluation.behind import classes_behind
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.inversion.measures.assess import assess
from fluoroscope.inversion.measures.result import Assessment, from_plain
from fluoroscope.inversion.names import USUAL
from fluoroscope.inversion.portraits.portrait import NothingFinishedError, portrait
from fluoroscope.inversion.portraits.preflight import preflight
from fluoroscope.inversion.portraits.second_opinion import Opinion, opinions
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected
from fluoroscope.report.study import Study
from fluoroscope.report.subject import LeftOutError

# Classes that are drawn, steps of a search, and real pictures of each class beside them. Where
# pictures are large: fewer of all, and so many classes at once.
CLASSES, STEPS, REAL = 10, 40, 10
CLASSES_LARGE, STEPS_LARGE, TOGETHER_LARGE, REAL_LARGE = 3, 28, 3, 4
# Below this side, waves and their transformations have no room.
_WAVES = 16
# Of the time that is left, and without a budget of the time that all before took, and seconds.
_SHARE, _OF_SPENT, _SECONDS = 0.3, 0.2, 60.0
OWN, RANDOM, AGAIN = "own", "random weights", "another start"


@dataclass(frozen=True)
class Portrayed:
    """Portraits of ``K`` classes, and what was found of them."""

    classes: list[int]
    behind: list[int]
    """Those of them that fall behind the others in accuracy."""
    unfinished: int
    """Classes for which there was no time."""
    method: str
    steps: int
    images: dict[str, Tensor]
    """``(K, C, H, W)`` of each kind that there was time for: :data:`OWN`, and others."""
    logits: dict[str, Tensor]
    """``(K, L)``, what the network says of them; of the control, the network with random weights.
    """
    real: Tensor
    """``(K, C, H, W)``, a real picture of each class."""
    second: str
    """The second network's name; empty where none was asked."""
    why: str
    """Where none was asked, the reason."""
    opinions: dict[str, list[Opinion]]
    """What it says of portraits, by kind."""
    found: Assessment


def portrayed(study: Study) -> Portrayed:
    """Portraits of the study's network.

    Raises:
        LeftOutError: it cannot be led by its gradient, or there was no time for a single portrait.
    """
    way = study.written("portrait-method", None, lambda: _way(study))
    if way["refused"]:
        raise LeftOutError(way["refused"])
    method, steps, (wanted, behind) = way["method"], _steps(study), _chosen(study)
    limit = max(_SECONDS, _OF_SPENT * study.spent())
    ends = time.monotonic() + min(_SHARE * study.left(), limit)
    real, labels, first = _real(study, wanted)
    images: dict[str, Tensor] = {}
    logits: dict[str, Tensor] = {}
    classes = wanted
    for place, kind in enumerate((OWN, RANDOM, AGAIN)):
        rows = [wanted.index(one) for one in classes]
        parts = _paint(study, kind, classes, method, real, ends, place)
        if kind == OWN:
            classes = classes[: sum(len(part["images"]) for part in parts)]
            rows = rows[: len(classes)]
        if sum(len(part["images"]) for part in parts) == len(classes) > 0:
            images[kind], logits[kind] = (
                torch.cat([part[name] for part in parts]) for name in ("images", "logits")
            )
    if not classes:
        study.go_on("Portraits")
        raise LeftOutError("portraits: there was too little time for a single one")
    if len(images) < 3 or len(classes) < len(wanted):
        study.cut.add("portraits")
    second = study.second_network
    about = [classes, sorted(images), method, steps, second and second.plain.fingerprint()]
    told = study.written(
        "portraits", about,
        lambda: _worth(study, classes, images, (real, labels), second),
    )  # fmt: skip
    return Portrayed(
        classes=classes,
        behind=[one for one in behind if one in classes],
        unfinished=len(wanted) - len(classes),
        method=method,
        steps=steps,
        images=images,
        logits=logits,
        real=first[: len(classes)],
        second=told["second"],
        why=told["why"],
        opinions={
            kind: [Opinion(**one) for one in many] for kind, many in told["opinions"].items()
        },
        found=from_plain(told["found"]),
    )


def _way(study: Study) -> dict[str, Any]:
    """The preset that suits the network, or why there can be no portrait."""
    with collected():
        flight = preflight(study.model.plain)
    led = flight["portraits and generators"]
    method = USUAL if min(study.size) >= _WAVES else "pixels"
    return {"method": method, "refused": "" if led.valid else led.why}


def _steps(study: Study) -> int:
    return STEPS_LARGE if study.large else STEPS


def _chosen(study: Study) -> tuple[list[int], list[int]]:
    """The classes that are drawn, and those that fall behind the others."""
    reading = study.reading
    behind = [one.label for one in classes_behind(reading.labels.numpy(), reading.right.numpy())]
    told = study.data.get("verdict", {}).get("behind", [])
    behind = list(dict.fromkeys([*behind, *(int(one["label"]) for one in told)]))
    # Of the pictures, in the study's own order: those that other sections show come first.
    seen = list(dict.fromkeys(reading.labels.tolist()))
    most = CLASSES_LARGE if study.large else CLASSES
    first = behind[: most - 1] if len(seen) > most else behind
    return sorted([*first, *(one for one in seen if one not in first)][:most]), behind


def _real(study: Study, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Real pictures of the classes, their classes, and the first one of each."""
    labels = study.reading.labels
    most = REAL_LARGE if study.large else REAL
    rows = [(labels == one).nonzero()[:most, 0] for one in classes]
    places = torch.cat(rows).tolist()
    images, _ = study.load([study.images.indices[place] for place in places])
    starts = torch.tensor([0, *(len(each) for each in rows[:-1])], device="cpu").cumsum(0)
    return images, labels[places], images[starts]


def _paint(
    study: Study, kind: str, classes: list[int], method: str, real: Tensor, ends: float, place: int
) -> list[dict[str, Tensor]]:
    """Portraits of some classes, a few at a time, as far as there is time."""
    model: list[Classifier] = []
    number = int(kind == AGAIN)

    def network() -> Classifier:
        if not model:
            plain = study.model.plain
            model.append(
                with_random_weights(plain, real[:64], seed=study.seed) if kind == RANDOM else plain
            )
        return model[0]

    def over() -> bool:
        return study.cancelled() or time.monotonic() > ends

    steps = _steps(study)
    size = TOGETHER_LARGE if study.large else len(classes)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(classes), max(1, size)):
        some = classes[start : start + size]

        def make(some: list[int] = some, start: int = start) -> dict[str, Tensor]:
            if over():
                raise NothingFinishedError("no time")

            def tell(share: float) -> None:
                done = (start + share * len(some)) / len(classes)
                study.tell("what it believes a class looks like", 0.3 * (place + done), "portraits")

            with collected():  # of a few steps; what came of them is measured
                found = portrait(
                    network(), some, method=method, steps=steps, size=study.size, seed=study.seed,
                    numbers=torch.full((len(some),), number, device="cpu"),
                    on_share=tell, cancelled=over,
                )  # fmt: skip
            if len(found.images) < len(some):
                raise NothingFinishedError("no time for all")
            return {
                "images": found.images,
                "logits": found.logits,
                "classes": torch.tensor(some, device="cpu"),
                "own": torch.tensor([kind == OWN], device="cpu"),
            }

        try:
            parts.append(study.kept("portraits", [kind, some, method, steps], make))
        except NothingFinishedError:
            break
    return parts


def _worth(
    study: Study,
    classes: list[int],
    images: dict[str, Tensor],
    real: tuple[Tensor, Tensor],
    second: Classifier | None,
) -> dict[str, Any]:
    """What the portraits are worth, as plain values."""
    shown = torch.tensor(classes, device="cpu")
    again = images.get(AGAIN)
    made = images[OWN] if again is None else torch.cat([images[OWN], again])
    others = [] if again is None else [torch.cat([again, images[OWN]])]
    kept = torch.isin(real[1], shown)

    def look(judge: Classifier | None) -> Assessment:
        return assess(
            study.model.plain, made, shown.repeat(len(made) // len(shown)), second=judge,
            real=(real[0][kept], real[1][kept]), random=images.get(RANDOM), seeds=others,
            needs_data=False, seed=study.seed,
            on_share=lambda share: study.tell(
                "what portraits are worth", 0.9 + 0.1 * share, "portraits"
            ),
        )  # fmt: skip

    why, told = "", {}
    if second is not None:
        try:
            found = look(second)
            told = {
                kind: [
                    asdict(one) for one in opinions(second, images[kind], shown, study.model.labels)
                ]
                for kind in (OWN, AGAIN)
                if kind in images
            }
        except FluoroscopeError as problem:  # one that cannot judge
            second, why = None, str(problem)
    if second is None:
        found = look(None)
    return {
        "found": found.describe(),
        "opinions": told,
        "second": "" if second is None else second.name,
        "why": why,
    }
