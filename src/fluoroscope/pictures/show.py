"""Tensors of pictures and of gradients, to be looked at in a notebook."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.pictures import html
from fluoroscope.words import count


@dataclass(frozen=True, repr=False)
class Pictures(html.Shown):
    """Some pictures, or signed numbers such as gradients, side by side."""

    images: Tensor
    """``(N, C, H, W)``."""
    captions: tuple[str, ...]
    signed: bool
    """Whether they are drawn as numbers below and above 0, and not as pictures."""

    def _line(self) -> str:
        size = "×".join(map(str, self.images.shape[1:]))
        what = ("signed map", "signed maps") if self.signed else ("picture", "pictures")
        return f"{count(len(self.images), *what)} of {size}"

    def _view(self) -> Iterator[html.Html]:
        shown = [image.detach().cpu() for image in self.images[: html.ROWS]]
        captions = [*self.captions, *[""] * len(shown)]
        if self.signed:
            scale = html.scale_of(shown)
            yield html.paragraph(
                "Blue is below 0, white is 0 and red above; the colours end at "
                f"{html.end_of(scale, self.images.shape[1])}."
            )
            drawn = [
                html.change(one, scale, words) for one, words in zip(shown, captions, strict=False)
            ]
        else:
            drawn = [html.picture(one, words) for one, words in zip(shown, captions, strict=False)]
        yield html.cards([one] for one in drawn)
        left = len(self.images) - len(shown)
        yield html.paragraph(f"and {left:,} more" if left else "")


def show(
    images: Tensor | html.Shown, captions: Sequence[str] = (), *, signed: bool | None = None
) -> html.Shown:
    """Pictures or gradients that a notebook shows; the last line of a cell is enough.

    A result, such as an :class:`.Attribution`, shows itself.

    Args:
        images: ``(N, C, H, W)`` or one ``(C, H, W)``; pictures in ``[0, 1]``, or any numbers if
            signed. The first twelve are drawn.
        captions: one for each, or none.
        signed: whether to draw numbers below and above 0 in two colours, on one scale that is
            stated, the channels added up, such as of :func:`.input_gradient`. By default where any
            number lies outside ``[0, 1]``.

    Raises:
        InvalidImagesError: no such tensor.
        InvalidParameterError: another number of captions than of images.
    """
    if isinstance(images, html.Shown):
        return images
    if not isinstance(images, Tensor) or images.dim() not in (3, 4) or images.is_complex():
        kind = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InvalidImagesError(
            f"images are {kind}; expected a tensor (N, C, H, W) or (C, H, W), such as pictures or "
            "an input gradient"
        )
    batch = images if images.dim() == 4 else images[None]
    if captions and len(captions) != len(batch):
        raise InvalidParameterError(
            f"captions holds {len(captions)}; expected one for each of "
            f"{count(len(batch), 'picture')}"
        )
    if signed is None:
        signed = bool(((batch < 0) | (batch > 1)).any())
    return Pictures(batch.float(), tuple(map(str, captions)), signed)
