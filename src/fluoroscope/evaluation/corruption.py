"""Common corruptions: how a network reads noisy, blurred, washed-out and compressed pictures.

Hendrycks and Dietterich (2019, 1903.12261): each corruption at five severities, and the mean
accuracy over all. Nobody searches for these changes, so they are no attack: a measure beside one.

The numbers behind the severities are those of the authors' code: unless asked otherwise
CIFAR-10-C's for pictures with a side below 64, and ImageNet-C's, which were chosen for 224×224, for
others. Of their 19 corruptions these are eight that need neither other pictures nor ImageMagick.

What differs: a picture is corrupted as the network sees it, resized and cropped; it is rounded to 8
bits where the authors cut, and ImageNet-C's are saved as JPEG once more; a blur continues a picture
by its mirror image instead of its border. On grey pictures the same is done to the one channel that
there is, which nobody published, and of other numbers of channels on each by itself, but for JPEG,
which is for grey and colour: there it is left out. The mean is over these eight and not divided by
AlexNet's: it is no mCE, and stands beside no published number.

**Randomness.** A picture's noise depends on the seed and its number in its data set, not on its
neighbours; it is the same at every severity, only louder.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from io import BytesIO
from math import ceil
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.classes import Given
from fluoroscope.engine.labels import Seen, Truth, labelled, what_was_fed
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.intervals import Interval, wilson
from fluoroscope.evaluation.level import Level, check_level
from fluoroscope.hashing import bits
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.severities import severity_curves, severity_strip
from fluoroscope.pictures.write import to_pil

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEVERITIES = (1, 2, 3, 4, 5)
Scale = Literal["cifar-10-c", "imagenet-c"]
# Pictures whose shorter side is below this go by CIFAR-10-C's scale.
SMALL = 64

Change = Callable[[Tensor, float, Tensor], Tensor]
"""From images ``(N, C, H, W)``, a severity's number and the samples' keys ``(N,)`` to images, which
need not lie in ``[0, 1]``."""


@dataclass(frozen=True)
class Corruption:
    """A change, and its number at each severity on both scales."""

    change: Change
    imagenet: tuple[float, ...]
    cifar: tuple[float, ...]


def corrupt(
    images: Tensor,
    corruption: str,
    severity: int,
    *,
    scale: Scale | None = None,
    seed: int = 0,
    numbers: Tensor | None = None,
) -> Tensor:
    """Corrupt images ``(N, C, H, W)`` in ``[0, 1]``; what comes back is so too, in 8-bit levels.

    Args:
        images: of any one size and number of channels; for JPEG grey or colour.
        corruption: one of ``CORRUPTIONS``.
        severity: 1 to 5; 0 gives the images back as they are.
        scale: ``"cifar-10-c"`` or ``"imagenet-c"``: whose severities; by default by the size.
        seed: for the noise.
        numbers: ``(N,)``, which samples of their data set these are; by default 0 and up.

    Raises:
        InvalidImagesError: no batch of images in range.
        InvalidParameterError: no such corruption or severity, or none for so many channels.
    """
    batch = check_images(images, images.shape[1] if images.dim() == 4 else 3)
    chosen = _find(corruption)
    if severity not in (0, *SEVERITIES):
        raise InvalidParameterError(
            f"severity is {severity}; expected a whole number from 0 (clean) to {SEVERITIES[-1]}"
        )
    _check_channels(corruption, batch.shape[1])
    if severity == 0 or not len(batch):
        return batch
    numbers = torch.arange(len(batch), device="cpu") if numbers is None else numbers
    # Each corruption draws for itself, whichever others are asked for.
    keys = randomness.keys(seed, numbers.to(batch.device), list(CORRUPTIONS).index(corruption))
    strength = strengths(corruption, scale or suitable_scale(batch.shape[2:]))[severity - 1]
    changed = chosen.change(batch, strength, keys)
    return (changed.clamp(0, 1) * 255).round() / 255


def suitable_scale(size: Sequence[int]) -> Scale:
    """Whose severities are meant for pictures of this ``(height, width)``."""
    return "cifar-10-c" if min(size) < SMALL else "imagenet-c"


def strengths(corruption: str, scale: Scale) -> tuple[float, ...]:
    """A corruption's number at each severity.

    Raises:
        InvalidParameterError: no such corruption or scale.
    """
    found = _find(corruption)
    if scale not in get_args(Scale):
        raise InvalidParameterError(
            f"scale is {scale!r}; expected {' or '.join(map(repr, get_args(Scale)))}"
        )
    return found.cifar if scale == "cifar-10-c" else found.imagenet


@dataclass(frozen=True)
class Row:
    """How pictures under one corruption are read, at each severity."""

    corruption: str
    strengths: tuple[float, ...]
    right: tuple[int, ...]
    accuracy: tuple[float, ...]
    intervals: tuple[Interval, ...]
    mean_accuracy: float
    mean_interval: Interval


@dataclass(frozen=True)
class CorruptionTable:
    """How a network reads ``count`` pictures clean, and under each corruption.

    Intervals are Wilson's at 95 %. Those of a mean are as if all readings of one picture agreed:
    wider than they need be, never narrower.
    """

    count: int
    clean_accuracy: float
    clean_interval: Interval
    mean_accuracy: float
    """Over all corruptions and severities."""
    mean_interval: Interval
    severities: tuple[int, ...]
    rows: tuple[Row, ...]
    forwards: int
    seconds: float
    complete: bool
    """Whether every picture was read under everything."""
    record: dict[str, Any] = field(default_factory=dict)
    """Network, data, seed, versions and hardware, as plain values."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def corruption_accuracy(
    model: Classifier | nn.Module,
    images: ImageSet | Tensor,
    labels: Given | None = None,
    *,
    corruptions: Sequence[str] | None = None,
    scale: Scale | None = None,
    seed: int = 0,
    batch_size: int = 64,
    at_chance: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> CorruptionTable:
    """How many pictures a network classifies correctly under common corruptions of five severities.

    Args:
        model: the network under study; of one prepared for speed the plain one is asked.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: the true class of each ``(N,)``, for a batch: indices, names or one-hot rows.
        corruptions: some of ``CORRUPTIONS``; by default all that there are for so many channels.
        scale: ``"cifar-10-c"`` or ``"imagenet-c"``: whose severities; by default by the size.
        seed: for the noise.
        batch_size: pictures in memory and read at once.
        at_chance: go on with a network whose clean accuracy is at chance level.
        on_progress: called after every reading of a batch with the pictures read, counted anew
            under each corruption and severity, and how many there are to read.
        cancelled: asked at every batch; once true, the table is of the pictures read by then.

    Raises:
        UnknownLabelError, InvalidImagesError: labels that are missing or not the network's.
        InvalidParameterError: no such corruption or scale, or none for so many channels.
        ChanceLevelError: the clean accuracy is at chance level.
    """
    model = as_classifier(model)
    names = tuple(dict.fromkeys(_possible(model.channels) if corruptions is None else corruptions))
    for name in names:
        strengths(name, scale or "imagenet-c")
        _check_channels(name, model.channels)
    if not names:
        raise InvalidParameterError(f"no corruption was chosen; expected some of {_known()}")
    notes = [
        f"{name} was left out of the mean: it is for pictures of 1 or 3 channels, these have "
        f"{model.channels}"
        for name in CORRUPTIONS
        if corruptions is None and name not in names
    ]
    data, began, plain = labelled(model, images, labels), time.perf_counter(), model.plain
    shown = scale or suitable_scale(model.input_size or data[0].image.shape[1:])
    cells = [(name, severity) for name in names for severity in SEVERITIES]
    truth, level = Truth.of(model, data), Level(model)
    found = [torch.zeros(0, 1 + len(cells), dtype=torch.bool, device="cpu")]
    for batch in data.batches(check_batch_size(batch_size), fit=model.preprocessing):
        own = truth.labels(batch)
        columns: list[Tensor] = []
        for pictures in _versions(batch.images, cells, shown, seed, batch.indices):
            if cancelled is not None and cancelled():
                break
            read = predict(plain, pictures, batch_size=batch_size).winners
            columns.append(read == own)
            if on_progress is not None:
                behind = sum(map(torch.numel, found + columns))
                on_progress(behind, len(data) * (1 + len(cells)))
            if len(columns) == 1:
                level.add(own, read)
            if len(columns) + len(found) == 2:
                fed = partial(what_was_fed, model, batch.images, own)
                if not at_chance:
                    rest = data.select(range(len(own), len(data)))
                    check_level(
                        level, truth, rest, fed,
                        fit=model.preprocessing, batch_size=batch_size, cancelled=cancelled,
                    )  # fmt: skip
        if len(columns) <= len(cells):
            break
        found.append(torch.stack(columns, 1))
    rights = torch.cat(found)
    complete = len(rights) == len(data)
    if complete and not at_chance:
        level.check(fed)
    seen = Seen.of(model, level.labels[: len(rights)])
    mean, mean_interval = _mean(rights[:, 1:])
    parts = zip(names, rights[:, 1:].split(len(SEVERITIES), dim=1), strict=True)
    return CorruptionTable(
        count=len(rights),
        clean_accuracy=_mean(rights[:, :1])[0],
        clean_interval=_mean(rights[:, :1])[1],
        mean_accuracy=mean,
        mean_interval=mean_interval,
        severities=SEVERITIES,
        rows=tuple(_row(name, strengths(name, shown), part) for name, part in parts),
        forwards=rights.numel() * plain.passes,
        seconds=time.perf_counter() - began,
        complete=complete,
        record={
            "data": {"name": data.name, "split": data.split, "count": len(data)},
            "corruptions": list(names),
            "scale": shown,
            "seed": seed,
            "seen": seen.describe(),
            "notes": [*notes, *truth.notes, *seen.notes, *level.notes],
            **provenance(plain),
        },
    )


