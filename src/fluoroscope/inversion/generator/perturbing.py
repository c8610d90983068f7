"""Adversarial samples from a generator, bounded from a real picture.

A small network is given the picture ``x`` and the wanted class ``c``, and says the change:
``x + eps tanh(G(x, c))`` in Linf, and in L2 the change at a length of ``eps``. It is fitted to real
pictures with classes drawn from all but their own, raising the log-probability of the drawn one;
afterwards one pass through it makes an adversarial sample of a picture that it has not seen, with
no gradient of the network under attack (Poursaeed, Katsman, Gao and Belongie 2018, 1712.02328;
the wanted class modulates the layers here, so that one network leads to all classes).

What it makes is judged as every attack's samples are: within the threat model, by the plain
network, and with ``grid=8`` on the levels of a saved picture.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.universal.fitting import FitStep
from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.grid import round_to_grid, snap
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, as_threat, one_bound
from fluoroscope.engine.vectors import column, lengths
from fluoroscope.errors import InvalidParameterError
from fluoroscope.hashing import as_seed
from fluoroscope.models.classifier import Classifier, as_classifier, tensor_bytes
from fluoroscope.models.frozen import frozen
from fluoroscope.pictures.checks import check_images
from fluoroscope.process import random_state_lock
from fluoroscope.training.trainer.recipe import half_cosine

STEPS, BATCH, LEARNING_RATE = 300, 64, 5e-3
# Where tanh is 1.
_FAR = 20.0
# Of a step's gradient at all weights: a longer one is cut, for the first ones are steep.
_LONGEST = 10.0


class Perturber(nn.Module):
    """From pictures ``(N, C, H, W)`` and classes ``(N,)`` to changes ``(N, C, H, W)``, unbounded.

    Two steps down, two blocks whose channels the class scales and shifts, two steps up; rows are
    normalised each by itself, so that a picture's change does not depend on its batch.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.channels, self.classes, self.width = channels, classes, width
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.lower = nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 3, padding=1) for _ in range(2))
        # Standard normal, as it is made: with a tenth of that classes are told apart so late that
        # after 120 batches a third of unseen digits were led in place of 95 % (linf:0.3).
        self.modulation = nn.Embedding(classes, 2 * 2 * 2 * width)
        self.up = nn.Conv2d(4 * width, width, 3, padding=1)
        self.last = nn.Conv2d(2 * width, channels, 3, padding=1)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """The changes."""
        high = F.relu(self.first(images - 0.5))
        middle = F.relu(self.down(high))
        low = F.relu(self.lower(middle))
        for block, of_class in zip(
            self.blocks, self.modulation(classes).chunk(2, dim=1), strict=True
        ):
            scale, shift = of_class.view(len(images), -1, 1, 1).chunk(2, dim=1)
            normal = F.group_norm(block(low), 1)
            low = low + F.relu(normal * (1 + scale) + shift)
        low = F.interpolate(low, middle.shape[2:])
        up = F.relu(self.up(torch.cat([low, middle], 1)))
        up = F.interpolate(up, high.shape[2:])
        found: Tensor = self.last(torch.cat([up, high], 1))
        return found


@dataclass(frozen=True)
class _Asked:
    samples: Samples
    images: Tensor
    done: Tensor


@dataclass(frozen=True, kw_only=True)
class GeneratedPerturbation(Method):
    """An attack that asks a fitted network for the change towards the wanted class.

    Only ``targeted`` searches make sense of it; :func:`fit_perturbation` makes one.
    """

    threat: Threat
    perturber: Perturber

    paper: ClassVar[str] = "Poursaeed et al. 2018 (1712.02328), conditioned on the class"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    cost: ClassVar[str] = "1 forward, once fitted"
    can_mask: ClassVar[bool] = False
    can_pause: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        one_bound(self.threat)

    @property
    def stated(self) -> dict[str, Any]:
        """Its parameters, and of the network a hash of its weights."""
        digest = hashlib.sha256()
        for value in self.perturber.state_dict().values():
            digest.update(tensor_bytes(value))
        parameters = {
            "threat": as_plain(self.threat),
            "width": self.perturber.width,
            "perturber_sha256": digest.hexdigest(),
        }
        return {"attack": type(self).__name__, "parameters": parameters}

    def start(self, samples: Samples) -> _Asked:
        """The pictures with their changes."""
        if bool((samples.towards < 0).any()):
            raise InvalidParameterError(
                "targeted is False; GeneratedPerturbation expects targeted=True and the wanted "
                "classes, for it was fitted to lead to a class"
            )
        images = samples.images
        if images.shape[1] != self.perturber.channels:
            raise InvalidParameterError(
                f"images have {images.shape[1]} channels; expected {self.perturber.channels}, as "
                "those that it was fitted to"
            )
        like = next(self.perturber.parameters())
        with frozen(self.perturber), torch.no_grad():
            change = self.perturber(images.to(like), samples.classes.to(like.device))
        moved = images + bounded(change.to(images), self.threat)
        done = torch.ones_like(samples.indices, dtype=torch.bool)
        return _Asked(samples, self.threat.project(moved, images), done)

    def ask(self, state: _Asked) -> Query:
        """What the network makes of them."""
        return Query(state.images, False, LOG_PROBABILITY, state.samples.classes)

    def tell(self, state: _Asked, answer: Answer) -> _Asked:
        """That was all."""
        return state


