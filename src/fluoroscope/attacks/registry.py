"""Attacks by name: one line each, family by family."""

import json
from dataclasses import MISSING, fields
from functools import reduce
from math import inf
from operator import or_
from pathlib import Path
from typing import Any

from fluoroscope import attacks
from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.catalogue import FILE, no_attack
from fluoroscope.engine.threats import Bound, threat_for
from fluoroscope.errors import InvalidParameterError

ATTACKS: dict[str, type[Method]] = {
    "fgsm": attacks.FGSM,
    "rfgsm": attacks.RFGSM,
    "bim": attacks.BIM,
    "pgd": attacks.PGD,
    "apgd": attacks.APGD,
    "apgd-t": attacks.APGDT,
    "cr": attacks.ConstraintRelaxation,
    "feature-adversary": attacks.FeatureAdversary,
    "deepfool": attacks.DeepFool,
    "ddn": attacks.DDN,
    "fmn": attacks.FMN,
    "fab": attacks.FAB,
    "fab-t": attacks.TargetedFAB,
    "cw": attacks.CarliniWagner,
    "cw-linf": attacks.CarliniWagnerLinf,
    "cw-l0": attacks.CarliniWagnerL0,
    "ead": attacks.EAD,
    "l-bfgs": attacks.LBFGS,
    "latent": attacks.LatentBorder,
    "sparse-rs": attacks.SparseRS,
    "one-pixel": attacks.OnePixel,
    "jsma": attacks.JSMA,
    "sparsefool": attacks.SparseFool,
    "mi-fgsm": attacks.MIFGSM,
    "ni-fgsm": attacks.NIFGSM,
    "vmi-fgsm": attacks.VMIFGSM,
    "di-fgsm": attacks.DIFGSM,
    "ti-fgsm": attacks.TIFGSM,
    "si-fgsm": attacks.SIFGSM,
    "admix": attacks.AdmixFGSM,
    "ghost-fgsm": attacks.GhostFGSM,
    "ensemble-optimisation": attacks.EnsembleOptimisation,
    "square": attacks.Square,
    "nes": attacks.NES,
    "spsa": attacks.SPSA,
    "simba": attacks.SimBA,
    "zoo": attacks.ZOO,
    "boundary": attacks.Boundary,
    "hopskipjump": attacks.HopSkipJump,
    "geoda": attacks.GeoDA,
    "rotation-translation": attacks.RotationTranslation,
    "stadv": attacks.StAdv,
    "universal": attacks.UniversalPerturbation,
    "patch": attacks.Patch,
}


def attack(
    name: str, *, eps: Bound | None = None, norm: str | None = None, **parameters: Any
) -> Method:
    """The attack of that name, ready to be called with a network, images and classes.

    Args:
        name: one of ``ATTACKS``; ``fluoroscope attacks`` lists them. Several, such as
            ``"fgsm|pgd|square"``, attack one after the other what those before left; each takes
            the parameters that it has.
        eps: how far an image may move, such as ``"8/255"``, or one such for each image ``(N,)``
            that it will be called with. Attacks that look for the closest success may go without.
        norm: what ``eps`` measures; by default the attack's usual one.
        parameters: the attack's own, such as ``steps``.

    Raises:
        InvalidParameterError: no such attack, norm or parameter, or a missing ``eps``.
    """
    if "|" in name:
        return _chain(name.split("|"), eps=eps, norm=norm, parameters=parameters)
    kind = find_attack(name)
    known = [field.name for field in fields(kind) if field.name != "threat"]  # type: ignore[arg-type]
    for given in parameters:
        if given not in known:
            raise InvalidParameterError(
                f"{name} has no parameter {given!r}; expected "
                + (" or ".join(known) if known else "none beside eps and norm")
            )
    norm = norm or kind.norms[0]
    if norm not in kind.norms:
        raise InvalidParameterError(
            f"{name} is not defined for the norm {norm!r}; expected {' or '.join(kind.norms)}"
        )
    if eps is None and not kind.minimum_norm and norm != "none":
        raise InvalidParameterError(
            f"{name} needs an eps, how far an image may move: eps={_SUCH_AS[norm]!r}"
        )
    threat = threat_for(norm, inf if eps is None and norm != "none" else eps)
    return kind(threat=threat, **parameters)  # type: ignore[call-arg]


# A bound that makes sense in each norm, for whoever gave none.
_SUCH_AS = {"linf": "8/255", "l2": "0.5", "l1": "12", "l0": "1"}


def _chain(
    names: list[str], *, eps: Bound | None, norm: str | None, parameters: dict[str, Any]
) -> Method:
    kinds = [find_attack(name.strip()) for name in names]
    has = [{field.name for field in fields(kind)} - {"threat"} for kind in kinds]  # type: ignore[arg-type]
    for given in parameters:
        if not any(given in known for known in has):
            raise InvalidParameterError(
                f"none of {', '.join(names)} has a parameter {given!r}; expected one of "
                + ", ".join(sorted(set().union(*has)))
            )
    norm = norm or kinds[0].norms[0]
    links = [
        attack(
            name.strip(),
            eps=eps,
            norm=norm,
            **{given: value for given, value in parameters.items() if given in known},
        )
        for name, known in zip(names, has, strict=True)
    ]
    return reduce(or_, links)


def find_attack(name: str) -> type[Method]:
    """The class behind a name.

    Raises:
        InvalidParameterError: no such attack.
    """
    if name not in ATTACKS:
        raise no_attack(name, ATTACKS)
    return ATTACKS[name]


def family(kind: type[Method]) -> str:
    """The folder that an attack lives in, such as ``minimum norm``."""
    return kind.__module__.split(".")[-2].replace("_", " ")


def describe_attacks() -> list[dict[str, Any]]:
    """What each attack is, as plain values."""
    return [
        {
            "name": name,
            "class": kind.__name__,
            "family": family(kind),
            "access": kind.access,
            "norms": list(kind.norms),
            "minimum_norm": kind.minimum_norm,
            "can_target": kind.can_target,
            "cost": kind.cost,
            "paper": kind.paper,
            "summary": (kind.__doc__ or "").partition("\n\n")[0].strip(),
            "parameters": {
                field.name: as_plain(None if field.default is MISSING else field.default)
                for field in fields(kind)  # type: ignore[arg-type]
                if field.name != "threat"
            },
        }
        for name, kind in ATTACKS.items()
    ]


if __name__ == "__main__":
    text = json.dumps(describe_attacks(), indent=1, ensure_ascii=False)
    (Path(__file__).parent / FILE).write_text(text + "\n", "utf-8")
