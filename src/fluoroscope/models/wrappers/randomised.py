"""Networks that are random: asking whether one is random, and expectation over transformation.

``EOT`` answers with the mean over several draws, ``E_t[f(t(x))]`` (Athalye, Engstrom, Ilyas and
Kwok 2018, "Synthesizing Robust Adversarial Examples", 1707.07397; for randomised defences Athalye,
Carlini and Wagner 2018, 1802.00420), so that a gradient points where most draws agree. The papers
draw anew at each step. Here the draws follow from the seed and the images themselves: other
images, other draws; the same images, the same answer, whatever was computed before.
"""

import math
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.hashing import as_seed
from fluoroscope.models.classifier import Classifier, as_classifier, tensor_bytes
from fluoroscope.models.wrappers.around import Around, Asking
from fluoroscope.models.wrappers.ensemble import Average, averaged, check_average
from fluoroscope.process import random_state_lock

Transform = Callable[[Tensor], Tensor]
"""A random change of images ``(N, C, H, W)`` in ``[0, 1]``, differentiable in them."""


class EOT(Around):
    """The mean answer of a randomised network, or of a network behind a random transformation.

    Each of the ``samples`` draws is one pass of all images, with its own seed for the generators of
    torch, NumPy and Python, whose states are put back afterwards; so a fresh draw may belong to
    each image or to the whole batch, as the network has it. What is drawn from a generator of the
    network's own is beyond reach. An image's draws depend on the batch it is in: such a network
    knows no images, only batches.

    For speed prepare the network inside, ``EOT(prepare(model))``. The memory of a gradient is that
    of ``samples`` plain ones. A success found here holds for the draws of this seed: judge it with
    another, ``EOT(model, samples=..., seed=1)``.

    Args:
        model: the network, random in evaluation mode unless there is a transformation.
        samples: draws for each answer; 20 in AutoAttack's plan for randomised defences.
        transform: applied to the images before the network's own preprocessing.
        average: what the mean is taken of, as for an
            :class:`~fluoroscope.models.wrappers.ensemble.Ensemble`; with ``"loss"`` the expected
            log-probability of the first paper.
        seed: what all draws follow from, together with the images.

    Raises:
        ModelFormatError: the model is no classifier.
        InvalidParameterError: fewer than 1 sample, an unknown average, or a transformation that
            cannot be called.
    """

    def __init__(
        self,
        model: Classifier | nn.Module,
        samples: int = 20,
        *,
        transform: Transform | None = None,
        average: Average = "logits",
        seed: int = 0,
    ) -> None:
        if not isinstance(samples, int) or samples < 1:
            raise InvalidParameterError(f"samples is {samples}; expected a whole number above 0")
        if transform is not None and not callable(transform):
            raise InvalidParameterError(
                f"transform is a {type(transform).__name__}; expected a function from images to "
                "images, or None"
            )
        super().__init__(
            model, _Draws, samples, samples=samples, transform=transform,
            average=check_average(average), seed=seed,
        )  # fmt: skip
        self.log_probabilities = average == "loss"


class _Draws(Asking):
    def __init__(
        self,
        model: Classifier,
        samples: int,
        transform: Transform | None,
        average: Average,
        seed: int,
    ) -> None:
        super().__init__(model)
        self.samples, self.transform, self.average, self.seed = (
            samples,
            transform,
            average,
            as_seed(seed),
        )

    def forward(self, images: Tensor) -> Tensor:
        first = zlib.crc32(tensor_bytes(images), self.seed & 0xFFFFFFFF) << 16
        return averaged(
            [self._draw(images, first + number) for number in range(self.samples)], self.average
        )

    def _draw(self, images: Tensor, seed: int) -> Tensor:
        with random_state_aside(images.device, seed):
            return self.model(images if self.transform is None else self.transform(images))


def is_random(model: Classifier | nn.Module, images: Tensor, answers: int = 2) -> bool:
    """Whether a network answers the same images ``(N, C, H, W)`` differently another time.

    A pass for each of the ``answers``, in which a draw of few outcomes may fall alike.
    Differences within float noise do not count, and the global generators are left as they were.
    """
    model = as_classifier(model)
    with torch.no_grad(), random_state_aside(images.device):
        first, *others = (model(images) for _ in range(answers))
    noise = math.sqrt(torch.finfo(model.precision).eps) * first.abs().amax()
    return any(bool(((first - other).abs() > noise).any()) for other in others)


@contextmanager
def random_state_aside(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Let a block draw from the global generators, from a seed if given, and put them back after.

    Those of torch (on the processor and the device), NumPy and Python; one thread of ours at a
    time, and others that draw meanwhile see the same ones.
    """
    cuda = device.type == "cuda"
    with random_state_lock:
        kept = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng([device] if cuda else []):
                if seed is not None:
                    random.seed(seed)
                    np.random.seed(seed % 2**32)
                    torch.default_generator.manual_seed(seed)
                    if cuda:
                        with torch.cuda.device(device):
                            torch.cuda.manual_seed(seed)
                yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])
