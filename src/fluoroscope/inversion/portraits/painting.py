"""What is known of portraits under way, and of the views that were asked about last."""

from dataclasses import dataclass

from torch import Tensor

from fluoroscope.engine.stream import Query, Samples
from fluoroscope.inversion.portraits.optimisers import Memory


@dataclass(frozen=True)
class Painting:
    """What is known of ``n`` portraits under way."""

    samples: Samples
    parameters: Tensor
    memory: Memory
    number: Tensor
    """``(n,)``, steps that lie behind."""
    seen: Tensor
    """``(n,)``, views of this step that lie behind."""
    sofar: Tensor
    """``(n, C, H, W)``, the sum of their gradients; empty where there is but one view."""
    looked: Tensor
    """``(n,)`` booleans: the picture itself was shown at this step."""
    weighed: Tensor
    """``(n,)``, passes made to weigh the priors."""
    pulls: Tensor
    """``(n, 1 + P)``, sums of the absolute gradients at the pixels: the goal's and each prior's."""
    weights: Tensor
    """``(n, P)``, of the priors."""
    pixels: Tensor
    """``(n, 1, H, W)``, sum of the absolute gradients so far, the mean of the channels."""
    curve: Tensor
    """``(n, looks, 3 + P)``: step, goal, priors as they are, probability of the class."""
    looks: Tensor
    """``(n,)``, looks that lie behind."""
    still: Tensor
    """``(n,)``, steps in which the network gave no gradient at all."""
    stations: Tensor
    """``(n, S, C, H, W)``, the picture at the first look that saw each probability."""
    reached: Tensor
    """``(n, S)``, the step of that look; -1 if it was not."""
    frames: Tensor
    """``(n, F, C, H, W)``, pictures on the way, evenly spaced."""
    done: Tensor


@dataclass(frozen=True, kw_only=True)
class Viewing(Query):
    """A query that remembers the graph from parameters to views."""

    leaf: Tensor
    """The parameters."""
    picture: Tensor
    """``(n, C, H, W)``, in the graph of the parameters."""
    shown: Tensor
    """The same, as the beginning of the graph of the views and of the penalties."""
    views: Tensor
    """``(n * copies, C, h, w)``, those of them that are asked about."""
    copies: int
    """How many of each portrait these are."""
    all: bool
    """Whether they are all views that each portrait has at this step."""
    own: Tensor | None = None
    """``(n * copies,)``, which of the images are these, where others stand beside them."""
    plain: bool = False
    """Whether the pictures themselves are shown, for the books alone."""
