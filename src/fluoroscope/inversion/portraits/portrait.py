"""The door of portraits: it checks what is given, lets the search run, and makes the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.bookmark import Bookmark, UnusableBookmarkError
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.first_look import is_found, notes_of, remind
from fluoroscope.engine.predict import check_batch_size, predict, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import Attack, Feed, Samples, Step, feed, stream, take
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.inversion.names import USUAL
from fluoroscope.inversion.picture_size import picture_size
from fluoroscope.inversion.portraits.canvas import Canvas
from fluoroscope.inversion.portraits.doubts import notes_of_search
from fluoroscope.inversion.portraits.given import real_pictures
from fluoroscope.inversion.portraits.objectives.asked import classes_asked
from fluoroscope.inversion.portraits.painting import Painting, Viewing
from fluoroscope.inversion.portraits.presets import Labelled, Material, as_recipe, finished
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.inversion.portraits.result import Portraits
from fluoroscope.inversion.portraits.search import Portraying
from fluoroscope.inversion.prior_files import notes_on_size, prior_for
from fluoroscope.models.classifier import Classifier, as_classifier


@torch.inference_mode(False)
def portrait(
    model: Classifier | nn.Module,
    classes: int | str | Sequence[int | str] | None,
    *,
    method: str | Recipe = USUAL,
    steps: int | None = None,
    size: int | tuple[int, int] | None = None,
    start: Tensor | None = None,
    against: bool = False,
    prior: Any = None,
    real: Labelled | None = None,
    seed: int = 0,
    numbers: Tensor | None = None,
    frames: int = 0,
    batch_size: int | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_share: Callable[[float], None] | None = None,
    on_look: Callable[["Look"], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    bookmark: Bookmark | None = None,
    **options: Any,
) -> Portraits:
    """What a network believes classes look like: pictures that excite them.

    Args:
        model: the network under study.
        classes: one, or several; a class may be asked for more than once. ``None`` with a goal
            that speaks of none, such as ``goal=channel("layer3", 5)``: one portrait, or as many as
            there are ``numbers`` or pictures to start from.
        method: a preset by name (``fluoroscope portrait list``), or a recipe.
        steps: in place of the method's own.
        size: of the picture; by default the network's own input size, times the recipe's
            ``canvas``.
        start: pictures ``(N, C, H, W)`` or one ``(C, H, W)`` in ``[0, 1]`` to start from.
        against: make beside each portrait one from the same start that lowers the goal.
        prior: what is known of real pictures: a :class:`.DataPrior`, the file of one, or one of the
            package by name. By default, as on the command line, what suits the network: its digits
            for the built-in ones, natural colour for others of three channels, and for all else
            ``"grey"``: nothing, which is mid-grey and channels apart.
        real: real pictures ``(M, C, H, W)`` of the network's size and their classes ``(M,)``, for
            the methods that compare with some (``fluoroscope portrait list``).
        seed: for everything random; what is drawn for a portrait depends on it and on its number
            alone, unless its goal or a prior compares the portraits with each other. Batches of
            one shape give the same bytes; in others, or with other thread counts, processors
            round otherwise, which many steps may make visible.
        numbers: ``(N,)``, the portraits' numbers; by default 0 and up.
        frames: how many pictures on the way are kept.
        batch_size: views evaluated at once.
        on_step: called with every step.
        on_share: called after it with the share of the work that lies behind.
        on_look: called now and then with the portraits under way as they are.
        cancelled: asked after every step; what is not finished is then left out.
        bookmark: where the search is kept while it goes on, and gone on with if it is there.
        options: changes to the recipe, by the names of its fields.

    Raises:
        UnknownLabelError, InvalidParameterError, InvalidImagesError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
        NothingFinishedError: it was stopped before a portrait was finished.
    """
    model = as_classifier(model)
    recipe = as_recipe(method, steps=steps, **options)
    seed = randomness.as_seed(seed)
    many = len(numbers) if numbers is not None else _of(start)
    wanted = classes_asked(model, classes, recipe.goal, many)
    views = model.input_size or _shape(model, 1.0, size, start)
    material = Material(model, views, wanted, prior, real, start is not None)
    recipe = finished(method, recipe, material, options)
    shape = _shape(model, recipe.canvas, size, start)
    # On a canvas larger than the network's pictures a prior of these serves as well.
    known = prior_for(model, prior, shape, *([views] if size is None and start is None else []))
    canvas = Canvas(model.channels, *shape, known, model.dtype, model.device)
    given = None if start is None else _started(start, len(wanted), canvas)
    count = len(wanted)
    own = torch.arange(count, device="cpu") if numbers is None else numbers
    ways = torch.ones(count, dtype=torch.float32, device="cpu")
    if against:
        wanted, own, ways = wanted.repeat(2), own.repeat(2), torch.cat([ways, -ways])
        given = None if given is None else given.repeat(2, 1, 1, 1)
    remind(model)
    search = Portraying(canvas, recipe, views, start=given, frames=frames)
    rows, at_once = _at_once(model, batch_size, search, len(wanted))
    blank = torch.zeros(1, *canvas.shape, dtype=canvas.dtype, device=canvas.device)

    def samples() -> Feed:
        everything = feed(
            blank.expand(len(wanted), *canvas.shape), wanted.to(canvas.device), targeted=True,
            seed=seed, numbers=own.to(canvas.device),
        )  # fmt: skip

        def hand_out(room: int) -> Samples | None:
            found = everything(min(room, rows))
            if found is None:
                return None
            return replace(found, towards=ways.to(canvas.device)[found.indices])

        return hand_out

    def attempt() -> _Kept:
        kept = _Kept(search, len(wanted), on_look)
        if bookmark is not None:
            kept.keep_in(bookmark, samples())
        steps = stream(
            model, cast(Attack[Any], kept), samples(), batch_size=at_once, bookmark=bookmark
        )
        with model.held():
            for step in steps:
                kept.count(step)
                if on_step is not None:
                    on_step(step)
                if on_share is not None:
                    on_share(min(1.0, kept.behind / (len(wanted) * recipe.steps)))
                if cancelled is not None and cancelled():
                    if bookmark is not None:
                        bookmark.ending = True
                        next(steps, None)  # kept as it is between two steps
                    break
        return kept

    try:
        kept = attempt()
    except UnusableBookmarkError:
        assert bookmark is not None
        bookmark.drop()
        kept = attempt()
    made = sorted(kept.done)
    if not made:
        raise NothingFinishedError(
            "stopped before a portrait was finished; expected to be left to finish one"
        )
    paintings = [kept.done[number] for number in made]
    pictures = torch.cat([search.pictures(each) for each in paintings])
    said = predict(model, pictures, batch_size=at_once)
    chosen = torch.tensor(made, device="cpu")
    starts = pictures[:0] if given is None else given[chosen.to(given.device)]
    begun = said.logits[:0] if given is None else predict(model, starts, batch_size=at_once).logits
    cropped = recipe.transformations.crop is not None
    record = {
        "method": recipe.describe(),
        "usual_steps": None if isinstance(method, Recipe) else as_recipe(method).steps,
        "seen_in_parts": cropped and max(shape[0] / views[0], shape[1] / views[1]) > 1,
        "seed": seed,
        "size": list(shape),
        "prior": known.name,
        **real_pictures(recipe, known, start),
        "priors": [each.prior.name for each in search.priors],
        "against": against,
        "unfinished": len(wanted) - len(made),
        **provenance(model),
    }
    return Portraits(
        images=pictures.cpu(),
        targets=wanted[chosen],
        towards=ways[chosen],
        logits=said.logits,
        transparency=torch.cat([each.pixels for each in paintings]).cpu(),
        curve=torch.cat([each.curve for each in paintings]).cpu(),
        weights=torch.cat([each.weights for each in paintings]).cpu(),
        stations=torch.cat([each.stations for each in paintings]).cpu(),
        reached=torch.cat([each.reached for each in paintings]).cpu(),
        frames=torch.cat([each.frames for each in paintings]).cpu(),
        starts=starts.cpu(),
        start_logits=begun,
        forwards=kept.forwards[chosen],
        backwards=kept.backwards[chosen],
        numbers=own[chosen],
        record=record,
        labels=model.labels,
        notes=(
            *notes_of(model),
            *notes_on_size(prior, known, shape),
            *recipe.parameterisation.notes(canvas),
            *recipe.parameterisation.notes_on(pictures),
            *notes_of_search(
                torch.cat([each.still for each in paintings]).cpu(),
                recipe.steps,
                torch.cat([each.pulls for each in paintings]).cpu(),
                [(each.prior.name, each.ratio) for each in search.priors],
                recipe.warm_up,
                finite=not is_found(model, "finite"),
            ),
        ),
    )


class NothingFinishedError(FluoroscopeError):
    """Portraits that were stopped before one was finished."""


@dataclass(frozen=True)
class Look:
    """``n`` portraits under way, as they are."""

    indices: Tensor
    """``(n,)``, which of the portraits that were asked for these are, from 0."""
    steps: Tensor
    """``(n,)``, steps that lie behind each."""
    images: Tensor
    """``(n, C, H, W)``"""
    probabilities: Tensor
    """``(n,)``, of their classes."""
    goals: Tensor
    """``(n,)``, the number that is raised, or lowered of a portrait against."""


class _Kept:
    """The search, whose portraits are kept when they are done, and may be watched."""

    apart = True

    def __init__(
        self, search: Portraying, count: int, on_look: Callable[[Look], None] | None
    ) -> None:
        self._search, self._on_look = search, on_look
        self.least = search.least
        self.done: dict[int, Painting] = {}
        self.behind = 0
        """Steps of all portraits that lie behind."""
        self.forwards = torch.zeros(count, dtype=torch.long, device="cpu")
        self.backwards = torch.zeros_like(self.forwards)

    def keep_in(self, bookmark: Bookmark, samples: Feed) -> None:
        """Have what is finished kept there, and take up what was."""
        if bookmark.found:
            first = samples(1)
            assert first is not None
            for one in bookmark.kept("done", [self._search.start(first)]):
                self.done[int(one.samples.indices)] = one
            like = (self.behind, self.forwards, self.backwards)
            self.behind, forwards, backwards = bookmark.kept("books", like)
            known = range(len(self.forwards))
            if len(forwards) != len(backwards) or len(forwards) != len(known):
                raise UnusableBookmarkError(f"{bookmark.path} is of other portraits")
            if any(number not in known for number in self.done):
                raise UnusableBookmarkError(f"{bookmark.path} is of other portraits")
            self.forwards, self.backwards = forwards, backwards
        bookmark.keep("done", lambda: list(self.done.values()))
        bookmark.keep("books", lambda: (self.behind, self.forwards, self.backwards))

    def count(self, step: Step) -> None:
        """Note what the portraits cost that a step was the last of."""
        if not bool(step.done.any()):
            return
        last = step.ends()
        self.forwards[last.indices.cpu()] = last.forwards.cpu()
        self.backwards[last.indices.cpu()] = last.backwards.cpu()

    def start(self, samples: Samples) -> Painting:
        """The search's."""
        return self._search.start(samples)

    def ask_within(self, state: Painting, room: int) -> Viewing:
        """The search's."""
        return self._search.ask_within(state, room)

    def tell_all(self, state: Painting, query: Viewing, answer: Answer) -> Painting:
        """The search's; what is done is put aside."""
        before = state
        state = self._search.tell_all(state, query, answer)
        if state.number is not before.number:
            self.behind += int((state.number - before.number).sum())
        looked = (state.looks > before.looks).nonzero()[:, 0] if self._on_look else ()
        if self._on_look is not None and len(looked):
            row = state.curve[looked, state.looks[looked] - 1]
            self._on_look(
                Look(
                    state.samples.indices[looked],
                    before.number[looked],
                    query.shown.detach()[looked].clamp(0, 1),
                    row[:, -1],
                    row[:, 1],
                )
            )
        for row in state.done.nonzero()[:, 0].tolist() if state.done is not before.done else ():
            one = take(state, torch.tensor([row], device=state.done.device))
            self.done[int(one.samples.indices)] = one
        return state


