"""That portraits of one goal differ: Lucid's diversity term, of the textures that a layer sees."""

import torch
from torch import Tensor

from fluoroscope.engine.inside import Place
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.inversion.portraits.objectives.units import as_maps


def diversity(layer: str) -> Goal:
    """Minus how alike the portraits of a class look to a layer: of each, its product with the rest.

    The Gram matrix of the channels over places, scaled to length 1, of each portrait with that of
    each other one of the same class and way: what Lucid sums over all pairs. The portraits depend
    on each other. Each is led by its own place in its pairs alone, which summed up is the gradient
    of the sum over pairs, so a weight of its own acts on it alone. Those against the rest of the
    goal are to differ as well.
    """
    place = Place(layer)

    def function(views: Views) -> Tensor:
        maps = as_maps(views.seen.outputs[place])
        flat = maps.flatten(2) if maps.dim() > 2 else maps[:, :, None]
        gram = (flat @ flat.transpose(1, 2)).flatten(1)
        length = torch.linalg.vector_norm(gram, dim=1, keepdim=True)
        gram = gram / length.clamp(min=torch.finfo(gram.dtype).tiny)
        alike = gram @ gram.detach().T
        apart: Tensor = -(alike * _pairs(views).to(alike)).sum(1)
        return apart

    return Goal(
        f"diversity at {layer}",
        function,
        (place,),
        together=True,
        whole=True,
        opposite=function,
    )


def _pairs(views: Views) -> Tensor:
    """``(m, m)`` booleans: views of the same number, of two portraits of one class and way."""
    kind = torch.stack([views.seen.classes, views.towards.long()], 1)
    alike = (kind[:, None] == kind[None]).all(2)
    number = torch.arange(len(kind), device=kind.device) % views.copies
    return alike & (number[:, None] == number) & (views.whose[:, None] != views.whose)
