"""Every kind of job, in the order of the page."""

from fluoroscope.studio.kinds.attack import ATTACK
from fluoroscope.studio.kinds.attribution import ATTRIBUTION
from fluoroscope.studio.kinds.audit import AUDIT
from fluoroscope.studio.kinds.kind import Kind
from fluoroscope.studio.kinds.morph import MORPH
from fluoroscope.studio.kinds.portrait import PORTRAIT
from fluoroscope.studio.kinds.report import REPORT
from fluoroscope.studio.kinds.samples import SAMPLES
from fluoroscope.studio.kinds.units import UNITS

KINDS: tuple[Kind, ...] = (MORPH, ATTACK, ATTRIBUTION, AUDIT, UNITS, PORTRAIT, SAMPLES, REPORT)
