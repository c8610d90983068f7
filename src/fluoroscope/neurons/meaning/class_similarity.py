"""How alike the classes of a network are: the ``A`` of the level of consistency ``pᵀAp``.

Dong et al. take it from WordNet; their kernel of distances is known from memory only. Where no tree
of the classes is at hand, the network itself knows: by the weights of its classes, or by what it
confuses. Whatever it comes from is said with every number that is made of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.layers import Use, traced
from fluoroscope.neurons.meaning.arrays import Array, Numbers
from fluoroscope.neurons.meaning.class_tree import nodes_of, read_tree
from fluoroscope.neurons.meaning.definitions import SIGMA, check_similarity
from fluoroscope.neurons.meaning.paths import kernel, path_lengths
from fluoroscope.neurons.meaning.wordnet import find_in_wordnet
from fluoroscope.neurons.reading.units import noise
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.neurons.reading.activations import Activations

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
# Classes that a matrix of all pairs is made of.
_MOST = 10_000
# Pictures of a class below which confusions say little.
_FEW = 10


@dataclass(frozen=True, eq=False)
class ClassSimilarity:
    """A similarity of each two of ``C`` classes."""

    matrix: Array
    """``(C, C)``: symmetric, 1 of a class and itself."""
    labels: tuple[str, ...]
    kind: str
    """``weights``, ``confusion``, ``wordnet`` or ``tree``."""
    words: str
    """What it is and where it is from."""
    certainty: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the matrix."""
        many = len(self.labels)
        good = self.matrix.shape == (many, many) and bool(np.isfinite(self.matrix).all())
        if not good or not np.allclose(self.matrix, self.matrix.T, atol=1e-9):
            raise InvalidParameterError(
                f"similarity is an array of {self.matrix.shape} for {many} classes; expected a "
                "finite and symmetric one, a row for each class"
            )

    def describe(self) -> dict[str, Any]:
        """As plain values, without the matrix."""
        return {"kind": self.kind, "words": self.words, "certainty": self.certainty,
                "classes": len(self.labels)}  # fmt: skip


def class_similarity(
    kind: "str | Path" = "weights",
    *,
    model: Classifier | nn.Module | None = None,
    labels: Sequence[str] | None = None,
    activations: "Activations | None" = None,
    sigma: float = SIGMA,
) -> ClassSimilarity:
    """How alike a network's classes are.

    Args:
        kind: ``weights``, the cosine of the weights of its last layer; ``confusion``, what the
            network confuses on the real pictures of ``activations``; ``wordnet``; or a file with a
            tree of the classes, nested JSON or ``child: parent`` lines.
        model: the network, for the weights and for the names of the classes.
        labels: these names, where no network is given.
        activations: of real pictures, for the confusions.
        sigma: of the kernel ``exp(-path² / sigma²)`` of a tree's paths, in edges.

    Raises:
        InvalidParameterError: something that the kind needs was not given; a network whose logits
            come from no layer of weights; a tree that cannot be read or lacks classes.
        MissingExtraError: ``wordnet`` without the library ``wn``.
    """
    network = None if model is None else as_classifier(model)
    named = tuple(labels) if network is None and labels is not None else None
    names = network.labels if network is not None else named
    if names is None:
        raise InvalidParameterError(
            "neither model= nor labels= was given; expected one of them, for the classes' names"
        )
    if len(names) > _MOST:
        raise InvalidParameterError(
            f"similarity is of {len(names):,} classes; expected {_MOST:,} at most, for it is of "
            "each two of them"
        )
    if not 0 < sigma < float("inf"):
        raise InvalidParameterError(f"sigma is {sigma}; expected more than 0")
    if kind == "weights":
        if network is None:
            raise InvalidParameterError("similarity is weights, and model= was not given")
        return _of_weights(network)
    if kind == "confusion":
        if activations is None:
            raise InvalidParameterError(
                "similarity is confusion, and activations= of real pictures were not given"
            )
        return _of_confusion(activations.labels, activations.predicted, names)
    if kind == "wordnet":
        above, nodes, lexicon = find_in_wordnet(names)
        where = f"WordNet ({lexicon})"
        sure = "that it is WordNet is sure; the kernel is known from memory only, and σ is ours"
        return _of_paths(path_lengths(above, nodes), names, "wordnet", where, sigma, sure)
    if isinstance(kind, str):
        check_similarity(kind)
    tree = read_tree(kind)
    paths = path_lengths(tree, nodes_of(tree, names, str(kind)))
    sure = "the tree is the user's; the kernel is known from memory only, and σ is ours"
    return _of_paths(paths, names, "tree", f"the tree {Path(kind).name}", sigma, sure)


def _of_paths(
    paths: Array, names: tuple[str, ...], kind: str, where: str, sigma: float, certainty: str
) -> ClassSimilarity:
    apart = ~np.isfinite(paths)
    notes = []
    if apart.any():
        many = int(apart.sum() // 2)
        notes.append(
            f"{count(many, 'pair')} of classes have nothing above them in common in {where}; their "
            "similarity is 0"
        )
    return ClassSimilarity(
        kernel(paths, sigma), names, kind,
        f"exp(−path²/σ²) of the edges between classes in {where}, σ = {sigma:g}",
        certainty, tuple(notes),
    )  # fmt: skip


def _of_weights(model: Classifier) -> ClassSimilarity:
    weight, layer = last_weights(model)
    # What is added to all rows alike changes no decision.
    rows = weight - weight.mean(0, keepdims=True)
    return ClassSimilarity(
        _cosines(rows), model.labels, "weights",
        f"cosine of the classes' weights in {layer}, less the mean over classes",
        "not of the source, which takes WordNet; as in Semantic Depth (2504.09956)",
    )  # fmt: skip


def _of_confusion(labels: Numbers, predicted: Numbers, names: tuple[str, ...]) -> ClassSimilarity:
    many = len(names)
    there = labels >= 0
    counts = np.zeros((many, many))
    np.add.at(counts, (labels[there], predicted[there]), 1.0)
    seen = counts.sum(1)
    notes = []
    few = int((seen < _FEW).sum())
    if few:
        notes.append(
            f"{few:,} of {count(many, 'class', 'classes')} have fewer than {_FEW} pictures, of "
            "which confusions say little"
        )
    return ClassSimilarity(
        _cosines(counts), names, "confusion",
        "cosine of what the pictures of two classes are predicted as, on "
        f"{count(int(there.sum()), 'real picture')}",
        "not of the source, which takes WordNet; ours",
        tuple(notes),
    )  # fmt: skip


def last_weights(model: Classifier) -> tuple[Array, str]:
    """The weights of the last layer ``(C, D)``, a row for each class, and the layer's name.

    Raises:
        InvalidParameterError: its logits come from no layer of weights that can be seen.
    """
    with torch.inference_mode(False), torch.no_grad(), traced(model) as uses:
        evaluate(model, noise(model), look=False)
    heavy: list[Use] = [use for use in uses if isinstance(use.layer, _WEIGHTED)]
    weight = heavy[-1].layer.weight if heavy else None
    if not isinstance(weight, torch.Tensor) or len(weight) != model.num_classes:
        raise InvalidParameterError(
            f"similarity is weights, and the logits of {model.name} come from no layer with "
            "weights for each class that can be seen; expected confusion, wordnet, or a file with "
            "a tree of the classes"
        )
    return weight.detach().flatten(1).double().cpu().numpy(), heavy[-1].name


def _cosines(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    found: Array = (unit @ unit.T).clip(-1, 1)
    np.fill_diagonal(found, 1.0)
    return (found + found.T) / 2
