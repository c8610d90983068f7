"""Recipes by name: a paper's own constants, and what here is ours.

Most are values. Some are finished for the network at hand: where a paper gives other constants for
small pictures, and where layers are compared with real pictures or with what batch norm has kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.features import feature_places
from fluoroscope.inversion.portraits import known_transformations as known
from fluoroscope.inversion.portraits.objectives.classes import class_goal
from fluoroscope.inversion.portraits.objectives.goal import watched
from fluoroscope.inversion.portraits.optimisers import Adam, L2Ascent, Levelled, Momentum, NAdam
from fluoroscope.inversion.portraits.parameterisations.direct_ascent import DirectAscent
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.parameterisations.maco import MACO
from fluoroscope.inversion.portraits.parameterisations.pixels import Pixels
from fluoroscope.inversion.portraits.places import checked_pictures, stages
from fluoroscope.inversion.portraits.priors.near_start import near_start
from fluoroscope.inversion.portraits.priors.pixels import l_norm, total_variation
from fluoroscope.inversion.portraits.priors.statistics import (
    batch_norm_statistics,
    fitted_statistics,
    layer_statistics,
)
from fluoroscope.inversion.portraits.priors.vital import sorted_values
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted
from fluoroscope.inversion.portraits.schedules import Cosine, Stairs
from fluoroscope.inversion.portraits.transformations import Transformations
from fluoroscope.inversion.prior_files import prior_for
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count, listed

Labelled = tuple[Tensor, Tensor]
"""Pictures ``(N, C, H, W)`` and the class of each ``(N,)``."""

# Pictures of this side or less have the constants that papers give for CIFAR-10.
_SMALL = 64
# The deviation of ImageNet's and CIFAR's pixels, by which their inputs are divided: what a paper
# says of such inputs is so many times as much of pixels.
_DEVIATION = 0.225
_DAS_RATE = 0.005
# Real pictures of a class that VITAL compares with, at most.
_OF_A_CLASS = 50


@dataclass(frozen=True)
class Material:
    """What a preset is finished with."""

    model: Classifier
    size: tuple[int, int]
    """``(height, width)`` of what the network sees."""
    classes: Tensor
    """``(N,)``, of the portraits; -1 of one of no class."""
    prior: Any = None
    """As it was given; see :func:`.prior_for`."""
    real: Labelled | None = None
    started: bool = False
    """Whether there is a picture to start from."""


@dataclass(frozen=True)
class Preset:
    """A recipe by name."""

    recipe: Recipe
    finish: Callable[[Recipe, Material], Recipe] | None = None
    """What is done to it for a network, if anything."""
    takes_real: bool = False
    """Whether real pictures are compared with."""


def as_recipe(method: str | Recipe, *, steps: int | None = None, **options: Any) -> Recipe:
    """The recipe of that name, or the value itself, with some fields changed.

    Raises:
        InvalidParameterError: no such preset, or no such field.
    """
    recipe = method if isinstance(method, Recipe) else _preset(method).recipe
    names = {field.name for field in fields(Recipe)}
    for name in options:
        if name not in names:
            raise InvalidParameterError(
                f"{name} is no field of a recipe; expected one of {', '.join(sorted(names))}"
            )
    if steps is not None:
        if steps < 1:
            raise InvalidParameterError(f"steps is {steps}; expected 1 or more")
        options["steps"] = steps
    return replace(recipe, **options)


def finished(
    method: str | Recipe, recipe: Recipe, material: Material, options: dict[str, Any]
) -> Recipe:
    """The recipe of that name for a network, where it depends on it.

    What was asked for in ``options`` stays as it is.

    Raises:
        InvalidParameterError: real pictures are missing, or are given and not looked at.
        InvalidImagesError: they are none that the network takes.
    """
    preset = Preset(recipe) if isinstance(method, Recipe) else _preset(method)
    if material.real is not None:
        if not preset.takes_real:
            takers = [f"method={name!r}" for name, each in OFFERED.items() if each.takes_real]
            named = "a Recipe has priors of its own" if isinstance(method, Recipe) else method
            raise InvalidParameterError(
                f"real pictures are given, and {named} "
                + ("" if isinstance(method, Recipe) else "looks at none; ")
                + f"expected {listed(takers, 'or')}"
            )
        material = replace(material, real=_checked(material.model, material.real))
    if preset.finish is None:
        return recipe
    return replace(preset.finish(recipe, material), **options)


def _preset(name: object) -> Preset:
    preset = OFFERED.get(name) if isinstance(name, str) else None
    if preset is None:
        raise InvalidParameterError(
            f"method is {name!r}; expected one of {', '.join(OFFERED)}, or a Recipe"
        )
    return preset


def _checked(model: Classifier, real: Labelled) -> Labelled:
    if not isinstance(real, tuple | list) or len(real) != 2:
        raise InvalidParameterError(
            f"real is a {type(real).__name__}; expected a pair of pictures and their classes"
        )
    pictures, labels = checked_pictures(model, real[0]), real[1]
    if not isinstance(labels, Tensor) or labels.shape != (len(pictures),):
        raise InvalidParameterError(
            f"real holds {count(len(pictures), 'picture')}; expected the class of each beside "
            f"them, a tensor ({len(pictures)},)"
        )
    return pictures, labels.cpu()


def _small(material: Material) -> bool:
    return max(material.size) <= _SMALL


def _mirrored(transformations: Transformations, material: Material) -> Transformations:
    """Grey pictures are letters, digits and scans as often as photographs: they have a side."""
    return transformations if material.model.channels > 1 else replace(transformations, flip=0.0)


def _maco(recipe: Recipe, material: Material) -> Recipe:
    """Of small pictures one thing fills the frame, and a twentieth of them is a pixel."""
    if _small(material):
        return replace(recipe, canvas=1.0, transformations=known.maco_small())
    return recipe


def _direct_ascent(recipe: Recipe, material: Material) -> Recipe:
    if _small(material):
        return replace(
            recipe,
            canvas=1.0,
            parameterisation=DirectAscent(every=1),
            optimiser=Momentum(10 * _DAS_RATE),
            transformations=known.direct_ascent_small(),
        )
    return recipe


def _accentuation(recipe: Recipe, material: Material) -> Recipe:
    if not material.started:
        raise InvalidParameterError(
            "accentuation raises what a network sees in a picture, and none is given; expected "
            "start=, a picture in [0, 1]"
        )
    ends = stages(material.model, _blank(material))
    shown = known.faccent_small() if _small(material) else recipe.transformations
    near = Weighted(near_start(ends[len(ends) // 2]), 0.1)
    return replace(recipe, transformations=shown, priors=(near,))


def _deepinversion(recipe: Recipe, material: Material) -> Recipe:
    """DeepInversion's numbers for pictures of the size: CIFAR-10's, or ImageNet's."""
    if _small(material):
        rate, weight, rough, shown = 0.1, 10.0, 1e-3, known.deepinversion(pixels=2, side=32)
    else:
        rate, weight, rough, shown = 0.2, 0.01, 1e-4, known.deepinversion()
    return replace(
        recipe,
        transformations=_mirrored(shown, material),
        optimiser=_warm(rate, recipe.steps),
        priors=(
            Weighted(batch_norm_statistics(material.model), weight, ratio=False),
            Weighted(total_variation("deepinversion"), rough / _DEVIATION, ratio=False),
        ),
    )


