"""What each measure of a unit's meaning is, and how sure it is that its source means the same.

The measures are those of Dong, Su, Zhu and Bao (2017, arXiv 1708.05493; Dong, Bao, Su and Zhu 2019,
1901.09035; 2022). Their formal definitions could not be found anywhere, nor code of theirs: what
had to be inferred from figures and their captions is said to be so wherever a number of it stands.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import user_path
from fluoroscope.models.wording import did_you_mean

TOP = 100
"""Pictures that a unit's class histogram is of; of fewer than ten times as many, a tenth."""
NOISE = 0.02
"""Standard deviation of the noise on the probing pictures, of pixels from 0 to 1 (2310.16332)."""
SIGMA = 3.0
"""Of the kernel of path lengths, in edges."""
ACTIVE = 0.1
"""The share of a layer's units that pictures of a class are said to use."""
FEW = 0.5
"""The share of adversarial pictures predicted as their target below which a doubt is said."""
DRAWS = 100
"""Times that pictures are drawn again for an interval."""
SIMILARITIES = ("weights", "confusion", "wordnet")
"""Where the similarity of classes comes from, beside a file with a tree of them."""


def check_similarity(name: str) -> None:
    """Refuse what names no similarity of classes.

    Raises:
        InvalidParameterError: it is none of them, and no file.
    """
    if name not in SIMILARITIES and not user_path(name).is_file():
        raise InvalidParameterError(
            f"similarity is {name!r}; {did_you_mean(name, SIMILARITIES)}expected "
            f"{', '.join(SIMILARITIES)}, or a file with a tree of the classes, and there is no "
            "such file"
        )


@dataclass(frozen=True)
class Definition:
    """What a number is."""

    name: str
    formula: str
    reading: Literal["sure", "inferred", "ours"]
    """Whether the source means the same."""
    certainty: str
    """What of it is sure, and what is inferred, or ours."""
    source: str

    def describe(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.formula} ({self.certainty})"


DEFINITIONS = {
    "level": Definition(
        "level of consistency",
        "pᵀAp, with p the class histogram of the real pictures that activate the unit most and A "
        "the similarity of classes: 1 if they are all of one class",
        "sure",
        "the form is sure; how many pictures, ties and the kernel of A are ours",
        "Dong et al. 2019",
    ),
    "level_adversarial": Definition(
        "level of consistency, adversarial",
        "the same of the true classes of the adversarial pictures that activate the unit most",
        "ours",
        "ours: the source compares histograms, and gives no such number",
        "Dong et al. 2019",
    ),
    "cs1": Definition(
        "CS1",
        "cosine of the class histogram of a unit's real top pictures and that of the true classes "
        "of its adversarial top pictures",
        "inferred",
        "that it is a cosine of such histograms is sure; that it is of the true classes is "
        "inferred from the curves of Fig. 8",
        "Dong et al. 2017, Fig. 8",
    ),
    "cs2": Definition(
        "CS2",
        "cosine of the class histogram of a unit's real top pictures and that of the classes that "
        "its adversarial top pictures were aimed at",
        "inferred",
        "that it is a cosine of such histograms is sure; that it is of the target classes is "
        "inferred from the curves of Fig. 8",
        "Dong et al. 2017, Fig. 8",
    ),
    "r1": Definition(
        "r1",
        "distance of an adversarial picture's representation from the mean of its own class, its "
        "source left out, over that from the mean of the target class",
        "inferred",
        "that it is a ratio of distances is sure; which distances is inferred, and that r1 is of "
        "class means is our choice of two natural readings",
        "Dong et al. 2017, Fig. 9",
    ),
    "r2": Definition(
        "r2",
        "distance of an adversarial picture's representation from that of the picture it was made "
        "of, over that from the nearest real picture of the target class",
        "inferred",
        "that it is a ratio of distances is sure; which distances is inferred, and that r2 is of "
        "single pictures is our choice of two natural readings",
        "Dong et al. 2017, Fig. 9",
    ),
    "sensitivity": Definition(
        "neuron sensitivity",
        "mean absolute difference of the unit's activation between an adversarial picture and the "
        "one it was made of",
        "sure",
        "sure; of a unit with several places it is of their reduction, not of each",
        "Zhang et al. 2019 (1909.06978)",
    ),
    "relative_sensitivity": Definition(
        "neuron sensitivity, relative",
        "the same over the unit's standard deviation on real pictures",
        "ours",
        "ours, so that units of different scale can be compared",
        "Zhang et al. 2019 (1909.06978)",
    ),
    "flips_noise": Definition(
        "label flips under noise",
        "share of the units with top pictures of both kinds whose label is another on the same "
        "pictures with noise; a unit's label is the class, or the concept, that most of its top "
        "pictures are of, and where several are level it flips only if none is level in both; of "
        "more than two classes that are all level none is a unit's label, and it is left out",
        "ours",
        "the noise (σ = 0.02) is sure; the source names units by other methods than class counts",
        "Srivastava et al. 2023 (2310.16332)",
    ),
    "flips_attack": Definition(
        "label flips under attack",
        "share of the units with top pictures of both kinds whose label is another by the true "
        "classes of the adversarial pictures that activate them most; where several classes are "
        "level it flips only if none is level in both",
        "ours",
        "ours, by the measure of label flips under noise",
        "Srivastava et al. 2023 (2310.16332)",
    ),
    "shared": Definition(
        "units shared",
        "of the units that pictures predicted as a class by attack use, the share that its real "
        "pictures use; those a set of pictures uses are the tenth of all whose mean lies the most "
        "standard deviations above their mean over all real pictures",
        "ours",
        "that there are units of both kinds is sure; the source finds them by removing units of "
        "single pictures, and this measure without is ours",
        "Dong et al. 2017",
    ),
}  # fmt: skip
"""By the name of the number."""
