"""The third claim of Dong et al. (2017): adversarial pictures are detected by what units say.

Their rule could not be found; ours, the controls and the attack that knows of it are those of
``fluoroscope neurons detect``.
"""

from pathlib import Path

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.neurons.detection.result import Detection
from fluoroscope.pictures.maps import write_figure
from reproductions.neurons_findings import LAYERS, REAL
from reproductions.neurons_sets import adversarial, cifar_networks, real
from reproductions.sources import PAGE


def section() -> Section:
    """On the last layer of each CIFAR-10 network."""
    page = Section(PAGE, "neurons-detection", "Can adversarial pictures be told by their units?")
    led, pictures = adversarial("cifar"), real("cifar").take(REAL["cifar"], first=True)
    found: dict[str, Detection] = {}
    for model in cifar_networks():
        name = Path(model.name).name
        found[name] = fs.neurons.detect(model, pictures, led, LAYERS[name][1])
    page.text(
        "The adversarial set of the section before, at the last layer with maps. Half of the real "
        "pictures that no adversarial one was made of are learnt from; *clean* are the others "
        "that are classified correctly. AUROC / share detected where 5 % of the clean pictures are "
        "taken for adversarial. Noise and JPEG are as far from the picture as the attack went. The "
        "attack that knows of it lowers the class means' score as well, and nothing else of the "
        "detector."
    )
    for name, one in found.items():
        page.text(f"`{name}`, `{LAYERS[name][1]}`:")
        page.table(
            ["told from clean", "pictures>", "nearest class mean>", "nearest real pictures>",
             "confidence>"],
            one.grid,
        )  # fmt: skip
        told = "; ".join(f"{row[0]} {row[1]} ({row[2]})" for row in one.mistake_rows)
        page.text(f"Adversarial told from misclassified real pictures, AUROC by {told}.")
        if one.conclusions:
            page.text("So on this network " + "; ".join(one.conclusions) + ".")
    first, figure = next(iter(found.items()))
    write_figure(
        page.picture(
            "neurons-detection.png",
            f"Adversarial pictures detected against false alarms on clean ones, {first}; dotted "
            "where the attack knows of the detector.",
        ),
        figure.figure(),
    )
    return page
