"""To the border of the linear head in the latent of an invertible network, and back to pixels.

The logits are ``W z + b``, so the nearest border in the latent is known without a search:
``z' = z + (f_y - f_k) / ||w_k - w_y||^2 * (w_k - w_y)`` with the class ``k`` for which
``(f_y - f_k) / ||w_k - w_y||`` is least. The network's inverse makes a picture of ``z'``. This is
the fast attack through the latent that Bai, Bagchi and Inouye 2020 (2012.13111) propose; of their
paper only the abstract was at hand, so the step is ours. What is run backwards is an i-ResNet
(Behrmann et al. 2019, 1811.00995).

* The picture is clamped to ``[0, 1]``, after which it may lie before the border again. Then the
  next step begins at the latent of what the network was shown, and goes further beyond.
* Towards a wanted class there is a border to each of the others: the latent goes to that of the
  strongest of them, until the class leads. That is a near point of the class's region, not always
  its nearest.
* What is near in the latent need not be near in pixels: for ``L`` blocks with ``Lip <= c`` the
  picture moves by between ``||z' - z|| / (1 + c)^L`` and ``||z' - z|| / (1 - c)^L``.

The inverse is not among the passes that are counted: it goes through all blocks, and nothing else,
``rounds`` times at most and mostly far less.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine.classes import Classes
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.stream import Query, Samples, is_reached
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.invertible.backwards import invertible_in, pictures_of
from fluoroscope.models.invertible.network import ROUNDS, check_size
from fluoroscope.notices import distinct

LAYER = "latent"
NEAR = (
    "what is nearest in the latent is not nearest in pixels: how often the latent attack succeeds, "
    "and at which distance, is no measure of robustness; take apgd or fmn for that"
)
"""Every result's note."""
# A lead of so many times what the type can tell apart may be a tie in another batch.
_TIE = 64
# By how much further each next step goes beyond the border: digits took half as many passes again
# with 2, and moved as far.
_GROWTH = 4.0
# How far a picture to learn from goes over a border, in ways to it.
_ON = 1.5
# Borders that a latent is led to on its way to a wanted class.
_BORDERS = 200


@dataclass(frozen=True)
class LatentState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``, the clean images."""
    images: Tensor
    """``(n, C, H, W)``, to be evaluated next."""
    classes: Tensor
    """``(n,)``, the class to leave or to reach."""
    towards: Tensor
    """``(n,)``, 1 to reach the class, -1 to leave it."""
    updates: Tensor
    """``(n,)``, steps made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class LatentBorder(Method):
    """The nearest border of an invertible network's linear head, and back to pixels.

    ``overshoot`` is how much further than to the border the first step goes, as a share of the way;
    each further one, where clamping led back, goes beyond by four times as much. ``rounds`` is the
    most that a block's fixed point takes on the way back.
    """

    threat: Threat
    steps: int = 10
    overshoot: float = 0.02
    rounds: int = ROUNDS

    minimum_norm: ClassVar[bool] = True
    access: ClassVar[Access] = "inverse"
    paper: ClassVar[str] = "after Bai, Bagchi, Inouye 2020 (2012.13111)"
    cost: ClassVar[str] = "1 forward, 1 inverse"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    can_mask: ClassVar[bool] = False

    _model: ClassVar[Classifier | None] = None
    """Of a copy that goes to work: the network that it runs backwards."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "steps", "rounds")
        self._expect(0, "overshoot")

    def __call__(
        self, model: Classifier | nn.Module, images: Tensor, classes: Classes, **options: Any
    ) -> AttackResult:
        """Attack images; see :meth:`Method.__call__`.

        Raises:
            InvalidParameterError: a network without an inverse, or whatever else is unusable.
        """
        model = as_classifier(model)
        invertible_in(model.plain, "the latent attack")
        at_work = replace(self)
        object.__setattr__(at_work, "_model", model.plain)
        found = Method.__call__(at_work, model, images, classes, **options)
        notes = tuple(distinct([*found.notes, NEAR]))
        return replace(found, notes=notes, record=found.record | {"notes": [*notes]})

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network as it is: of a prepared copy layers have other names."""
        return model.plain

    def start(self, samples: Samples) -> LatentState:
        """At the image."""
        if self._model is None:
            raise InvalidParameterError(
                "the latent attack was driven without its network; expected a call: "
                "fs.attack('latent')(model, images, classes)"
            )
        check_size(invertible_in(self._model, "the latent attack"), samples.images)
        count = torch.zeros_like(samples.classes)
        return LatentState(
            samples.images,
            samples.images,
            samples.classes,
            samples.towards,
            count,
            torch.zeros_like(count, dtype=torch.bool),
        )

    def ask(self, state: LatentState) -> Query:
        """The present images, and what their latents are."""
        objective = MARGIN.towards(state.towards)
        return Query(state.images, False, objective, state.classes, layer=LAYER)

    def tell(self, state: LatentState, answer: Answer) -> LatentState:
        """A step over the border; done on its far side."""
        reached = is_reached(answer, state.classes, state.towards, self.confidence)
        done = reached | (state.updates >= self.steps)
        state = replace(state, done=done)
        going = (~done).nonzero().squeeze(1)
        if not len(going):
            return state
        assert self._model is not None
        assert answer.activation is not None
        moved = across(
            answer.activation[going],
            invertible_in(self._model, "the latent attack").head,
            state.classes[going],
            state.towards[going],
            beyond=self.overshoot * _GROWTH ** state.updates[going],
            lead=self.confidence,
        )
        found = pictures_of(self._model, moved, self.rounds).images.to(state.images)
        images = state.images.index_copy(0, going, found.clamp(0, 1))
        return replace(state, images=images, updates=state.updates + 1)


