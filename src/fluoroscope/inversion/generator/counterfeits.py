"""Confident counterfeits: pictures far from all data that a network is sure of.

Suhail and Sethi 2025 (2503.20187) move the code of a trained generator from soft vectors to one-hot
and ask for all of the probability at one class. Beside it stand here what such a picture must be
held against: pictures made with no training at all (:mod:`.null_space`), from noise and from real
pictures of another class, and real pictures and noise as they are. Each row has a certificate
(:mod:`.certificate`), for that a network is sure of a picture says little: so it is of some noise.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.predict import predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.certificate import SURE, Judges
from fluoroscope.inversion.generator.counterfeit_result import (
    FROM_NOISE,
    FROM_OTHERS,
    GENERATOR,
    NOISE,
    REAL,
    Counterfeits,
    Row,
)
from fluoroscope.inversion.generator.null_space import same_answer
from fluoroscope.inversion.generator.result import Inversion
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import percent

# At this temperature a soft vector's largest entry is all but 1.
_COLD = 0.02
# Of the grey noise that searches start from.
_NOISE = 0.1


@torch.inference_mode(False)
def counterfeits(
    model: Classifier | nn.Module,
    real: Tensor,
    labels: Tensor,
    classes: Tensor,
    *,
    inversion: Inversion | None = None,
    second: Classifier | nn.Module | None = None,
    seed: int = 0,
    batch_size: int = 64,
    on_share: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Counterfeits:
    """Pictures of the classes ``(N,)`` that are to be none, with a certificate of each.

    Args:
        model: the network under study.
        real: pictures ``(M, C, H, W)`` in ``[0, 1]``, best of a test split: what distances are a
            ratio to, and whose answers the null space is led to.
        labels: the class of each, ``(M,)``.
        classes: what each picture is to be predicted as.
        inversion: a generator of the network; without one its row is left out.
        second: a network of the same classes that was trained independently.
        seed: for everything random.
        batch_size: pictures at once.
        on_share: called with the share of the work that lies behind.
        cancelled: asked now and then; once true, no further row is made.

    Raises:
        InvalidImagesError, InvalidParameterError, UnknownLabelError: unusable input.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    judges = Judges(model, real=real, second=second, batch_size=batch_size)
    model = judges.model
    seed = randomness.as_seed(seed)
    assert judges.real is not None
    pictures, wanted = judges.real, classes.cpu()
    labels = labels.cpu()
    exemplars, notes = _exemplars(model, pictures, labels, wanted, seed, batch_size)
    starts, others = _starts(pictures, labels, wanted, seed)
    told = on_share or (lambda share: None)
    rows: list[Row] = []

    def put(name: str, images: Tensor, **more: Tensor) -> None:
        seen = judges.certify(images, wanted, real=name == REAL)
        rows.append(Row(name, images, seen, **more))

    put(REAL, pictures[exemplars])
    put(NOISE, starts[FROM_NOISE])
    if inversion is not None:
        put(GENERATOR, at_corners(inversion, wanted, seed))
    for number, name in enumerate((FROM_NOISE, FROM_OTHERS), 1):
        if cancelled is not None and cancelled():
            break
        found = same_answer(
            model, starts[name], pictures[exemplars], wanted,
            batch_size=batch_size, cancelled=cancelled,
        )  # fmt: skip
        away = (found.images - starts[name]).flatten(1).norm(dim=1)
        begun = {"begun": labels[others]} if name == FROM_OTHERS else {}
        put(name, found.images, reached=found.reached, moved=away, **begun)
        told(number / 2)
    record = {
        "seed": seed,
        "pictures": len(wanted),
        "real": len(pictures),
        "generator": None if inversion is None else inversion.record,
        "second": None if judges.second is None else judges.second.name,
        **provenance(model),
    }
    return Counterfeits(tuple(rows), wanted, model.labels, record, tuple(notes))


def at_corners(inversion: Inversion, classes: Tensor, seed: int) -> Tensor:
    """Pictures of the classes ``(N,)`` with the code moved to where it asks for one alone."""
    cold = _COLD if inversion.generator.conditioning.soft else None
    made: dict[int, Tensor] = {}
    for each in classes.unique().tolist():
        many = int((classes == each).sum())
        made[each] = inversion.sample(int(each), many, seed, temperature=cold).images
    given = dict.fromkeys(made, 0)
    found = []
    for each in classes.tolist():
        found.append(made[each][given[each]])
        given[each] += 1
    return torch.stack(found)


def _exemplars(
    model: Classifier, real: Tensor, labels: Tensor, wanted: Tensor, seed: int, batch_size: int
) -> tuple[Tensor, list[str]]:
    """For each class wanted ``(N,)`` a real picture of it that the network is sure of."""
    said = predict(model, real, batch_size=batch_size)
    own = said.probabilities.gather(1, labels[:, None])[:, 0]
    found, unsure = torch.zeros_like(wanted), []
    for each in wanted.unique().tolist():
        mine = (labels == each).nonzero()[:, 0]
        right = mine[said.winners[mine] == each]
        if not len(right):
            raise InvalidParameterError(
                f"the network classifies no real picture of {model.labels[each]} correctly; "
                "expected at least one, whose answer the others are led to: give more pictures, or "
                "leave the class out"
            )
        sure = right[own[right] >= SURE]
        if not len(sure):
            unsure.append(model.labels[each])
            sure = right[own[right].argmax()][None]
        rows = (wanted == each).nonzero()[:, 0]
        found[rows] = sure[torch.arange(len(rows), device="cpu") % len(sure)]
    notes = [
        f"the network is not {percent(SURE)} sure of any real picture of {', '.join(unsure)}: "
        "what is led to their answers is no surer"
    ] if unsure else []  # fmt: skip
    return found, notes


def _starts(
    real: Tensor, labels: Tensor, wanted: Tensor, seed: int
) -> tuple[dict[str, Tensor], Tensor]:
    """What is moved: grey noise, and for each class a real picture of another, and its row."""
    keys = randomness.keys(seed, torch.arange(len(wanted), device="cpu"))
    drawn = randomness.normal(keys, 0, tuple(real.shape[1:]))
    others = torch.zeros_like(wanted)
    picks = randomness.uniform(keys, 1, ())
    for row, each in enumerate(wanted.tolist()):
        mine = (labels != each).nonzero()[:, 0]
        if not len(mine):
            raise InvalidParameterError(
                f"all real pictures are of class {each}; expected some of another to start from"
            )
        others[row] = mine[int(picks[row] * len(mine))]
    noise = (0.5 + _NOISE * drawn).clamp(0, 1)
    return {FROM_NOISE: noise, FROM_OTHERS: real[others]}, others


def each_class(classes: Tensor, n: int) -> Tensor:
    """So many of each of the classes ``(K,)`` in a row, ``(K * n,)``."""
    return classes.repeat_interleave(whole_number("n", n))
