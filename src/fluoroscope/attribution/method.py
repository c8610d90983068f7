"""What an attribution method is: a state machine on the one loop, mostly a sum over probes.

A *probe* is one evaluation of a picture: at the picture itself, between it and a baseline, with
noise, or with a part of it masked. A method says which images its probes are and what the answer to
each adds to the map; the engine does the rest. Where few pictures are under way many probes of each
are asked at once, and what a picture's map is does not depend on how many.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor

from fluoroscope.attribution.classes import objective_of
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.vectors import crowd, wide
from fluoroscope.models.classifier import Classifier

Promise = Literal["completeness", "conservation"]
"""``completeness``: a map adds up to f(x) - f(baseline); ``conservation``: to f(x)."""


class Rows(Protocol):
    """A method's state of ``n`` pictures; see :class:`fluoroscope.engine.stream.State`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def done(self) -> Tensor:
        """``(n,)`` booleans."""


@dataclass(frozen=True)
class Found:
    """The maps of ``n`` pictures."""

    maps: Tensor
    """``(n, C, H, W)``, signed, or ``(n, 1, H, W)`` of methods that know no channels."""
    values: Tensor
    """``(n,)`` float64, the number that each map explains; NaN where the method does not ask."""
    error: Tensor
    """``(n,)`` float64: how far each map is from what the method promises, as a share; NaN where
    it promises nothing. See :func:`promise_error`."""
    aside: Tensor | None = None
    """``(n, 2)``, forwards and backwards that the engine did not see, of another library."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """An attribution method with its options as fields.

    Args:
        objective: the number to explain: ``logit`` by default, or another of the engine's.
    """

    objective: str = "logit"

    name: ClassVar[str]
    promise: ClassVar[Promise | None] = None

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """What is evaluated: the network, or it under rules; checks what only it can tell.

        ``images`` ``(N, C, H, W)`` are all that are to be explained.
        """
        return model

    def facts(self) -> dict[str, Any]:
        """What :meth:`on` has settled, as plain values for the record."""
        return {}

    def remarks(self, error: Tensor) -> list[str]:
        """What a reader of the maps should know, sentences, by the errors ``(N,)`` of the maps."""
        return []

    def on(self, network: Classifier, images: Tensor) -> "Method":
        """The method for a search on what :meth:`network` gave, with what depends on that settled.

        ``images`` ``(N, C, H, W)`` are all that are to be explained.
        """
        return self

    def goal(self, classes: Tensor) -> Objective:
        """The number to explain, of classes ``(n,)`` or pairs ``(n, 2)``."""
        return objective_of(classes, self.objective)

    @abstractmethod
    def start(self, samples: Samples) -> Any:
        """The state of pictures that nothing is known of yet."""

    @abstractmethod
    def ask_within(self, state: Any, room: int) -> Query:
        """The images to evaluate next, at most ``room`` for each picture."""

    @abstractmethod
    def tell_all(self, state: Any, query: Query, answer: Answer) -> Any:
        """The state after the network's answer."""

    @abstractmethod
    def finish(self, state: Any) -> Found:
        """The maps of pictures that are done."""

    def behind(self, state: Any) -> Tensor:
        """``(n,)``, from 0 to 1: how much of each picture's work is done, for a bar to show."""
        return cast(Tensor, state.done.double())


@dataclass(frozen=True)
class Sums:
    """What a sum over probes knows of ``n`` pictures."""

    samples: Samples
    total: Tensor
    """``(n, *)``, what was added up; :meth:`SumOfProbes.zero` makes it."""
    values: Tensor
    """``(n, 2)`` float64, the number to explain at the picture and at its baseline; or NaN."""
    number: Tensor
    """``(n,)``, probes of this round that lie behind."""
    round: Tensor
    """``(n,)``, rounds that lie behind: a method that is not content takes more probes."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class Probing(Query):
    """A query that remembers which probes it asks about."""

    numbers: Tensor
    """``(m,)``, the number of each probe within its picture's round."""


