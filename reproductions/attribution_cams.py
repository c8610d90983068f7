"""Where class activation maps are read on networks of every kind, without an option.

``python -m reproductions.attribution_cams NETWORK ...`` prints the rows of some networks and writes
nothing; names are those of :data:`reproductions.networks.NETWORKS`.
"""

import sys
import warnings
from collections.abc import Iterable

from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section
from reproductions.networks import NETWORKS, specimen
from reproductions.sources import PAGE


def section(names: Iterable[str] = NETWORKS) -> Section:
    """All of it."""
    page = Section(PAGE, "attribution-cams", "The layer that a class activation map is read at")
    page.text(
        "Networks of torchvision and timm with seeded weights, two pictures of noise each and the "
        "class that they are predicted as, without an option. *Layer* is the one that Fluoroscope "
        "found: the last that gives out maps before they are pooled and whose places the logits "
        "have a gradient at. *Places* are the rows and columns of its maps at this size, *tokens* "
        "what it gives out before them that is of no place. *Not zero*: pictures whose Grad-CAM, "
        "without the last ReLU, has the picture's size and is not zero everywhere. *Apart*: the "
        "largest difference between Grad-CAM and HiResCAM as a share of the largest number; they "
        "are one map where a mean over the places and a linear layer follow."
    )
    page.table(
        ["network", "layer", "places>", "layout", "tokens>", "not zero>", "apart>"],
        map(measured, names),
    )
    return page


def measured(name: str) -> list[str]:
    """A row of the table."""
    case = specimen(name)
    with warnings.catch_warnings():  # of weights that were drawn, which they are meant to be
        warnings.simplefilter("ignore", fs.FluoroscopeWarning)
        found = fs.attribute(case.model, case.images, method="grad-cam", relu=False)
        other = fs.attribute(case.model, case.images, method="hires-cam")
    layer = found.record["layer"]
    right = found.maps.shape == (len(case.images), 1, *case.images.shape[2:])
    alive = int((_most(found.maps) > 0).sum()) if right else 0
    apart = float((_most(found.maps - other.maps) / _most(other.maps)).max())
    return [
        name, f"`{layer['name']}`", "{}×{}".format(*layer["places"]), layer["layout"],
        str(layer["tokens_of_no_place"]), f"{alive} of {len(case.images)}", f"{apart:.0e}",
    ]  # fmt: skip


def _most(maps: Tensor) -> Tensor:
    return maps.flatten(1).abs().amax(1)


if __name__ == "__main__":
    for each in sys.argv[1:] or NETWORKS:
        print(" | ".join(measured(each)), flush=True)
