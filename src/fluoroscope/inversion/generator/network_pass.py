"""One pass of a batch of made pictures through the network under study, and back to the pictures.

In pieces where a device has no room for the whole batch: some terms look at pairs of pictures, so
all go through once to be known, and then each piece goes through again and back, the others being
what they are. That is the gradient of the whole batch, not of its pieces.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.engine.memory import out_of_memory, warn_smaller_batch
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.inversion.generator.conditioning import Codes
from fluoroscope.inversion.generator.losses import Batch, Given, How, inside
from fluoroscope.models.classifier import Classifier

# On a processor more pixel values at once are slower, for memory is then cleared anew.
_VALUES_AT_ONCE = 2_500_000
_OF_PAIRS = {"cosine", "orthogonality"}


@dataclass(frozen=True)
class Passed:
    """What came back for ``N`` pictures."""

    logits: Tensor
    """``(N, K)``"""
    losses: dict[str, Tensor]
    """The mean of each term over the batch, unweighted, a scalar each."""
    gradient: Tensor
    """``(N, C, H, W)``, of the weighted sum of them at the pictures: to be lowered."""


@dataclass
class NetworkPass:
    """Sends batches through; remembers how many pictures there is room for at once."""

    model: Classifier
    places: tuple[Place, ...]
    """The feature layers."""
    last: Place | None
    """What the last linear layer is given, where a term needs it."""
    how: How
    at_once: int | None = None
    forwards: int = field(default=0)
    """Pictures that went through the network."""
    backwards: int = field(default=0)
    """Pictures that were gone back to."""

    def __call__(self, pictures: Tensor, codes: Codes, weights: dict[str, float]) -> Passed:
        """The terms of these weights, none of which is 0, at pictures ``(N, C, H, W)``."""
        if self.at_once is None:
            room = len(pictures)
            if pictures.device.type == "cpu":
                room = min(room, max(1, _VALUES_AT_ONCE // pictures[0].numel()))
            self.at_once = room
        while True:
            try:
                return self._pass(pictures, codes, weights, self.at_once)
            # In whatever way the device says it.
            except Exception as problem:
                if not out_of_memory(problem) or self.at_once == 1:
                    raise
            half = max(1, min(self.at_once, len(pictures)) // 2)
            warn_smaller_batch(self.at_once, half)
            self.at_once = half

    def _pass(
        self, pictures: Tensor, codes: Codes, weights: dict[str, float], at_once: int
    ) -> Passed:
        model = self.model
        given = Given(codes, model.log_probabilities)
        places = self.places if _OF_PAIRS & set(weights) else ()
        last = self.last if "gradient_penalty" in weights else None
        whole = None
        pieces = range(0, len(pictures), at_once)
        if len(pieces) > 1:
            whole = self._whole(pictures, codes, places, last, at_once)
        logits, terms, gradients = [], [], []
        for start in pieces:
            piece = slice(start, start + at_once)
            goal = inside(weights, places, last, given, self.how, whole, start)
            answer = evaluate(model, pictures[piece], codes.classes[piece], goal, gradient=True)
            assert answer.terms is not None
            assert answer.gradient is not None
            if not self.forwards and answer.lost is not None:
                # A term's doing is named where terms are told; here it is asked for the network's.
                evaluate(
                    model, pictures[piece], codes.classes[piece], LOG_PROBABILITY, gradient=True
                ).check_leads()
            logits.append(answer.logits)
            terms.append(answer.terms.sum(0))
            gradients.append(-answer.gradient)
        self.forwards += len(pictures)
        self.backwards += len(pictures)
        # Each piece tells the terms of the whole batch.
        losses = {name: -terms[0][k] / weight for k, (name, weight) in enumerate(weights.items())}
        return Passed(torch.cat(logits), losses, torch.cat(gradients))

    def _whole(
        self,
        pictures: Tensor,
        codes: Codes,
        places: tuple[Place, ...],
        last: Place | None,
        at_once: int,
    ) -> Batch:
        """What the network makes of all of them, a piece at a time and without a graph."""
        read = tuple(dict.fromkeys([*places, *([] if last is None else [last])]))
        parts: list[Seen] = []

        def keep(seen: Seen) -> Tensor:
            parts.append(seen)
            return seen.logits[:, :1]

        for start in range(0, len(pictures), at_once):
            piece = slice(start, start + at_once)
            evaluate(self.model, pictures[piece], codes.classes[piece], Inside("all", read, keep))
        self.forwards += len(pictures)
        return Batch(
            torch.cat([part.logits.detach() for part in parts]),
            {at: torch.cat([part.outputs[at].detach() for part in parts]) for at in read},
        )
