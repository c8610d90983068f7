"""A unit's share in a decision: relevance at the layer that it is in, and where it came from.

Layer-wise relevance propagation (Bach et al. 2015), with the composite that
:class:`~fluoroscope.attribution.lrp.LRP` takes by default, goes back by value × modified gradient;
at a layer that product is the relevance of each of its numbers, and a unit's is the sum over its
places. Through a layer that all of a decision passes, the units' relevances add up to the logit.
Where no rule reaches, as in scripted networks, activation × gradient takes its place. Followed on
from one unit alone to the pixels, relevance says where that unit looked (Achtibat et al. 2023,
2206.03208).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluoroscope.attribution.classes import Targets, as_targets, objective_of
from fluoroscope.attribution.doubts import of_coverage
from fluoroscope.attribution.lrp import LRP
from fluoroscope.attribution.rules.lrp.mode import Relevance
from fluoroscope.attribution.rules.mode import Coverage
from fluoroscope.attribution.rules.ruled import Ruled
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import first_look
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.engine.predict import check_batch_size, suitable_batch
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, NoGradientError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.layers import list_layers, outputs_of, tapped
from fluoroscope.neurons.reading.units import Units, find_units
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

LRP_WAY, GRADIENT_WAY = "lrp", "activation-x-gradient"
WAYS = (LRP_WAY, GRADIENT_WAY)
_LISTED = 10


@dataclass(frozen=True, repr=False)
class UnitRelevance(html.Shown):
    """What each unit of a layer had in ``N`` decisions."""

    values: Tensor
    """``(N, K)`` float32, on the CPU."""
    total: Tensor
    """``(N,)`` float64, the number that is shared out: the logit of the class."""
    classes: Tensor
    """``(N,)`` int64, or pairs ``(N, 2)``."""
    units: Units
    way: str
    """``lrp`` or ``activation-x-gradient``."""
    notes: tuple[str, ...] = ()

    @property
    def shares(self) -> Tensor:
        """``(N, K)``: each unit's part of all that was said, for and against; signs stay."""
        return self.values / self.values.abs().sum(1, keepdim=True).clamp(min=1e-30)

    def ranking(self) -> Tensor:
        """The units ``(K,)`` by their mean share without its sign, the largest first."""
        return self.shares.abs().mean(0).argsort(descending=True, stable=True)

    def _line(self) -> str:
        return (
            f"{count(len(self.values), 'picture')}, {count(self.units.count, 'unit')} of "
            f"{self.units.layer}, by {self.way}"
        )

    def _view(self) -> Iterator[html.Html]:
        mean = self.shares.mean(0)
        rows = [[str(unit), f"{float(mean[unit]):+.1%}"] for unit in self.ranking().tolist()]
        yield html.table(["unit", "mean share"], rows[:_LISTED], right=(1,))
        yield html.notes(self.notes)


def relevance(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Targets | None,
    layer: str,
    *,
    call: int | None = None,
    way: str | None = None,
) -> Tensor:
    """The relevance ``(N, K)`` of a layer's units; :func:`unit_relevance` says more."""
    return unit_relevance(model, images, classes, layer, call=call, way=way).values


