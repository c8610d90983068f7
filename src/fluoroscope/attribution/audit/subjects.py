"""What is audited: a method of ours, one of Captum's, or any function that makes maps."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from fluoroscope.attribution.attribute import stated
from fluoroscope.attribution.classes import objective_of
from fluoroscope.attribution.doubts import converging
from fluoroscope.attribution.method import Method, Promise, promise_error
from fluoroscope.attribution.names import METHODS
from fluoroscope.attribution.registry import make_method
from fluoroscope.attribution.rules.mode import Coverage
from fluoroscope.attribution.search import explain
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.memory import out_of_memory
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wording import first_line

Explain = Callable[[Classifier, Tensor, Tensor], Any]
"""A network, images ``(n, C, H, W)`` in ``[0, 1]`` and classes ``(n,)`` give maps
``(n, C, H, W)`` or ``(n, 1, H, W)``."""
Cancelled = Callable[[], bool]
# Rooms whose maps are of regions, not of single pixels.
_OF_REGIONS = ("cam.", "masks.")
# Those of Captum's that change the way back of modules of one class alone.
_HOOKED = ("GuidedBackprop", "Deconvolution", "GuidedGradCam")


class CancelledError(Exception):
    """Somebody does not want to wait."""


@dataclass(frozen=True)
class Made:
    """The maps of ``n`` pictures, on the CPU."""

    maps: Tensor
    """``(n, C, H, W)`` or ``(n, 1, H, W)``."""
    values: Tensor
    """``(n,)`` float64, the number that each explains, or NaN."""
    error: Tensor
    """``(n,)`` float64, how far each is from the promise, or NaN."""
    passes: float
    """Forward and backward passes for a picture, where they are counted."""
    coverage: Coverage | None = None


class Subject(Protocol):
    """Something that makes maps and may promise something of them."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def promise(self) -> Promise | None:
        """What its maps add up to."""

    @property
    def converges(self) -> bool | None:
        """Whether it keeps that in the limit alone; ``None`` where nobody knows."""

    @property
    def absorbs(self) -> bool:
        """Whether something keeps relevance by its rules themselves."""

    @property
    def of_pixels(self) -> bool:
        """Whether a pixel's value is that pixel's, and not a region's."""

    @property
    def hooks(self) -> bool:
        """Whether it acts where an ``nn.ReLU`` stands, and nowhere else."""

    @property
    def of_class(self) -> bool:
        """Whether its maps are meant to be of the class that is asked for."""

    def refined(self) -> "Subject | None":
        """The same with four times as many points or samples; ``None`` where it has none."""

    def unhurried(self) -> "Subject | None":
        """The same with its own options; ``None`` where it has them already."""

    @property
    def statement(self) -> dict[str, Any]:
        """Everything that its maps depend on beside network and pictures, as plain values."""

    def maps(
        self, model: Classifier, images: Tensor, classes: Tensor, numbers: Tensor, seed: int
    ) -> Made:
        """Explain images on the network's device."""


@dataclass(frozen=True)
class OfMethod:
    """A method of the registry."""

    method: Method
    batch_size: int
    cancelled: Cancelled | None = None
    own: Method | None = None
    """The method with its own options, where an audit gave it others for speed."""

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    @property
    def promise(self) -> Promise | None:
        """The method's; of Captum's, what its papers promise."""
        about = getattr(self.method, "about", None)
        promise: Promise | None = self.method.promise or getattr(about, "promise", None)
        return promise

    @property
    def converges(self) -> bool:
        """Of those that add up points or samples."""
        return converging(self.method)

    @property
    def absorbs(self) -> bool:
        """Of rules that leave to biases what is theirs."""
        return bool(getattr(self.method, "absorbs", False))

    @property
    def of_pixels(self) -> bool:
        """By the room it lives in; of Captum's, whether it wants parts or a layer."""
        about = getattr(self.method, "about", None)
        if about is not None:
            return not {*getattr(about, "wants", ())} & {"windows", "features", "layer"}
        known = METHODS.get(self.name)
        return known is not None and not known.home.startswith(_OF_REGIONS)

    @property
    def hooks(self) -> bool:
        """Some of Captum's do."""
        return getattr(getattr(self.method, "about", None), "kind", "") in _HOOKED

    @property
    def of_class(self) -> bool:
        """All but those of ours and of Captum's that say otherwise."""
        known = METHODS.get(self.name)
        about = getattr(self.method, "about", None)
        return known.of_class if known else getattr(about, "of", "target") != "nothing"

    def refined(self) -> "OfMethod | None":
        """By its option of that name."""
        for name in ("points", "max_points", "samples"):
            if isinstance(many := getattr(self.method, name, None), int):
                changed: dict[str, Any] = {name: 4 * many}
                return replace(self, method=replace(self.method, **changed))
        return None

    def unhurried(self) -> "OfMethod | None":
        """Where it was quickened."""
        return None if self.own is None else replace(self, method=self.own, own=None)

    @property
    def statement(self) -> dict[str, Any]:
        """Name and options."""
        return stated(self.method)

    def maps(
        self, model: Classifier, images: Tensor, classes: Tensor, numbers: Tensor, seed: int
    ) -> Made:
        """By the one loop."""
        found = explain(
            model, self.method, images, classes,
            seed=seed, numbers=numbers, batch_size=self.batch_size, cancelled=self.cancelled,
        )  # fmt: skip
        if found is None:
            raise CancelledError
        passes = float((found.forwards + found.backwards).double().mean())
        return Made(found.maps, found.values, found.error, passes, found.coverage)


