"""The one-pixel attack (Su, Vargas, Sakurai 2019): differential evolution of a few pixels.

A member of the population names ``k`` pixels, each by row, column and colour. In each generation
every member ``i`` has a child ``m_1 + weight * (m_2 - m_3)`` of three other members drawn for it,
with no crossover, that takes its parent's place if the network gives the true class a lower (the
wanted one a higher) probability. The first positions are uniform, the first colours normal with
mean 1/2 and deviation 1/2 (128 and 127 of 255 in the paper).

Later programs take the generation's best member in place of ``m_1`` (``base="best"``), and some
leave a child only a share of its own numbers (``crossover``) and its parent's in the others: the
strategy best/1/bin of Storn and Price (1997), which comes to more with fewer queries.

``k`` is the bound of the threat model. By default the population has 400 members over 100
generations, as in the paper: at most 40,400 queries, far fewer where the first success will do.

Where the paper is silent: what leaves its range is drawn anew, uniformly, as in SciPy's
differential evolution, and colours at first are cut to the box; where two of the ``k`` pixels fall
together the latter's colour counts. Log-probabilities take the place of probabilities: the same
order, but tiny ones still compare. The paper stops at a probability of 0.05 of the true class or
0.9 of the wanted one; here the engine stops at the first success, or at the end.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.attacks.sparse.pixels import paint
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.engine.vectors import chosen
from fluoroscope.errors import InvalidParameterError

Base = Literal["random", "best"]


@dataclass(frozen=True)
class OnePixelState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    members: Tensor
    """``(n, P, k, 2 + C)`` in ``[0, 1]``: the present generation's rows, columns and colours."""
    following: Tensor
    """``(n, P, k, 2 + C)``, the next generation as far as it is known."""
    values: Tensor
    """``(n, P)``, the objective of each of those."""
    best: Tensor
    """``(n,)``, which of the present generation's members is."""
    child: Tensor
    """``(n, k, 2 + C)``, to be evaluated next."""
    queries: Tensor
    """``(n,)``, evaluations made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class OnePixel(Method):
    """The one-pixel attack: ``population`` members and so many children in each generation.

    ``weight`` is the share of the difference of two members that is added to a third, the ``base``:
    a random one or the best. ``crossover`` is how likely each of a child's numbers is its own.
    """

    threat: Threat
    population: int = 400
    generations: int = 100
    weight: float = 0.5
    base: Base = "random"
    crossover: float = 1.0

    can_mask: ClassVar[bool] = False
    paper: ClassVar[str] = "Su, Vargas, Sakurai 2019 (1710.08864)"
    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("l0",)
    cost: ClassVar[str] = "1 forward"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(4, "population")  # a member and three others
        self._expect(1, "generations")
        if not 0 < self.weight <= 2:
            raise InvalidParameterError(f"weight is {self.weight}; expected above 0, at most 2")
        if self.base not in get_args(Base):
            raise InvalidParameterError(f"base is {self.base!r}; expected random or best")
        if not 0 <= self.crossover <= 1:
            raise InvalidParameterError(f"crossover is {self.crossover}; expected from 0 to 1")

    def start(self, samples: Samples) -> OnePixelState:
        """With a first generation drawn for each sample."""
        channels, height, width = samples.images.shape[1:]
        count = int(min(float(self.threat.eps), height * width))
        shape = (self.population, count)
        at = randomness.uniform(samples.keys, 0, (*shape, 2))
        colours = randomness.normal(samples.keys, 1, (*shape, channels)).div_(2).add_(0.5)
        members = torch.cat([at, colours.clamp_(0, 1)], -1)
        none = torch.zeros_like(samples.classes)
        return OnePixelState(
            samples=samples,
            members=members,
            following=members,
            values=torch.full_like(members[..., 0, 0], -torch.inf, dtype=torch.double),
            best=none,
            child=members[:, 0],
            queries=none,
            done=none > 0,
        )

    def ask(self, state: OnePixelState) -> Query:
        """The images that the children name."""
        objective = LOG_PROBABILITY.towards(state.samples.towards)
        return Query(
            _images(state.samples.images, state.child), False, objective, state.samples.classes
        )

    def tell(self, state: OnePixelState, answer: Answer) -> OnePixelState:
        """The child takes its parent's place if it is better; then the next one's child."""
        assert answer.objective is not None
        following, values = state.following, state.values
        every = torch.arange(len(following), device=following.device)
        member = state.queries % self.population
        rows = (answer.objective > values[every, member]).nonzero().squeeze(1)
        if len(rows):
            place = (rows, member[rows])
            following = following.index_put(place, state.child[rows])
            values = values.index_put(place, answer.objective[rows].to(values))
        queries = state.queries + 1
        whole = queries % self.population == 0
        members, best = state.members, state.best
        if bool(whole.any()):
            members = chosen(whole, following, members)
            best = torch.where(whole, values.argmax(1), best)
        first = members[every, queries % self.population]
        child = self._child(members, best, state.samples.keys, queries)
        return replace(
            state,
            members=members,
            following=following,
            values=values,
            best=best,
            # The first generation is evaluated as it is.
            child=torch.where((queries < self.population).view(-1, 1, 1), first, child),
            queries=queries,
            done=queries >= self.population * (self.generations + 1),
        )

    def _child(self, members: Tensor, best: Tensor, keys: Tensor, queries: Tensor) -> Tensor:
        shape = members.shape[2:]
        genes = shape.numel()
        mixed = genes + 1 if self.crossover < 1 else 0
        draws = randomness.uniform(keys, queries, (3 + genes + mixed,))
        partners, fresh, kept, sure = draws.split([3, genes, mixed and genes, mixed and 1], dim=1)
        every = torch.arange(len(keys), device=keys.device)
        member = queries % self.population
        parents = members[every[:, None], _others(partners, member, self.population)]
        base = members[every, best] if self.base == "best" else parents[:, 0]
        child = base + self.weight * (parents[:, 1] - parents[:, 2])
        child = torch.where((child >= 0) & (child <= 1), child, fresh.view_as(child))
        if mixed:
            own = kept < self.crossover
            own.scatter_(1, (sure.double() * genes).long(), True)  # one at least
            child = torch.where(own.view_as(child), child, members[every, member])
        return child


def _others(draws: Tensor, member: Tensor, count: int) -> Tensor:
    """Three different members ``(n, 3)`` that are not ``member``, from numbers in ``[0, 1)``."""
    room = torch.tensor([count - 1, count - 2, count - 3], device=draws.device)
    one, two, three = (draws.double() * room).long().unbind(1)
    two = two + (two >= one)  # steps over what is taken
    for taken in (torch.minimum(one, two), torch.maximum(one, two)):
        three = three + (three >= taken)
    return (member[:, None] + 1 + torch.stack([one, two, three], 1)) % count


def _images(original: Tensor, pixels: Tensor) -> Tensor:
    """The images with pixels ``(n, k, 2 + C)`` painted over."""
    height, width = original.shape[2:]
    row = (pixels[..., 0] * height).long().clamp_(max=height - 1)
    column = (pixels[..., 1] * width).long().clamp_(max=width - 1)
    places, colours = row * width + column, pixels[..., 2:].mT
    if places.shape[1] > 1:
        same = places[:, :, None] == places[:, None]
        last = (same * torch.arange(places.shape[1], device=places.device)).amax(2)
        colours = colours.gather(2, last[:, None].expand_as(colours))
    return paint(original, places, colours)
