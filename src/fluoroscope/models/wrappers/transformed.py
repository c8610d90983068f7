"""Networks seen through a change of their input, so that what fools one fools others too.

Each is a classifier around a classifier, for any attack that reads gradients, and around each
other: ``TranslationInvariant(DiverseInput(model))`` shows its pictures to the outer one first.

* ``DiverseInput``: ``f(pad(resize(x)))`` at random (Xie et al. 2019, 1803.06978).
* ``TranslationInvariant``: ``f(x)``, but the gradient is ``kernel * grad f(x)`` (Dong et al. 2019,
  1904.02884).
* ``ScaleInvariant``: the mean loss at ``x / 2^i`` (Lin et al. 2020, 1908.06281).
* ``Admix``: that of ``x + eta x'`` for a few other pictures ``x'`` (Wang et al. 2021, 2102.00436).

They are there to search with: ``plain`` is the network itself, which judges. As for
:class:`~fluoroscope.models.wrappers.randomised.EOT` the draws follow from a seed and the images,
here of each image by itself: what happens to it does not depend on its neighbours, and a step that
moves it brings other draws.

Where the papers divide or pad with zero they speak of pixels from -1 to 1; here, as in the programs
that PyTorch users know, 0 is black.
"""

from math import inf

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.hashing import as_seed
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.around import Asking, Surrogate
from fluoroscope.models.wrappers.draws import row_uniform
from fluoroscope.models.wrappers.ensemble import averaged
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count


