"""The mode in which relevance goes back, down to the pixels.

A rule for pixels, such as flat, gives relevance to black ones too, and no gradient form can hold
that. So from the first layer on what is handed back is the relevance itself: moving and resizing
numbers hands it on as it is (each pixel's share is its weight in the resized one, and these add up
to 1), and what a normalisation scales and shifts passes it. What arrives at the pixels is the map.

The first layer is any whose input is the picture, moved, resized or scaled at most. Where another
operation meets the picture its relevance there is value × modified gradient.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from fluoroscope.attribution.rules.lrp.back import as_shape, gone_back, way_of
from fluoroscope.attribution.rules.lrp.context import Context, How, Limits
from fluoroscope.attribution.rules.lrp.linear import Layered, layer
from fluoroscope.attribution.rules.lrp.operations import mapped
from fluoroscope.attribution.rules.mode import (
    Coverage,
    Operation,
    Rule,
    Rules,
    depends,
    operation,
    tensors_in,
)
from fluoroscope.attribution.rules.operations import MOVES
from fluoroscope.attribution.rules.parts import Parts, attention

_HANDS_ON = MOVES | {"interpolate", "upsample"}
_SCALES = frozenset({"add", "sub", "rsub", "mul", "div", "neg", "batch_norm", "clamp"})


class Relevance(Rules):
    """Inside, relevance goes back."""

    def __init__(self, rules: Mapping[str, Any], how: How, coverage: Coverage) -> None:
        self._here = Context(how)
        if not how.held:
            rules = {**rules, "scaled_dot_product_attention": Parts(attention)}
        super().__init__(rules, coverage)

    def is_picture(self, tensor: Tensor) -> bool:
        """Whether what goes back to a tensor of the evaluation is relevance itself, no gradient."""
        return tensor in self._here.pictures

    def rule_of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Rule | None:
        """Bound when it is asked for: rules that held the mode would keep all that it kept."""
        rule: Any = self._rules.get(name)
        if isinstance(rule, Parts):
            return partial(self.in_parts, rule)
        return None if rule is None else partial(rule, self._here)

    def __torch_function__(
        self,
        func: Operation,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """At the picture in one way, beyond it in another; layers are told who uses them."""
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        ways = [way for each in given if isinstance(way := way_of(each), Layered)]
        found = self._followed(func, types, args, kwargs, given)
        if ways and (found is None or any(map(depends, tensors_in((found,))))):
            for way in ways:
                way.uses += 1
        return found

    def _followed(
        self,
        func: Operation,
        types: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: list[Tensor],
    ) -> Any:
        name, in_place = operation(func, kwargs)
        if (in_place or name == "__setitem__") and isinstance(args[0], Tensor):
            self._here.before_writing(args[0])
        pictures = [each for each in given if self._here.is_picture(each)]
        if not pictures:
            return super().__torch_function__(func, types, args, kwargs)
        if name == "__get__" or name in _HANDS_ON:
            return self._moved(func, name, args, kwargs)
        if name in _SCALES and sum(map(depends, given)) == 1 and _first(name, args):
            return self._scaled(func, name, in_place, args, kwargs)
        rule: Any = self._rules.get(name)
        if rule is layer and not in_place and len(pictures) == 1:
            return super().__torch_function__(func, types, args, kwargs)
        return self._left(func, types, name, in_place, args, kwargs)

    def _moved(
        self, func: Operation, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        limits = self._limits(func, args, kwargs)
        found = func(*args, **kwargs)
        for number, made in enumerate(tensors_in((found,))):
            if depends(made):
                self._here.pictures[made] = None if limits is None else limits[number]
                if name != "__get__":
                    self._coverage.linear[name] += 1
        return found

    def _scaled(
        self,
        func: Operation,
        name: str,
        in_place: bool,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Tensor:
        picture = next(each for each in tensors_in((args, kwargs)) if depends(each))
        plain = mapped(
            (args, kwargs), lambda each: each.detach().clone() if each is picture else each
        )
        made = func(*plain[0], **plain[1])
        found = gone_back(made, lambda g: (as_shape(g, picture.shape),), picture)
        ends = self._scaled_limits(func, picture, args, kwargs)
        self._coverage.handled[name] += 1
        if in_place:
            found = gone_back(made, lambda g: (g,), picture.clone())
            picture.copy_(found)
            found = picture
        self._here.pictures[found] = ends
        return found

    def _left(
        self, func: Operation, types: Any, name: str, in_place: bool,
        args: tuple[Any, ...], kwargs: dict[str, Any],
    ) -> Any:  # fmt: skip
        """An operation that is none of the picture's own: from here on it is a gradient."""

        def left(each: Tensor) -> Tensor:
            if not self._here.is_picture(each):
                return each
            value = each.detach().clone()
            return gone_back(value.clone(), lambda g: (g * value,), each)

        changed = mapped((args, kwargs), left)
        found = super().__torch_function__(func, types, *changed)
        written = args[0] if args else None
        if (in_place or name == "__setitem__") and isinstance(written, Tensor):
            if self._here.is_picture(written):
                written.copy_(changed[0][0])
                del self._here.pictures[written]
            return written if in_place else found
        return found

    def _limits(
        self, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[tuple[Tensor, Tensor]] | None:
        """Those of each tensor that the operation makes of pictures."""
        if self._here.how.first not in ("box", "flat"):
            return None
        low, high = (self._at_an_end(side, func, args, kwargs) for side in (0, 1))
        return list(zip(low, high, strict=True))

    def _scaled_limits(
        self, func: Operation, picture: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Limits:
        if self._here.how.first != "box":
            return self._here.limits(picture)
        (low,), (high,) = (self._at_an_end(side, func, args, kwargs) for side in (0, 1))
        return low.minimum(high), low.maximum(high)

    def _at_an_end(
        self, side: int, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Tensor]:
        def end(each: Tensor) -> Tensor:
            if not self._here.is_picture(each):
                return each
            limits = self._here.limits(each)
            assert limits is not None
            return limits[side].clone()

        changed = mapped((args, kwargs), end)
        return list(tensors_in((func(*changed[0], **changed[1]),)))


def _first(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a division's or subtraction's picture is what is divided, not what divides."""
    return name != "div" or (isinstance(args[0], Tensor) and depends(args[0]))