def unit_relevance(
    model: Classifier | nn.Module,
    images: Tensor | ImageSet,
    classes: Targets | None,
    layer: str,
    *,
    call: int | None = None,
    way: str | None = None,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> UnitRelevance:
    """How much of the logit of a class each unit of a layer carries, ``(N, K)``.

    Args:
        model: the network.
        images: ``(N, C, H, W)`` in ``[0, 1]``, or a set of them.
        classes: one for all, one for each, or pairs (class, rival); by default the predicted ones.
        layer: its name, as in ``model.module.named_modules()``.
        call: which use of it in a pass, from 0; by default the last.
        way: ``lrp`` or ``activation-x-gradient``; by default the first where its rules reach.
        batch_size: pictures at once; by default what suits the machine.
        on_share: told the share of the pictures that lies behind.

    Raises:
        InvalidParameterError: no such layer, call or way, or rules that do not reach it.
        NoGradientError: the logits do not depend differentiably on the layer.
        UnknownLabelError: a class that the network does not have.
    """
    model = as_classifier(model)
    wanted = _targets_of(model, classes, images)
    found: list[_Part] = []
    reader: LayerReader | None = None
    done = 0
    for rows in batches_of(model, images, batch_size):
        reader = reader or LayerReader(model, rows, layer, call=call, way=way)
        targets = None if wanted is None else wanted[done : done + len(rows)]
        found.append(reader.read(rows, targets))
        done += len(rows)
        if on_share is not None:
            on_share(done / len(images))
    assert reader is not None
    return UnitRelevance(
        torch.cat([part.values for part in found]),
        torch.cat([part.total for part in found]),
        torch.cat([part.classes for part in found]),
        reader.units,
        reader.way,
        reader.notes,
    )


@torch.inference_mode(False)
def relevance_map(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Targets | None,
    layer: str,
    unit: int | Sequence[int],
    *,
    call: int | None = None,
    way: str | None = None,
) -> Tensor:
    """Where in the pictures a unit looked, ``(N, C, H, W)``: its relevance, back at the pixels.

    By ``lrp`` the map adds up to the unit's relevance as far as the rules conserve it; by
    ``activation-x-gradient`` it is the pixels times the gradient of what the unit gives the class.

    Args:
        model: the network.
        images: ``(N, C, H, W)`` in ``[0, 1]``.
        classes: as in :func:`unit_relevance`.
        layer: its name.
        unit: a unit for all pictures, or one for each.
        call: which use of the layer.
        way: as in :func:`unit_relevance`.

    Raises:
        InvalidParameterError: no such layer, call, way or unit.
    """
    model = as_classifier(model)
    batch = check_images(images, model.channels).to(model.device, model.dtype)
    reader = LayerReader(model, batch, layer, call=call, way=way)
    units = as_units(reader.units, [unit] if isinstance(unit, int) else unit)
    if len(units) not in (1, len(batch)):
        raise InvalidParameterError(
            f"unit holds {count(len(units), 'unit')} for {count(len(batch), 'picture')}; expected "
            "one, or one for each"
        )
    which = torch.tensor(units, device=batch.device).expand(len(batch))
    targets = None if classes is None else as_targets(model, classes, batch)
    return reader.at_pixels(batch, targets, which).cpu()


def as_units(units: Units, given: Sequence[int]) -> list[int]:
    """Units of a layer by their numbers, if it has them.

    Raises:
        InvalidParameterError: it has no such unit.
    """
    numbers = [int(each) for each in given]
    outside = [each for each in numbers if not 0 <= each < units.count]
    if outside:
        raise InvalidParameterError(
            f"unit is {outside[0]}, and the layer {units.layer!r} has {units.count}; expected 0 to "
            f"{units.count - 1}"
        )
    return numbers


@dataclass(frozen=True)
class _Part:
    values: Tensor
    total: Tensor
    classes: Tensor
    predicted: Tensor
    confidence: Tensor


class LayerReader:
    """A network with the way that relevance goes back to one of its layers.

    Raises:
        InvalidParameterError: no such layer, call or way, or rules that do not reach it.
    """

    def __init__(
        self, model: Classifier, images: Tensor, layer: str, *, call: int | None = None,
        way: str | None = None,
    ) -> None:  # fmt: skip
        if way not in (None, *WAYS):
            raise InvalidParameterError(f"way is {way!r}; expected one of {', '.join(WAYS)}")
        self.model = model.plain
        size = (int(images.shape[2]), int(images.shape[3]))
        self.units = find_units(model, layer, call, size)
        first_look(self.model, images)
        # A graph that began at the layer would take what it gives out for the picture.
        self._call = _last_use(self.model, images, layer) if call is None else call
        self._rules = LRP().rules()
        self._ruled: Ruled | None = None
        told: list[str] = []
        try:
            self._ruled = self._with_rules(images) if way != GRADIENT_WAY else None
        except (InvalidParameterError, NoGradientError) as problem:
            if way == LRP_WAY:
                raise
            told.append(f"shares in the decision are activation × gradient, not LRP: {problem}")
        self.way = GRADIENT_WAY if self._ruled is None else LRP_WAY
        if self._ruled is not None:
            coverage = self._ruled.coverage.describe()
            doubts = of_coverage(coverage, "conservation")
            told += [f"lrp: {words}" for word, words in doubts if word != "valid"]
        self.notes = tuple(told)

    def read(self, images: Tensor, targets: Tensor | None) -> _Part:
        """Of a batch on the network's device; by default for the predicted classes."""
        classes = self.model(images).argmax(1).detach() if targets is None else targets
        activation, gradient, logits, value = self._asked(images, classes)
        share = self.units.places(activation.float() * gradient.float()).sum(2)
        sure = logits.float().softmax(1)
        return _Part(
            share.cpu(), value.cpu(), classes.cpu(), logits.argmax(1).cpu(), sure.amax(1).cpu()
        )

    def of_places(self, images: Tensor, *, relevance: bool) -> Tensor:
        """What the units are at each place ``(N, K, P)``, or their relevance for the predicted
        classes.
        """
        if not relevance:
            layer, call = self.units.layer, self._call
            found = evaluate(self.model, images, layer=layer, call=call, look=False).activation
            assert found is not None
            return self.units.places(found.float())
        classes = self.model(images).argmax(1).detach()
        activation, gradient, _, _ = self._asked(images, classes)
        return self.units.places(activation.float() * gradient.float())

    def at_pixels(self, images: Tensor, targets: Tensor | None, which: Tensor) -> Tensor:
        """What came through a unit of each picture ``(N,)``, gone back to the pixels."""
        classes = self.model(images).argmax(1).detach() if targets is None else targets
        _, gradient, _, _ = self._asked(images, classes)
        shape = [1] * gradient.dim()
        shape[self.units.axis] = self.units.count
        numbers = torch.arange(self.units.count, device=images.device).view(shape)
        own = numbers == which.view(-1, *[1] * (gradient.dim() - 1))
        weights = (gradient * own).detach()
        at = Place(self.units.layer, call=self._call)

        def through(seen: Seen) -> Tensor:
            found = seen.outputs[at]
            return (found * weights.to(found.dtype)).flatten(1).sum(1, keepdim=True)

        around: Callable[[], AbstractContextManager[object]] = (
            nullcontext if self._ruled is None else lambda: self._rules(Coverage())
        )
        goal = Inside("what a unit carries", (at,), through, around)
        found = evaluate(self.model, images, classes, goal, gradient=True, look=False).gradient
        assert found is not None
        return found if self._ruled is not None else found * images

    def _asked(
        self, images: Tensor, classes: Tensor, network: Classifier | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        answer = evaluate(
            network or self._ruled or self.model, images, classes, objective_of(classes),
            gradient=True, layer=self.units.layer, call=self._call, look=False,
        )  # fmt: skip
        assert answer.activation is not None
        assert answer.activation_gradient is not None
        assert answer.objective is not None
        return answer.activation, answer.activation_gradient, answer.logits, answer.objective

    def _with_rules(self, images: Tensor) -> Ruled:
        """The network under rules, tried on a picture.

        Raises:
            InvalidParameterError: no rule reaches the network, or none the layer.
        """
        layer, made = self.units.layer, []

        def noting(coverage: Coverage) -> Relevance:
            made.append(self._rules(coverage))
            return made[-1]

        network = Ruled(self.model, noting)
        with tapped(self.model, layer) as kept:
            self._asked(images[:1], torch.zeros_like(images[:1, 0, 0, 0]).long(), network)
            own = outputs_of(kept, layer, 1, self.model, self._call)[0]
        if made[-1].is_picture(own):
            raise InvalidParameterError(
                f"the layer {layer!r} hands on the picture as it is, moved or scaled at most, and "
                "there relevance is of pixels"
            )
        network._rules = self._rules  # none is kept, for it holds what it has seen
        return network


def _last_use(model: Classifier, images: Tensor, layer: str) -> int:
    calls = {each.name: each.calls for each in list_layers(model, images)}
    return max(calls[layer] - 1, 0)


def shown(model: Classifier, images: ImageSet, positions: Sequence[int]) -> Tensor:
    """Some pictures of a set as the network is given them, ``(n, C, H, W)``.

    Raises:
        InvalidImagesError: they are of several sizes, and the network takes any.
    """
    some = images.select(positions).batches(len(positions), fit=model.preprocessing, workers=0)
    return next(some).images


def batches_of(
    model: Classifier, images: Tensor | ImageSet, batch_size: int | None
) -> Iterator[Tensor]:
    """Pictures as the network is given them, on its device, a batch at a time.

    Raises:
        InvalidImagesError: none, or no pictures in ``[0, 1]``.
    """
    if isinstance(images, ImageSet):
        if not len(images):
            raise InvalidImagesError(f"{images.name} has no pictures; expected 1 or more")
        size = (
            suitable_batch(shown(model, images, [0]))
            if batch_size is None
            else check_batch_size(batch_size)
        )
        for batch in images.batches(size, fit=model.preprocessing):
            yield batch.images.to(model.device, model.dtype)
        return
    given = check_images(images, model.channels)
    size = suitable_batch(given) if batch_size is None else check_batch_size(batch_size)
    for rows in given.split(size):
        yield rows.to(model.device, model.dtype)


def _targets_of(
    model: Classifier, classes: Targets | None, images: Tensor | ImageSet
) -> Tensor | None:
    """All pictures' classes ``(N,)`` or pairs ``(N, 2)``, checked before any work."""
    if classes is None:
        return None
    if isinstance(images, ImageSet):
        like = shown(model, images, [0]).expand(len(images), -1, -1, -1)
    else:
        like = check_images(images, model.channels)
    return as_targets(model, classes, like.to(model.device))
