"""Conditionings, presets, terms and settings of a generator in plain words; PyTorch is not needed.

What a preset's numbers are stands in :mod:`.settings`, and where they come from.
"""

from dataclasses import dataclass

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean


@dataclass(frozen=True)
class About:
    """One name in words."""

    kind: str
    """``conditioning``, ``preset`` or ``term``."""
    summary: str
    formula: str
    source: str
    caution: str = ""


CONDITIONINGS: dict[str, About] = {
    "label": About(
        "conditioning",
        "the class's number, embedded",
        "embed(c), beside the noise",
        "Suhail and Sethi 2024 (2407.18002)",
        "the pictures of a class differ by the noise and by dropout alone",
    ),
    "one-hot": About(
        "conditioning",
        "a vector with 1 at the class",
        "W e_c, beside the noise",
        "Suhail and Sethi 2025 (2503.20187), for confident counterfeits",
    ),
    "vector": About(
        "conditioning",
        "a soft vector, whose largest entry is the class; the network is to answer with it",
        "v = softmax(n / T), n ~ N(0, I); KL(v || f(G(z, v)))",
        "Suhail and Sethi 2024 (2407.18002), whose T is 1",
        "it asks for pictures near the border: of ten classes the largest entry is .32 on average "
        "at T = 1; read the divergence, not the accuracy",
    ),
    "matrix": About(
        "conditioning",
        "a map with row and column of the class at 1, as one more channel within the generator",
        "M_ij = 1 if i = c or j = c, else 0",
        "Suhail and Sethi 2024 (2407.18002 v2)",
        "needs a layer of as many pixels a side as there are classes: 32 classes at most",
    ),
    "vector-matrix": About(
        "conditioning",
        "the soft vector beside the noise, and the map of its class",
        "v and M of argmax v",
        "Suhail and Sethi 2024 (2407.18002 v2)",
        "as vector, and 32 classes at most",
    ),
    "embedding": About(
        "conditioning",
        "an embedding of the class beside the noise, which also scales and shifts the channels of "
        "every layer",
        "h (1 + a_c) + b_c",
        "this package, after conditional normalisation; for up to 1,000 classes",
    ),
}
PRESETS: dict[str, About] = {
    "ours": About(
        "preset",
        "what answers best on the built-in digit networks; the default",
        "resize-convolutions, matrix; KL, cross-entropy, cosine (in a class, hard codes), Gram",
        "this package's own tuning",
    ),
    "paper": About(
        "preset",
        "the papers' parts: soft vector and matrix, transposed convolutions, four losses",
        "KL + cross-entropy + 0.5 cosine + 0.1 Gram",
        "Suhail and Sethi 2024 (2407.18002, 2411.17777), which print no weights: these are ours",
        "its codes are soft: read the divergence, not the accuracy; and pictures of a class are "
        "much alike: on digits-cnn 2.1 in effect (Vendi), of real ones 5.1",
    ),
    "lab": About(
        "preset",
        "what programs of the authors' laboratory do",
        "10 cosine + 0.001 Gram + 10 cross-entropy with smoothed labels",
        "the laboratory's notebook for MNIST",
        "its layers make 28 × 28 pictures of 10 classes; for others transposed ones are taken; and "
        "they are large: a step takes about 4 seconds of one core",
    ),
    "toward-data": About(
        "preset",
        "toward the pictures that were learnt from: smooth, and sure of with noise too",
        "KL + cross-entropy, both on pictures with noise too, + cosine + Gram + total variation",
        "Suhail and Sethi 2024, TLDR (2410.16884), which prints no weights: all are 1, as in a "
        "program of others after it",
        "whether it leaks is for fluoroscope invert leak to say, not for the eye",
    ),
}
TERMS: dict[str, About] = {
    "kl": About("term", "the divergence from what was asked", "KL(v || f(x))", "2407.18002"),
    "cross_entropy": About("term", "the label's", "-log f(x)_c", "2407.18002"),
    "cosine": About(
        "term",
        "pictures are to differ: the mean cosine between their features",
        "Σ cos(φ_i, φ_j) / (B (B - 1)); by default of pairs of a class alone",
        "2407.18002; within a class: this package",
    ),
    "orthogonality": About(
        "term",
        "likewise: the features' Gram matrix is to be the identity",
        "mean (F Fᵀ - I)²",
        "2411.17777",
    ),
    "gradient_penalty": About(
        "term",
        "training pictures are where the network would learn nothing more",
        "‖∂CE/∂W‖ of the last layer",
        "2410.16884",
    ),
    "total_variation": About(
        "term", "neighbouring pixels are to be alike", "mean |x_i - x_i+1|", "2410.16884"
    ),
    "magnitude": About(
        "term",
        "what says nothing to the network is to be nothing: pixels near those it takes as 0",
        "mean |x - mean|, the mean of the network's preprocessing or 0",
        "after Simonyan et al. 2014 (1312.6034), whose norm is squared",
    ),
    "noisy_kl": About(
        "term", "the divergence on pictures with noise", "KL(v || f(x ± s))", "2410.16884"
    ),
    "noisy_cross_entropy": About(
        "term", "the cross-entropy on pictures with noise", "-log f(x ± s)_c", "2410.16884"
    ),
}
NAMES = CONDITIONINGS | PRESETS | TERMS


def about(name: str) -> About:
    """What is known of a name.

    Raises:
        InvalidParameterError: there is none such.
    """
    if name not in NAMES:
        raise InvalidParameterError(
            f"{name!r} is no name here; {did_you_mean(name, NAMES)}expected one of "
            f"{', '.join(NAMES)}"
        )
    return NAMES[name]


def check_conditioning(name: str) -> None:
    """Refuse what is no conditioning.

    Raises:
        InvalidParameterError: it is none.
    """
    _check("conditioning", name, tuple(CONDITIONINGS))


def check_preset(name: str) -> None:
    """Refuse what is no preset.

    Raises:
        InvalidParameterError: it is none.
    """
    _check("preset", name, tuple(PRESETS))


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise InvalidParameterError(
            f"{what} is {name!r}; {did_you_mean(name, known)}expected one of {', '.join(known)}"
        )
