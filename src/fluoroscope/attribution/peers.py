"""Captum's methods (Kokhlikyan et al. 2020, 2009.07896), through our door: ``captum:NAME``.

Every class of Captum that explains an image classifier, by its name in lower case with hyphens.
They are run as Captum has them, with its defaults and mistakes, so that an audit can tell whether
they hold on a network. Captum writes hooks and attributes into a network and draws from the
process's generators; so it is given a deep copy, and the generators are put back.

What Captum asks for and has no default of: where a set of baselines is needed, five even pictures
from black to white; where windows are, an eighth of the picture at steps of half of that; where
features are, 4×4 squares of all channels (8×8 for ``feature-ablation``; 2×2 for ``shapley-values``,
which goes through their permutations); where a layer is, the last convolution. Its
``FeaturePermutation`` is left out: it explains a batch, whose pictures it shuffles.
"""

import copy
import inspect
import math
import random
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fluoroscope.attribution.method import Found, Method, promise_error
from fluoroscope.attribution.peer_names import PEERS, PREFIX, Peer, peer_name
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.memory import out_of_memory, warn_smaller_batch
from fluoroscope.engine.stream import Query, Samples, take
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import (
    InvalidParameterError,
    MissingExtraError,
    ModelFormatError,
)
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import find_layer
from fluoroscope.models.wording import did_you_mean, first_line
from fluoroscope.notices import tell
from fluoroscope.process import random_state_lock, warnings_lock

# What Captum's ``attribute`` takes that is no option.
_OURS = {
    "inputs", "target", "additional_forward_args", "return_convergence_delta", "kwargs",
    "return_input_shape", "show_progress", "verbose",
}  # fmt: skip
# Squares along each side of a picture, where they are not four.
_FEATURES = {"FeatureAblation": 8, "ShapleyValues": 2}
# What it warns of on purpose: that it changes its copy, and that it was given what it was given.
_EXPECTED = re.compile(r"hooks|required_grads|multiple inputs|computationally expensive")


@dataclass(frozen=True)
class _State:
    """What is known of ``n`` pictures."""

    samples: Samples
    maps: Tensor
    values: Tensor
    error: Tensor
    spent: Tensor
    """``(n, 2)``, Captum's passes forward and back."""
    done: Tensor