def _with_real_statistics(recipe: Recipe, material: Material) -> Recipe:
    model = material.model
    shown = known.deepinversion(pixels=2, side=32) if _small(material) else known.deepinversion()
    prior = prior_for(model, material.prior, material.size)
    if material.real is not None:
        found = layer_statistics(model, material.real[0], _stages_and_features(material))
    elif prior.layers:
        if prior.record.get("model_sha256") != model.fingerprint():
            raise InvalidParameterError(
                f"prior {prior.name} knows layers of {prior.record.get('model')}, and the network "
                f"is {model.name}; expected one that was fitted with it: fit_prior(images, model, "
                "layers='stages')"
            )
        found = fitted_statistics(prior)
    else:
        raise InvalidParameterError(
            f"deepinversion-data compares layers of {model.name} with real pictures, and none are "
            "given; expected real=, pictures and their classes, or a prior= that measured layers "
            "too"
        )
    return replace(
        recipe,
        transformations=_mirrored(shown, material),
        priors=(
            Weighted(found, 0.1),
            Weighted(total_variation("deepinversion"), 0.1),
        ),
    )


def _vital(recipe: Recipe, material: Material) -> Recipe:
    if material.real is None:
        raise InvalidParameterError(
            f"vital compares layers of {material.model.name} with real pictures of each class, and "
            "none are given; expected real=, pictures and their classes"
        )
    images, labels = material.real
    asked = material.classes.cpu().unique()
    rows = [(labels == each).nonzero()[:_OF_A_CLASS, 0] for each in asked]
    for each, own in zip(asked.tolist(), rows, strict=True):
        if not len(own):
            raise InvalidParameterError(
                f"real holds no picture of class {each}, {material.model.labels[each]}; expected "
                f"some of each class that a portrait is asked of, best {_OF_A_CLASS}"
            )
    chosen = torch.cat(rows)
    prior = sorted_values(
        material.model, images[chosen], _stages_and_features(material), labels=labels[chosen]
    )
    shown = known.vital(pixels=2, side=32) if _small(material) else known.vital()
    return replace(
        recipe,
        transformations=shown,
        optimiser=_warm(1.0, recipe.steps),
        priors=(Weighted(prior, 1.0, ratio=False),),
    )


