"""The transformations of papers and libraries, with their numbers.

Pixels are shares here: of 224, the side that they were chosen for, unless another is named. Where a
library cuts the picture at each jitter, what the view shows in the end is stated as its padding.
"""

from fluoroscope.inversion.portraits.distributions import Fade, Normal, OneOf, Uniform
from fluoroscope.inversion.portraits.transformations import Colour, Crop, Transformations


def lucid(copies: int = 1) -> Transformations:
    """Lucid 0.3 and Lucent 0.1, their standard: a little of everything.

    Pixels at 224: padding of 12 with grey, jitters of 8 and 4, which cut off 12 of the 24 again;
    factors .90, .92, …, 1.10; whole degrees to 10 either way, and none in five more of 26.
    """
    return Transformations(
        copies=copies,
        padding=6 / 224,
        jitter=(Uniform(-4 / 224, 4 / 224), Uniform(-2 / 224, 2 / 224)),
        scale=OneOf(tuple(1 + (step - 5) / 50 for step in range(11))),
        rotate=OneOf((*range(-10, 11), 0, 0, 0, 0, 0)),
        outside=0.5,
    )


def captum(copies: int = 1) -> Transformations:
    """The optim module of Captum, its standard: many small jitters, mostly smaller.

    Pixels at 224: padding of 2 with grey, ten jitters of 4, and one of 2. Factors .995 ** n for n
    from -5 to 79, and .998 ** n for n from 20 to 39 twice; degrees to 20, 10 and 5 either way, and
    none five times more.
    """
    return Transformations(
        copies=copies,
        padding=2 / 224,
        jitter=(*(Uniform(-2 / 224, 2 / 224),) * 10, Uniform(-1 / 224, 1 / 224)),
        scale=OneOf(
            tuple(0.995**n for n in range(-5, 80)) + 2 * tuple(0.998**n for n in range(20, 40))
        ),
        rotate=OneOf((*range(-20, 20), *range(-10, 10), *range(-5, 5), 0, 0, 0, 0, 0)),
        outside=0.5,
    )


def xplique(copies: int = 1) -> Transformations:
    """Xplique 2: a sixteenth of the picture is its unit, whatever the size.

    Padding of 4 with black, jitters of 2, 2, 4, 4 and 4, a factor of .92 to .96, a blur of 1 to 1.1
    pixels, jitters of 1 and 1, a mirror. Each jitter cuts off what it moves by, so that at last
    about 5.9 of 16 units are seen; here the blur comes after the view has its size again.
    """
    unit = 1 / 16
    return Transformations(
        copies=copies,
        # 16 + 2 * 4 - 16 of the units are left at first, and 2 less at the smaller scale.
        padding=(8 * unit * 0.94 - 2 * unit - 1) / 2,
        jitter=(*(Uniform(-unit, unit),) * 2, *(Uniform(-2 * unit, 2 * unit),) * 3)
        + (Uniform(-unit / 2, unit / 2),) * 2,
        scale=Uniform(0.92, 0.96),
        flip=0.5,
        outside=0.0,
        blur=Uniform(1.0, 1.1),
    )


def maco(copies: int = 32) -> Transformations:
    """MACO as Xplique makes it: crops that shrink from a half to a twentieth of the side.

    Fel et al. 2023, 2306.06805; noise of deviation .08, and evenly spread within .04.
    """
    return Transformations(
        copies=copies,
        crop=Crop(Normal(Fade(0.5, 0.05), 0.05, 0.05, 1.0), Normal(0.5, 0.15)),
        noise=(Normal(0.0, 0.08), Uniform(-0.04, 0.04)),
    )


def maco_paper(copies: int = 32) -> Transformations:
    """MACO by the numbers of the paper: crops around a quarter of the side, noise within .1.

    Fel et al. 2023, 2306.06805; it names no number of crops, this one is Xplique's.
    """
    return Transformations(
        copies=copies,
        crop=Crop(Normal(0.25, 0.1, 0.05, 1.0), Normal(0.5, 0.15)),
        noise=(Uniform(-0.1, 0.1),),
    )


def maco_small(copies: int = 8) -> Transformations:
    """MACO's for pictures that one thing fills, of which no part shows the class: ours.

    Crops shrink from the whole to three quarters of the side, and the noise is Xplique's.
    """
    return Transformations(
        copies=copies,
        crop=Crop(Normal(Fade(1.0, 0.75), 0.05, 0.5, 1.0), Normal(0.5, 0.15)),
        noise=(Normal(0.0, 0.08), Uniform(-0.04, 0.04)),
    )


def faccent(copies: int = 16) -> Transformations:
    """Feature accentuation: crops of any size anywhere; Hamblin et al. 2024, 2402.10039.

    The noise is that of its code: deviation .02, and evenly spread within .01.
    """
    return Transformations(
        copies=copies,
        crop=Crop(Uniform(0.05, 0.99)),
        noise=(Normal(0.0, 0.02), Uniform(-0.01, 0.01)),
    )


def faccent_small(copies: int = 8) -> Transformations:
    """Feature accentuation on pictures that one thing fills, seen nearly whole: ours."""
    return Transformations(
        copies=copies,
        crop=Crop(Uniform(0.75, 1.0)),
        noise=(Normal(0.0, 0.02), Uniform(-0.01, 0.01)),
    )


def deepinversion(copies: int = 1, *, pixels: float = 30, side: int = 224) -> Transformations:
    """DeepInversion: rolled and mirrored; Yin et al. 2020, 1912.08795.

    By up to 30 pixels of 224; for CIFAR-10 by up to 2 of 32.
    """
    reach = pixels / side
    return Transformations(
        copies=copies, jitter=(Uniform(-reach, reach),), flip=0.5, outside="wrap"
    )


def vital(copies: int = 1, *, pixels: float = 30, side: int = 224) -> Transformations:
    """VITAL: rolled by up to 30 pixels of 224; Görgün et al. 2025, 2503.22399."""
    reach = pixels / side
    return Transformations(copies=copies, jitter=(Uniform(-reach, reach),), outside="wrap")


def vit(copies: int = 8) -> Transformations:
    """What do vision transformers learn: another light for each copy; Ghiasi et al. 2022.

    Rolled by up to 32 pixels of 224; each channel is lifted by a normal number whose deviation
    fades from .5 to 0, then moved by up to 1 and divided by up to e, or as much more.
    """
    return Transformations(
        copies=copies,
        jitter=(Uniform(-32 / 224, 32 / 224),),
        outside="wrap",
        tint=(Normal(0.0, Fade(0.5, 0.0)),),
        colour=Colour(Uniform(-1.0, 1.0), Uniform(-1.0, 1.0)),
    )


def direct_ascent(copies: int = 16) -> Transformations:
    """Direct ascent synthesis; Fort and Whitaker 2025, 2502.07753.

    On a canvas of 336: rolled by up to 56 pixels, the middle 224 cut out, noise from 0 to .2 added.
    """
    return Transformations(
        copies=copies,
        padding=-56 / 336,
        jitter=(Uniform(-56 / 336, 56 / 336),),
        outside="wrap",
        noise=(Uniform(0.0, 0.2),),
        clip=True,
    )


def direct_ascent_small(copies: int = 16) -> Transformations:
    """Direct ascent synthesis on pictures that one thing fills: rolled by 2 pixels of 32; ours."""
    return Transformations(
        copies=copies,
        jitter=(Uniform(-2 / 32, 2 / 32),),
        outside="wrap",
        noise=(Uniform(0.0, 0.2),),
        clip=True,
    )
