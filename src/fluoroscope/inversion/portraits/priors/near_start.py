"""To stay near a picture: feature accentuation (Hamblin et al. 2024, 2402.10039).

A portrait that starts from a picture shows what the network sees *in that picture* if it is held
near it where the network looks, not in pixels. Each view of the portrait is shown beside the same
view of the picture, cut out at the same place and under the same noise, and the penalty is::

    ‖layer(view of the portrait) - layer(view of the picture)‖₂

Where a portrait begins that is 0 and has no slope, so by ratio it is weighed after the first step.
"""

import torch

from fluoroscope.engine.inside import Place
from fluoroscope.inversion.portraits.objectives.goal import Goal
from fluoroscope.inversion.portraits.priors.prior import LayerPrior


def near_start(layer: str | Place) -> LayerPrior:
    """A layer is to give out for each view of a portrait what it gives out for its start's.

    ``fs.portrait(model, 3, start=picture, priors=(Weighted(near_start("layer3")),))``. Each view
    costs two pictures then.

    Args:
        layer: by name or place.
    """
    place = layer if isinstance(layer, Place) else Place(layer)
    goal = Goal(
        f"distance from the start at {place}",
        lambda views: torch.linalg.vector_norm(
            (views.seen.outputs[place] - views.beside[place]).flatten(1), dim=1
        ),
        (place,),
    )
    return LayerPrior(f"near the start at {place}", goal, beside_start=True)