@dataclass(frozen=True)
class OfFunction:
    """Somebody's own function, taken at its word for what it promises: of a black baseline."""

    name: str
    function: Explain
    promise: Promise | None = None
    of_pixels: bool = True
    converges: bool | None = None
    absorbs: bool = False
    hooks: bool = False
    of_class: bool = True

    def refined(self) -> None:
        """Nobody knows what it counts."""

    def unhurried(self) -> None:
        """Nor is it quickened."""

    @property
    def statement(self) -> dict[str, Any]:
        """Its name: what it does is not known, so what was found of it is kept for its name."""
        return {"method": self.name, "function": True, "promise": self.promise}

    def maps(
        self, model: Classifier, images: Tensor, classes: Tensor, numbers: Tensor, seed: int
    ) -> Made:
        """What it returns, if these are maps of the pictures."""
        try:
            # Its own copies: whatever it writes into them, ours stay.
            given = self.function(model, images.clone(), classes.clone())
            maps = torch.as_tensor(given).detach().to("cpu", torch.float64)
        except FluoroscopeError:
            raise
        # Whatever somebody's own code raises.
        except Exception as problem:
            if out_of_memory(problem):
                raise
            raise InvalidParameterError(
                f"methods holds {self.name}, which raised {type(problem).__name__}: "
                f"{first_line(problem)}; expected a function of network, images (N, C, H, W) and "
                "classes (N,) that returns maps (N, C, H, W)"
            ) from problem
        shapes = {tuple(images.shape), (len(images), 1, *images.shape[2:])}
        if tuple(maps.shape) not in shapes:
            raise InvalidParameterError(
                f"methods holds {self.name}, whose maps have shape {tuple(maps.shape)}; expected "
                f"{' or '.join(map(str, sorted(shapes)))}"
            )
        values = _values(model, images, classes)
        error = torch.full_like(values, torch.nan)
        if self.promise is not None:
            black = _values(model, torch.zeros_like(images), classes)
            expected = values - black if self.promise == "completeness" else values
            error = promise_error(maps, expected)
        return Made(maps.to(images.dtype), values, error, 0.0)


def _values(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """The logits ``(n,)`` of the classes, float64 on the CPU."""
    found = evaluate(model, images, classes, objective_of(classes)).objective
    assert found is not None
    return found.to(wide(found)).cpu()


Named = str | Method | Explain | tuple[Explain, Promise | None]


def subjects(
    methods: Iterable[str | Method] | Mapping[str, Named] | None,
    batch_size: int,
    cancelled: Cancelled | None = None,
) -> list[Subject]:
    """What is to be audited, in the order given; by default all of ours.

    Raises:
        InvalidParameterError: no such method, or none at all.
    """
    if methods is None:
        methods = [*METHODS]
    if isinstance(methods, str | Method):
        methods = [methods]
    found: list[Subject] = []
    items = methods.items() if isinstance(methods, Mapping) else [(None, one) for one in methods]
    for name, one in items:
        found.append(_subject(name, one, batch_size, cancelled))
    names = [one.name for one in found]
    if not names or len({*names}) < len(names):
        raise InvalidParameterError(
            f"methods are {', '.join(names) or 'none'}; expected one or more, each once"
        )
    return found


def _subject(name: str | None, one: Named, batch_size: int, cancelled: Cancelled | None) -> Subject:
    if isinstance(one, str | Method):
        quick = METHODS[one].quick if one in METHODS else {}
        own = make_method(one) if quick else None
        return OfMethod(make_method(one, **quick), batch_size, cancelled, own)
    function, promise = one if isinstance(one, tuple) else (one, None)
    if not callable(function) or name is None:
        raise InvalidParameterError(
            f"methods hold a {type(function).__name__}; expected names of methods, or a mapping of "
            "names to functions"
        )
    if promise not in ("completeness", "conservation", None):
        raise InvalidParameterError(
            f"methods say that {name} promises {promise!r}; expected completeness, conservation "
            "or None"
        )
    return OfFunction(str(name), function, promise)