def bounded(change: Tensor, threat: Threat) -> Tensor:
    """What the network says ``(N, C, H, W)``, within the bound."""
    eps = as_number(threat.eps)
    if threat.name == "linf":
        return eps * change.tanh()
    return eps * change / column(lengths(change).clamp(min=1e-12))


def fit_perturbation(
    model: Classifier | nn.Module,
    images: Tensor,
    labels: Classes,
    *,
    threat: Threat | str,
    steps: int = STEPS,
    batch_size: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    width: int = 16,
    seed: int = 0,
    on_batch: Callable[[FitStep], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> GeneratedPerturbation:
    """Fit a network that leads pictures to any class, on real ones ``(N, C, H, W)`` in ``[0, 1]``.

    Args:
        model: the network under attack.
        images: what to learn from; judge the attack on others.
        labels: their classes, which they are never led to.
        threat: how far a picture may go, in Linf or L2.
        steps: batches to learn from.
        batch_size: pictures of one.
        learning_rate: of Adam; it falls to 0 along half a cosine.
        width: channels of the first layer.
        seed: for weights, order and wanted classes.
        on_batch: called after every batch.
        cancelled: asked before every batch; once true, what was learnt so far is kept.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: unusable input.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    model, threat = as_classifier(model), as_threat(threat)
    images = check_images(images, model.channels).to(model.device, model.dtype)
    own = as_classes(model, labels, images)
    steps, width = whole_number("steps", steps), whole_number("width", width)
    rows = min(check_batch_size(batch_size), len(images))
    if not 0 < learning_rate < math.inf:
        raise InvalidParameterError(
            f"learning_rate is {learning_rate}; expected a number above 0, such as {LEARNING_RATE}"
        )
    if model.num_classes < 2:
        raise InvalidParameterError(f"{model.name} has one class; expected two or more to lead to")
    seed = as_seed(seed)
    perturber = _fresh(images.shape[1], model.num_classes, width, seed).to(model.device)
    attack = GeneratedPerturbation(threat=threat, perturber=perturber)
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(perturber.parameters(), lr=learning_rate)
    order = _endless(len(images), draws)
    with torch.inference_mode(False), torch.enable_grad(), model.held():
        for number in range(1, steps + 1):
            if cancelled is not None and cancelled():
                break
            optimizer.param_groups[0]["lr"] = learning_rate * half_cosine(number, steps)
            chosen = torch.stack([next(order) for _ in range(rows)]).to(images.device)
            batch, left = images[chosen], own[chosen]
            wanted = _others(left, model.num_classes, draws)
            change = perturber(batch.float(), wanted).to(batch)
            moved = batch + bounded(change, threat)
            # The box's cut is passed over by the slope: a black pixel may be wanted brighter later.
            placed = moved + (moved.clamp(0, 1) - moved).detach()
            answer = evaluate(model, placed.detach(), wanted, LOG_PROBABILITY, gradient=True)
            assert answer.gradient is not None
            assert answer.objective is not None
            optimizer.zero_grad()
            placed.backward(-answer.gradient.to(placed) / rows)
            nn.utils.clip_grad_norm_(perturber.parameters(), _LONGEST)
            optimizer.step()
            if on_batch is not None:
                reached = (answer.logits.argmax(1) == wanted).float().mean()
                on_batch(FitStep(number, steps, float(answer.objective.mean()), float(reached)))
    perturber.requires_grad_(False)
    return attack


def drawn_targets(labels: Tensor, classes: int, seed: int) -> Tensor:
    """For each label ``(N,)`` another class to be led to, ``(N,)``."""
    return _others(labels.cpu(), classes, torch.Generator().manual_seed(as_seed(seed)))


def _others(labels: Tensor, classes: int, draws: torch.Generator) -> Tensor:
    """For each label ``(N,)`` one of the other classes."""
    steps = torch.randint(1, classes, (len(labels),), generator=draws, device="cpu")
    return (labels + steps.to(labels)) % classes


def noise_within(
    model: Classifier,
    images: Tensor,
    classes: Tensor,
    threat: Threat,
    *,
    seed: int = 0,
    grid: int | None = None,
) -> Tensor:
    """Which images ``(N, C, H, W)`` random changes within the bound lead to the classes, ``(N,)``.

    The control beside a generator: every pixel value is moved by the bound, up or down at random,
    or in L2 in a random direction.
    """
    given = check_images(images, model.channels).cpu()
    keys = randomness.keys(as_seed(seed), torch.arange(len(given), device="cpu"))
    drawn = randomness.normal(keys, 0, tuple(given.shape[1:]))
    large = drawn.sign() * _FAR if threat.name == "linf" else drawn
    moved = threat.project(given + bounded(large.to(given), threat), given)
    if grid is not None:
        moved = snap(moved, round_to_grid(given), threat)
    return predict(model, moved).winners == classes.cpu()


def _fresh(channels: int, classes: int, width: int, seed: int) -> Perturber:
    """One whose weights follow from the seed; the class says nothing at first."""
    with random_state_lock, torch.random.fork_rng([], device_type="cpu"):
        torch.default_generator.manual_seed(seed)
        return Perturber(channels, classes, width)


def _endless(count: int, draws: torch.Generator) -> Any:
    """Numbers of pictures, shuffled anew each time that all were there."""
    while True:
        yield from torch.randperm(count, generator=draws, device="cpu")