class DiverseInput(Surrogate):
    """Each image is shrunk at random and padded with black to its size again.

    It becomes a side drawn from ``resize`` of its own up to, not including, all of it, at a place
    drawn uniformly. The paper enlarges from 299 to at most 330 pixels and lets the network see
    330; this takes the same picture of any size, as torchattacks does.

    Args:
        model: the network to be asked.
        probability: that an image is changed at all; 0.5 in the paper.
        resize: the smallest side as a share of its own.
        seed: what all draws follow from, together with each image.

    Raises:
        ModelFormatError: the model is no classifier.
        InvalidParameterError: a probability outside ``[0, 1]``, or a share outside ``(0, 1)``.
    """

    def __init__(
        self,
        model: Classifier | nn.Module,
        probability: float = 0.5,
        *,
        resize: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.check(probability, resize)
        super().__init__(model, _Diverse, 1, probability=probability, resize=resize, seed=seed)

    @staticmethod
    def check(probability: float, resize: float) -> None:
        """Refuse parameters that make no sense."""
        if not 0 <= probability <= 1:
            raise InvalidParameterError(f"probability is {probability}; expected 0 to 1")
        if not 0 < resize < 1:
            raise InvalidParameterError(
                f"resize is {resize}; expected the smallest side as a share above 0 and below 1"
            )


class _Diverse(Asking):
    def __init__(self, model: Classifier, probability: float, resize: float, seed: int) -> None:
        super().__init__(model)
        self.probability, self.resize, self.seed = probability, resize, as_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        drawn = row_uniform(images, self.seed, 0, (4,))
        height, width = images.shape[-2:]
        low = max(1, int(self.resize * height))
        high = low + (drawn[:, 1].to(images.dtype) * (height - low)).floor()
        wide = (high * width / height).round().clamp(min=1)
        shrunk = _padded(images, high, wide, drawn[:, 2], drawn[:, 3])
        changed = (drawn[:, 0] < self.probability).view(-1, 1, 1, 1)
        return self.model(torch.where(changed, shrunk, images))


class TranslationInvariant(Surrogate):
    """The network's answers, and its gradients smoothed by a Gaussian: those of shifted pictures.

    Args:
        model: the network to be asked.
        size: side of the kernel in pixels; 15 in the paper.
        deviations: of the Gaussian, from the middle of the kernel to its edge; 3 in the authors'
            program, so that one is 7/3 pixels.

    Raises:
        ModelFormatError: the model is no classifier.
        InvalidParameterError: an even or too small size, or no deviations.
    """

    def __init__(
        self, model: Classifier | nn.Module, size: int = 15, *, deviations: float = 3.0
    ) -> None:
        self.check(size, deviations)
        super().__init__(model, _TranslationInvariant, 1, size=size, deviations=deviations)

    @staticmethod
    def check(size: int, deviations: float) -> None:
        """Refuse parameters that make no sense."""
        if not isinstance(size, int) or size < 3 or size % 2 == 0:
            raise InvalidParameterError(f"size is {size}; expected an odd number of pixels above 1")
        if not 0 < deviations < inf:
            raise InvalidParameterError(f"deviations is {deviations}; expected a number above 0")


class _TranslationInvariant(Asking):
    def __init__(self, model: Classifier, size: int, deviations: float) -> None:
        super().__init__(model)
        edge = deviations
        bell = (
            torch.linspace(-edge, edge, size, dtype=torch.double, device="cpu")
            .square()
            .div(-2)
            .exp()
        )
        self.bell = bell / bell.sum()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(_Smoothed.apply(images, self.bell.to(images)))


class ScaleInvariant(Surrogate):
    """The mean log-probabilities at ``x``, ``x / 2``, ``x / 4`` and so on.

    The memory of a gradient is that of ``copies`` plain ones.

    Args:
        model: the network to be asked.
        copies: of each image; 5 in the paper.

    Raises:
        ModelFormatError: the model is no classifier.
        InvalidParameterError: fewer than 2 copies.
    """

    def __init__(self, model: Classifier | nn.Module, copies: int = 5) -> None:
        self.check(copies)
        super().__init__(model, _ScaleInvariant, copies, copies=copies)
        self.log_probabilities = True

    @staticmethod
    def check(copies: int) -> None:
        """Refuse parameters that make no sense."""
        _check_count("copies", copies, 2)


class _ScaleInvariant(Asking):
    def __init__(self, model: Classifier, copies: int) -> None:
        super().__init__(model)
        self.copies = copies

    def forward(self, images: Tensor) -> Tensor:
        return _mean_loss(self.model, [images / 2**power for power in range(self.copies)])


class Admix(Surrogate):
    """The mean log-probabilities of mixtures with other pictures, at several scales.

    The paper mixes in pictures of its batch; here they come from a pool, so that what happens to an
    image does not depend on its neighbours. Which class they are of is not looked at.

    The memory of a gradient is that of ``copies * mixtures`` plain ones.

    Args:
        model: the network to be asked.
        pool: ``(P, C, H, W)`` in ``[0, 1]``, the pictures to be mixed in, brought to the network's
            size.
        copies: scales ``1, 1/2, 1/4`` and so on; 5 in the paper.
        mixtures: pictures of the pool for each image, drawn without repetition; 3 in the paper.
        share: how much of each is added, ``eta``; 0.2 in the paper.
        seed: what all draws follow from, together with each image.

    Raises:
        ModelFormatError: the model is no classifier.
        InvalidImagesError: the pool holds no usable images, or fewer than are to be mixed in.
        InvalidParameterError: counts below 1, or a share that is not above 0.
    """

    def __init__(
        self,
        model: Classifier | nn.Module,
        pool: Tensor,
        *,
        copies: int = 5,
        mixtures: int = 3,
        share: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.check(copies, mixtures, share)
        model = as_classifier(model)
        pool = model.fit(check_images(pool, model.channels).to(model.device, model.dtype))
        if len(pool) < mixtures:
            raise InvalidImagesError(
                f"the pool holds {count(len(pool), 'image')} to mix in; expected at least "
                f"{mixtures}, which is mixtures"
            )
        super().__init__(
            model, _Admix, copies * mixtures,
            pool=pool, copies=copies, mixtures=mixtures, share=share, seed=seed,
        )  # fmt: skip
        self.log_probabilities = True

    @staticmethod
    def check(copies: int, mixtures: int, share: float) -> None:
        """Refuse parameters that make no sense."""
        _check_count("copies", copies, 1)
        _check_count("mixtures", mixtures, 1)
        if not 0 < share < inf:
            raise InvalidParameterError(f"share is {share}; expected a number above 0")


class _Admix(Asking):
    def __init__(
        self,
        model: Classifier,
        pool: Tensor,
        copies: int,
        mixtures: int,
        share: float,
        seed: int,
    ) -> None:
        super().__init__(model)
        self.pool, self.copies, self.mixtures = pool, copies, mixtures
        self.share, self.seed = share, as_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        if self.pool.shape[1:] != images.shape[1:]:
            raise InvalidImagesError(
                f"the pool holds images of shape {tuple(self.pool.shape[1:])} and the ones to mix "
                f"them into have {tuple(images.shape[1:])}; expected the same shape"
            )
        ranks = row_uniform(images, self.seed, 0, (len(self.pool),))
        drawn = ranks.topk(self.mixtures, dim=1).indices
        mixed = [images + self.share * self.pool[others] for others in drawn.unbind(1)]
        scales = [2.0**-power for power in range(self.copies)]
        return _mean_loss(self.model, [scale * each for scale in scales for each in mixed])


def _check_count(name: str, count: int, low: int) -> None:
    if not isinstance(count, int) or count < low:
        raise InvalidParameterError(f"{name} is {count}; expected a whole number of {low} or more")


def _padded(images: Tensor, high: Tensor, wide: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each image bilinearly shrunk to its size, ``(N,)`` each, on black of its old size.

    ``down`` and ``right`` are shares of the room that is left.
    """
    height, width = images.shape[-2:]
    rows, columns = _axis(height, high, down), _axis(width, wide, right)
    shape = (len(images), height, width)
    grid = torch.stack([columns[:, None].expand(shape), rows[:, :, None].expand(shape)], 3)
    # What lies outside of a shrunk image is at least a whole pixel of the large one away: black.
    return F.grid_sample(images, grid.to(images.dtype), align_corners=False)


def _axis(length: int, part: Tensor, share: Tensor) -> Tensor:
    """For every pixel of an axis where in the image it is, from -1 to 1 or outside."""
    first = (share * (length - part + 1)).floor()
    pixels = torch.arange(length, device=part.device) - first[:, None]
    return (2 * pixels + 1) / part[:, None] - 1


class _Smoothed(torch.autograd.Function):
    """The images themselves; back comes the gradient convolved with ``bell`` along both axes."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, images: Tensor, bell: Tensor) -> Tensor:
        ctx.save_for_backward(bell)
        return images.view_as(images)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (bell,) = ctx.saved_tensors  # type: ignore[attr-defined]
        # One convolution along each axis, since a Gaussian is the product of two.
        each = gradient.reshape(-1, 1, *gradient.shape[2:])
        down = F.conv2d(each, bell.view(1, 1, -1, 1), padding="same")
        return F.conv2d(down, bell.view(1, 1, 1, -1), padding="same").view_as(gradient), None


def _mean_loss(model: Classifier, views: list[Tensor]) -> Tensor:
    """The mean log-probabilities over several views, whose cross-entropy is the mean loss."""
    average = "logits" if model.log_probabilities else "loss"
    return averaged([model(view) for view in views], average)  # type: ignore[arg-type]
