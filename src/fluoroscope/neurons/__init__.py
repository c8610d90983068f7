"""Which units decide, what they answer to, and whether that survives an attack."""

from typing import TYPE_CHECKING, Any

from fluoroscope.lazy import public

if TYPE_CHECKING:
    from fluoroscope.neurons.adversarial.making import adversarial_set
    from fluoroscope.neurons.answers.dissection import Dissection, dissect
    from fluoroscope.neurons.answers.image_text import label_presence
    from fluoroscope.neurons.answers.naming import UnitNames, name_units
    from fluoroscope.neurons.answers.receptive_field import ReceptiveField, receptive_field
    from fluoroscope.neurons.answers.relevance import (
        UnitRelevance,
        relevance,
        relevance_map,
        unit_relevance,
    )
    from fluoroscope.neurons.answers.selectivity import UnitStatistics, unit_statistics
    from fluoroscope.neurons.answers.top import TopPictures, top_pictures
    from fluoroscope.neurons.detection.detect import detect
    from fluoroscope.neurons.detection.result import Detection
    from fluoroscope.neurons.meaning.class_similarity import ClassSimilarity, class_similarity
    from fluoroscope.neurons.meaning.consistency import consistency
    from fluoroscope.neurons.meaning.noise import with_noise
    from fluoroscope.neurons.meaning.result import Consistency
    from fluoroscope.neurons.reading.activations import Activations
    from fluoroscope.neurons.reading.read import read, read_layers
    from fluoroscope.neurons.reading.reduction import Reduction
    from fluoroscope.neurons.reading.units import Units, find_units, list_units
    from fluoroscope.neurons.reading.usual import usual_layer
    from fluoroscope.neurons.tracing.along import along
    from fluoroscope.neurons.tracing.along_result import Along
    from fluoroscope.neurons.tracing.trace import trace
    from fluoroscope.neurons.tracing.trace_result import Trace
    from fluoroscope.neurons.tracing.turned import turned
    from fluoroscope.neurons.tracing.turned_result import Turned

_HOMES = {
    "adversarial_set": "adversarial.making",
    "Dissection": "answers.dissection",
    "dissect": "answers.dissection",
    "label_presence": "answers.image_text",
    "UnitNames": "answers.naming",
    "name_units": "answers.naming",
    "Detection": "detection.result",
    "detect": "detection.detect",
    "ReceptiveField": "answers.receptive_field",
    "receptive_field": "answers.receptive_field",
    "UnitRelevance": "answers.relevance",
    "relevance": "answers.relevance",
    "relevance_map": "answers.relevance",
    "unit_relevance": "answers.relevance",
    "UnitStatistics": "answers.selectivity",
    "unit_statistics": "answers.selectivity",
    "TopPictures": "answers.top",
    "top_pictures": "answers.top",
    "ClassSimilarity": "meaning.class_similarity",
    "class_similarity": "meaning.class_similarity",
    "consistency": "meaning.consistency",
    "with_noise": "meaning.noise",
    "Consistency": "meaning.result",
    "Activations": "reading.activations",
    "read": "reading.read",
    "read_layers": "reading.read",
    "Reduction": "reading.reduction",
    "Units": "reading.units",
    "find_units": "reading.units",
    "list_units": "reading.units",
    "usual_layer": "reading.usual",
    "along": "tracing.along",
    "Along": "tracing.along_result",
    "trace": "tracing.trace",
    "Trace": "tracing.trace_result",
    "turned": "tracing.turned",
    "Turned": "tracing.turned_result",
}
__all__ = [
    "Activations",
    "Along",
    "ClassSimilarity",
    "Consistency",
    "Detection",
    "Dissection",
    "ReceptiveField",
    "Reduction",
    "TopPictures",
    "Trace",
    "Turned",
    "UnitNames",
    "UnitRelevance",
    "UnitStatistics",
    "Units",
    "adversarial_set",
    "along",
    "class_similarity",
    "consistency",
    "detect",
    "dissect",
    "find_units",
    "label_presence",
    "list_units",
    "name_units",
    "read",
    "read_layers",
    "receptive_field",
    "relevance",
    "relevance_map",
    "top_pictures",
    "trace",
    "turned",
    "unit_relevance",
    "unit_statistics",
    "usual_layer",
    "with_noise",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)
