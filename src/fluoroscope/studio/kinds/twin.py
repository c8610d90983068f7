"""A network with random weights: what its maps look like says nothing of what was learnt."""

from typing import TYPE_CHECKING

from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.studio.kinds.readable import readable
from fluoroscope.studio.kinds.usual_data import data_of
from fluoroscope.studio.own import own

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.studio import Studio

# Pictures that its batch norms see.
_PICTURES = 16


def twin_of(studio: "Studio", name: str, model: "Classifier") -> "Classifier":
    """The network of that name with all its layers drawn anew, the same each time, for one job."""
    found = studio.twins.get(model, name)
    if found is None:
        _, images = data_of(studio, model, None)
        batch = next(readable(images, _PICTURES).batches(_PICTURES, fit=model, workers=0))
        found = with_random_weights(model, batch.images.to(model.device, model.dtype))
        studio.twins.put(model, found, name)
    return own(found)
