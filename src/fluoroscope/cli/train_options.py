"""The options of ``fluoroscope train`` that belong to a recipe, or to what goes along with one.

What takes them is said in ``training/names.py``.
"""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from fluoroscope.cli.options import parameter, parameters, sign

_ALONG, _NORMS = "Along with any training", "Recipe multi-norm"
_EXCLUDE, _LAYER, _GATES = "Recipe exclude", "Recipes at a layer", "Recipe gates"
_INVERTIBLE = "Recipe invertible"


def _gate(kind: Any, words: str) -> tuple[Any, Any]:
    """An option of the gates; without a default of its own."""
    return Annotated[kind | None, typer.Option(help=words, rich_help_panel=_GATES)], None


OF_RECIPES: dict[str, tuple[Any, Any]] = {
    "ema": (
        Annotated[
            float | None,
            typer.Option(
                help="Judge by, and end with, the average of the weights of this decay: 0.999.",
                rich_help_panel=_ALONG,
            ),
        ],
        None,
    ),
    "awp": (
        Annotated[
            float | None,
            typer.Option(
                help="Take the gradient at weights moved up the loss by this share of their norm: "
                "0.005; a pass forward and back more.",
                rich_help_panel=_ALONG,
            ),
        ],
        None,
    ),
    "second": (
        Annotated[
            str | None,
            typer.Option(
                help="More labelled pictures, such as generated ones: a share of each batch is "
                "made of them.",
                rich_help_panel=_ALONG,
            ),
        ],
        None,
    ),
    "second_share": (
        Annotated[
            float | None,
            typer.Option(help="Their share of each batch; default: 0.5.", rich_help_panel=_ALONG),
        ],
        None,
    ),
    "norms": (
        Annotated[
            str | None,
            typer.Option(
                help="The balls that pictures are moved within: linf:8/255,l1:12.",
                rich_help_panel=_NORMS,
            ),
        ],
        None,
    ),
    "outside": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="Other pictures, to be told from digits at the end. Repeatable.",
                rich_help_panel=_EXCLUDE,
            ),
        ],
        None,
    ),
    "layer": (
        Annotated[
            str | None,
            typer.Option(
                help="Whose units are looked at, by its name (fluoroscope neurons list); default: "
                "the last convolution, for gates where its maps end.",
                rich_help_panel=_LAYER,
            ),
        ],
        None,
    ),
    "weight": (
        Annotated[
            float | None,
            typer.Option(
                help="Of the recipe's own term beside the rest of the loss; default: consistent 1, "
                "selective 0.1. With consistent that rest is the cross-entropy of real and that of "
                "moved pictures, whole for pgd, half of each for fgsm and attacks by name; for "
                "trades and mart it is their own loss.",
                rich_help_panel=_LAYER,
            ),
        ],
        None,
    ),
    "distance": (
        Annotated[
            str | None,
            typer.Option(
                help="With consistent, of features: l2 or cosine, either 0 to 2; default: l2.",
                rich_help_panel=_LAYER,
            ),
        ],
        None,
    ),
    "scales": (
        Annotated[
            int | None,
            typer.Option(
                help="How often the picture is squeezed: 2×2 pixels into as many channels; "
                "default: 2.",
                rich_help_panel=_INVERTIBLE,
            ),
        ],
        None,
    ),
    "blocks": (
        Annotated[
            int | None,
            typer.Option(
                help="Blocks after each squeeze; default: 4.", rich_help_panel=_INVERTIBLE
            ),
        ],
        None,
    ),
    "hidden": (
        Annotated[
            int | None,
            typer.Option(
                help="Channels in the middle of a block; default: 32.", rich_help_panel=_INVERTIBLE
            ),
        ],
        None,
    ),
    "contraction": (
        Annotated[
            float | None,
            typer.Option(
                help="By how much a block may stretch a difference, below 1; default: 0.9.",
                rich_help_panel=_INVERTIBLE,
            ),
        ],
        None,
    ),
    "gate_density": _gate(float, "Of all gates the share that may be open, 0 to 1; default: 0.2."),
    "gate_weight": _gate(float, "Of the penalty for each gate beyond that; default: 0.001."),
    "gate_start": _gate(float, "Where every gate begins, above 0 up to 1; default: 0.5."),
    "gate_warm_up": _gate(int, "Epochs without gates at the beginning; default: 1."),
    "gate_every": _gate(int, "After these, one of so many batches is gated; default: 3."),
    "gate_rate": _gate(
        float, "Learning rate of the gates, in units of the network's; default: 10."
    ),
}
"""Of each option its annotation and default, by argument."""


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that wants ``options``, those that were given by name, an option for each."""

    @wraps(command)
    def gathering(**given: Any) -> None:
        found = {name: given.pop(name) for name in OF_RECIPES}
        chosen = {
            name: value
            for name, value in found.items()
            if value != OF_RECIPES[name][1] and value != []  # of a repeatable one, given never
        }
        command(options=chosen, **given)

    own = [parameter(name, kind, default) for name, (kind, default) in OF_RECIPES.items()]
    kept = parameters(command, without="options")
    sign(gathering, [*kept, *own])
    return gathering
