"""How far classes lie from each other in a tree: the edges of the shortest path over an ancestor.

A tree is a mapping from each node to the nodes above it. Several of them, as WordNet has, are one
more way up; of two classes with no ancestor in common there is no path.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fluoroscope.neurons.meaning.arrays import Array

Above = Mapping[str, Sequence[str]]
# Sums of two distances that are in memory at once.
_AT_ONCE = 2**22


def path_lengths(above: Above, nodes: Sequence[str]) -> Array:
    """Edges between each two of the nodes ``(C, C)``; infinite where there is no path."""
    found = [_up(above, node) for node in nodes]
    places = {node: at for at, node in enumerate(dict.fromkeys(n for each in found for n in each))}
    heights = np.full((len(nodes), len(places)), np.inf, dtype=np.float32)
    for row, each in enumerate(found):
        heights[row, [places[node] for node in each]] = list(each.values())
    paths = np.empty((len(nodes), len(nodes)))
    step = max(1, _AT_ONCE // max(1, heights.size))
    for start in range(0, len(nodes), step):
        part = heights[start : start + step]
        paths[start : start + step] = (part[:, None] + heights[None]).min(2)
    return paths


def kernel(paths: Array, sigma: float) -> Array:
    """``exp(-path² / sigma²)``: 1 of a class and itself, 0 where there is no path."""
    found: Array = np.exp(-((paths / sigma) ** 2))
    return found


def _up(above: Above, node: str) -> dict[str, int]:
    """What lies above a node, and itself, with the fewest edges to each."""
    found: dict[str, int] = {node: 0}
    edge = [node]
    while edge:
        reached = [(upper, found[one] + 1) for one in edge for upper in above.get(one, ())]
        edge = []
        for upper, height in reached:
            if upper not in found:
                found[upper] = height
                edge.append(upper)
    return found