def across(
    latents: Tensor,
    head: nn.Linear,
    classes: Tensor,
    towards: Tensor,
    *,
    beyond: Tensor | float,
    lead: float = 0.0,
) -> Tensor:
    """The latents ``(N, D)`` moved onto the border of the class, and on by a share of the way.

    Args:
        latents: where to begin.
        head: the linear map from latents to logits.
        classes: ``(N,)``, the class to leave or to reach.
        towards: ``(N,)``, 1 to reach it, -1 to leave it.
        beyond: how much further than to the border, as a share of the way, of all or each ``(N,)``.
        lead: in logits, by how much the class is to be behind, or to lead.
    """
    weight = head.weight.detach().to(latents)
    rows = torch.arange(len(latents), device=latents.device)
    leaves = towards < 0
    own = weight[classes]
    apart = torch.cdist(own, weight, compute_mode="donot_use_mm_for_euclid_dist")
    with torch.no_grad():
        at = latents
        for _ in range(_BORDERS if bool((~leaves).any()) else 1):
            logits = head(at.to(head.weight)).to(latents)
            mine = logits[rows, classes][:, None]
            # How far each rival is behind what is wanted of it; the class is no rival of its own.
            gaps = torch.where(leaves[:, None], mine - logits, logits - mine) + lead
            gaps[rows, classes] = torch.nan
            away = torch.where(apart > 0, gaps / apart, torch.inf).nan_to_num(torch.inf)
            strongest = gaps.nan_to_num(-torch.inf).argmax(1)
            rival = torch.where(leaves, away.argmin(1), strongest)
            gap, length = gaps[rows, rival], apart[rows, rival]
            tie = _TIE * torch.finfo(latents.dtype).eps * logits.abs().amax(1).clamp(min=1)
            # Whoever is to leave moves once.
            moves = torch.where(leaves, at is latents, gap > -tie / 2) & (length > 0)
            if not bool(moves.any()):
                break
            pace = torch.where(moves, (gap + tie) / length.square(), 0)
            normal = torch.where(leaves[:, None], weight[rival] - own, own - weight[rival])
            at = at + pace[:, None] * normal
        share = torch.as_tensor(beyond, device=latents.device).to(latents).expand(len(latents))
        return latents + (1 + share)[:, None] * (at - latents)


def beyond_border(latents: Tensor, head: nn.Linear, classes: Tensor) -> Tensor:
    """The latents ``(N, D)`` moved over the nearest border of their classes ``(N,)`` and on; those
    that lie beyond one already, further away from it.
    """
    with torch.no_grad():
        weight, logits = head.weight, head(latents)
        own = weight[classes]
        apart = torch.cdist(own, weight, compute_mode="donot_use_mm_for_euclid_dist")
        ahead = logits.gather(1, classes[:, None]) - logits
        away = torch.where(apart > 0, ahead / apart, torch.inf)
        distance, rival = away.scatter(1, classes[:, None], torch.inf).min(1)
        normal = F.normalize(weight[rival] - own)
        found: Tensor = latents + (_ON * distance.abs())[:, None] * normal
        return found