def corruption_figure(table: CorruptionTable) -> "Figure":
    """The accuracy under each corruption against its severity."""
    lines = {
        row.corruption: [
            (share, *interval) for share, interval in zip(row.accuracy, row.intervals, strict=True)
        ]
        for row in table.rows
    }
    name = PurePath(table.record["model"]).name
    title = f"{name}, {table.count:,} pictures, {table.record['scale']}"
    return severity_curves(lines, (table.clean_accuracy, *table.clean_interval), title=title)


def corruption_strip(image: Tensor, table: CorruptionTable, number: int = 0) -> "Figure":
    """A picture ``(C, H, W)``, the sample ``number`` of its data, as the table's network saw it."""
    numbers, seed, scale = (
        torch.tensor([number], device="cpu"),
        table.record["seed"],
        table.record["scale"],
    )
    rows = {
        name: [
            corrupt(image[None], name, severity, scale=scale, seed=seed, numbers=numbers)[0]
            for severity in (0, *table.severities)
        ]
        for name in table.record["corruptions"]
    }
    return severity_strip(rows)


def _versions(
    images: Tensor, cells: list[tuple[str, int]], scale: Scale, seed: int, numbers: Tensor
) -> Iterator[Tensor]:
    """The images as they are, and then under each corruption and severity."""
    yield images
    for name, severity in cells:
        yield corrupt(images, name, severity, scale=scale, seed=seed, numbers=numbers)