@dataclass(frozen=True, kw_only=True)
class Captum(Method):
    """One of Captum's methods on a copy of the network.

    Args:
        options: Captum's own, by its names; ``layer`` by its dotted name. ``baselines`` are a
            number or a tensor ``(1, C, H, W)`` in ``[0, 1]``, or a set ``(B, C, H, W)`` of them
            where a method takes a set.

    Raises:
        MissingExtraError: Captum is not installed.
        InvalidParameterError: an option that the method does not have, or another objective than
            logits.
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    _network: Classifier | None = field(default=None, init=False, repr=False, compare=False)

    about: ClassVar[Peer]

    def __post_init__(self) -> None:
        kind = _class_of(self.name)
        if self.objective != "logit":
            raise InvalidParameterError(
                f"objective is {self.objective!r}; {self.name} explains logits: expected logit, or "
                "one of our own methods"
            )
        known = [*inspect.signature(kind.attribute).parameters][1:]
        known = [name for name in known if name not in _OURS] + ["layer"] * (
            "layer" in self.about.wants
        )
        for option in self.options:
            if option not in known:
                raise InvalidParameterError(
                    f"{self.name} has no option {option!r}; {did_you_mean(option, known)}expected "
                    f"one of {', '.join(known) or 'none, for it has none'}"
                )

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network; a layer is looked for in it here, before anything is computed."""
        if "layer" in self.about.wants:
            _layer_name(model, self.options)
        return model

    def on(self, network: Classifier, images: Tensor) -> "Captum":
        """The method with the network, of which it is to make copies."""
        bound = copy.copy(self)
        object.__setattr__(bound, "_network", network)
        return bound

    def start(self, samples: Samples) -> _State:
        """Nothing known."""
        none = torch.zeros_like(samples.indices, dtype=wide(samples.images))
        maps = torch.zeros_like(samples.images[:, :1] if self.about.inner else samples.images)
        spent = torch.stack([torch.zeros_like(samples.indices)] * 2, 1)
        return _State(samples, maps, none, none * torch.nan, spent, none > 0)

    def ask_within(self, state: _State, room: int) -> Query:
        """The pictures themselves: the number that each map explains."""
        samples = state.samples
        return Query(samples.images, False, self.goal(samples.classes), samples.classes)

    def tell_all(self, state: _State, query: Query, answer: Answer) -> _State:
        """Captum's maps."""
        assert answer.objective is not None
        maps, spent = self._maps(state.samples)
        values, error = answer.objective, state.error
        if self.about.promise is not None:
            at_baseline, asked = self._baseline(state.samples, query)
            error = promise_error(maps, values - at_baseline)
            spent = spent + spent.new_tensor([asked, 0])
        done = torch.ones_like(state.done)
        return _State(state.samples, maps, values, error, spent, done)

    def finish(self, state: _State) -> Found:
        """They are what it found."""
        return Found(state.maps, state.values, state.error, state.spent)

    @property
    def _model(self) -> Classifier:
        assert self._network is not None
        return self._network

    def _baseline(self, samples: Samples, query: Query) -> tuple[Tensor, int]:
        """The number ``(n,)`` at the baseline or the mean over several, and how many these are."""
        if self.about.promise == "conservation":
            return torch.zeros_like(samples.indices, dtype=wide(samples.images)), 0
        given = _told(self.about, samples.images, self.options).get("baselines", 0.0)
        one = torch.as_tensor(given, dtype=samples.images.dtype, device=samples.images.device)
        baselines = one.expand(samples.images[:1].shape) if one.dim() == 0 else one
        answers = [
            evaluate(
                self._model, each.expand_as(samples.images).contiguous(), query.classes,
                query.objective, look=False,
            ).objective
            for each in baselines
        ]  # fmt: skip
        return torch.stack([each for each in answers if each is not None]).mean(0), len(baselines)

    def _maps(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """All pictures at once, as Captum would; those with random numbers one by one.

        With the passes ``(n, 2)`` of each, or its share of all.
        """
        if self.about.random and len(samples.images) > 1:
            rows = torch.arange(len(samples.images), device=samples.images.device)
            parts = [self._maps(take(samples, row)) for row in rows.split(1)]
            maps, spent = zip(*parts, strict=True)
            return torch.cat(maps), torch.cat(spent)
        passes = Counter[str]()
        made = _in_memory(
            lambda part: captum_maps(
                self._model, self.name, part.images, part.classes,
                seed=int(part.keys[0]), passes=passes, **self.options,
            ),
            samples,
        )  # fmt: skip
        shares = [math.ceil(passes[way] / len(made)) for way in ("forward", "back")]
        return made, samples.indices.new_tensor(shares).expand(len(made), 2)


@cache
def captum_method(name: str) -> type[Captum]:
    """The class of a method ``captum:NAME``.

    Raises:
        InvalidParameterError: Captum has no such class for pictures.
    """
    found = peer_name(name)
    about = PEERS[found]
    told = {"name": PREFIX + found, "about": about, "promise": about.promise}
    return type(f"Captum{about.kind}", (Captum,), told)


def captum_maps(
    model: Classifier,
    name: str,
    images: Tensor,
    classes: Tensor,
    *,
    seed: int = 0,
    passes: Counter[str] | None = None,
    **options: Any,
) -> Tensor:
    """Captum's maps of images ``(N, C, H, W)`` on the network's device, in one call of Captum.

    ``classes`` are ``(N,)`` or pairs ``(N, 2)``, the difference of whose logits is explained. The
    maps are ``(N, C, H, W)``, or ``(N, 1, H, W)`` of methods that explain a layer: its channels are
    added up, and its places drawn over the picture. Images that went ``forward`` and ``back`` are
    added to ``passes``.

    Raises:
        MissingExtraError: Captum is not installed.
        FluoroscopeError: Captum cannot explain this network, or has no use for the options.
    """
    method = captum_method(name)
    kind = _class_of(method.name)
    pairs = classes if classes.dim() == 2 else torch.stack([classes, classes], 1)
    maps: Tensor | None = None
    for rival in pairs[:, 1].unique().tolist() if classes.dim() == 2 else [None]:
        rows = slice(None) if rival is None else (pairs[:, 1] == rival).nonzero().squeeze(1)
        network = _Network(model, rival, passes)
        with _undisturbed(seed, model.device):
            made = _ask(method, kind, network, images[rows].clone(), pairs[rows, 0], options)
        if maps is None:
            maps = made.new_zeros(len(images), *made.shape[1:])
        maps[rows] = made
    assert maps is not None
    return maps


class _Network(nn.Module):
    """A copy of the network as Captum takes one: images in ``[0, 1]`` to logits.

    With a rival its logit is taken off all others. Images that go forward and back are counted.
    """

    def __init__(self, model: Classifier, rival: int | None, passes: Counter[str] | None) -> None:
        super().__init__()
        self.copy, self._rival = model.to(), rival
        self.module = self.copy.module
        self._passes = Counter[str]() if passes is None else passes

    def forward(self, images: Tensor) -> Tensor:
        logits = self.copy(images)
        self._passes["forward"] += len(images)
        if logits.requires_grad:
            logits.register_hook(lambda slope: self._passes.update(back=len(slope)))
        return logits if self._rival is None else logits - logits[:, [self._rival]]


def _ask(
    method: type[Captum],
    kind: Any,
    network: "_Network",
    images: Tensor,
    classes: Tensor,
    options: Mapping[str, Any],
) -> Tensor:
    """One call of Captum's, on a copy that is thrown away."""
    about, model = method.about, network.copy
    told = _told(about, images, options)
    explained: tuple[Any, ...] = (network,)
    if "layer" in about.wants:
        explained = (network, network.module.get_submodule(_layer_name(model, options)))
    elif "saliency" in about.wants:
        explained = (_class_of("captum:saliency")(network),)
    if about.of == "target":
        told["target"] = classes
    try:
        with torch.inference_mode(False), torch.enable_grad():
            found = kind(*explained).attribute(images, **told)
    # Whatever Captum raises of a network that it was not made for, within our passes or outside.
    except Exception as problem:
        if out_of_memory(problem):
            raise
        import captum

        cause = problem.__cause__ or problem
        raise ModelFormatError(
            f"Captum {captum.__version__} gives no map of {model.name} by {about.kind} "
            f"({type(cause).__name__}: {first_line(cause)}); expected a network and options that "
            "it can take: use one of our own methods"
        ) from problem
    found = found[0] if isinstance(found, tuple) else found
    return _over_the_picture(found.detach(), images) if about.inner else _like(found, images)


def _told(about: Peer, images: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
    """What Captum is told: the options, and what it has no default of."""
    _, channels, height, width = images.shape
    made: dict[str, Any] = {}
    if "baselines" in about.wants:
        shades = torch.linspace(0, 1, 5, dtype=images.dtype, device=images.device)
        made["baselines"] = shades.view(-1, 1, 1, 1).expand(-1, *images.shape[1:]).contiguous()
    if "windows" in about.wants:
        window = (channels, math.ceil(height / 8), math.ceil(width / 8))
        made["sliding_window_shapes"] = window
        made["strides"] = (channels, *(max(1, side // 2) for side in window[1:]))
    if "features" in about.wants:
        made["feature_mask"] = _squares(images, _FEATURES.get(about.kind, 4))
    given = {name: value for name, value in options.items() if name != "layer"}
    return {**made, **given}


def _squares(images: Tensor, most: int) -> Tensor:
    """The number of each pixel's square, ``(1, C, H, W)``; at most ``most`` along each side."""
    along = [min(most, side) for side in images.shape[2:]]
    rows, columns = (
        torch.arange(side, device=images.device) * squares // side
        for side, squares in zip(images.shape[2:], along, strict=True)
    )
    numbers = rows[:, None] * along[1] + columns
    return numbers.expand(1, *images.shape[1:]).contiguous()


def _layer_name(model: Classifier, options: Mapping[str, Any]) -> str:
    """The layer that was asked for, or the last convolution.

    Raises:
        InvalidParameterError: the network has no such layer, or no convolution.
    """
    if "layer" in options:
        find_layer(model, str(options["layer"]))
        return str(options["layer"])
    found: list[str] = [
        name for name, part in model.module.named_modules() if isinstance(part, nn.Conv2d) and name
    ]
    if not found:
        raise InvalidParameterError(
            f"{model.name} has no convolution, and no layer was given; expected layer= by the "
            "dotted name of one that answers with (N, C, h, w)"
        )
    return found[-1]


def _over_the_picture(found: Tensor, images: Tensor) -> Tensor:
    """A layer's map ``(N, c, h, w)`` as one of the pictures, ``(N, 1, H, W)``."""
    if found.dim() != 4:
        raise InvalidParameterError(
            f"the layer's map has shape {tuple(found.shape)}; expected a layer that answers with "
            "(N, C, h, w): give layer= by its dotted name"
        )
    size = (images.shape[2], images.shape[3])
    flat = found.sum(1, keepdim=True)
    return nn.functional.interpolate(flat, size, mode="bilinear", align_corners=False)


def _like(found: Tensor, images: Tensor) -> Tensor:
    if found.shape != images.shape:
        raise InvalidParameterError(
            f"Captum's maps have shape {tuple(found.shape)}; expected that of the images, "
            f"{tuple(images.shape)}: give a layer that answers with (N, C, h, w)"
        )
    return found.detach()


def _class_of(name: str) -> Any:
    """Captum's class.

    Raises:
        MissingExtraError: Captum is not installed.
    """
    if find_spec("captum") is None:
        raise MissingExtraError(
            f"{name} needs the library captum, which is not installed; "
            "pip install 'fluoroscope[peers]'"
        )
    import captum.attr

    return getattr(captum.attr, PEERS[name.removeprefix(PREFIX)].kind)


@contextmanager
def _undisturbed(seed: int, device: torch.device) -> Iterator[None]:
    """The process's generators start from a seed inside, and are as before after it.

    What Captum warns of is told, but for what it does to its copy.
    """
    import numpy as np

    devices = [device] if device.type == "cuda" else []
    with (
        random_state_lock,
        warnings_lock,
        torch.random.fork_rng(devices=devices),
        warnings.catch_warnings(record=True) as caught,
    ):
        others = random.getstate(), np.random.get_state()
        torch.manual_seed(seed & (2**63 - 1))
        np.random.seed(seed & (2**32 - 1))
        random.seed(seed)
        try:
            warnings.simplefilter("always")
            yield
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])
    said: dict[str, None] = {}
    for each in caught:
        if "captum" not in each.filename:  # somebody else's, of another thread perhaps
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        elif not _EXPECTED.search(str(each.message)):
            said[" ".join(str(each.message).split())] = None
    for words in said:
        tell(f"Captum says: {words}", stacklevel=4)


def _in_memory(work: Callable[[Samples], Tensor], samples: Samples) -> Tensor:
    """The maps of all samples, in halves where memory runs out."""
    count = len(samples.images)
    try:
        return work(samples)
    except Exception as problem:
        if count == 1 or not out_of_memory(problem):
            raise
    warn_smaller_batch(count, count // 2)
    rows = torch.arange(count, device=samples.images.device)
    return torch.cat([_in_memory(work, take(samples, half)) for half in rows.tensor_split(2)])
