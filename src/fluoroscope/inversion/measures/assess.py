"""The door of the measures: it checks what is given, asks the networks once, and takes them all."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.classes import Classes, class_values
from fluoroscope.engine.labels import class_numbers, matching
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.inversion.measures import flags, of_answers, of_class, of_sets, variety
from fluoroscope.inversion.measures.bench import Bench, Subject, common_counts, halves, how_many
from fluoroscope.inversion.measures.reading import named, noise, path, penultimate, read
from fluoroscope.inversion.measures.result import Assessment
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.notices import collected, distinct
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

Labelled = tuple[Tensor, Tensor]
"""Pictures ``(N, C, H, W)`` and the class of each ``(N,)``."""
# Of a map of the path means over so many places a side: where things are counts, not only what.
_PLACES = 4
# Distributions add up to 1 but for rounding.
_NEAR_ONE = 1e-3


@torch.inference_mode(False)
def assess(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Classes,
    *,
    codes: Tensor | None = None,
    second: Classifier | nn.Module | None = None,
    layer: str | None = None,
    real: Labelled | None = None,
    train: Labelled | None = None,
    random: Tensor | None = None,
    again: Callable[[Classifier], Tensor] | None = None,
    seeds: Sequence[Tensor] = (),
    needs_data: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Assessment:
    """What pictures of classes are worth: all measures, each with what it is elsewhere.

    Beside every number stand the same of real pictures, of noise, and of pictures made the same way
    from the network with random weights, where these are given. What was not given is *not
    measured*, with what is needed. Sets are compared at as many pictures of each class as all have.

    Args:
        model: the network whose classes the pictures show.
        images: the pictures ``(N, C, H, W)`` in ``[0, 1]``.
        classes: of each picture the class that it shows.
        codes: ``(N, K)``, of each picture the distribution that was asked for.
        second: another network of the same classes, trained independently: another seed, and best
            another architecture. It judges, and its features are compared.
        layer: where its features are read; by default at what its last layer is given.
        real: pictures of a test split with their classes.
        train: pictures that the network learnt from. Without them real pictures are held against
            other real ones: half of them against the other half.
        random: the same pictures, or the first so many of them, made of the network with random
            weights.
        again: makes these: called with that network, it gives pictures for the same classes.
        seeds: the same pictures, made from other seeds.
        needs_data: whether the method that made them was given real pictures.
        seed: of noise, of pairs, and of resampling.
        batch_size: pictures at once; by default as many as suit the machine.
        on_share: called with the share of the work that lies behind.

    Raises:
        InvalidImagesError, InvalidParameterError, UnknownLabelError: what was given is unusable.
    """
    model = as_classifier(model)
    seed = randomness.as_seed(seed)
    if batch_size is not None:
        batch_size = check_batch_size(batch_size)
    with collected() as told:
        bench = _bench(
            model, images, classes, codes, second, layer, real, train, random, again, seeds,
            seed, batch_size, on_share or _nothing,
        )  # fmt: skip
        varied, by_class = variety.variety(bench)
        measures = [
            *of_answers.answers(bench),
            *varied,
            *of_class.repeats(bench),
            *of_sets.among_real(bench),
            *of_class.leaks(bench),
            *of_answers.survival(bench, batch_size),
            *of_class.choices(bench),
        ]
        ways, along = of_class.way(bench)
        measures += [*ways, *of_sets.made_alike(bench)]
    (on_share or _nothing)(1.0)
    by_name = {one.name: one for one in measures}
    return Assessment(
        measures=tuple(measures),
        flags=flags.raised(by_name, along, by_class, _chance(bench)),
        ways=along,
        needs_data=needs_data,
        record=_record(bench, second, seed),
        notes=distinct([*_remarks(bench, real, train), *told]),
    )


def _nothing(share: float) -> None:
    """Nobody waits for news."""


def _bench(
    model: Classifier,
    images: Tensor,
    classes: Classes,
    codes: Tensor | None,
    second: Classifier | nn.Module | None,
    layer: str | None,
    real: Labelled | None,
    train: Labelled | None,
    random: Tensor | None,
    again: Callable[[Classifier], Tensor] | None,
    seeds: Sequence[Tensor],
    seed: int,
    batch_size: int | None,
    on_share: Callable[[float], None],
) -> Bench:
    """Everything is checked before the first network is asked."""
    made = _pictures(images, model.channels, "images").float().cpu()
    shown = class_values(classes, len(made), model.labels, model.name)
    size = (made.shape[2], made.shape[3])
    judge = None if second is None else as_judge(model, as_classifier(second))
    if judge is None and layer is not None:
        raise InvalidParameterError(f"layer is {layer!r}, of a second network; expected second=")
    numbers = None if judge is None else class_numbers(judge, model.labels)
    asked = None if codes is None else _codes(codes, len(made), model.num_classes)
    pairs: dict[str, Labelled] = {}
    for name, given in (("real", real), ("train", train)):
        if given is not None:
            pairs[name] = _labelled(name, given, made, model)
    if random is not None and again is not None:
        raise InvalidParameterError("both random= and again= given; expected one of them")
    others = [_alike(made, "seeds", each) for each in seeds]
    if random is not None:
        random = _alike(made, "random", random, fewer=True)
    place = None
    if judge is not None:
        place = penultimate(judge, size) if layer is None else named(judge, layer)
    along = path(model, size) if pairs else ()
    if again is not None:
        random = _alike(made, "random", again(_forgot(model, pairs, made, seed)))

    against, trained = pairs.pop("train", None), "train" in pairs or train is not None
    if against is None and "real" in pairs:
        first, other = halves(pairs["real"][1])
        against = pairs["real"]
        if len(other):  # there are two pictures of a class
            against = pairs["real"][0][other], pairs["real"][1][other]
            pairs["real"] = pairs["real"][0][first], pairs["real"][1][first]
    pairs["noise"] = noise(len(made), tuple(made.shape[1:]), seed), shown
    if random is not None:
        pairs["random"] = random, shown[: len(random)]
    many = len(made) * (1 + len(others)) + sum(len(one[0]) for one in pairs.values())
    many += 0 if against is None else len(against[0])
    behind = 0

    def subject(pictures: Tensor, labels: Tensor) -> Subject:
        nonlocal behind
        own = read(model, pictures, along, batch_size=batch_size, places_kept=_PLACES)
        said = None
        if judge is not None and place is not None:
            said = read(judge, pictures, (place,), batch_size=batch_size)
            said = said if numbers is None else replace(said, logits=said.logits[:, numbers])
        behind += len(pictures)
        on_share(0.7 * behind / many)
        return Subject(pictures, labels, own, said)

    ours = subject(made, shown)
    beside = {name: subject(*pair) for name, pair in pairs.items()}
    alone = against is not None and against is pairs.get("real")
    held = beside["real"] if alone else None if against is None else subject(*against)
    sets = [shown, *(one.classes for one in (beside.get("real"), held) if one is not None)]
    return Bench(
        model, ours, beside, held, trained, along, place, seed, asked,
        [subject(one, shown) for one in others],
        common_counts(*sets) if len(sets) > 1 else {},
    )  # fmt: skip


def _pictures(images: Tensor, channels: int, name: str) -> Tensor:
    try:
        return check_images(images, channels)
    except InvalidImagesError as problem:
        if name == "images":
            raise
        raise InvalidImagesError(f"{name}: {problem}") from problem


def as_judge(model: Classifier, second: Classifier) -> Classifier:
    """The second network, if it can judge; its classes are found by their names.

    Raises:
        InvalidParameterError: it is the first one, or has other classes or channels.
    """
    if second.channels != model.channels:
        raise InvalidParameterError(
            f"second is {second.name}, which takes pictures of "
            f"{count(second.channels, 'channel')}; expected {model.channels}, as {model.name} does"
        )
    found = matching(second, model.labels)
    if found is not None and found.refusal is not None:
        raise InvalidParameterError(
            f"second is {second.name}, whose classes are not told to be those of {model.name} (of "
            f"data with these names: {found.refusal}); expected a network of the same classes"
        )
    if second.plain.fingerprint() == model.plain.fingerprint():
        raise InvalidParameterError(
            f"second is {second.name}, the network under study itself; expected one that was "
            "trained independently, with another seed and best another architecture"
        )
    return second


def _codes(codes: Tensor, pictures: int, classes: int) -> Tensor:
    found = codes.detach().cpu().double() if isinstance(codes, Tensor) else None
    if found is None or tuple(found.shape) != (pictures, classes):
        shape = tuple(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
        raise InvalidParameterError(
            f"codes are {shape}; expected ({pictures}, {classes}): of each picture a distribution "
            "over the classes"
        )
    sums = found.sum(1)
    if not bool((found >= 0).all()) or not bool(((sums - 1).abs() < _NEAR_ONE).all()):
        raise InvalidParameterError(
            "codes hold rows that are no distribution; expected numbers of 0 or more that add up "
            "to 1 in each row"
        )
    return found / sums[:, None]


def _labelled(name: str, given: Labelled, made: Tensor, model: Classifier) -> Labelled:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidParameterError(
            f"{name} is a {type(given).__name__}; expected a pair of pictures and their classes"
        )
    pictures = _pictures(given[0], model.channels, name).float().cpu()
    if pictures.shape[1:] != made.shape[1:]:
        raise InvalidImagesError(
            f"{name} are pictures of {tuple(pictures.shape[1:])}, and those to be measured of "
            f"{tuple(made.shape[1:])}; expected the same size of both"
        )
    labels = class_values(given[1], len(pictures), model.labels, model.name, whole=True)
    return pictures, labels


def _alike(made: Tensor, name: str, given: Tensor, *, fewer: bool = False) -> Tensor:
    found = _pictures(given, made.shape[1], name).float().cpu()
    if fewer and len(found) < len(made):
        made = made[: len(found)]
    if found.shape != made.shape:
        raise InvalidImagesError(
            f"{name} are pictures {tuple(found.shape)}; expected {tuple(made.shape)}: one for each "
            "of those to be measured, of the same class"
        )
    return found


def _forgot(model: Classifier, pairs: dict[str, Labelled], made: Tensor, seed: int) -> Classifier:
    """The network with random weights; its batch norms look at real pictures where there are."""
    look = next((pair[0] for pair in pairs.values()), made)
    return with_random_weights(model, look[:64].to(model.device, model.dtype), seed=seed)


def _record(bench: Bench, second: Any, seed: int) -> dict[str, Any]:
    judge = None if second is None else as_classifier(second)
    return {
        "pictures": how_many(bench.made),
        "size": list(bench.made.images.shape[1:]),
        "real": how_many(bench.others["real"]) if "real" in bench.others else None,
        "against": None if bench.against is None else how_many(bench.against),
        "against_training_pictures": bench.trained,
        "second": None if judge is None else judge.name,
        "second_sha256": None if judge is None else judge.fingerprint(),
        "features": None if bench.place is None else str(bench.place),
        "layers": [str(place) for place in bench.path],
        "compared": sum(bench.counts.values()),
        "seed": seed,
        **provenance(bench.model),
    }


def _chance(bench: Bench) -> float:
    """What a network classifies correctly of the real pictures that says one class of all."""
    real = bench.others.get("real")
    if real is None or len(real.classes.unique()) < 2:
        return 1 / bench.model.num_classes
    return float(real.classes.bincount().max()) / len(real)


def _remarks(bench: Bench, real: Labelled | None, train: Labelled | None) -> list[str]:
    """What a reader of the numbers should know."""
    found = []
    if bench.against is not None and bench.against is bench.others.get("real"):
        found.append(
            "there is one real picture of each class: sets are held against these, and no other "
            "real ones stand beside"
        )
    elif train is None and real is not None and bench.against is not None:
        found.append(
            "no training pictures were given: real pictures are held against each other, "
            f"{len(bench.others['real'])} against {len(bench.against)}"
        )
    twin = bench.others.get("random")
    if twin is not None and len(twin) < len(bench.made):
        found.append(
            f"of the network with random weights {count(len(twin), 'picture')} stand beside, made "
            "as the first ones"
        )
    if train is not None and real is None:
        found.append("no real pictures but training ones were given, so none stand beside")
    compared = sum(bench.counts.values())
    if bench.against is not None and not bench.counts:
        found.append(
            "no real picture is of a class of these: sets are compared across classes, which says "
            "little"
        )
    if bench.counts and compared < len(bench.made):
        found.append(
            f"sets are compared at {count(compared, 'picture')} of {len(bench.made)}, as many of "
            "each class as all sets have"
        )
    if bench.against is not None and bench.place is not None:
        found.append(
            "intervals leave out which real pictures there are: with others precision, recall, "
            "density and coverage may change by more"
        )
    if len(bench.made) < 100:
        found.append(
            f"{count(len(bench.made), 'picture')} are few: read the intervals, and the numbers of "
            "sets beside those of real pictures alone"
        )
    return found
