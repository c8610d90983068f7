"""The network of a training: built from its name under the seed, or given; fit to be trained."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.labels import in_words_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.builtin import build_architecture, digits_classifier
from fluoroscope.models.checkpoints import load_checkpoint
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.invertible.network import Shape
from fluoroscope.models.invertible.stated import invertible_classifier
from fluoroscope.models.loading import load_model
from fluoroscope.models.names import UNTRAINED, find_source
from fluoroscope.models.python_function import load_python
from fluoroscope.process import random_state_lock
from fluoroscope.training.job.pictures import Parts, open_parts
from fluoroscope.training.job.shape import shape_of

_OF_MANY_CLASSES = ("torchvision", "timm")


def network_to_train(
    given: str | Path | nn.Module | Classifier,
    seed: int,
    *,
    built_in: Sequence[str],
    stated: Mapping[str, Any],
    from_scratch: Sequence[str] | None = None,
    shape: Shape | None = None,
) -> Classifier:
    """A network whose weights can be learnt, with what is stated of it.

    One that is named is built under the seed, so that weights drawn by PyTorch are the same each
    time, and all its weights are learnt; of a function of the user's those that it leaves
    trainable. A module is taken as it is.

    Args:
        given: what `load_model` takes; a built-in one is untrained without a checkpoint.
        seed: of the weights.
        built_in: the classes of a built-in network.
        stated: what `load_model` is told of a network.
        shape: of an invertible network, which is untrained.
        from_scratch: of a ``torchvision/`` or ``timm/`` network random weights, for these classes.

    Raises:
        FluoroscopeError: as `load_model` does, and of a network that cannot be trained.
    """
    if not isinstance(given, str | Path):
        if from_scratch is not None:
            raise _not_from_scratch("a module")
        return _trainable(load_model(given, **stated))
    name, source = find_source(given)
    if from_scratch is not None and source not in _OF_MANY_CLASSES:
        raise _not_from_scratch(str(name))
    if source == "exported program":
        raise InvalidParameterError(
            f"{name} is an exported program, which computes but cannot be trained; expected the "
            "network from the Python code that it was made of: python:package.module:function"
        )
    stated = dict(stated)
    with random_state_lock, torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        if source == "built-in" and stated.get("checkpoint") is None:
            if shape is not None:
                labels = stated.pop("labels", None) or built_in
                return load_model(invertible_classifier(shape, tuple(labels)), **stated)
            module = build_architecture(str(name), len(built_in))
            return load_model(digits_classifier(str(name), module, tuple(built_in)), **stated)
        if source == "python":
            return _trainable(_of_function(str(name), stated))
        if from_scratch is not None:
            labels = stated.pop("labels", None) or from_scratch
            stated |= {"labels": labels, "pretrained": False}
        found = load_model(name, **stated)
    for weight in found.module.parameters():
        weight.requires_grad_(weight.is_floating_point())
    return _trainable(found)


def network_and_data(
    given: str | Path | nn.Module | Classifier,
    data: Any,
    seed: int,
    *,
    built_in: Sequence[str],
    stated: Mapping[str, Any],
    options: Mapping[str, Any],
    limit: int | None,
    from_scratch: bool,
) -> tuple[Classifier, Parts]:
    """The network to train, in the words of its data, and the data with as many channels.

    Where the data say how many classes a network gets, or what shape, they are opened first.

    Raises:
        FluoroscopeError: as `network_to_train` and `open_parts` do.
    """
    unshaped = given in UNTRAINED and stated.get("checkpoint") is None
    parts = open_parts(data, stated.get("channels"), limit) if from_scratch or unshaped else None
    known = built_in if parts is None else _classes_in(parts.train)
    model = network_to_train(
        given,
        seed,
        built_in=known if unshaped else built_in,
        stated=stated,
        from_scratch=known if from_scratch else None,
        shape=shape_of(parts.train, known, stated, options) if parts and unshaped else None,
    )
    if parts is None or unshaped:  # as many channels as the network has
        parts = open_parts(data, model.channels, limit)
    return in_words_of(model, parts.train.labels), parts


def _classes_in(pictures: ImageSet) -> tuple[str, ...]:
    """The names of the data's classes, or numbers."""
    numbers = pictures.class_numbers()
    assert numbers is not None
    return pictures.labels or tuple(map(str, range(int(numbers.max()) + 1)))


def _of_function(name: str, stated: dict[str, Any]) -> Classifier:
    """A network of the user's own code, with the weights trainable that the code leaves so."""
    found = load_python(name.removeprefix("python:"))
    checkpoint, key = stated.pop("checkpoint", None), stated.pop("checkpoint_key", None)
    if checkpoint is not None:
        load_checkpoint(found.module, checkpoint, key)
    found = load_model(found, **stated)
    if checkpoint is not None:
        found.weights_from = f"checkpoint {checkpoint}"
    return found


def _not_from_scratch(what: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"from_scratch=True was given with {what}; expected a torchvision/ or timm/ name beside "
        "it: other networks have the weights that their code gives them"
    )


def _trainable(model: Classifier) -> Classifier:
    """The network, if its weights can be learnt and written.

    Raises:
        InvalidParameterError: they cannot.
    """
    module = model.module
    if isinstance(module, torch.jit.ScriptModule):
        raise InvalidParameterError(
            f"{model.name} is TorchScript, which computes but cannot be trained here; expected the "
            "network from the Python code that it was made of"
        )
    if type(model) is not Classifier:
        raise InvalidParameterError(
            f"{model.name} is a {type(model).__name__}, made of other networks; expected one "
            "network"
        )
    if model.precision not in (torch.float32, torch.float64):
        raise InvalidParameterError(
            f"{model.name} computes in {str(model.precision).removeprefix('torch.')}, in which "
            "small updates are lost; expected float32: call .float() on it before it is returned"
        )
    if not any(weight.requires_grad for weight in module.parameters()):
        raise InvalidParameterError(
            f"no weight of {model.name} is trainable; expected some: "
            "module.requires_grad_(True) of those that are to be learnt"
        )
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise InvalidParameterError(
                f"{model.name} keeps a {type(value).__name__} under {name}; expected tensors "
                "alone, since no file of weights holds anything else"
            )
    return model


def file_name(name: str) -> str:
    """What files of a network are called: the last part of its name, without signs that files do
    not take.
    """
    if name.startswith("python:"):
        where, _, function = name.removeprefix("python:").rpartition(":")
        last = where.rstrip("/").rpartition("/")[2].removesuffix(".py").rpartition(".")[2]
        name = f"{last}-{function}"
    last = name.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", last, flags=re.ASCII).strip(".-") or "network"
