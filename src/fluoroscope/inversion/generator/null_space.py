"""Pictures of anything that a network answers exactly as it answers a real picture.

The baseline for confident counterfeits, which needs no training: root finding, in the spirit of
"Inverting Neural Networks" (2603.20461; the move here is ours). With ``r(x)`` by how much the leads
of the wanted class differ from those at a real picture of it, and ``J`` their derivative, Newton's
step of least length,

    ``x <- x - s Jᵀ (J Jᵀ)⁻¹ r(x)``,

stays within what the linearised network looks at. Whatever of the start lies in the null space of
``J``, which is nearly all of it, is kept: noise stays noise. ``s`` is made smaller where ``|r|``
would not fall, and pixels at an end of ``[0, 1]`` that would leave it stay there.

The leads are those over the ``RIVALS`` strongest rivals at the real picture, and over all others
together, by the logarithm of the sum of their exponentials. So where the search ends at a root the
class has exactly the real picture's probability, and of a network of up to ``RIVALS`` + 2 classes
every class has.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOGIT, Several
from fluoroscope.engine.predict import check_batch_size, predict, suitable_batch
from fluoroscope.engine.stream import Query, Samples, feed, stream
from fluoroscope.engine.vectors import column, wide
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures.checks import check_images

RIVALS = 15
"""So many rivals are told apart; each costs a pass back at every step."""
STEPS = 40
TOLERANCE = 1e-3
"""In logits: a root is where no lead differs by more."""
# Below this share of a step that does not help the search gives up.
_SHORTEST = 1e-3
# How often pixels that would leave the box are taken out of a step.
_ROUNDS = 5
_DAMPING = 1e-6


@dataclass(frozen=True)
class Roots:
    """What root finding made of ``N`` starts; all on the CPU."""

    images: Tensor
    """``(N, C, H, W)``"""
    reached: Tensor
    """``(N,)`` booleans: every lead is the real picture's, within ``TOLERANCE``."""
    residual: Tensor
    """``(N,)``, the largest difference of a lead, in logits."""
    steps: Tensor
    """``(N,)``, evaluations it took."""


