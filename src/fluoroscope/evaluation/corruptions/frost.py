"""Photographs of frost, for those who have the authors'."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fluoroscope.engine import randomness
from fluoroscope.errors import UnknownDataError
from fluoroscope.evaluation.corruptions.noise import Drawn
from fluoroscope.files import user_path
from fluoroscope.pictures.read import picture_suffixes, read_picture

# The authors have six, and draw from the first five.
_PICTURES = 5
# On CIFAR-10-C's scale a fifth of each side is left: of five pixels the middle one.
_FIFTH = slice(2, None, 5)


@dataclass(frozen=True)
class Frost:
    """Photographs ``(3, H, W)`` in ``[0, 1]``, of any sizes, one of which is laid over a picture.

    The authors' are ``frost1.png`` to ``frost5.jpg`` in the folder ``ImageNet-C/create_c`` of
    github.com/hendrycks/robustness.
    """

    pictures: tuple[Tensor, ...]

    @classmethod
    def load(cls, folder: str | Path) -> "Frost":
        """The pictures ``frost1`` to ``frost5`` of a folder.

        Raises:
            UnknownDataError: no folder, or it lacks one.
            PictureError: a file that is no picture.
        """
        place = user_path(folder)
        if not place.is_dir():
            raise UnknownDataError(
                f"frost= is {str(folder)!r}, which is no folder; expected one with the pictures "
                f"frost1 to frost{_PICTURES}, as PNG or JPEG"
            )
        found = []
        for number in range(1, _PICTURES + 1):
            names = [f"frost{number}{suffix}" for suffix in sorted(picture_suffixes())]
            files = [place / name for name in names if (place / name).is_file()]
            if not files:
                raise UnknownDataError(
                    f"frost= is {str(folder)!r}, which has no frost{number}.png or .jpg; expected "
                    f"the pictures frost1 to frost{_PICTURES}"
                )
            found.append(read_picture(files[0]))
        return cls(tuple(found))

    def draw(self, keys: Tensor, shape: tuple[int, ...], *, shrink: bool) -> Drawn:
        """For each key a part of one picture, ``(N, C or 1, H, W)``; grey but for 3 channels."""
        channels, height, width = shape
        cut = []
        for which, top, left in randomness.uniform(keys, 0, (3,)).double().tolist():
            picture = self.pictures[int(which * len(self.pictures))].double()
            picture = picture[:, _FIFTH, _FIFTH] if shrink else picture
            small = max(height / picture.shape[1], width / picture.shape[2])
            if small > 1:
                size = [max(height, round(small * picture.shape[1])),
                        max(width, round(small * picture.shape[2]))]  # fmt: skip
                picture = interpolate(picture[None], size=size, mode="bilinear")[0]
            # The authors leave the last place out.
            down = int(top * max(picture.shape[1] - height, 1))
            across = int(left * max(picture.shape[2] - width, 1))
            cut.append(picture[:, down : down + height, across : across + width])
        frost = torch.stack(cut).to(keys.device)
        return (frost if channels == 3 else frost.mean(1, keepdim=True),)


def as_frost(frost: str | Path | Frost | None) -> Frost | None:
    """Photographs, or those of a folder."""
    return Frost.load(frost) if isinstance(frost, str | Path) else frost
