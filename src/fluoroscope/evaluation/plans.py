"""The plans there are: those that come with the toolkit, by name, and those of files."""

import tomllib
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.fast import fast
from fluoroscope.evaluation.plan import Plan, Stage, black_box, curve, made, rand, standard
from fluoroscope.files import regular, user_path

# Bytes of a plan's file.
_LONGEST = 100_000

PLANS: dict[str, Callable[[Threat], Plan]] = {
    "standard": standard,
    "fast": fast,
    "rand": rand,
    "curve": curve,
    "black-box": black_box,
}


def find_plan(plan: str | Path | Plan, threat: Threat) -> Plan:
    """The plan of that name, of that file, or the value itself.

    A file is TOML: a table ``[[stages]]`` for each attack with its name, ``attack``, those of a
    stage's other fields that differ from the usual, and the attack's own parameters in
    ``[stages.parameters]``.

    Raises:
        InvalidParameterError: no such plan or file, or one that makes no sense.
    """
    if isinstance(plan, Plan):
        return _of_norm(plan, threat)
    if str(plan) in PLANS:
        return PLANS[str(plan)](threat)
    path = user_path(plan)
    try:
        with regular(path).open("rb") as file:
            text = file.read(_LONGEST + 1)
    except OSError as error:
        raise InvalidParameterError(
            f"there is no plan {str(plan)!r} ({error.strerror}); expected {', '.join(PLANS)} or a "
            "TOML file"
        ) from error
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} bytes")
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidParameterError(
            f"{path} is no plan: {error}; expected TOML with a [[stages]] for each attack"
        ) from error
    try:
        return _from_table(path.stem, table, threat)
    except InvalidParameterError as error:
        raise InvalidParameterError(f"{path}: {error}") from error


def _of_norm(plan: Plan, threat: Threat) -> Plan:
    for stage in plan.stages:
        norm = stage.attack.threat.name
        if norm != threat.name:
            raise InvalidParameterError(
                f"the stage {stage.name} of the plan {plan.name} measures {norm} and the threat "
                f"{threat.name}; expected one norm"
            )
    return plan


def _from_table(name: str, table: dict[str, Any], threat: Threat) -> Plan:
    _only(table, {"stages", "samples"}, "it")
    given, samples = table.get("stages", []), table.get("samples", 1)
    if type(samples) is not int or samples < 1:
        raise InvalidParameterError(f"samples is {samples!r}; expected a whole number from 1")
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidParameterError("stages is no list of tables; expected [[stages]] for each")
    return Plan(name, tuple(_stage(each, threat) for each in given), samples=samples)


def _stage(given: dict[str, Any], threat: Threat) -> Stage:
    method = given.get("attack")
    if not isinstance(method, str):
        raise InvalidParameterError("a stage has no attack; expected attack = 'apgd', say")
    name, parameters = given.get("name", method.replace("|", "-")), given.get("parameters", {})
    own = {field.name for field in fields(Stage)}
    _only(given, own | {"parameters"}, f"the stage {name}")
    if not isinstance(parameters, dict):
        raise InvalidParameterError(
            f"the parameters of {name} are no table; expected [stages.parameters]"
        )
    for one in parameters.keys() & {"eps", "norm", "threat"}:
        raise InvalidParameterError(
            f"the stage {name} has {one!r}; leave it out: the threat says how far images may move"
        )
    try:
        attack = made(method, threat, **parameters)
    except InvalidParameterError as error:
        raise InvalidParameterError(f"the stage {name}: {error}") from error
    rest = {key: value for key, value in given.items() if key in own - {"name", "attack"}}
    for names in ("judged_by", "nearer"):
        if isinstance(rest.get(names), list):
            rest[names] = tuple(rest[names])
    return Stage(name, attack, **rest)


def _only(table: dict[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        raise InvalidParameterError(
            f"{what} has {unknown[0]!r}; "
            + (f"did you mean {near[0]}? " if near else "")
            + f"expected {', '.join(sorted(known))}"
        )
