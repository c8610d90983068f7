"""Can a robust accuracy be trusted? Checks of the network and of how attacks fare against it.

A network that hides its gradient, draws at random or bends its loss makes attacks fail without
being robust. The checks are those of AutoAttack's flags (Croce and Hein 2020, 2003.01690: random
answers, probabilities in place of logits, zero gradients, optimisation at test time, Square above
the white-box attacks), the indicators of attack failure (Pintor et al. 2022, 2106.09947), the
tests for masked gradients of Carlini et al. 2019 (1902.06705) and Athalye et al. 2018 (1802.00420),
and planted examples (Zimmermann et al. 2022, 2206.13991).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torch import Tensor, nn

from fluoroscope.engine.classes import as_classes
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.engine.stream import DEFAULT_BATCH
from fluoroscope.engine.threats import Threat, as_threat
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.trust import network, planted, searches
from fluoroscope.evaluation.trust.bench import Bench, CancelledError, ball_of
from fluoroscope.evaluation.trust.transfer import Second, second_networks, transfer
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.randomised import random_state_aside
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

Look = Callable[[Bench], Check]

MOST_PICTURES = 64
"""Pictures that are looked at, where they are small."""
MOST_LARGE_PICTURES = 16
"""And where they have more than ``LARGE`` values."""
LARGE = 3 * 64 * 64


def trust_checks(
    model: Classifier | nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat | str,
    *,
    second: Second | None = None,
    plan: Plan | None = None,
    held: Tensor | None = None,
    pictures: int | None = None,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH,
    on_check: Callable[[Check], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Check, ...]:
    """Look for reasons not to trust a robust accuracy.

    Args:
        model: the network as it is attacked: prepared for speed, or within an expectation.
        images: ``(N, C, H, W)`` in ``[0, 1]``.
        labels: ``(N,)``, the true class of each.
        threat: how far an image may move, as for :func:`fluoroscope.evaluate`. The attacks here are
            made in Linf and L2; in the place of another ball comes the smallest of L2 around it.
        second: another network of the same classes, or several, best with weights of their own:
            what is made on them is shown to this one. About 90 passes each for a picture left.
        plan: of the run whose number is to be trusted: whether it finds what is known to be there
            is one more check, on 16 pictures at most.
        held: ``(N,)`` booleans, which images that plan left: whether Auto-PGD fools these is one
            more check, in Linf and L2.
        pictures: how many of those that the network classifies correctly, the first ones, are
            looked at; by default 64, and 16 where they are larger than 64×64 in colour. The cost is
            at most about 1,550 forward and 750 backward passes each.
        seed: for everything random.
        batch_size: images evaluated at once.
        on_check: called with each check as soon as it is made.
        cancelled: asked at every step; once true, no other check is made.

    Returns:
        The checks. Those that need a gradient say so where none comes through; those that need the
        same answer twice, or a bound that the threat does not give, are left out. Those that were
        cancelled stand at the end as not made.

    Raises:
        InvalidImagesError: no batch of images, or none that is classified correctly.
        ModelFormatError: a second network of other classes, channels, device or type.
        UnknownLabelError, InvalidParameterError: other unusable input.
    """
    model = as_classifier(model)
    threat = as_threat(threat)
    others = second_networks(model, second, threat)
    batch = check_images(images, model.channels).to(model.device, model.dtype)
    classes = as_classes(model, labels, batch)
    size = check_batch_size(batch_size)
    with random_state_aside(batch.device, seed):
        read = predict(model.plain, batch, batch_size=size).winners.to(classes)
    most = most_pictures(model, batch[0].numel()) if pictures is None else pictures
    if most < 1:
        raise InvalidParameterError(f"pictures is {pictures}; expected 1 or more")
    rows = (read == classes).nonzero().squeeze(1)[:most]
    if not len(rows):
        raise InvalidImagesError(
            f"{model.name} classifies none of the {count(len(batch), 'image')} correctly; expected "
            "some, since only those can be attacked"
        )
    bench = Bench(model, batch[rows], classes[rows], ball_of(threat, batch), seed, size, cancelled)
    bench.plan, bench.threat = plan, threat
    if held is not None and bench.ball == threat:
        bench.held = held.cpu()[rows.cpu()]
    bench.forwards += len(batch) * model.plain.passes  # charged to the first check
    found: list[Check] = []
    looks = _looks(bench, others)
    for name, look in looks:
        try:
            # A network that draws is to draw the same another time, and to leave no trace.
            with random_state_aside(batch.device, seed):
                check = look(bench)
        except CancelledError:
            return (*found, *map(_not_made, (name, *(other for other, _ in looks))))
        found.append(bench.charged(check))
        if on_check is not None:
            on_check(found[-1])
    return tuple(found)


def _not_made(name: str) -> Check:
    return Check(name, "not made", "It was stopped before it was made.")


def most_pictures(model: Classifier, values: int | None = None) -> int:
    """How many pictures are looked at, of so many values or of the network's input size."""
    if values is None:
        height, width = model.input_size or (64, 64)
        values = model.channels * height * width
    return MOST_PICTURES if values <= LARGE else MOST_LARGE_PICTURES


def _looks(bench: Bench, second: Sequence[Classifier]) -> Iterator[tuple[str, Look]]:
    """The checks in their order, by their names; which there are may depend on those before."""
    yield "outputs", network.outputs
    yield "randomness", network.randomness
    if not _found(bench, "draws"):
        yield "neighbours in the batch", network.batch
    yield "test-time optimisation", network.test_time
    yield "differentiable", network.differentiable
    for name, look in _along_the_gradient(bench):
        cut = _found(bench, "no_gradient")
        yield name, partial(_without_gradient, name) if cut else look
    if bench.ball is not None:
        yield "black box", searches.black_box
        if second:
            yield "transfer", partial(transfer, second)
    if bench.plan is not None:
        yield planted.NAME, planted.planted


def _found(bench: Bench, what: str) -> bool:
    """What is known of the network; whether it was asked, once somebody does not want to wait."""
    stopped = bench.cancelled is not None and bench.cancelled()
    return bool(vars(bench).get(what, False) if stopped else getattr(bench, what))


def _along_the_gradient(bench: Bench) -> Iterator[tuple[str, Look]]:
    """Those that follow it, by their names."""
    yield "finite gradient", network.finite
    yield "zero gradient", network.zero_gradient
    yield "saturation", network.saturation
    if not _found(bench, "draws"):
        yield "finite differences", network.finite_differences
    if bench.ball is not None:
        yield "smoothness", network.smoothness
        yield "loss", searches.loss
        yield "single step", searches.single_step
        yield "another loss", searches.another_loss
        if bench.held is not None:
            yield "the run beside Auto-PGD", searches.beside_the_run
        yield "more steps", searches.more_steps
        yield "more restarts", searches.more_restarts
        yield "smoothed gradient", searches.smoothed
        yield "growing eps", searches.growing
    yield "no bound", searches.no_bound


def _without_gradient(name: str, bench: Bench) -> Check:
    """What a check that follows the gradient says where there is none."""
    words = (
        "Not applicable: no gradient comes through the network, so there is none to follow, and "
        "this says neither good nor ill."
    )
    return Check(name, "not applicable", words, {"pictures": bench.count})
