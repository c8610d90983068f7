"""Plans that take no time."""

import fluoroscope as fs
from fluoroscope.evaluation.plan import Plan, Stage


def plan(eps: float = 0.02, steps: int = 3) -> Plan:
    """FGSM, and PGD on what survives; of ``digits-linear`` each catches something within 0.02."""
    methods = {"fgsm": fs.attack("fgsm", eps=eps), "pgd": fs.attack("pgd", eps=eps, steps=steps)}
    return Plan("short", tuple(Stage(name, method) for name, method in methods.items()))