def _of(start: Tensor | None) -> int:
    """How many portraits of no class there are."""
    return len(start) if start is not None and start.dim() == 4 else 1


def _shape(
    model: Classifier, canvas: float, size: int | tuple[int, int] | None, start: Tensor | None
) -> tuple[int, int]:
    """``(height, width)`` of the portraits."""
    if size is None and start is not None:
        return start.shape[-2], start.shape[-1]
    height, width = picture_size(model, size)
    if size is not None:
        return height, width
    return max(1, round(height * canvas)), max(1, round(width * canvas))


def _started(start: Tensor, count: int, canvas: Canvas) -> Tensor:
    """The pictures to start from, one for each portrait."""
    from fluoroscope.pictures.checks import check_images

    pictures = check_images(start, canvas.channels).to(canvas.device, canvas.dtype)
    if len(pictures) not in (1, count):
        raise InvalidParameterError(
            f"start holds {len(pictures)} pictures for {count} portraits; expected one, or one each"
        )
    if tuple(pictures.shape[1:]) != canvas.shape:
        raise InvalidParameterError(
            f"start is {tuple(pictures.shape[1:])}; expected {canvas.shape}, the portraits' size"
        )
    return pictures.expand(count, *canvas.shape).contiguous()


def _at_once(
    model: Classifier, batch_size: int | None, search: Portraying, count: int
) -> tuple[int, int]:
    """How many portraits are under way at once, and how many views of them are shown.

    So many portraits that their views fill a batch; the views of one that has more than that are
    shown part by part.
    """
    like = torch.empty(1, model.channels, *search.size, dtype=model.dtype, device=model.device)
    views = suitable_batch(like) if batch_size is None else check_batch_size(batch_size)
    if views < search.least:
        raise InvalidParameterError(
            f"batch_size is {views}, and each view is shown beside one of its start; expected "
            f"{search.least} or more"
        )
    whole = search.views * search.least
    rows = count if search.together else min(count, max(1, views // whole))
    if search.together:
        search.count = count
    if batch_size is None and (search.together or search.whole):
        return rows, max(views, rows * whole)
    return rows, views
