"""Every preset of portraits in plain words: formulas, papers, costs. Imports no PyTorch."""

from dataclasses import dataclass

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean

NOTHING = "none"
"""Of a preset that is given nothing but the network."""


@dataclass(frozen=True)
class About:
    """What a preset says of itself."""

    summary: str
    """What its portraits are, in a line."""
    when: str
    """When it is the one to take."""
    formula: str
    paper: str
    constants: str
    """Its numbers, and where they come from."""
    cost: str
    """Passes for each portrait."""
    needs: str = NOTHING
    """Which real pictures it is given."""
    caution: str = ""
    """What to know before it is used."""


USUAL = "fourier"
"""The preset where nobody names one."""
PRESETS: dict[str, About] = {
    "pixels": About(
        summary="each pixel by itself along the gradient: bare, and mostly noise",
        when="you want to see what a search gives without any help",
        formula="x <- clip(x + 0.05 Adam(dz_c / dx), 0, 1), from noise; z_c the logit of the class",
        paper="none: what others are compared with",
        constants="Adam 0.05, 256 steps, no prior: ours",
        cost="256 passes",
        caution="mostly high-frequency noise that no other network knows; it is what the others "
        "are to be compared with",
    ),
    "simonyan": About(
        summary="pixels from the mean, with a pull to grey: the first of its kind",
        when="you compare with the first method of all",
        formula="z_c(x) - L |x - 1/2|^2, plain steps",
        paper="Simonyan et al. 2013 (1312.6034)",
        constants="from the paper: plain ascent from the mean, an L2 prior; it names no numbers: "
        "200 steps of .01 in mean absolute value, and L that gives the prior a tenth of the "
        "goal's pull at the start are ours",
        cost="200 passes",
        caution="nearly as noisy as pixels; of one class all look alike, for all start there",
    ),
    "mahendran": About(
        summary="pixels that are to be smooth and within range",
        when="you compare with smoothness alone",
        formula="z_c(x) - L1 mean |x - 1/2|^6 - L2 mean (dx^2 + dy^2), with momentum",
        paper="Mahendran and Vedaldi 2015 (1412.0035), there to invert features",
        constants="from published code: powers 6 and 2, momentum .9, 200 steps, the rate divided "
        "by 10 every 40; ours: a class in place of the features of a picture (which "
        "goal=feature_match(...) raises), the rate, and priors weighed by ratio, for the published "
        "1e4, 1e-7 and 1e-8 are of that goal",
        cost="200 passes",
        caution="of large pictures noise: far from enough to make a shape",
    ),
    "fourier": About(
        summary="waves, long ones first, seen moved, scaled and turned: bold shapes",
        when="you do not know which: the default",
        formula="x = sigmoid(colour F^-1(s / f^decay)); s moves along the mean gradient of z_c at "
        "views of x",
        paper="Olah et al. 2017 (10.23915/distill.00007), as Lucid 0.3 has it",
        constants="Adam 0.05, 512 steps, jitter, scale and rotation of Lucid; mean and colours of "
        "the prior that is given, mid-grey and channels apart without one, are ours",
        cost="512 passes",
        caution="what lasts under its transformations is what these favour: smooth shapes, "
        "repeated",
    ),
    "maco": About(
        summary="phases alone, with real pictures' magnitudes: nothing overdone",
        when="the network takes large pictures, and you have minutes",
        formula="x = mean + colour F^-1(r exp(i phase)), r the mean magnitude of real pictures; "
        "seen in crops",
        paper="Fel et al. 2023 (2306.06805), crops as its authors' Xplique has them",
        constants="from the authors' code: NAdam 1.0, 256 steps, 32 crops that shrink from a half "
        "to a twentieth of the side, noise .08, a canvas of 512 for 224; ours: magnitudes measured "
        "at the prior's size, pixels cut off in place of a sigmoid (MACO(lucid=True) has it); up "
        "to 64 pixels 8 crops from all to three quarters of the side, on no larger canvas",
        cost="8,192 passes, 2,048 up to 64 pixels",
        caution="energy is spread over the whole picture: a lone thing on an empty ground is out "
        "of its reach. The network is led by crops: of the whole picture at once it may be unsure",
    ),
    "maco-gated": About(
        summary="the same, and magnitudes may shrink: empty ground too",
        when="as maco, where a thing may stand on empty ground",
        formula="x = mean + colour F^-1(r sigmoid(g) exp(i phase))",
        paper="Hamblin et al. 2024 (2402.10039), with MACO's settings",
        constants="from faccent's code: g starts at 5; all else as in maco, NAdam 1.0, 256 steps",
        cost="8,192 passes, 2,048 up to 64 pixels",
    ),
    "das": About(
        summary="pictures of all sizes added up: soft shapes",
        when="as maco, but without real pictures' magnitudes",
        formula="x = (tanh(sum of U_r P_r) + 1) / 2, each P_r along the gradient: as one filter",
        paper="Fort and Whitaker 2025 (2502.07753), direct ascent synthesis",
        constants="from third parties' code: plain ascent .005, 100 steps, every 4th size up to a "
        "canvas of 336 for 224, 16 copies rolled by 56 pixels, noise 0 to .2; ours: the start at "
        "the prior's mean; up to 64 pixels a rate of .05, all sizes, no larger canvas, rolled by "
        "2 of 32",
        cost="1,600 passes",
        caution="plain ascent: how far it comes depends on the scale of the network's logits; "
        "give another rate where pictures stay grey",
    ),
    "accentuation": About(
        summary="what it sees of the class in a picture, made stronger",
        when="you have a picture, and ask what in it speaks for a class",
        formula="z_c(x) - L |layer(x) - layer(start)|, at the same crops and noise",
        paper="Hamblin et al. 2024 (2402.10039), feature accentuation",
        constants="from faccent's code: Adam .05, 100 steps, 16 crops of .05 to .99 of the side, "
        "noise .02; ours: the layer, the end of the middle stage, and L, which makes its pull a "
        "tenth of the goal's after the first step (theirs as strong as the goal's at the start, "
        "where rounding alone tells how strong; here that holds a picture still); up to 64 pixels "
        "8 crops of .75 to all of the side",
        cost="3,200 passes, 1,600 up to 64 pixels",
        needs="a start",
        caution="give the picture by --start (start=)",
    ),
    "robust": About(
        summary="steps of one length within a ball: for robust networks",
        when="the network was trained against attacks",
        formula="x <- project(x + s g / |g|), g the gradient of log p_c, within |x - x0| <= eps",
        paper="Santurkar et al. 2019 (1906.09453)",
        constants="from memory of the paper: length 1, eps 40, 60 steps at 224, here in "
        "proportion to the root of the number of pixels; ours: from noise, not from a Gaussian "
        "fitted to the class",
        cost="60 passes",
        caution="of networks that are not robust it is faint noise",
    ),
    "vit": About(
        summary="copies in changing light and noise: made for transformers",
        when="the network is a transformer",
        formula="z_c at (x + noise - m) / s, rolled, - L TV(x), clipped to [0, 1]",
        paper="Ghiasi et al. 2022 (2212.06727), What do vision transformers learn",
        constants="from the authors' code: Adam .1 (.5, .99), half a cosine, 400 steps, 8 copies, "
        "m within 1, log s within 1, noise .5 fading, rolled by 32 of 224, L 5e-5 (5e-4 times .1 "
        "of its example); ours: a class in place of a feature of an MLP",
        cost="3,200 passes",
    ),
    "deepinversion": About(
        summary="layers with the statistics that batch norm has kept",
        when="batch norm has kept its statistics, and you want many at once",
        formula="log p_c - L sum of |mean - mean_l| + |var - var_l| - R TV(x), over the batch",
        paper="Yin et al. 2020 (1912.08795), DeepInversion",
        constants="from paper and code: Adam .2 (.5, .9), warmed up and half a cosine, L .01, R "
        "1e-4, rolled by 30 of 224, mirrored; up to 64 pixels .1, 10, 1e-3, 2 of 32; rate and R "
        "turned into pixels, whose deviation is .225; ours: 2000 steps at one size, "
        "grey pictures not mirrored, no L2",
        cost="2,000 passes",
        caution="refused where batch norm was folded away or is neutral: then "
        "deepinversion-data. Statistics are over the portraits of a batch: ask for many at once",
    ),
    "deepinversion-data": About(
        summary="the same, measured on real pictures, without batch norm",
        when="you have real pictures, and batch norm was folded away",
        formula="z_c(x) - L sum of |mean - mean_l| + |var - var_l| - R TV(x), over the batch",
        paper="after Yin et al. 2020 (1912.08795)",
        constants="ours: the logit, Adam .05, 400 steps, L and R that give each prior a tenth of "
        "the goal's pull at the start; at the end of each stage and what the last layer is given",
        cost="400 passes",
        needs="of all classes",
        caution="give them by --data (real=), or a prior fitted with layers; strokes and specks, "
        "by which about half of the digits can be told; of large pictures garish textures",
    ),
    "vital": About(
        summary="layers with all values of real pictures of the class; no logit",
        when="you have real pictures of each class, and want likeness to these",
        formula="sum over layers of mean (sorted(layer(x)) - mean of sorted(layer(real)))^2; "
        "no logit",
        paper="Gorgun et al. 2025 (2503.22399), VITAL",
        constants="from the authors' code: Adam 1 (.5, .9), warmed up and half a cosine, 2000 "
        "steps, 50 pictures of the class, weights 1, rolled by 30 of 224; ours: the rate turned "
        "into pixels, whose deviation is .225; beside the stages also what the last layer is given",
        cost="2,000 passes, and 50 to measure",
        needs="of each class",
        caution="it is shown the class (--data, real=; best 50 pictures of each): that a portrait "
        "looks like it is no discovery of the network's",
    ),
}
"""All presets by name, in the order in which they are listed."""


def check_preset(name: object) -> None:
    """Refuse a name that is no preset's.

    Raises:
        InvalidParameterError: no such preset.
    """
    if name not in PRESETS:
        raise InvalidParameterError(
            f"there is no preset {name!r} of portraits; {did_you_mean(str(name), [*PRESETS])}"
            f"expected one of {', '.join(PRESETS)}"
        )