def _stages_and_features(material: Material) -> list[Place]:
    """The ends of the network's stages, and what its last layer is given.

    Where that is no mean over places, as in the networks of the papers, maps alone would not tell
    where things are.
    """
    blank = _blank(material)
    return [*stages(material.model, blank), *feature_places(material.model, blank)]


def _blank(material: Material) -> Tensor:
    model = material.model
    shape = (1, model.channels, *material.size)
    return torch.zeros(shape, dtype=model.dtype, device=model.device)


def _warm(rate: float, steps: int) -> Adam:
    """Adam as DeepInversion and VITAL have it, its rate in pixels; fewer steps warm up less."""
    return Adam(rate * _DEVIATION, Cosine(warm_up=min(100, steps // 20)), betas=(0.5, 0.9))


OFFERED: dict[str, Preset] = {
    "pixels": Preset(Recipe()),
    "simonyan": Preset(
        Recipe(
            parameterisation=Pixels(spread=0.01),
            priors=(Weighted(l_norm(2), 0.1),),
            optimiser=Levelled(0.01),
            steps=200,
        )
    ),
    "mahendran": Preset(
        Recipe(
            priors=(
                Weighted(l_norm(6), 0.1),
                Weighted(total_variation("isotropic", power=2), 1.0),
            ),
            optimiser=Momentum(0.1, Stairs(40, 0.1), momentum=0.9),
            steps=200,
        )
    ),
    "fourier": Preset(
        Recipe(
            parameterisation=Fourier(),
            transformations=known.lucid(),
            optimiser=Adam(learning_rate=0.05),
            steps=512,
        )
    ),
    "maco": Preset(
        Recipe(
            parameterisation=MACO(),
            transformations=known.maco(),
            optimiser=NAdam(1.0),
            steps=256,
            canvas=512 / 224,
        ),
        _maco,
    ),
    "maco-gated": Preset(
        Recipe(
            parameterisation=MACO(gate=True),
            transformations=known.maco(),
            optimiser=NAdam(1.0),
            steps=256,
            canvas=512 / 224,
        ),
        _maco,
    ),
    "das": Preset(
        Recipe(
            parameterisation=DirectAscent(every=4),
            transformations=known.direct_ascent(),
            optimiser=Momentum(_DAS_RATE),
            steps=100,
            canvas=336 / 224,
        ),
        _direct_ascent,
    ),
    "accentuation": Preset(
        Recipe(
            parameterisation=Fourier(),
            transformations=known.faccent(),
            optimiser=Adam(0.05),
            steps=100,
        ),
        _accentuation,
    ),
    "robust": Preset(
        Recipe(
            goal=class_goal("log-probability"),
            optimiser=L2Ascent(1.0, eps=40.0),
            steps=60,
        )
    ),
    "vit": Preset(
        Recipe(
            parameterisation=Pixels(spread=0.29),
            transformations=known.vit(),
            priors=(Weighted(total_variation("deepinversion"), 5e-5, ratio=False),),
            optimiser=Adam(0.1, Cosine(), betas=(0.5, 0.99)),
            steps=400,
        )
    ),
    "deepinversion": Preset(
        Recipe(
            parameterisation=Pixels(spread=_DEVIATION),
            goal=class_goal("log-probability"),
            steps=2000,
        ),
        _deepinversion,
    ),
    "deepinversion-data": Preset(
        Recipe(
            parameterisation=Pixels(spread=_DEVIATION),
            optimiser=Adam(0.05),
            steps=400,
        ),
        _with_real_statistics,
        takes_real=True,
    ),
    "vital": Preset(
        Recipe(
            parameterisation=Pixels(spread=_DEVIATION),
            goal=watched(class_goal()),
            steps=2000,
        ),
        _vital,
        takes_real=True,
    ),
}
"""All presets by name."""
PRESETS: dict[str, Recipe] = {name: preset.recipe for name, preset in OFFERED.items()}
"""Their recipes, before they are finished for a network."""
