"""The third claim of Dong et al. (2017): adversarial pictures are detected by what units say.

Their rule could not be found; ours, the controls and the attack that knows of it are those of
``fluoroscope neurons detect``.
"""

from pathlib import Path

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.neurons.detection.reference import SCORES
from fluoroscope.neurons.detection.result import Detection
from reproductions.neurons_findings import LAYERS, REAL
from reproductions.neurons_sets import adversarial, cifar_networks, real
from reproductions.sources import PAGE

MOST = 150
"""Adversarial pictures of each network, and of each control."""


def section() -> Section:
    """On two layers of each CIFAR-10 network."""
    page = Section(PAGE, "neurons-detection", "Can adversarial pictures be told by their units?")
    led, pictures = adversarial("cifar"), real("cifar").take(REAL["cifar"], first=True)
    found: dict[tuple[str, str], Detection] = {}
    for model in cifar_networks():
        name = Path(model.name).name
        for layer in LAYERS[name]:
            found[name, layer] = fs.neurons.detect(model, pictures, led, layer, most=MOST)
    page.text(
        "The CIFAR-10 set above, a layer in the middle and the last with maps. Half of the real "
        "pictures that no adversarial one was made of are learnt from; *clean* are the others that "
        "are classified correctly. AUROC / share detected where 5 % of the clean pictures are "
        "taken for adversarial. Noise and JPEG are as far from the picture as the attack went. The "
        "attack that knows of it lowers the class means' score as well, and nothing else of the "
        "detector, and may move pictures farther than the plain one: *moved* is the median root "
        "mean square of the change, of pixels from 0 to 1. An AUROC below .5 means that such "
        "pictures look more ordinary than clean ones."
    )
    page.table(
        ["network", "layer", "told from clean", "pictures>", "moved>",
         "nearest class mean>", "nearest real pictures>", "confidence>"],
        [[f"`{name}`", f"`{layer}`", *row]
         for (name, layer), one in found.items() for row in one.grid],
    )  # fmt: skip
    page.text("Adversarial pictures told from misclassified real ones, AUROC:")
    page.table(
        ["network", "layer", *(f"{by}>" for by in SCORES.values())],
        [[f"`{name}`", f"`{layer}`", *(f"{row[1]} ({row[2]})" for row in one.mistake_rows)]
         for (name, layer), one in found.items()],
    )  # fmt: skip
    page.text(
        "\n".join(
            f"- `{name}`, `{layer}`: {'; '.join(one.conclusions) or 'nothing stands out'}."
            for (name, layer), one in found.items()
        )
    )
    return page