def _row(name: str, numbers: tuple[float, ...], right: Tensor) -> Row:
    counts = tuple(right.sum(0).tolist())
    mean, interval = _mean(right)
    return Row(
        corruption=name,
        strengths=numbers,
        right=counts,
        accuracy=tuple(count / max(len(right), 1) for count in counts),
        intervals=tuple(wilson(count, len(right)) for count in counts),
        mean_accuracy=mean,
        mean_interval=interval,
    )


def _mean(right: Tensor) -> tuple[float, Interval]:
    """The share of readings ``(pictures, cells)`` that are right, as of so many pictures."""
    count, cells = right.shape
    if not count:
        return 0.0, wilson(0, 0)
    total = int(right.sum())
    # Between two whole numbers of pictures the wider ends.
    low, high = wilson(total // cells, count)[0], wilson(-(-total // cells), count)[1]
    return total / (count * cells), (low, high)


# The changes


def _gaussian_noise(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    return images + strength * randomness.normal(keys, 0, tuple(images.shape[1:])).to(images)


def _shot_noise(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    # Torch draws Poisson's numbers only by generators: each picture has its own.
    drawn = [
        torch.poisson(image.cpu() * strength, generator=torch.Generator().manual_seed(key))
        for image, key in zip(images, bits(keys, 0, 1).squeeze(1).tolist(), strict=True)
    ]
    return torch.stack(drawn).to(images) / strength


def _impulse_noise(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    shape = tuple(images.shape[1:])
    hit = randomness.uniform(keys, 0, shape).to(images) < strength
    salt = (randomness.uniform(keys, 1, shape) < 0.5).to(images)
    return torch.where(hit, salt, images)


def _gaussian_blur(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import gaussian_blur

    # Four deviations to each side, as skimage has it, but not past the mirror image.
    rows, columns = (2 * min(ceil(4 * strength), side - 1) + 1 for side in images.shape[2:])
    # One direction after the other: the same, in far fewer multiplications.
    along = gaussian_blur(images, [columns, 1], [strength, strength])
    blurred: Tensor = gaussian_blur(along, [1, rows], [strength, strength])
    return blurred


def _contrast(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    # Each channel around its own mean; torchvision's contrast is around the mean grey.
    mean = images.mean((2, 3), keepdim=True)
    return mean + strength * (images - mean)


def _brightness(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    """More of the value of hue, saturation, value: the colour stays, and black turns grey."""
    value = images.amax(1, keepdim=True)
    colour = torch.where(value > 0, images / value.clamp(min=1e-12), 1.0)
    return colour * (value + strength).clamp(max=1)


def _pixelate(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    def change(picture: Image.Image) -> Image.Image:
        width, height = (max(1, int(side * strength)) for side in picture.size)
        coarse = picture.resize((width, height), Image.Resampling.BOX)
        return coarse.resize(picture.size, Image.Resampling.BOX)

    return _by_pillow(images, change)


def _jpeg(images: Tensor, strength: float, keys: Tensor) -> Tensor:
    def change(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=int(strength))
        return Image.open(file)

    return _by_pillow(images, change)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    count, channels, height, width = images.shape
    # Pillow knows grey and colour; of any other number each channel is a grey picture by itself.
    each = channels if channels in (1, 3) else 1
    pictures = images.reshape(-1, each, height, width)
    shape = (height, width, each)
    changed = [
        torch.from_numpy(np.array(change(to_pil(picture))).reshape(shape)) for picture in pictures
    ]
    whole = torch.stack(changed).permute(0, 3, 1, 2).reshape(count, channels, height, width)
    return whole.to(images) / 255


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian-noise": Corruption(
        _gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)
    ),
    "shot-noise": Corruption(_shot_noise, (60, 25, 12, 5, 3), (500, 250, 100, 75, 50)),
    "impulse-noise": Corruption(
        _impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)
    ),
    "gaussian-blur": Corruption(_gaussian_blur, (1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1)),
    "brightness": Corruption(_brightness, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(_contrast, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    "pixelate": Corruption(_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": Corruption(_jpeg, (25, 18, 15, 10, 7), (80, 65, 58, 50, 40)),
}
"""By name: standard deviation of the noise, photons at full light, share of the values that become
black or white, standard deviation of the blur in pixels, what is added to the brightness, share of
the contrast and of the pixels along a side that is left, and JPEG's quality."""


def _possible(channels: int) -> list[str]:
    """The corruptions that there are for pictures of so many channels."""
    return [name for name in CORRUPTIONS if name != "jpeg" or channels in (1, 3)]


def _check_channels(name: str, channels: int) -> None:
    if name not in _possible(channels):
        raise InvalidParameterError(
            f"corruption is {name!r}, which is for pictures of 1 or 3 channels; these have "
            f"{channels}: expected some of {', '.join(_possible(channels))}"
        )


def _find(name: str) -> Corruption:
    if name not in CORRUPTIONS:
        raise InvalidParameterError(f"corruption is {name!r}; expected one of {_known()}")
    return CORRUPTIONS[name]


def _known() -> str:
    return ", ".join(CORRUPTIONS)
