"""Every preset of portraits in plain words: formulas, papers, costs. Imports no PyTorch."""

from dataclasses import dataclass

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean


@dataclass(frozen=True)
class About:
    """What a preset says of itself."""

    summary: str
    """What its portraits are, in a line."""
    formula: str
    paper: str
    constants: str
    """Its numbers, and where they come from."""
    cost: str
    """Passes for each portrait."""
    needs: str = "nothing but the network"
    """Which real pictures it is given."""
    caution: str = ""
    """What to know before it is used."""


USUAL = "fourier"
"""The preset where nobody names one."""
PRESETS: dict[str, About] = {
    "pixels": About(
        summary="every pixel moves along the gradient by itself: what the network answers to, bare",
        formula="x <- clip(x + 0.05 Adam(dz_c / dx), 0, 1), from noise; z_c the logit of the class",
        paper="Simonyan et al. 2013 (1312.6034), by Adam in place of plain steps",
        constants="Adam 0.05, 256 steps, no prior: ours",
        cost="256 forwards and backwards, and about 30 forwards to look at it",
        caution="mostly high-frequency noise that no other network knows; it is what the others "
        "are to be compared with",
    ),
    "fourier": About(
        summary="waves of all lengths, long ones first: shapes that last when they are moved, "
        "scaled and turned",
        formula="x = sigmoid(colour F^-1(s / f^decay)); s moves along the mean gradient of z_c at "
        "views of x",
        paper="Olah et al. 2017 (10.23915/distill.00007), as Lucid 0.3 has it",
        constants="Adam 0.05, 512 steps, jitter, scale and rotation of Lucid; mean and colours of "
        "the prior that is given, mid-grey and channels apart without one, are ours",
        cost="512 forwards and backwards, and about 35 forwards to look at it",
        caution="what lasts under its transformations is what these favour: smooth shapes, "
        "repeated",
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
