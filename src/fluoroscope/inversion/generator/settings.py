"""How a generator is made and trained; and the presets, each number with where it comes from."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fluoroscope.engine.numbers import above_zero, whole_number
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.losses import How, Weights


@dataclass(frozen=True)
class Settings:
    """All that a generator's training depends on, beside the network, the classes and the seed."""

    conditioning: str = "matrix"
    temperature: float | None = None
    """Of soft vectors; by default what ten classes have at 1."""
    confidence: float | None = None
    """In its place: what the largest entry of a soft vector is on average."""
    growth: str = "resize"
    norm: str = "group"
    dropout: float = 0.3
    everywhere: bool = False
    features: int = 16
    noise: int = 64
    embedded: int = 64
    weights: Weights = field(default_factory=Weights)
    how: How = field(default_factory=lambda: How(within=True))
    noise_strength: float = 0.1
    """How far a pixel is moved, up or down at random, for the terms on pictures with noise."""
    layer: str | tuple[str, ...] | None = None
    """The feature layer by name, or several; by default what the last layers are given."""
    feature_layers: int = 1
    """How many of the last layers' inputs are features, where none is named."""
    steps: int = 600
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    falling: bool = True
    """Whether the learning rate falls to 0 along a cosine."""
    patience: int | None = None
    """Stop when for so many steps the loss has not fallen; ``None`` to make all steps."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "feature_layers"):
            whole_number(name, getattr(self, name))
        if self.patience is not None:
            whole_number("patience", self.patience)
        if self.batch_size < 2:
            raise InvalidParameterError(
                f"batch_size is {self.batch_size}; expected 2 or more, or there are no pairs of "
                "pictures to tell apart"
            )
        if above_zero("learning_rate", self.learning_rate) > 1:
            raise InvalidParameterError(
                f"learning_rate is {self.learning_rate:g}; expected at most 1, such as 0.002: Adam "
                "moves each weight by about as much"
            )
        if isinstance(self.weight_decay, bool) or not 0 <= self.weight_decay < math.inf:
            raise InvalidParameterError(
                f"weight_decay is {self.weight_decay!r}; expected 0 or more, such as 1e-6"
            )
        if not 0 < self.noise_strength <= 1:
            raise InvalidParameterError(
                f"noise_strength is {self.noise_strength!r}; expected a share of the pixels' range "
                "above 0, such as 0.1"
            )
        if not 0 <= self.how.smoothing < 1:
            raise InvalidParameterError(
                f"smoothing is {self.how.smoothing!r}; expected a share from 0 up to, not "
                "including, 1"
            )


PRESETS: dict[str, Settings] = {
    "ours": Settings(),
    "paper": Settings(
        conditioning="vector-matrix",
        growth="transposed",
        norm="batch",
        dropout=0.3,
        features=16,
        noise=100,
        embedded=100,
        weights=Weights(kl=1.0, cross_entropy=1.0, cosine=0.5, orthogonality=0.1),
        how=How(),
        steps=400,
        learning_rate=1e-3,
        falling=False,
    ),
    "lab": Settings(
        conditioning="vector-matrix",
        growth="lab",
        norm="batch",
        dropout=0.1,
        features=64,
        noise=100,
        embedded=100,
        weights=Weights(kl=0.0, cross_entropy=10.0, cosine=10.0, orthogonality=0.001),
        how=How(absolute=True, normalised=False, smoothing=0.1),
        feature_layers=2,
        steps=400,
        learning_rate=5e-4,
        weight_decay=1e-6,
        falling=False,
    ),
    "toward-data": Settings(
        conditioning="one-hot",
        weights=Weights(
            kl=1.0,
            cross_entropy=1.0,
            cosine=1.0,
            orthogonality=1.0,
            total_variation=1.0,
            noisy_kl=1.0,
            noisy_cross_entropy=1.0,
        ),
        learning_rate=3e-3,
    ),
}
SOURCES: dict[str, str] = {
    "ours": (
        "all of it is this package's choice: the conditionings and losses are the papers', their "
        "weights and the layers were tuned on the built-in digit networks; of soft codes "
        "the cosine is half as heavy and over all pairs, for more of it outweighs their divergence"
    ),
    "paper": (
        "from the papers (2407.18002, 2411.17777): soft vector and hot matrix, transposed "
        "convolutions, batch norm, dropout, and the four losses; they print neither weights nor "
        "rates, so these (KL 1, cross-entropy 1, cosine 0.5, Gram 0.1, dropout 0.3, Adam at 1e-3) "
        "are this package's"
    ),
    "lab": (
        "from programs of the authors' laboratory: the layers (MNIST notebook), the loss 10 cosine "
        "+ 0.001 orthogonality + 10 cross-entropy with labels smoothed by 0.1 (the divergence is "
        "only printed there), the mean absolute cosine on two layers, dropout 0.1, Adam at 5e-4 "
        "with weight decay 1e-6; their L1 of the generator's weights has no number and is left "
        "out, and which two layers they read is not known: here what the last two are given"
    ),
    "toward-data": (
        "the terms are those of TLDR (2410.16884) but for the penalty on gradients, off by default "
        "here, and that on the range, which is always 0 behind a sigmoid; the paper prints no "
        "weights, so all are 1 and Adam is at 3e-3, as in a program of others after it; the "
        "generator is this package's"
    ),
}
"""Where each preset's numbers come from."""
_INNER = {"weights": Weights, "how": How}


def as_settings(preset: str | None, **options: Any) -> Settings:
    """A preset with changes by name: fields of `Settings`, of its weights, and of its forms.

    Raises:
        InvalidParameterError: no such preset, no such setting, or a value out of range.
    """
    made = PRESETS.get(preset or "ours")
    if made is None:
        raise InvalidParameterError(f"preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    groups = {name: {one.name for one in fields(kind)} for name, kind in _INNER.items()}
    own = {one.name for one in fields(Settings)}
    known = own.union(*groups.values()) - set(groups)
    for name in options:
        if name not in known | set(groups):
            raise InvalidParameterError(
                f"{name} is no setting of a generator; expected one of {', '.join(sorted(known))}"
            )
    changes = {name: value for name, value in options.items() if name in own}
    told = changes.get("conditioning", made.conditioning)
    soft = str(told).startswith("vector")
    if soft and made is PRESETS["ours"] and "weights" not in options:
        # Their divergence is small, at most some 0.4 nats: more of the cosine outweighs it.
        changes["weights"] = replace(made.weights, cosine=0.5)
        changes["how"] = replace(options.get("how", made.how), within=False)
    for group, names in groups.items():
        inner = {name: value for name, value in options.items() if name in names}
        if inner:
            changes[group] = replace(changes.get(group, getattr(made, group)), **inner)
    return replace(made, **changes)
