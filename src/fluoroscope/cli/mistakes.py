"""Names that lead nowhere are told before a network is loaded, and before PyTorch is imported."""

from collections.abc import Callable, Mapping
from typing import Any


def tell_mistakes(command: str | None, given: Mapping[str, Any]) -> None:
    """Refuse what the names alone show to be wrong, of the options of one command.

    Raises:
        FluoroscopeError: the one that the library would raise later.
    """
    if command == "attribute":
        _tell_of_options(given)
    both = given.get("data") and given.get("image")  # the command says what it can do with two
    for option, check in _checks(command).items():
        value = None if both and option in ("data", "image") else given.get(option)
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str):
                check(name)


def _checks(command: str | None) -> dict[str, Callable[[str], Any]]:
    from fluoroscope.data.names import check_data, check_image
    from fluoroscope.engine.bounds import read_threat
    from fluoroscope.models.names import check_model

    return {
        "model": check_model,
        "transfer_to": check_model,
        "second": check_model,
        "also": check_model,
        **({"name": check_model} if command == "show" else {}),
        **(_of_trainings() if command == "train" else {}),
        **_of_methods(command),
        **(_of_generators() if command == "invert" else {}),
        **(_of_similarities() if command == "consistency" else {}),
        "data": check_data,
        "others": check_data,
        "image": check_image,
        "mask": check_image,
        "against": check_data if command == "show" else check_image,
        **({"start": check_image} if command == "portrait" else {}),
        "threat": read_threat,
    }


def _of_methods(command: str | None) -> dict[str, Callable[[str], Any]]:
    """What ``--method`` names in a command; of ``attribute`` its options tell."""
    from fluoroscope.attacks.catalogue import check_attack
    from fluoroscope.attribution.names import check_method

    if command == "attribute":
        return {}
    if command == "portrait":
        from fluoroscope.inversion.names import check_preset

        return {"method": check_preset}
    return {"method": check_method if command == "audit" else check_attack}


def _of_generators() -> dict[str, Callable[[str], Any]]:
    """What ``--conditioning`` and ``--preset`` name."""
    from fluoroscope.inversion.generator.names import check_conditioning, check_preset

    return {"conditioning": check_conditioning, "preset": check_preset}


def _of_trainings() -> dict[str, Callable[[str], Any]]:
    """What names a network to train, a recipe, and other data."""
    from fluoroscope.data.names import check_data
    from fluoroscope.models.names import check_model
    from fluoroscope.training.names import check_recipe

    return {"architecture": check_model, "recipe": check_recipe, "second": check_data}


def _of_similarities() -> dict[str, Callable[[str], Any]]:
    """What ``--similarity`` names."""
    from fluoroscope.neurons.meaning.definitions import check_similarity

    return {"similarity": check_similarity}


def _tell_of_options(given: Mapping[str, Any]) -> None:
    """Methods of attribution and their options."""
    from fluoroscope.cli.attribute_options import options_by_method, usual_methods

    others = {name: given.get(name) for name in ("layer", "baseline")}
    options_by_method(given.get("method") or usual_methods(), given.get("param"), **others)