@dataclass(frozen=True, kw_only=True)
class SumOfProbes(Method):
    """A method whose map is a sum over independent probes.

    What a picture's probes have in common, such as its baseline, is a field of its state: then
    :meth:`start` returns a subclass of :class:`Sums`.
    """

    gradient: ClassVar[bool] = True
    """Whether its probes want the gradient at the pixels."""

    @abstractmethod
    def probes(self, state: Any) -> Tensor:
        """``(n,)``, how many probes each picture takes in its round."""

    @abstractmethod
    def images(self, state: Any, owners: Tensor, numbers: Tensor) -> Tensor:
        """The probes ``(m, C, H, W)`` of those numbers ``(m,)`` of the pictures ``owners``."""

    @abstractmethod
    def add(self, state: Any, query: Probing, answer: Answer) -> Sums:
        """The state with what the probes tell added; ``query.whose`` says whose each is."""

    @abstractmethod
    def finish(self, state: Any) -> Found:
        """The maps of pictures that are done."""

    def again(self, state: Any) -> Tensor:
        """``(n,)`` booleans: who needs another round, from nothing; asked at the end of one."""
        return torch.zeros_like(state.done)

    def ends(self, state: Any) -> Tensor | None:
        """``(n,)``, before which probe a picture's next ones must end, where some are apart.

        One pass back serves a whole batch, so those that want no gradient had better be asked
        without those that do.
        """
        return None

    def wants_gradient(self, state: Any, owners: Tensor, numbers: Tensor) -> bool | Tensor:
        """Whether the gradient at the pixels is wanted, by all or by those probes ``(m,)``."""
        return self.gradient

    def zero(self, samples: Samples) -> Tensor:
        """What nothing adds up to, ``(n, *)``.

        In the network's own precision, or float32: a sum in float64 costs more, and tells no more.
        One zero that is seen everywhere: there is no memory to be cleared.
        """
        images = samples.images
        kind = torch.promote_types(images.dtype, torch.float32)
        return torch.zeros((), dtype=kind, device=images.device).expand(images.shape)

    def behind(self, state: Any) -> Tensor:
        """``(n,)``, the share of a round's probes; another round may follow."""
        return torch.where(state.done, 1.0, state.number / self.probes(state).clamp(min=1))

    def start(self, samples: Samples) -> Sums:
        """Nothing added up."""
        none = torch.zeros_like(samples.indices)
        values = torch.full(
            (len(none), 2), torch.nan, dtype=wide(samples.images), device=none.device
        )
        return Sums(samples, self.zero(samples), values, none, none, none > 0)

    def ask_within(self, state: Sums, room: int) -> Probing:
        """The next probes of each picture."""
        ends = self.ends(state)
        ends = self.probes(state) if ends is None else ends
        owners, before = crowd((ends - state.number).clamp(max=room))
        numbers = state.number[owners] + before
        classes = spread(state.samples.classes, owners)
        return Probing(
            self.images(state, owners, numbers),
            self.wants_gradient(state, owners, numbers),
            self.goal(classes),
            classes,
            owners=owners,
            numbers=numbers,
        )

    def tell_all(self, state: Sums, query: Query, answer: Answer) -> Sums:
        """What they tell, added up; at the end of a round the map, or another round."""
        assert isinstance(query, Probing)
        state = self.add(state, query, answer)
        number = state.number + torch.zeros_like(state.number).index_add(
            0, query.whose, torch.ones_like(query.whose)
        )
        ended = number >= self.probes(state)
        again = ended & self.again(state) if bool(ended.any()) else torch.zeros_like(ended)
        if bool(again.any()):
            fresh = again.view(-1, *[1] * (state.total.dim() - 1))
            state = replace(state, total=torch.where(fresh, self.zero(state.samples), state.total))
        return replace(
            state,
            number=torch.where(again, 0, number),
            round=state.round + again,
            done=ended & ~again,
        )


def spread(values: Tensor, owners: Tensor) -> Tensor:
    """What each owner ``(n, *)`` has, for each of its probes, ``(m, *)``.

    Every owner has one probe at least, so where there are as many they are one to one.
    """
    return values if len(owners) == len(values) else values[owners]


def added(total: Tensor, whose: Tensor, parts: Tensor) -> Tensor:
    """The totals ``(n, *)`` with parts ``(m, *)`` added to the rows whose each is."""
    parts = parts.to(total.dtype)
    return total + parts if len(parts) == len(total) else total.index_add(0, whose, parts)


def weighed(total: Tensor, whose: Tensor, parts: Tensor, weights: Tensor) -> Tensor:
    """The totals ``(n, *)`` with parts ``(m, *)`` times weights ``(m,)`` added, as :func:`added`.

    By one product of matrices where there are several of a row: no part is copied.
    """
    parts, weights = parts.to(total.dtype), weights.to(total.dtype)
    if len(parts) == len(total):
        return total.addcmul(parts, weights.view(-1, *[1] * (parts.dim() - 1)))
    matrix = total.new_zeros(len(total), len(parts))
    matrix[whose, torch.arange(len(parts), device=whose.device)] = weights
    return total + (matrix @ parts.flatten(1)).view_as(total)


def with_values(values: Tensor, whose: Tensor, column: int, found: Tensor) -> Tensor:
    """The values ``(n, 2)`` with those found ``(m,)`` put into a column of the rows."""
    values = values.clone()
    values[whose, column] = found.to(values.dtype)
    return values


def promise_error(maps: Tensor, expected: Tensor) -> Tensor:
    """How far maps ``(n, C, H, W)`` are from adding up to what is expected ``(n,)``; ``(n,)``.

    ``|sum - expected| / max(|expected|, 1e-3 * sum of |map|)``: where the expected number is near 0
    it is the rounding of large parts that would be measured.
    """
    flat = maps.flatten(1).to(wide(maps))
    floor = 1e-3 * flat.abs().sum(1)
    off = (flat.sum(1) - expected).abs()
    size = expected.abs().maximum(floor)
    return torch.where(size > 0, off / size.where(size > 0, 1.0), off)
