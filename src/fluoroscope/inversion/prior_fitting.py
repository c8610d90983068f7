"""What is to be known of a network's pictures before one is made, measured on such pictures.

The colour root is that of the mean covariance of the channels within a picture, ``U sqrt(S)`` of
its eigenvectors and eigenvalues (Olah et al. 2017, as captum.optim fits it); magnitudes are means
of ``|rfft2|`` (Fel et al. 2023, 2306.06805), of the channels that the root decorrelates. As these
need the root the pictures are read twice, a part at a time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.engine.inside import Place
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.inversion.data_prior import DataPrior, LayerStatistics
from fluoroscope.inversion.portraits.places import as_places
from fluoroscope.inversion.portraits.priors.statistics import measured
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.preprocessing import Preprocessing

# Pixel values read at once.
_VALUES = 2**24
# A direction of colour that pictures lack counts as so much of the strongest one: it can be undone.
_LEAST = 1e-3
# The decay is fitted to cycles per pixel below this, in so many bands: above, resizing has cut off.
_HIGHEST, _BANDS = 0.25, 16


@torch.inference_mode(False)
@torch.no_grad()
def fit_prior(
    images: Any,
    model: Classifier | nn.Module | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    layers: Sequence[str | Place] | str | None = None,
    name: str | None = None,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> DataPrior:
    """Measure the pictures that portraits are to be like, in two readings and flat memory.

    Args:
        images: an :class:`ImageSet`, or what :func:`load_images` takes: a name, a folder, a tensor
            ``(N, C, H, W)`` in ``[0, 1]``. They need no labels.
        model: the network under study: pictures come in its size and channels.
        size: ``(height, width)`` or one number, in place of the network's own: pictures are resized
            to cover that, and cut out at the centre. By default, without a network, as they are.
        layers: which of the network's are measured too, by name or place, or ``"stages"``: the last
            one of each size of map. That takes a pass for each picture.
        name: of the prior; by default that of the pictures.
        batch_size: pictures read at once.
        on_share: called with the share of the work that lies behind.

    Raises:
        InvalidImagesError: fewer than two pictures, pictures without any contrast, or of unequal
            sizes without one to bring them to.
        InvalidParameterError: a size, or layers, that cannot be.
    """
    known = None if model is None else as_classifier(model)
    found = _opened(images, known)
    if len(found) < 2:
        raise InvalidImagesError(f"{found.name} holds {len(found)} pictures; expected 2 or more")
    if layers is not None and known is None:
        raise InvalidParameterError("layers were named without a network; expected model=")
    fit = _fit(known, size, found.channels)
    readings = 2 + (layers is not None)
    at_once = _at_once(found, fit) if batch_size is None else check_batch_size(batch_size)

    def parts(reading: int) -> Iterator[Tensor]:
        seen = 0
        for batch in found.batches(at_once, fit=fit):
            yield batch.images
            seen += len(batch.images)
            if on_share is not None:
                on_share((reading + seen / len(found)) / readings)

    mean, gain, covariance, shape = _moments(parts(0), found.name)
    colour = _root(covariance)
    magnitude = _magnitude(parts(1), mean, colour)
    about = {"images": found.name, "split": found.split, "pictures": len(found)}
    measured_layers: tuple[LayerStatistics, ...] = ()
    if layers is not None:
        assert known is not None
        measured_layers = _layers(known, parts(2), None if layers == "stages" else layers)
        about |= {"model": known.name, "model_sha256": known.fingerprint()}
    return DataPrior(
        found.name if name is None else name,
        mean.float(),
        gain,
        colour.float(),
        decay_of(magnitude[0], shape),
        magnitude.float(),
        shape,
        measured_layers,
        about,
    )


def decay_of(
    magnitude: Tensor, size: tuple[int, int], low: float = 0.0, high: float = _HIGHEST
) -> float:
    """The power with which magnitudes ``(H, W // 2 + 1)`` fall with frequency, at least 0.

    The slope of a line through the means of bands of like width in ``log f``, of frequencies above
    ``low``, up to ``high`` cycles per pixel.
    """
    down = torch.fft.fftfreq(size[0], dtype=torch.float64, device=magnitude.device)
    across = torch.fft.rfftfreq(size[1], dtype=torch.float64, device=magnitude.device)
    length = torch.hypot(down[:, None], across[None])
    least = max(low, 0.9 / max(size))
    inside = (length >= least) & (length <= high) & (magnitude > 0)
    if int(inside.sum()) < 2:
        return 1.0  # so few pixels tell nothing of it
    places, values = length[inside], magnitude[inside].double()
    band = ((places / least).log() / math.log(high / least) * _BANDS).long().clamp(0, _BANDS - 1)
    many = band.bincount(minlength=_BANDS)
    held = many > 0
    x = torch.zeros(_BANDS, dtype=torch.float64, device=places.device).index_add(
        0, band, places.log()
    )
    y = torch.zeros_like(x).index_add(0, band, values)
    x, y = (x / many)[held], (y / many)[held].log()
    if len(x) < 2:
        return 1.0
    x, y = x - x.mean(), y - y.mean()
    return max(0.0, -float((x * y).sum() / x.square().sum()))


def _opened(images: Any, model: Classifier | None) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, Tensor) and images.is_inference():
        images = images.clone()
    if model is None or isinstance(images, str | Path):
        return load_images(images, channels=None if model is None else model.channels)
    return load_images(images)


def _fit(
    model: Classifier | None, size: int | tuple[int, int] | None, channels: int
) -> Preprocessing | None:
    """What brings pictures to the size that they are measured at."""
    if size is None:
        if model is None:
            return None
        return model.preprocessing
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 2:
        raise InvalidParameterError(f"size is {size}; expected (height, width) of 2 pixels or more")
    if model is not None and model.input_size not in (None, (height, width)):
        assert model.input_size is not None
        raise InvalidParameterError(
            f"size is {height}×{width}, and {model.name} sees {model.input_size[0]}×"
            f"{model.input_size[1]}; expected its size, or no model="
        )
    return Preprocessing(
        input_size=(height, width),
        channels=channels if model is None else model.channels,
        resize=max(height, width),
        stated_by="size=",
    )


def _at_once(images: ImageSet, fit: Preprocessing | None) -> int:
    size = fit.input_size if fit is not None else None
    if size is None:
        height, width = images[0].image.shape[-2:]
        size = (height, width)
    return max(1, min(256, _VALUES // (images.channels * size[0] * size[1])))


def _moments(parts: Iterator[Tensor], name: str) -> tuple[Tensor, float, Tensor, tuple[int, int]]:
    """Mean ``(C,)``, deviation of all pixels, mean covariance within a picture, and their size."""
    shape: tuple[int, int] | None = None
    pixels = many = 0
    sums = squares = inside = torch.zeros((), dtype=torch.float64, device="cpu")
    for images in parts:
        here = (images.shape[-2], images.shape[-1])
        if shape is not None and here != shape:
            raise InvalidImagesError(
                f"{name} holds pictures of {shape[0]}×{shape[1]} and of {here[0]}×{here[1]}; "
                "expected one size: give size= or model="
            )
        shape = here
        flat = images.flatten(2).double()  # (n, C, P)
        apart = flat - flat.mean(2, keepdim=True)
        sums = sums + flat.sum((0, 2))
        squares = squares + flat.square().sum((0, 2))
        inside = inside + (apart @ apart.transpose(1, 2)).sum(0) / flat.shape[2]
        pixels += len(flat) * flat.shape[2]
        many += len(flat)
    assert shape is not None
    mean = sums / pixels
    variance = float((squares / pixels - mean.square()).mean())
    if float(inside.diagonal().sum()) <= 0 or variance <= 0:
        raise InvalidImagesError(
            f"each picture of {name} is of one colour throughout; expected pictures with contrast"
        )
    return mean, math.sqrt(variance), inside / many, shape


def _root(covariance: Tensor) -> Tensor:
    """The root of a covariance, the strongest colour first, its first number above 0."""
    values, vectors = torch.linalg.eigh(covariance)
    order = values.argsort(descending=True)
    sizes = (values[order] / values.max()).clamp(min=_LEAST**2).sqrt()
    vectors = vectors[:, order]
    # A column's sign is anybody's choice; here its first number that is not tiny is positive.
    first = (vectors.abs() > 0.1 * vectors.abs().amax(0)).long().argmax(0)
    signs = vectors.gather(0, first[None])[0].sign()
    found: Tensor = vectors * (sizes * signs)
    return found


def _magnitude(parts: Iterator[Tensor], mean: Tensor, colour: Tensor) -> Tensor:
    """``(C, H, W // 2 + 1)`` float64."""
    undo = torch.linalg.inv(colour).float()
    total, many = torch.zeros((), dtype=torch.float64, device=mean.device), 0
    for images in parts:
        apart = images.float() - mean.float()[:, None, None]
        channels = torch.einsum("dc,nchw->ndhw", undo, apart)
        total = total + torch.fft.rfft2(channels, norm="ortho").abs().double().sum(0)
        many += len(images)
    return total / many


def _layers(
    model: Classifier, parts: Iterator[Tensor], layers: Sequence[str | Place] | str | None
) -> tuple[LayerStatistics, ...]:
    """Means and variances of layers, of all parts together."""
    names = [layers] if isinstance(layers, str) else layers
    places: tuple[Place, ...] = ()
    sums: dict[Place, list[Tensor]] = {}
    many = 0
    for images in parts:
        places = places or as_places(model, names, images)
        for place, one in measured(model, images, places).items():
            mean, variance = one.mean.double(), one.variance.double()
            more = [len(images) * mean, len(images) * (variance + mean.square())]
            known = sums.get(place)
            sums[place] = (
                more if known is None else [a + b for a, b in zip(known, more, strict=True)]
            )
        many += len(images)
    found = []
    for place in places:
        mean, second = (each / many for each in sums[place])
        variance = (second - mean.square()).clamp(min=0)
        found.append(LayerStatistics(place, mean.float().cpu(), variance.float().cpu()))
    return tuple(found)