def same_answer(
    model: Classifier,
    starts: Tensor,
    exemplars: Tensor,
    classes: Tensor,
    *,
    steps: int = STEPS,
    batch_size: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Roots:
    """Move each start ``(N, C, H, W)`` to where the answer is that at its real picture.

    Args:
        model: the network under study.
        starts: any pictures in ``[0, 1]``: noise, or real ones of other classes.
        exemplars: ``(N, C, H, W)``, of each the real picture whose answer is wanted.
        classes: ``(N,)``, the classes whose leads are spoken of.
        steps: evaluations of each at most.
        batch_size: pictures at once.
        cancelled: asked before every step; what is not finished is then as far as it came.

    Raises:
        InvalidImagesError, InvalidParameterError: unusable input.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    starts = check_images(starts, model.channels).to(model.device, model.dtype)
    if len(starts) != len(exemplars) or len(starts) != len(classes):
        raise InvalidParameterError(
            f"there are {len(starts)} starts, {len(exemplars)} real pictures and {len(classes)} "
            "classes; expected one each"
        )
    rows = suitable_batch(starts) if batch_size is None else check_batch_size(batch_size)
    wanted = predict(model, exemplars, batch_size=rows).logits.to(starts.device)
    search = _Search(wanted, classes.to(starts.device), steps)
    images, residual = starts.clone(), torch.full_like(starts[:, 0, 0, 0], torch.inf)
    spent = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
    given = feed(starts, classes.to(starts.device), targeted=True)
    with model.held():
        for step in stream(model, search, given, batch_size=rows):
            left = search.residual(step.answer.logits, step.indices)
            better = left < residual[step.indices]
            at = step.indices[better]
            images[at], residual[at] = step.images[better], left[better].to(residual)
            spent[step.indices] = step.numbers + 1
            if cancelled is not None and cancelled():
                break
    return Roots(
        images.cpu(), (residual <= TOLERANCE).cpu(), residual.cpu(), spent.cpu()
    )  # fmt: skip


def leads_like(wanted: Tensor, classes: Tensor) -> Several:
    """By how much leads differ from those of the wanted logits ``(N, K)``: ``(N, R)``, 0 at a root.

    The rivals are ranked once, at the wanted logits.
    """
    apart = min(RIVALS, wanted.shape[1] - 1)
    others = wanted.scatter(1, classes[:, None], -torch.inf)
    order = others.argsort(1, descending=True)[:, :-1]  # the class itself is the last
    near, far = order[:, :apart], order[:, apart:]

    def leads(logits: Tensor) -> Tensor:
        own = logits.gather(1, classes[:, None])
        found = [own - logits.gather(1, near)]
        if far.shape[1]:
            found.append(own - logits.gather(1, far).logsumexp(1, keepdim=True))
        return torch.cat(found, 1)

    goal = leads(wanted.to(wide(wanted)))
    return lambda logits, _: leads(logits) - goal.to(logits.dtype)


@dataclass(frozen=True)
class _State:
    samples: Samples
    images: Tensor
    """``(n, C, H, W)``, asked about next."""
    start: Tensor
    """``(n, C, H, W)``, where the present step begins."""
    move: Tensor
    """``(n, C, H, W)``, the whole of it."""
    share: Tensor
    """``(n,)``, how much of it is tried."""
    size: Tensor
    """``(n,)``, the length of what is missing there."""
    number: Tensor
    """``(n,)``, evaluations that lie behind."""
    done: Tensor


class _Search:
    """The state machine."""

    def __init__(self, wanted: Tensor, classes: Tensor, steps: int) -> None:
        self._wanted, self._classes, self._steps = wanted, classes, steps

    def residual(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The largest difference of a lead ``(n,)``."""
        return self._missing(rows)(logits, self._classes[rows]).abs().amax(1)

    def start(self, samples: Samples) -> _State:
        """At the start, from which nothing is known to be better."""
        zero = torch.zeros_like(samples.indices)
        size = torch.full_like(zero, torch.inf, dtype=wide(samples.images))
        images = samples.images
        share = torch.ones_like(size)
        return _State(
            samples, images, images, torch.zeros_like(images), share, size, zero, zero > 0
        )

    def ask(self, state: _State) -> Query:
        """What is missing where each stands, and its derivatives."""
        rows = state.samples.indices
        return Query(state.images, False, LOGIT, self._classes[rows], self._missing(rows))

    def tell(self, state: _State, answer: Answer) -> _State:
        """Newton's step from here if it is better here, else half the one before."""
        assert answer.several is not None
        assert answer.jacobian is not None
        missing = answer.several
        size = missing.norm(dim=1)
        better = size < state.size
        move = _least_move(state.images, missing, answer.jacobian)
        start = torch.where(column(better), state.images, state.start)
        move = torch.where(column(better), move, state.move)
        # A network that is straight only so far is gone through in steps of about that length.
        share = torch.where(better, (2 * state.share).clamp(max=1), state.share / 4)
        number = state.number + 1
        over = (missing.abs().amax(1) <= TOLERANCE) | (share < _SHORTEST)
        return replace(
            state,
            images=(start + column(share).to(move.dtype) * move).clamp(0, 1),
            start=start,
            move=move,
            share=share,
            size=torch.minimum(size, state.size),
            number=number,
            done=over | (number >= self._steps),
        )

    def _missing(self, rows: Tensor) -> Several:
        return leads_like(self._wanted[rows], self._classes[rows])


def _least_move(images: Tensor, missing: Tensor, jacobian: Tensor) -> Tensor:
    """The shortest move ``(n, C, H, W)`` after which the linearised leads miss nothing.

    Pixels that it would lead out of the box are taken out of the equations, and it is solved anew.
    """
    x = images.flatten(1).to(missing.dtype)
    slopes = jacobian.flatten(2).to(missing.dtype)  # (n, R, d)
    free = torch.ones_like(x, dtype=torch.bool)
    move = torch.zeros_like(x)
    for _ in range(_ROUNDS):
        open_ = slopes * free[:, None]
        gram = open_ @ open_.mT
        scale = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        damped = gram + (_DAMPING * scale + torch.finfo(gram.dtype).tiny) * eye
        along = torch.linalg.solve(damped, missing[..., None])
        move = -(open_.mT @ along)[..., 0]
        stuck = free & (((x <= 0) & (move < 0)) | ((x >= 1) & (move > 0)))
        if not bool(stuck.any()):
            break
        free &= ~stuck
    return move.view_as(images).to(images.dtype)
