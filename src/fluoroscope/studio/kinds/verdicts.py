"""What an audit says of a method as it is told: its word, and what was and was not measured."""

from typing import TYPE_CHECKING, Any

from fluoroscope.attribution.audit.randomise import insensitive

if TYPE_CHECKING:
    from fluoroscope.attribution.audit.result import Audit


def measured(audit: "Audit", method: str) -> dict[str, Any]:
    """Beside the word: what its maps were held against, and what came of that."""
    row = next(one for one in audit.rows if one.verdict.method == method)
    return {
        "compared": bool(row.random),
        "scored": bool(row.scores),
        "unlearnt": any(True for _ in insensitive(row.random)),
        "no_better_than": audit.no_better_than(method),
    }
