"""Calling an attack: from a user's images and classes to a result that says what happened."""

import hashlib
import math
import sys
import time
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from fluoroscope.attacks.each import within_each
from fluoroscope.attacks.result import AttackResult, joined
from fluoroscope.engine import randomness
from fluoroscope.engine.bookmark import Bookmark
from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.first_look import notes_of, remind
from fluoroscope.engine.grid import as_grid, nothing_between
from fluoroscope.engine.mask import Mask, as_mask
from fluoroscope.engine.numbers import one_class, whole_number
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.run import Keep, Outcome, run
from fluoroscope.engine.stream import DEFAULT_BATCH, Attack, Budget, Step
from fluoroscope.engine.threats import Threat, beyond_the_box, bounds_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier, tensor_bytes
from fluoroscope.notices import distinct, tell
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

if TYPE_CHECKING:
    pass

# Kinds of parameters that JSON and TOML know, too.
_KINDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    NoneType: "nothing",
}

Access = Literal["gradient", "score", "decision", "inverse"]
"""What an attack reads of a network: gradients, or only the logits, or only the winning class; or
all of it, for it runs the network backwards."""


class Method:
    """What every attack can do once it has the mathematics of :class:`Attack`.

    Subclasses are frozen dataclasses with a ``threat``; they say of themselves what
    ``fluoroscope attacks`` lists.
    """

    threat: Threat
    paper: ClassVar[str]
    """Authors, year and, where it has one, the number in arXiv."""
    access: ClassVar[Access] = "gradient"
    """What it reads of the network."""
    norms: ClassVar[tuple[str, ...]]
    """The norms it is defined for, the usual one first; ``none`` where no norm says how far an
    image may move."""
    cost: ClassVar[str] = "1 forward, 1 backward"
    """Passes of a step."""
    minimum_norm: ClassVar[bool] = False
    """Whether it looks for the closest success, rather than for any within a bound."""
    can_target: ClassVar[bool] = True
    """Whether it can lead towards a class, not only away from one."""
    can_mask: ClassVar[bool] = True
    """Whether it searches well where only a part of the picture may change."""
    can_pause: ClassVar[bool] = True
    """Whether a call is one search, which a bookmark can hold."""
    confidence: float = 0.0
    """The lead in logits from which an image counts as a success."""

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.threat.name not in self.norms:
            raise InvalidParameterError(
                f"{type(self).__name__} is not defined for the norm {self.threat.name}; expected "
                f"{' or '.join(self.norms)}"
            )
        bounded = not self.minimum_norm and self.threat.name != "none"
        if bounded and self.threat.eps == math.inf:
            raise InvalidParameterError(
                f"eps is infinite; {type(self).__name__} expects a bound such as 8/255"
            )

    def _check_kinds(self) -> None:
        """Refuse text or a truth value where a number is wanted, and the like."""
        for name, wanted in _kinds(cast(Hashable, type(self))).items():
            value = getattr(self, name)
            if type(value) not in {*_KINDS, list, dict}:
                continue
            if type(value) not in wanted | ({int} if float in wanted else set()):
                words = " or ".join(words for each, words in _KINDS.items() if each in wanted)
                raise InvalidParameterError(f"{name} is {value!r}; expected {words}")

    def _expect(self, low: float, *names: str, high: float | None = None) -> None:
        """Refuse parameters that are not finite, below ``low`` or above ``high``."""
        self._check_kinds()
        for name in names:
            value = getattr(self, name)
            if not low <= value <= (sys.float_info.max if high is None else high):
                wanted = f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
                raise InvalidParameterError(f"{name} is {value}; expected {wanted}")

    def _expect_positive(self, *names: str) -> None:
        """Refuse parameters that are not finite and above 0."""
        self._check_kinds()
        for name in names:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InvalidParameterError(f"{name} is {value}; expected more than 0")

    def __or__(self, other: "Method") -> "Chain":
        """This attack, and then the other on what it left."""
        return Chain(attacks=(*self._links, *other._links))

    @property
    def _links(self) -> "tuple[Method, ...]":
        """The attacks that this one is made of."""
        return (self,)

    @property
    def probes(self) -> bool:
        """Whether it also asks about images that the threat model does not allow."""
        return False

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network that the search looks at in place of ``model``, which judges what it finds.

        A surrogate's ``plain`` is that of ``model``; its randomness follows from the seed.
        """
        return model

    def _part(self, mask: Mask, images: Tensor) -> Tensor:
        """Where each image may change ``(N, 1 or C, H, W)``, if the attack can keep to that."""
        if not self.can_mask:
            raise InvalidParameterError(
                f"mask was given, and {type(self).__name__} chooses its changes without looking at "
                "one; expected an attack that follows it, such as pgd, apgd, fmn or square"
            )
        return as_mask(mask, images)

    def within(self, threat: Threat) -> "Method":
        """The same attack under another threat model."""
        return replace(self, threat=threat)  # type: ignore[type-var]

    @property
    def stated(self) -> dict[str, Any]:
        """Its name and parameters as plain values, for records."""
        return {
            "attack": type(self).__name__,
            "parameters": {name: as_plain(value) for name, value in _values(self).items()},
        }

    def length(self, difference: Tensor) -> Tensor:
        """How long each difference ``(N, C, H, W)`` is where the nearest success is kept, ``(N,)``.

        Mostly the distance of the threat model.
        """
        return self.threat.distance(difference)

    def __call__(
        self,
        model: Classifier | nn.Module,
        images: Tensor,
        classes: Classes,
        *,
        targeted: bool = False,
        keep: Keep | None = None,
        restarts: int = 1,
        batch_size: int = DEFAULT_BATCH,
        budget: Budget | None = None,
        grid: int | None = None,
        exact: bool = False,
        seed: int = 0,
        numbers: Tensor | None = None,
        mask: Mask | None = None,
        on_step: Callable[[Step], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        bookmark: Bookmark | None = None,
    ) -> AttackResult:
        """Attack images ``(N, C, H, W)`` or one ``(C, H, W)`` in ``[0, 1]``.

        Args:
            model: the network under study.
            images: what to change.
            classes: the true class of each, or the wanted one if ``targeted``.
            targeted: towards the classes instead of away from them.
            keep: ``first`` leaves a sample at its first success; ``best`` spends its whole budget
                and keeps the point with the highest objective, ``nearest`` the closest success,
                ``last`` the end whatever it is. By default ``nearest`` for attacks that look for
                the closest success, and ``first`` for the others.
            restarts: how often a search is made if it is not stopped by a success.
            batch_size: images evaluated at once.
            budget: what one sample may cost, and the whole may take.
            grid: 8 keeps every image the network sees on the 256 levels of a PNG, so that what is
                found survives being saved; distances are then from the nearest 8-bit image.
            exact: keep one batch shape throughout, ``batch_size`` rounded up to a multiple of 16:
                byte-equal results whatever the neighbours, for the passes of the slots that stay
                empty.
            seed: for everything random. A sample's randomness does not depend on its neighbours.
            numbers: ``(N,)``, which samples of their data set these are, on which their
                randomness depends; by default 0 and up.
            mask: only where it is 1 may pixels change, elsewhere it is 0: ``(H, W)``, or
                ``(1 or C, H, W)``, or such for each of the images. By default everywhere.
            on_step: called with every step.
            cancelled: asked at every step; once true, the result is what was found so far.
            bookmark: where the search is kept while it goes on, and gone on with if it is there;
                see :class:`.Bookmark`.

        Raises:
            InvalidImagesError, UnknownLabelError, InvalidParameterError: unusable input.
            NoGradientError: the logits do not depend differentiably on the pixels.
        """
        model = as_classifier(model)
        if bounds_of(self.threat) is not None:
            return within_each(
                self, model, images, classes, targeted=targeted, keep=keep, restarts=restarts,
                batch_size=batch_size, budget=budget, grid=grid, exact=exact, seed=seed,
                numbers=numbers, mask=mask, on_step=on_step, cancelled=cancelled,
            )  # fmt: skip
        batch = check_images(images, model.channels).to(model.device, model.dtype)
        wanted = as_classes(model, classes, batch)
        numbers = torch.arange(len(batch), device="cpu") if numbers is None else numbers
        if numbers.shape != (len(batch),):
            raise InvalidParameterError(
                f"numbers have shape {tuple(numbers.shape)}; expected ({len(batch)},), one each"
            )
        seed, restarts = randomness.as_seed(seed), whole_number("restarts", restarts)
        batch_size = check_batch_size(batch_size)
        if targeted and not self.can_target:
            raise InvalidParameterError(
                f"targeted is True; {type(self).__name__} only leads away from a class: leave it "
                "out, or choose another attack"
            )
        free = None if mask is None else self._part(mask, batch)
        grid = as_grid(grid)
        kept: Keep = keep or ("nearest" if self.minimum_norm else "first")
        if kept not in get_args(Keep):
            raise InvalidParameterError(
                f"keep is {kept!r}; expected one of {', '.join(get_args(Keep))}"
            )
        remind(model)
        outcome = run(
            self.surrogate(model, seed),
            cast(Attack[Any], self),
            batch,
            wanted,
            self.threat,
            targeted=targeted,
            keep=kept,
            length=self.length,
            restarts=restarts,
            batch_size=batch_size,
            budget=budget,
            confidence=self.confidence,
            inside=not (self.minimum_norm or self.probes),
            on_grid=grid is not None,
            exact=exact,
            seed=seed,
            numbers=numbers,
            free=free,
            on_step=on_step,
            cancelled=cancelled,
            bookmark=bookmark,
        )
        notes = list(outcome.notes)
        if self.threat.eps == 0:
            notes.append("eps is 0: nothing may change, so nothing was searched")
        fine = nothing_between(self.threat, grid)
        if fine is not None and grid is not None:
            notes.append(fine)
        beyond = beyond_the_box(self.threat, tuple(batch.shape[1:]))
        if beyond is not None:
            notes.append(beyond)
        if not targeted and one_class(outcome.read_as, wanted):
            notes.append(
                f"{model.name} classifies all pictures as {model.labels[int(outcome.read_as[0])]}"
            )
        for note in notes:
            tell(note)
        if bool(outcome.at_start.any()):
            notes.append(_already(outcome, targeted))
        # Of what the first look found there was a warning with it.
        notes = [*distinct([*notes, *notes_of(model)])]
        record = {
            **self.stated,
            "targeted": targeted,
            "keep": kept,
            "restarts": restarts,
            "batch_size": batch_size,
            "budget": None if budget is None else asdict(budget),
            "grid": grid,
            "exact": exact,
            "seed": seed,
            "notes": notes,
            **({} if free is None else {"mask": as_plain(free.cpu().contiguous())}),
            **provenance(model),
        }
        found: dict[str, Any] = {
            name: value.cpu() if isinstance(value, Tensor) else tuple(notes)
            for name, value in vars(outcome).items()
        }
        return AttackResult(
            **found, classes=wanted.cpu(), numbers=numbers, record=record, labels=model.labels
        )


@dataclass(frozen=True, kw_only=True)
class Chain(Method):
    """Attacks one after the other, ``a | b``; each gets the samples that no earlier one fooled.

    Cheap attacks first, strong ones on the few that are left: none costs more than it must.

    Raises:
        InvalidParameterError: threat models that differ.
    """

    attacks: tuple[Method, ...]
    threat: Threat = field(init=False)

    paper: ClassVar[str] = "a combination"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "none")
    can_pause: ClassVar[bool] = False

    def __post_init__(self) -> None:
        first, *others = self.attacks
        for other in others:
            if other.threat != first.threat:
                raise InvalidParameterError(
                    f"{type(first).__name__} has the threat model {first.threat} and "
                    f"{type(other).__name__} has {other.threat}; expected one for all: a success "
                    "of the one would be none of the other"
                )
        object.__setattr__(self, "threat", first.threat)

    @property
    def _links(self) -> tuple[Method, ...]:
        return self.attacks

    def __call__(
        self,
        model: Classifier | nn.Module,
        images: Tensor,
        classes: Classes,
        *,
        budget: Budget | None = None,
        numbers: Tensor | None = None,
        mask: Mask | None = None,
        cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> AttackResult:
        """Attack images; see :meth:`Method.__call__`.

        Passes are added up. The seconds of a budget are shared, its passes are for each attack.
        """
        model = as_classifier(model)
        if bounds_of(self.threat) is not None:
            return within_each(
                self, as_classifier(model), images, classes,
                budget=budget, numbers=numbers, mask=mask, cancelled=cancelled, **options,
            )  # fmt: skip
        end = (
            None if budget is None or budget.seconds is None else time.monotonic() + budget.seconds
        )
        options |= {"cancelled": cancelled}
        first, *others = self.attacks
        result = first(model, images, classes, numbers=numbers, budget=budget, mask=mask, **options)
        free = None if mask is None else as_mask(mask, result.originals)
        for attack in others:
            left = (~result.success).nonzero().squeeze(1)
            late = end is not None and time.monotonic() >= end
            if not len(left) or late or (cancelled is not None and cancelled()):
                break
            if budget is not None and end is not None:
                budget = replace(budget, seconds=end - time.monotonic())
            found = attack(
                model,
                result.originals[left],
                result.classes[left],
                numbers=result.numbers[left],
                budget=budget,
                mask=None if free is None else free[left],
                **options,
            )
            result = joined(result, found, left)
        return replace(result, record=result.record | self.stated | {"notes": [*result.notes]})

    def within(self, threat: Threat) -> "Chain":
        """The same attacks under another threat model."""
        return Chain(attacks=tuple(attack.within(threat) for attack in self.attacks))

    @property
    def stated(self) -> dict[str, Any]:
        """Their names and parameters as plain values, for records."""
        named = " | ".join(type(attack).__name__ for attack in self.attacks)
        return {"attack": named, "parameters": as_plain(self.attacks)}


@cache
def _kinds(kind: type) -> dict[str, set[type]]:
    """The kinds that each parameter may be of, where it holds nothing but such."""
    hints = get_type_hints(kind)
    named = [field.name for field in fields(kind)]
    wanted = {name: set(get_args(hints[name])) or {hints[name]} for name in named}
    return {name: kinds for name, kinds in wanted.items() if kinds <= _KINDS.keys()}


def _already(outcome: Outcome, targeted: bool) -> str:
    how = "classified as the wanted class" if targeted else "misclassified"
    already, all_of_them = int(outcome.at_start.sum()), count(len(outcome.at_start), "picture")
    counted = "a targeted success" if targeted else "fooled"
    return (
        f"{already} of {all_of_them} {'was' if already == 1 else 'were'} {how} before anything was "
        f"changed: not counted as {counted} by a search (at_start says which)"
    )


def as_plain(value: Any) -> Any:
    """A parameter as JSON can hold it; of a tensor its shape and content hash."""
    if isinstance(value, Method):
        return {"attack": type(value).__name__, **as_plain(_values(value))}
    if is_dataclass(value) and not isinstance(value, Objective | type):
        return {"norm": getattr(value, "name", type(value).__name__), **as_plain(_values(value))}
    if isinstance(value, dict):
        return {name: as_plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [as_plain(part) for part in value]
    if isinstance(value, Tensor):
        digest = hashlib.sha256(tensor_bytes(value)).hexdigest()
        return {"shape": list(value.shape), "sha256": digest}
    if isinstance(value, Objective) or value in (math.inf, -math.inf):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _values(of: Any) -> dict[str, Any]:
    return {field.name: getattr(of, field.name) for field in fields(of)}
