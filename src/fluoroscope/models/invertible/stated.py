"""What a file of weights says of the invertible network that they belong to."""

import json
from dataclasses import fields
from pathlib import Path

from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.models.checkpoints import labels_in, statements
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape
from fluoroscope.models.preprocessing import Preprocessing

NAME = "invertible"
"""Of the architecture, and of what a file states it under."""


def invertible_classifier(
    shape: Shape, labels: tuple[str, ...] | None = None, stated_by: str = "fluoroscope"
) -> Classifier:
    """An untrained network of that shape, with weights drawn from torch's generator.

    Raises:
        InvalidParameterError: another number of labels than of classes.
    """
    if labels is not None and len(labels) != shape.classes:
        raise InvalidParameterError(
            f"labels holds {len(labels)} names; the network has {shape.classes} classes: expected "
            "one name for each"
        )
    seen = Preprocessing(
        input_size=(shape.height, shape.width), channels=shape.channels, stated_by=stated_by
    )
    return Classifier(InvertibleNetwork(shape), labels=labels, name=NAME, preprocessing=seen)


def statement(model: Classifier) -> dict[str, str]:
    """What is to stand in the head of a safetensors file of its weights."""
    assert isinstance(model.module, InvertibleNetwork)
    shape = json.dumps(model.module.shape.describe())
    return {NAME: shape, "labels": json.dumps(list(model.labels))}


def stated_classifier(path: str | Path) -> Classifier:
    """An untrained network of the shape and with the labels that a file of weights states.

    Raises:
        ModelFormatError: no such file, one that is broken, or that states no sane shape.
    """
    said = statements(path)
    try:
        stated = json.loads(said[NAME])
        known = {field.name for field in fields(Shape)}
        if not isinstance(stated, dict) or not stated.keys() <= known:
            raise ValueError(f"not a mapping of {', '.join(sorted(known))}")
        return invertible_classifier(Shape(**stated), labels_in(said))
    except KeyError as problem:
        raise ModelFormatError(
            f"{path} does not say what invertible network its weights are of; expected the "
            ".safetensors file that `fluoroscope train invertible` wrote"
        ) from problem
    except (ValueError, TypeError, RecursionError, InvalidParameterError) as problem:
        raise ModelFormatError(
            f"{path} states an invertible network that there cannot be ({problem}); expected the "
            ".safetensors file that `fluoroscope train invertible` wrote"
        ) from problem
