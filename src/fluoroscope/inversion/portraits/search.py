"""Portraits as a search on the one loop: seen in several views, led by a weighed sum of terms.

The parameters become a picture, the picture views, and the network says of these what the goal and
the priors are worth and which way their pixels should go; that goes back through views and picture
to the parameters. Where there is no room for all views of a portrait at once, they are seen part by
part and their gradients added. First, for each prior that is weighed by ratio, one pass finds how
strong its pull is beside the goal's. Every so often the picture itself is shown, forward only, so
that its probability and its way stations are those of the picture, not of a view of it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.engine.stream import Query, Samples, put, take
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.books import STATIONS, framed, look_steps, noted
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.inversion.portraits.painting import Painting, Viewing
from fluoroscope.inversion.portraits.priors.prior import ImagePrior, LayerPrior
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.inversion.portraits.warm_up import opened
from fluoroscope.inversion.portraits.weighing import weighed_once_more


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
        self._at_step = torch.zeros(recipe.steps + 1, dtype=torch.bool, device=canvas.device)
        self._at_step[torch.tensor(looks, device=canvas.device)] = True
        self._frames = min(frames, recipe.steps)
        kinds = [(each, each.prior) for each in recipe.priors]
        self._on_layers = [prior for _, prior in kinds if isinstance(prior, LayerPrior)]
        self._on_pixels = [prior for _, prior in kinds if isinstance(prior, ImagePrior)]
        self.priors = [
            each for kind in (LayerPrior, ImagePrior) for each, prior in kinds
            if isinstance(prior, kind)
        ]  # fmt: skip
        """In the order of the columns."""
        # One pass for the goal and one for each prior on layers; those on pixels need none.
        ratio = any(each.ratio for each in self.priors)
        self._weighing = 1 + len(self._on_layers) if ratio else 0
        beside = [prior for prior in self._on_layers if prior.beside_start]
        if beside and start is None:
            raise InvalidParameterError(
                f"start was not given, and the prior {beside[0].name!r} compares with the picture "
                "that a portrait starts from; expected start=pictures"
            )
        self._beside = bool(beside)
        # Where a portrait begins, its distance from there has no slope yet.
        self._weighed_from = int(any(each.ratio and each.prior in beside for each in self.priors))
        same = recipe.transformations.none and self.views == 1 and canvas.shape[1:] == size
        # What the one view says is then said of the picture; priors' terms come weighed, though.
        self._seen_as_it_is = same and not self._on_layers
        goals = [recipe.goal, *(prior.penalty for prior in self._on_layers)]
        self._goals: list[Goal] = goals
        self._uncut = any(prior.unbounded for prior in self._on_pixels)
        self.places: tuple[Place, ...] = tuple(
            dict.fromkeys(place for goal in goals for place in goal.places)
        )
        self.together = any(goal.together for goal in goals)
        """Whether the portraits of a batch depend on each other."""
        self.whole = any(goal.whole for goal in goals)
        """Whether all views of a portrait have to be seen at once."""
        self.count = 0
        """How many portraits there are, if they depend on each other."""
        self.least = 2 if self._beside else 1
        """Images that one view is shown by."""

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
            [0.0 if each.ratio else each.weight for each in self.priors],
            dtype=torch.float32,
            device=device,
        )

        def blank(*shape: int) -> Tensor:
            return torch.zeros(count, *shape, dtype=canvas.dtype, device=device)

        return Painting(
            samples=samples,
            parameters=parameters,
            memory=self.recipe.optimiser.start(parameters),
            number=zero,
            seen=zero,
            sofar=blank(*(canvas.shape if self.views > 1 else (0,))),
            looked=zero > 0,
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
        """Views of this step, as many as there is room for, or the pictures themselves."""
        recipe, samples = self.recipe, state.samples
        count = len(samples.keys)
        looking = not self._seen_as_it_is and bool(self._looks_now(state).any())
        room, behind = max(1, room // self.least), int(state.seen.max()) if self.views > 1 else 0
        copies = 1 if looking else min(room, self.views - behind)
        if not looking:
            self._check_room(count, copies)
        with torch.set_grad_enabled(not looking):
            leaf = state.parameters.detach().requires_grad_(not looking)
            picture = self._painted(leaf)
            shown = picture.detach().requires_grad_(not looking)
            views = self._shown(self._cut(shown), state, copies, looking)
        images, own = views.detach(), None
        if self._beside:
            assert self._start is not None
            others = self._shown(self._start[samples.indices], state, copies, looking)
            # Of each portrait its views, and then those of its start.
            pairs = [each.unflatten(0, (count, copies)) for each in (images, others)]
            images = torch.cat(pairs, 1).flatten(0, 1)
            own = torch.arange(len(images), device=images.device).view(count, 2, copies)
            own = own[:, 0].flatten()
        owners = None
        if len(images) > count:
            owners = torch.arange(count, device=views.device)
            owners = owners.repeat_interleave(copies * self.least)
        wanted: bool | Tensor = not looking
        if own is not None and not looking:
            wanted = torch.zeros_like(images[:, 0, 0, 0], dtype=torch.bool)
            wanted[own] = True
        return Viewing(
            images,
            wanted,
            Inside(
                str(recipe.goal),
                self.places,
                self._terms(state, copies, looking, own),
                nullcontext if looking else self._around(state, owners),
            ),
            samples.classes if owners is None else samples.classes[owners],
            owners=owners,
            leaf=leaf,
            picture=picture,
            shown=shown,
            views=views,
            copies=copies,
            all=copies == self.views,
            own=own,
            plain=looking,
        )

    def _shown(self, pictures: Tensor, state: Painting, copies: int, looking: bool) -> Tensor:
        """Pictures as the network is shown them: as they are, or so many of this step's views."""
        if looking:
            return self._as_seen(pictures)
        steps, samples = self.recipe.steps, state.samples
        return self.recipe.transformations.views(
            pictures, samples.keys, state.number, state.number / max(1, steps - 1), self.size,
            first=state.seen, count=copies,
        )  # fmt: skip

    def tell_all(self, state: Painting, query: Query, answer: Answer) -> Painting:
        """Looked at, seen in part, weighed once more, or a step on."""
        assert isinstance(query, Viewing)
        if query.plain:
            return self._look(state, query, answer)
        assert answer.gradient is not None
        if not bool(state.number.any()):
            answer.check_leads()
        gradient = answer.gradient.to(query.views.dtype)
        if query.own is not None:
            gradient = gradient[query.own]
        pull = gradient
        if query.views is not query.shown:
            (pull,) = torch.autograd.grad(query.views, query.shown, gradient)
        if query.all:
            return self._led(state, query, answer, pull / self.views if self.views > 1 else pull)
        seen = state.seen + query.copies
        over = seen == self.views  # all of a batch but for those that waited for memory
        if bool(state.seen.any()):
            pull = torch.where(column(state.seen > 0), pull + state.sofar, pull)
        if not bool(over.all()):
            state = replace(state, sofar=pull)
        state = replace(state, seen=seen * ~over)
        if not bool(over.any()):
            return state
        return self._led(state, query, answer, pull / self.views, over)

    def _led(
        self,
        state: Painting,
        query: Viewing,
        answer: Answer,
        pull: Tensor,
        over: Tensor | None = None,
    ) -> Painting:
        """Weighed or moved, those who have seen all their views; ``pull`` is the mean of these.

        With no ``over`` ``(n,)`` they all have.
        """
        with torch.enable_grad():
            sums = [self._penalty(each, query.shown).sum() for each in self._on_pixels]
        pulls = [torch.autograd.grad(one, query.shown)[0] for one in sums]
        moving = over
        if self._weighing:
            weighing = self._weighs_now(state)
            weighing = weighing if over is None else over & weighing
            if bool(weighing.any()):
                state = weighed_once_more(state, weighing, pull, pulls, self.priors, self._weighing)
                moving = ~weighing if over is None else over & ~weighing
                if not bool(moving.any()):
                    return state
        if moving is not None and bool(moving.all()):
            moving = None  # all of them
        if self._seen_as_it_is and bool(self._looks_now(state).any()):
            state = self._look(state, query, answer)
        still = ~pull.flatten(1).any(1)
        first = len(self._on_layers)
        for at, one in enumerate(pulls):
            pull = pull - column(state.weights[:, first + at]) * one
        (along,) = torch.autograd.grad(query.picture, query.leaf, pull)
        along = self.recipe.parameterisation.led(self.canvas, along)
        parameters, memory = self.recipe.optimiser.step(
            state.parameters, along, state.memory, state.number, self.recipe.steps
        )
        if self._frames:
            framed(state, self._cut(query.shown.detach()), moving, self.recipe.steps)
        trace = pull.abs().mean(1, keepdim=True)
        if moving is not None:
            trace, still = column(moving) * trace, moving & still
            rows = moving.nonzero()[:, 0]
            parameters = state.parameters.index_copy(0, rows, parameters[rows])
            memory = put(state.memory, rows, take(memory, rows))
        number = state.number + (1 if moving is None else moving)
        return replace(
            state,
            parameters=parameters,
            memory=memory,
            number=number,
            looked=torch.zeros_like(state.looked) if moving is None else state.looked & ~moving,
            still=state.still + still,
            pixels=trace.add_(state.pixels),
            done=number >= self.recipe.steps,
        )

    def pictures(self, state: Painting) -> Tensor:
        """The portraits as they are, ``(n, C, H, W)``."""
        with torch.no_grad():
            return self.recipe.parameterisation.picture(self.canvas, state.parameters).clamp(0, 1)

    def _around(
        self, state: Painting, owners: Tensor | None
    ) -> Callable[[], AbstractContextManager[object]]:
        """What the network runs inside: in the first steps dead ReLUs are opened."""
        early = state.number < self.recipe.warm_up
        if not bool(early.any()):
            return nullcontext
        return opened(early if owners is None else early[owners])

    def _painted(self, parameters: Tensor) -> Tensor:
        """The pictures; where a prior looks beyond 0 and 1, before they are cut off there."""
        if self._uncut:
            return parameters.clone()
        return self.recipe.parameterisation.picture(self.canvas, parameters)

    def _cut(self, pictures: Tensor) -> Tensor:
        return pictures.clamp(0, 1) if self._uncut else pictures

    def _penalty(self, prior: ImagePrior, shown: Tensor) -> Tensor:
        return prior.function(shown if prior.unbounded else self._cut(shown))

    def _weighs_now(self, state: Painting) -> Tensor:
        return (state.weighed < self._weighing) & (state.number >= self._weighed_from)

    def _looks_now(self, state: Painting) -> Tensor:
        now = self._at_step[state.number] & ~state.looked
        return now & ~self._weighs_now(state) if self._weighing else now

    def _as_seen(self, pictures: Tensor) -> Tensor:
        """Pictures at the size of the views, so that they fit into one batch."""
        if pictures.shape[-2:] == self.size:
            return pictures
        return torch.nn.functional.interpolate(
            pictures, self.size, mode="bilinear", antialias=True
        ).clamp(0, 1)

    def _check_room(self, count: int, copies: int) -> None:
        """Refuse to tear apart what has to be seen at once."""
        if self.together and count < self.count:
            raise InvalidParameterError(
                f"{self.recipe.goal} compares portraits with each other, and there is room for "
                f"{count} of {self.count} at once; give a larger batch_size, or ask for fewer"
            )
        if self.whole and copies < self.views:
            raise InvalidParameterError(
                f"{self.recipe.goal} needs all {self.views} views of a portrait at once, and there "
                f"is room for {copies}; give a larger batch_size, or fewer copies"
            )

    def _terms(
        self, state: Painting, copies: int, looking: bool, own: Tensor | None
    ) -> Callable[[Seen], Tensor]:
        """The function of an :class:`Inside`: the goal and each layer's prior, weighed and signed.

        While priors are weighed one term at a time is let through, with a weight of 1; those who
        are looked at are told every term as it is.
        """
        towards, kind = state.samples.towards.to(state.weights), state.weights.dtype
        if not self._on_layers:
            goal = self.recipe.goal

            def only(seen: Seen) -> Tensor:
                whose = torch.arange(len(seen.logits), device=seen.logits.device)
                whose = whose if copies == 1 else whose // copies
                way = towards if copies == 1 else towards[whose]
                return goal.raised(Views(seen, whose, copies, way)).to(kind)[:, None]

            return only
        ways = [
            torch.ones_like(state.samples.towards),
            *(-state.weights[:, at] for at in range(len(self._on_layers))),
        ]
        scale = torch.stack([way.to(state.weights) for way in ways], 1)
        weighing = self._weighs_now(state)
        if looking:
            scale = torch.ones_like(scale)
        elif bool(weighing.any()):
            one = torch.nn.functional.one_hot(
                state.weighed.clamp(max=scale.shape[1] - 1), scale.shape[1]
            ).to(scale)
            scale = torch.where(weighing[:, None], one, scale)
        goals = self._goals

        def weighed(seen: Seen, beside: dict[Place, Tensor]) -> Tensor:
            whose = torch.arange(len(seen.logits), device=seen.logits.device) // copies
            views = Views(seen, whose, copies, towards[whose], beside)
            columns = [goals[0].raised(views), *(goal(views) for goal in goals[1:])]
            return torch.stack([each.to(scale) for each in columns], 1) * scale[whose]

        def function(seen: Seen) -> Tensor:
            if own is None:
                return weighed(seen, {})
            others = own + copies
            found = weighed(
                Seen(
                    seen.logits[own],
                    seen.classes[own],
                    {place: output[own] for place, output in seen.outputs.items()},
                ),
                {place: output.detach()[others] for place, output in seen.outputs.items()},
            )
            return found.new_zeros(len(seen.logits), found.shape[1]).index_copy(0, own, found)

        return function

    def _look(self, state: Painting, query: Viewing, answer: Answer) -> Painting:
        """Note where those stand who are looked at now."""
        assert answer.terms is not None
        logits, terms = answer.logits, answer.terms
        if query.own is not None:
            logits, terms = logits[query.own], terms[query.own]
        shown = query.shown.detach()
        found = [
            terms[:, 0] * state.samples.towards,
            *terms.unbind(1)[1:],
            *(self._penalty(prior, shown) for prior in self._on_pixels),
        ]
        return noted(state, self._looks_now(state), self._cut(shown), logits, found)
