"""Portraits as a search on the one loop: seen in several views, led by a weighed sum of terms.

The parameters become a picture, the picture views, and the network says of these what the goal and
the priors are worth and which way their pixels should go; that goes back through views and picture
to the parameters. First, for each prior that is weighed by ratio, one pass finds how strong its
pull is beside the goal's. Every so often the picture itself is shown beside its views, so that its
probability and its way stations are those of the picture, not of a view of it.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.vectors import column
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.inversion.portraits.optimisers import Memory
from fluoroscope.inversion.portraits.priors.prior import ImagePrior, LayerPrior
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.inversion.portraits.warm_up import opened

STATIONS = (0.5, 0.9, 0.99, 0.999)
"""The probabilities at which a portrait is kept on its way."""


@dataclass(frozen=True)
class Painting:
    """What is known of ``n`` portraits under way."""

    samples: Samples
    parameters: Tensor
    memory: Memory
    number: Tensor
    """``(n,)``, steps that lie behind."""
    weighed: Tensor
    """``(n,)``, passes made to weigh the priors."""
    pulls: Tensor
    """``(n, 1 + P)``, sums of the absolute gradients at the pixels: the goal's and each prior's."""
    weights: Tensor
    """``(n, P)``, of the priors."""
    pixels: Tensor
    """``(n, 1, H, W)``, sum of the absolute gradients so far, the mean of the channels."""
    curve: Tensor
    """``(n, looks, 3 + P)``: step, goal, priors as they are, probability of the class."""
    looks: Tensor
    """``(n,)``, looks that lie behind."""
    still: Tensor
    """``(n,)``, steps in which the network gave no gradient at all."""
    stations: Tensor
    """``(n, S, C, H, W)``, the picture when it first came to each probability."""
    reached: Tensor
    """``(n, S)``, the step at which that was; -1 if it was not."""
    frames: Tensor
    """``(n, F, C, H, W)``, pictures on the way, evenly spaced."""
    done: Tensor


@dataclass(frozen=True, kw_only=True)
class Viewing(Query):
    """A query that remembers the graph from parameters to views."""

    leaf: Tensor
    """The parameters."""
    picture: Tensor
    """``(n, C, H, W)``, in the graph of the parameters."""
    shown: Tensor
    """The same, as the beginning of the graph of the views and of the penalties."""
    views: Tensor
    """``(n * copies, C, h, w)``"""
    penalties: tuple[Tensor, ...]
    """``(n,)`` each, of the priors on pixels."""
    looking: bool
    """Whether the last rows of each portrait show the picture itself."""


class Portraying:
    """The search: a crowded attack of the engine.

    Args:
        canvas: what is painted on.
        recipe: how.
        size: ``(height, width)`` of the views.
        start: pictures ``(N, C, H, W)`` to start from, one for each sample; else random ones.
        frames: how many pictures on the way are kept.
    """

    apart: ClassVar[bool] = True

    def __init__(
        self,
        canvas: Canvas,
        recipe: Recipe,
        size: tuple[int, int],
        *,
        start: Tensor | None = None,
        frames: int = 0,
    ) -> None:
        self.canvas, self.recipe, self.size = canvas, recipe, size
        self._start = start
        looks = look_steps(recipe.steps)
        self._looks = len(looks)
        self._look_steps = torch.tensor(looks, dtype=torch.long, device=canvas.device)
        self._frames = min(frames, recipe.steps)
        self._on_layers = [each for each in recipe.priors if isinstance(each.prior, LayerPrior)]
        self._on_pixels = [each for each in recipe.priors if isinstance(each.prior, ImagePrior)]
        self.priors = [*self._on_layers, *self._on_pixels]
        """In the order of the columns."""
        # One pass for the goal and one for each prior on layers; those on pixels need none.
        ratio = any(each.ratio for each in self.priors)
        self._weighing = 1 + len(self._on_layers) if ratio else 0
        goals = [recipe.goal, *(p.prior.penalty for p in self._on_layers)]  # type: ignore[union-attr]
        self._goals: list[Goal] = goals
        self.places: tuple[Place, ...] = tuple(
            dict.fromkeys(place for goal in goals for place in goal.places)
        )
        self.together = any(goal.together for goal in goals)
        """Whether the portraits of a batch depend on each other."""

    @property
    def views(self) -> int:
        """Views of each portrait at a step."""
        return self.recipe.transformations.copies

    def start(self, samples: Samples) -> Painting:
        """Random parameters, or those that stand for the pictures to start from."""
        canvas, how = self.canvas, self.recipe.parameterisation
        count, device = len(samples.keys), canvas.device
        if self._start is None:
            parameters = how.start(canvas, samples.keys)
        else:
            parameters = how.start_from(canvas, self._start[samples.indices])
        zero = torch.zeros_like(samples.indices)
        kinds = len(self.priors)
        fixed = torch.tensor(
            [each.weight for each in self.priors], dtype=torch.float32, device=device
        )

        def blank(*shape: int) -> Tensor:
            return torch.zeros(count, *shape, dtype=canvas.dtype, device=device)

        return Painting(
            samples=samples,
            parameters=parameters,
            memory=self.recipe.optimiser.start(parameters),
            number=zero,
            weighed=zero,
            pulls=blank(1 + kinds),
            weights=fixed.to(canvas.dtype).expand(count, kinds).clone(),
            pixels=blank(1, canvas.height, canvas.width),
            curve=blank(self._looks, 3 + kinds),
            looks=zero,
            still=zero,
            stations=blank(len(STATIONS), *canvas.shape),
            reached=torch.full((count, len(STATIONS)), -1, dtype=torch.long, device=device),
            frames=blank(self._frames, *canvas.shape),
            done=zero > 0,
        )

    def ask_within(self, state: Painting, room: int) -> Viewing:
        """The views of this step, and now and then the picture itself."""
        recipe, samples = self.recipe, state.samples
        count, copies = len(samples.keys), self.views
        with torch.enable_grad():
            leaf = state.parameters.detach().requires_grad_()
            picture = recipe.parameterisation.picture(self.canvas, leaf)
            shown = picture.detach().requires_grad_()
            share = state.number / max(1, recipe.steps - 1)
            views = recipe.transformations.views(
                shown, samples.keys, state.number, share, self.size
            )
            penalties = tuple(
                each.prior.function(shown)
                for each in self._on_pixels
                if isinstance(each.prior, ImagePrior)
            )
        owners = torch.arange(count, device=views.device).repeat_interleave(copies)
        looking = bool((self._looks_now(state)).any())
        images = views.detach()
        wanted: bool | Tensor = True
        if looking:
            images = torch.cat([images, self._as_seen(shown.detach())])
            owners = torch.cat([owners, torch.arange(count, device=owners.device)])
            order = owners.argsort(stable=True)
            images, owners = images[order], owners[order]
            wanted = torch.ones_like(owners, dtype=torch.bool)
            wanted[copies :: copies + 1] = False
        return Viewing(
            images,
            wanted,
            Inside(
                str(recipe.goal),
                self.places,
                self._terms(state, looking),
                self._around(state, owners),
            ),
            samples.classes[owners],
            owners=owners,
            leaf=leaf,
            picture=picture,
            shown=shown,
            views=views,
            penalties=penalties,
            looking=looking,
        )

    def tell_all(self, state: Painting, query: Query, answer: Answer) -> Painting:
        """Weighed once more, or a step on."""
        assert isinstance(query, Viewing)
        assert answer.gradient is not None
        assert answer.terms is not None
        each = self.views + query.looking
        rows = answer.gradient.view(-1, each, *answer.gradient.shape[1:])[:, : self.views]
        gradient = rows.flatten(0, 1).to(query.views.dtype) / self.views
        terms = answer.terms.view(-1, each, answer.terms.shape[1])[:, : self.views].mean(1)
        weighing = state.weighed < self._weighing
        (pull,) = torch.autograd.grad(query.views, query.shown, gradient)
        with torch.enable_grad():
            sums = [one.sum() for one in query.penalties]
        pulls = [torch.autograd.grad(one, query.shown)[0] for one in sums]
        if bool(weighing.any()):
            # All of a batch began together or wait as they are, so some may be weighed already.
            state = self._weigh(state, weighing, pull, pulls)
            if bool(weighing.all()):
                return state
        still = (pull == 0).flatten(1).all(1)
        first = len(self._on_layers)
        for at, one in enumerate(pulls):
            pull = pull - column(state.weights[:, first + at]) * one
        (along,) = torch.autograd.grad(query.picture, query.leaf, pull)
        moving = ~weighing
        parameters, memory = self.recipe.optimiser.step(
            state.parameters, along, state.memory, state.number, self.recipe.steps
        )
        state = self._look(state, query, answer, terms, moving)
        keep = moving.view(-1, *[1] * (parameters.dim() - 1))
        memory = Memory(
            torch.where(keep, memory.first, state.memory.first),
            torch.where(keep, memory.second, state.memory.second),
        )
        number = state.number + moving
        return replace(
            state,
            parameters=torch.where(keep, parameters, state.parameters),
            memory=memory,
            number=number,
            still=state.still + (still & moving),
            pixels=state.pixels + column(moving) * pull.abs().mean(1, keepdim=True),
            done=number >= self.recipe.steps,
        )

    def pictures(self, state: Painting) -> Tensor:
        """The portraits as they are, ``(n, C, H, W)``."""
        with torch.no_grad():
            return self.recipe.parameterisation.picture(self.canvas, state.parameters).clamp(0, 1)

    def _around(self, state: Painting, owners: Tensor) -> Any:
        """What the network runs inside: in the first steps dead ReLUs are opened."""
        early = (state.number < self.recipe.warm_up)[owners]
        return opened(early) if bool(early.any()) else nullcontext

    def _looks_now(self, state: Painting) -> Tensor:
        return (state.weighed >= self._weighing) & torch.isin(state.number, self._look_steps)

    def _as_seen(self, pictures: Tensor) -> Tensor:
        """Pictures at the size of the views, so that they fit into one batch."""
        if pictures.shape[-2:] == self.size:
            return pictures
        return torch.nn.functional.interpolate(
            pictures, self.size, mode="bilinear", antialias=True
        ).clamp(0, 1)

    def _terms(self, state: Painting, looking: bool) -> Any:
        """The function of an :class:`Inside`: the goal and each layer's prior, weighed and signed.

        While priors are weighed one term at a time is let through, with a weight of 1.
        """
        each = self.views + looking
        ways = [
            torch.ones_like(state.samples.towards),
            *(-state.weights[:, at] for at in range(len(self._on_layers))),
        ]
        scale = torch.stack([way.to(state.weights) for way in ways], 1)
        weighing = state.weighed < self._weighing
        if bool(weighing.any()):
            one = torch.nn.functional.one_hot(
                state.weighed.clamp(max=scale.shape[1] - 1), scale.shape[1]
            ).to(scale)
            scale = torch.where(weighing[:, None], one, scale)
        rows = torch.arange(len(scale) * each, device=scale.device)
        plain = rows % each >= self.views
        goals, copies, towards = self._goals, self.views, state.samples.towards.to(scale)

        def function(seen: Seen) -> Tensor:
            if looking:  # the pictures themselves are for the books alone
                kept = ~plain
                seen = Seen(
                    seen.logits[kept],
                    seen.classes[kept],
                    {place: output[kept] for place, output in seen.outputs.items()},
                )
            whose = torch.arange(len(seen.logits), device=seen.logits.device) // copies
            views = Views(seen, whose, copies, towards[whose])
            columns = [goals[0].raised(views), *(goal(views) for goal in goals[1:])]
            found = torch.stack([each.to(scale) for each in columns], 1) * scale[whose]
            if looking:
                all_of = found.new_zeros(len(plain), found.shape[1])
                return all_of.index_put((kept.nonzero()[:, 0],), found)
            return found

        return function

    def _weigh(
        self, state: Painting, weighing: Tensor, pull: Tensor, on_pixels: list[Tensor]
    ) -> Painting:
        """Note one term's pull; after the last the weights are known."""
        found = pull.abs().flatten(1).sum(1)
        at = state.weighed.clamp(max=state.pulls.shape[1] - 1)
        pulls = state.pulls.clone()
        rows = weighing.nonzero()[:, 0]
        pulls[rows, at[rows]] = found[rows]
        for number, one in enumerate(on_pixels):
            place = 1 + len(self._on_layers) + number
            pulls[rows, place] = one.abs().flatten(1).sum(1)[rows]
        weighed = state.weighed + weighing
        over = weighing & (weighed == self._weighing)
        weights = state.weights
        for number, each in enumerate(self.priors):
            if each.ratio:
                ratio = each.weight * pulls[:, 0] / pulls[:, 1 + number]
                ratio = torch.where(pulls[:, 1 + number] > 0, ratio, 0.0)
                weights = torch.where(
                    (over[:, None])
                    & (torch.arange(len(self.priors), device=over.device) == number),
                    ratio[:, None],
                    weights,
                )
        return replace(state, pulls=pulls, weighed=weighed, weights=weights)

    def _look(
        self, state: Painting, query: Viewing, answer: Answer, terms: Tensor, moving: Tensor
    ) -> Painting:
        """Note where those stand that are looked at now."""
        now = self._looks_now(state) & moving
        if not bool(now.any()):
            return self._frame(state, query, moving)
        each = self.views + 1
        logits = answer.logits.view(-1, each, answer.logits.shape[1])[:, -1]
        classes = state.samples.classes
        sure = logits.double().softmax(1).gather(1, classes[:, None].clamp(min=0))[:, 0]
        sure = sure.where(classes >= 0, torch.nan)  # of no class there is none
        on_pixels = [one.detach() for one in query.penalties]
        own = terms[:, 0] * state.samples.towards
        layers = [
            -terms[:, 1 + at] / state.weights[:, at].where(state.weights[:, at] != 0, 1.0)
            for at in range(len(self._on_layers))
        ]
        row = torch.stack([state.number.to(terms), own, *layers, *on_pixels, sure.to(terms)], 1)
        curve = state.curve.clone()
        rows = now.nonzero()[:, 0]
        curve[rows, state.looks[rows]] = row[rows].to(curve)
        reached, stations = state.reached.clone(), state.stations
        for at, wanted in enumerate(STATIONS):
            fresh = now & (sure >= wanted) & (reached[:, at] < 0) & (state.samples.towards > 0)
            if bool(fresh.any()):
                stations = stations.clone()
                stations[fresh, at] = query.shown.detach()[fresh].to(stations)
                reached[fresh, at] = state.number[fresh]
        state = replace(
            state, curve=curve, looks=state.looks + now, reached=reached, stations=stations
        )
        return self._frame(state, query, moving)

    def _frame(self, state: Painting, query: Viewing, moving: Tensor) -> Painting:
        """Keep the picture as it is now, where it is its turn."""
        if not self._frames:
            return state
        # Evenly spaced: frame k is that of step k * steps // frames.
        steps, count = self.recipe.steps, self._frames
        place = (state.number * count + steps - 1) // steps
        now = moving & (place * steps // count == state.number) & (place < count)
        if not bool(now.any()):
            return state
        frames, rows = state.frames.clone(), now.nonzero()[:, 0]
        frames[rows, place[rows]] = query.shown.detach()[rows].to(frames)
        return replace(state, frames=frames)


def look_steps(steps: int) -> list[int]:
    """At which steps a portrait is looked at as it is: at each at first, then ever more rarely.

    A class is often found within a few steps, and then little changes.
    """
    found, at = [], 0
    while at < steps:
        found.append(at)
        at += max(1, at // 5)
    return found if found[-1] == steps - 1 else [*found, steps - 1]
