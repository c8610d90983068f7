"""The priors of the package: ``make priors`` measures them anew, of the pictures in ``../shared``.

Only means, a colour matrix, a decay and magnitudes are kept. Where the pictures are absent the
prior of before stays.
"""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

import fluoroscope as fs
import fluoroscope.inversion
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.prior_fitting import decay_of, fit_prior
from reproductions.sources import IMAGENET

FOLDER = Path(fluoroscope.inversion.__file__).parent / "shipped"
BANDS = ((0.0, 0.02), (0.02, 0.12), (0.12, 0.25), (0.25, 0.5))
"""Cycles per pixel in which the slope of the magnitudes is told by itself."""


def natural() -> DataPrior | None:
    """Of natural colour at 224×224."""
    if not IMAGENET.is_dir():
        return None
    found = fit_prior(fs.load_images(IMAGENET), size=224, name="natural")
    return _of(found, "a sample of ImageNet's validation pictures, one of each class")


def digits() -> DataPrior:
    """Of the digits that come with the package."""
    found = fit_prior("digits", fs.load_model("digits-cnn"), name="digits")
    return _of(found, "the digits of the package")


def slopes(prior: DataPrior) -> list[float]:
    """How the magnitudes fall in each of the bands."""
    assert prior.magnitude is not None
    assert prior.size is not None
    return [-decay_of(prior.magnitude[0], prior.size, low, high) for low, high in BANDS]


def main() -> None:
    """Measure and write."""
    for name, measure in (("natural", natural), ("digits", digits)):
        found = measure()
        if found is None:
            print(f"left {name} as it was: its pictures are not there")
            continue
        assert found.magnitude is not None
        # Half precision: three digits are more than a thousand pictures tell.
        kept = replace(found, magnitude=found.magnitude.to(torch.float16))
        kept.save(FOLDER / name)
        said = ", ".join(f"{slope:.2f}" for slope in slopes(found))
        print(f"wrote {name}: mean {found.mean.tolist()}, decay {found.decay:.2f}, slopes {said}")


def _of(found: DataPrior, pictures: str) -> DataPrior:
    """With its origin in words in place of a path."""
    about = {
        "images": pictures, "pictures": found.record["pictures"],
        "fluoroscope": version("fluoroscope"), "measured_by": "python -m reproductions.priors",
    }  # fmt: skip
    return replace(found, record=about)


if __name__ == "__main__":
    main()
