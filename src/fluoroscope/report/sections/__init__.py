"""The sections that are built in, in the order of the page; importing them registers them."""

from fluoroscope.report.sections import clean as clean
from fluoroscope.report.sections import curve as curve
from fluoroscope.report.sections import gradients as gradients
from fluoroscope.report.sections import map as map
from fluoroscope.report.sections import next as next
from fluoroscope.report.sections import pictures as pictures
from fluoroscope.report.sections import verdict as verdict
