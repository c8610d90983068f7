"""The neighbour that is known to be misclassified: made from answers alone, so that whatever hides
a gradient does not hide it.

Random images, most of them at the edge of the ball, say how far the lead falls at each. What they
moved, weighted by how far and added up, is a direction in which it falls farther than at any of
them: the gradient as evolution strategies estimate it (Salimans et al. 2017, 1703.03864). The image
at the edge of the ball in that direction is the neighbour, unless one of the random ones is better.
An image counts as misclassified from half way between the best random one and the neighbour on, so
random ones are not, and the neighbour's lead is well below 0.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.predict import logits_of
from fluoroscope.engine.threats import L2, Linf
from fluoroscope.engine.vectors import column
from fluoroscope.evaluation.planted.network import Planted, Planting
from fluoroscope.models.classifier import Classifier

POINTS = 256
"""Random images that the neighbour is made from."""
FRESH = 64
"""Others that say how rarely random images are misclassified."""
WITHIN = 4
"""One in so many of both lies within the ball, the others at its edge."""
DEPTH = 0.5
"""Where between the best random image (0) and the neighbour (1) an image begins to count."""
# The least lead at the picture, as a share of the range of its logits, and the least by which the
# rival is ahead of the others, as a share of that lead.
_LEAST, _AHEAD = 0.05, 0.1


@dataclass(frozen=True)
class Planned:
    """What came of planting at one picture."""

    forwards: int
    planting: Planting | None = None
    """``None`` where nothing could be planted."""
    neighbour: Tensor | None = None
    """``(C, H, W)``, known to be misclassified."""
    random: int = 0
    """Of ``FRESH`` random images in the ball, how many are misclassified."""
    why: str = ""
    """Why nothing was planted."""


def plant(
    model: Classifier,
    image: Tensor,
    label: int,
    ball: Linf | L2,
    *,
    number: int,
    seed: int,
    batch_size: int,
) -> Planned:
    """Make a neighbour of a picture ``(C, H, W)``, and what the network is to say near both.

    Args:
        model: the network as a verdict is read from it; it classifies the picture correctly.
        image: the picture, on the network's device.
        label: its class.
        ball: how far an image may move.
        number: of the picture in its data set, on which with the ``seed`` the random images hang.
        seed: of the random images.
        batch_size: images evaluated at once.
    """
    look = _Looking(model, image, label, ball, number, seed, batch_size)
    found = look.planned()
    return replace(found, forwards=look.images * model.passes)


class _Looking:
    """Planting at one picture, and the images that it took."""

    def __init__(
        self,
        model: Classifier,
        image: Tensor,
        label: int,
        ball: Linf | L2,
        number: int,
        seed: int,
        batch_size: int,
    ) -> None:
        self.model, self.image, self.label, self.ball = model, image, label, ball
        self.number, self.seed, self.batch_size = number, seed, batch_size
        self.images = 0
        self.logits = self._ask(image[None])[0]
        others = self.logits.clone()
        others[label] = -torch.inf
        self.rival = int(others.argmax())
        self.lead = float(self.logits[label] - self.logits[self.rival])

    def planned(self) -> Planned:
        falls, direction = self._random()
        neighbour = _edge(self.ball, self.image[None], direction[None])
        farthest = float(self._falls(neighbour)[0])
        best, second = (float(fall) for fall in falls.topk(2).values)
        if farthest <= best:  # the network is not smooth enough for the sum to say anything
            neighbour = self._points(falls.argmax()[None])
            farthest, best = best, second
        best = max(best, 0.0)
        if not farthest > best:
            return Planned(0, why="no image in the ball leads away from its class")
        planting = self._planting(best + DEPTH * (farthest - best))
        if not self._holds(planting, neighbour):
            return Planned(0, why="its lead hardly moves within the ball: rounding moves it as far")
        return Planned(0, planting, neighbour[0], self._hits(planting.fall))

    def _random(self) -> tuple[Tensor, Tensor]:
        """How far the lead falls at each random image ``(POINTS,)``, and where it falls farther."""
        falls = []
        moved, weighted = torch.zeros_like(self.image), torch.zeros_like(self.image)
        for numbers in torch.arange(POINTS, device="cpu").split(self.batch_size):
            images = self._points(numbers)
            fall = self._falls(images)
            change = images - self.image
            moved += change.sum(0)
            weighted += torch.tensordot(fall.to(change), change, 1)
            falls.append(fall)
        each = torch.cat(falls)
        return each, weighted - float(each.mean()) * moved

    def _points(self, numbers: Tensor) -> Tensor:
        """Random images by their numbers ``(n,)``: at the edge of the ball, and some within it."""
        numbers = numbers.to(self.image.device)
        keys = randomness.keys(self.seed, torch.full_like(numbers, self.number), numbers)
        shape = tuple(self.image.shape)
        drawn = (
            randomness.uniform(keys, 0, shape) - 0.5
            if self.ball.name == "linf"
            else randomness.normal(keys, 0, shape)
        )
        edge = _edge(self.ball, self.image[None], drawn.to(self.image))
        within = self.ball.random(keys, self.image.expand_as(edge))
        return torch.where(column(numbers % WITHIN == 0), within, edge)

    def _hits(self, fall: float) -> int:
        """How many of other random images go so far."""
        numbers = torch.arange(POINTS, POINTS + FRESH, device="cpu")
        parts = numbers.split(self.batch_size)
        return sum(int((self._falls(self._points(part)) > fall).sum()) for part in parts)

    def _ask(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return logits_of(self.model, images, self.batch_size).double().cpu()

    def _falls(self, images: Tensor) -> Tensor:
        logits = self._ask(images)
        return self.lead - (logits[:, self.label] - logits[:, self.rival])

    def _planting(self, fall: float) -> Planting:
        own = self.logits[self.label]
        lead = max(self.lead, _LEAST * float(self.logits.max() - self.logits.min()))
        logits = self.logits.clamp(max=float(own) - (1 + _AHEAD) * lead)
        logits[self.label], logits[self.rival] = own, own - lead
        return Planting(self.image, self.label, self.rival, self.lead, fall, logits)

    def _holds(self, planting: Planting, neighbour: Tensor) -> bool:
        """Whether the finished network reads the picture correctly and the neighbour not, shown
        together and each alone, and the neighbour is allowed.
        """
        planted = Planted(self.model, [planting], self.ball.name)
        pair = torch.cat([self.image[None], neighbour])
        self.images += 2 * len(pair)
        read = [logits_of(planted, shown, 2).argmax(1) for shown in (pair, pair[:1], pair[1:])]
        right = (torch.cat(read) == planting.label).tolist()
        allowed = self.ball.allows(neighbour, self.image[None])
        return right == [True, False, True, False] and bool(allowed.all())


def _edge(ball: Linf | L2, image: Tensor, directions: Tensor) -> Tensor:
    """The allowed images at the edge of the ball in these directions ``(N, C, H, W)``."""
    eps = float(ball.eps)
    if ball.name == "linf":
        return ball.project(image + eps * directions.sign(), image)
    out = ((image <= 0) & (directions < 0)) | ((image >= 1) & (directions > 0))
    free = directions.masked_fill(out, 0)
    length = column(ball.distance(free))
    return ball.project(image + free * (eps / length).nan_to_num(0, 0, 0), image)
