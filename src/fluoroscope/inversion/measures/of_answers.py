"""Measures of what networks answer: whether the pictures show their classes, and to whom."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fluoroscope.inversion.measures.bench import MADE, Bench, Subject, measured, missing
from fluoroscope.inversion.measures.measure import Measure, Value, mean, share
from fluoroscope.inversion.measures.pictures import (
    JPEG_QUALITY,
    SHIFT,
    SHIFTS,
    as_jpeg,
    rounded,
    shifted,
)
from fluoroscope.inversion.measures.reading import Read, read

SECOND = "second=, a network trained independently"
# A code leads by so much, or has no label to speak of.
LEAD = 0.1


def answers(bench: Bench) -> Iterator[Measure]:
    """Accuracy and confidence of both networks, and what codes asked for."""
    yield _accuracy("own accuracy", bench, lambda one: one.own)
    yield _confidence("own confidence", bench, lambda one: one.own)
    yield from _of_codes(bench)
    yield _accuracy("second accuracy", bench, lambda one: one.second)
    yield _confidence("second confidence", bench, lambda one: one.second)


_Judge = Callable[[Subject], Read | None]


def _accuracy(name: str, bench: Bench, judge: _Judge) -> Measure:
    def of(subject: Subject) -> Value | None:
        said = judge(subject)
        return None if said is None else share(said.winners == subject.classes)

    values = {key: of(one) for key, one in bench.subjects.items()}
    return measured(name, values, needs=SECOND, kind="share")


def _confidence(name: str, bench: Bench, judge: _Judge) -> Measure:
    def of(subject: Subject) -> Value | None:
        said = judge(subject)
        if said is None:
            return None
        return mean(said.confidence(subject.classes), bench.seed)

    values = {key: of(one) for key, one in bench.subjects.items()}
    about = "mean probability of the class"
    return measured(name, values, needs=SECOND, kind="share", about=about)


def _of_codes(bench: Bench) -> Iterator[Measure]:
    needs = "codes, the distributions that were asked for"
    if bench.codes is None:
        yield missing("KL to the code", needs)
        yield missing("accuracy where a code leads", needs, kind="share")
        return
    codes, said = bench.codes, bench.made.own
    apart = divergence(codes, said.logits)
    # What answers that have nothing to do with their codes would have, and a network without any.
    other = _of_others(codes, bench.made.classes, said.logits)
    even = divergence(codes, torch.zeros_like(said.logits))
    yield measured(
        "KL to the code",
        {
            MADE: mean(apart, bench.seed),
            "another code": None if other is None else mean(other, bench.seed),
            "no answer": mean(even, bench.seed),
        },
        about="nats, of the network's answer from the distribution asked for; beside it from those "
        "asked for pictures of other classes, and of an even answer",
    )
    top = codes.topk(min(2, codes.shape[1]), dim=1).values
    leads = (top[:, 0] - top[:, -1]) > LEAD
    if not bool(leads.any()):
        yield missing(
            "accuracy where a code leads",
            f"codes whose largest entry leads by more than {LEAD}: lower the temperature",
            kind="share",
        )
        return
    right = said.winners[leads] == codes[leads].argmax(1)
    yield measured(
        "accuracy where a code leads",
        {MADE: share(right), "leading codes": share(leads)},
        kind="share",
        about=f"codes that lead by more than {LEAD}; beside it their share of all",
    )


def _of_others(codes: Tensor, classes: Tensor, logits: Tensor) -> Tensor | None:
    """The mean divergence ``(N,)`` of answers from the codes of all pictures of other classes.

    Neighbours in a list are mostly of one class, so the next one's code will not do. The mean of
    ``Σ c log c - c log p`` over codes is taken without a pair of a picture and a code each.
    """
    names, place = classes.unique(return_inverse=True)
    if len(names) < 2:
        return None
    zeros = torch.zeros(len(names), codes.shape[1], dtype=codes.dtype, device=codes.device)
    sums = zeros.index_add(0, place, codes)
    terms = torch.special.xlogy(codes, codes).sum(1)
    certain = zeros[:, 0].index_add(0, place, terms)
    many = len(codes) - place.bincount()
    others = (sums.sum(0) - sums) / many[:, None]
    logs = logits.double().log_softmax(1)
    found: Tensor = ((certain.sum() - certain) / many)[place] - (others[place] * logs).sum(1)
    return found


def divergence(codes: Tensor, logits: Tensor) -> Tensor:
    """``KL(code ‖ softmax(logits))`` of each row ``(N,)``, in nats."""
    asked = codes.double()
    terms: Tensor = torch.special.xlogy(asked, asked) - asked * logits.double().log_softmax(1)
    return terms.sum(1)


def survival(bench: Bench, batch_size: int | None) -> Iterator[Measure]:
    """Of pictures that their network classifies as their class, those that still are, changed."""
    changes: list[tuple[str, str, Callable[[Tensor], list[Tensor]]]] = [
        ("survives rounding", "to 8 bits", lambda images: [rounded(images)]),
        ("survives JPEG", f"quality {JPEG_QUALITY}", lambda images: [as_jpeg(images)]),
        (
            "survives a shift",
            f"by {SHIFT} pixels, the mean of four directions",
            lambda images: [shifted(images, *by) for by in SHIFTS],
        ),
    ]
    for name, about, change in changes:
        if name == "survives JPEG" and bench.model.channels not in (1, 3):
            yield missing(name, "pictures of 1 or 3 channels", kind="share")
            continue
        values = {
            key: _kept(bench, key, subject, change, batch_size)
            for key, subject in bench.subjects.items()
        }
        needs = "a picture that its own network classifies as its class"
        yield measured(name, values, needs=needs, kind="share", about=about)


def _kept(
    bench: Bench,
    key: str,
    subject: Subject,
    change: Callable[[Tensor], list[Tensor]],
    batch_size: int | None,
) -> Value | None:
    # Noise shows no class: what it keeps is the one that it happens to be predicted as.
    wanted = subject.own.winners if key == "noise" else subject.classes
    right = (subject.own.winners == wanted).nonzero()[:, 0]
    if not len(right):
        return None
    kept = torch.zeros(len(right), dtype=torch.float64, device="cpu")
    several = 0
    for rows in torch.arange(len(right), device="cpu").split(256):
        images = subject.images[right[rows]]
        versions = change(images)
        several = len(versions)
        for version in versions:
            said = read(bench.model, version, batch_size=batch_size).winners
            kept[rows] += (said == wanted[right[rows]]).double()
    return share(kept > 0) if several == 1 else mean(kept / several, bench.seed)
