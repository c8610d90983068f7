"""The sections that are built in, in the order of the page; importing them registers them."""

from collections.abc import Sequence

from fluoroscope.errors import InvalidParameterError
from fluoroscope.report.registry import SECTIONS, Section
from fluoroscope.report.sections import clean as clean
from fluoroscope.report.sections import corruptions as corruptions
from fluoroscope.report.sections import curve as curve
from fluoroscope.report.sections import gradients as gradients
from fluoroscope.report.sections import map as map
from fluoroscope.report.sections import meanings as meanings
from fluoroscope.report.sections import next as next
from fluoroscope.report.sections import pictures as pictures
from fluoroscope.report.sections import portraits as portraits
from fluoroscope.report.sections import traces as traces
from fluoroscope.report.sections import verdict as verdict


def find_sections(names: Sequence[str] | None = None) -> list[Section]:
    """The sections of these names, or all, as they stand on the page.

    Raises:
        InvalidParameterError: there is no such section.
    """
    known = sorted(SECTIONS.values(), key=lambda one: one.order)
    if names is None:
        return known
    unknown = [name for name in names if name not in SECTIONS]
    if unknown or not names:
        given = repr(unknown[0]) if unknown else "none"
        raise InvalidParameterError(
            f"sections holds {given}; expected some of {', '.join(one.name for one in known)}"
        )
    return [one for one in known if one.name in names]
