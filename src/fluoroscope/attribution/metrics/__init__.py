"""How good maps are: each metric a value that scores maps of any source.

``METRICS["deletion"](model, images, classes, maps)`` gives a score for each picture. To score the
maps of several methods, ``prepare`` a metric once: what does not depend on the maps is then asked
of the network once::

    setting = Setting.of(model, images, classes)
    scores = metric("mufidelity").prepare(setting)
    scores(maps), scores(other_maps)

:class:`Flipping` gives deletion, insertion and SRG of one ordering. Beside the scores belong those
of :func:`controls`, and :func:`informative` says whether any method beats them.
"""

from fluoroscope.attribution.metrics.again import denoised as denoised
from fluoroscope.attribution.metrics.controls import controls as controls
from fluoroscope.attribution.metrics.flipping import Curves as Curves
from fluoroscope.attribution.metrics.flipping import Flipping as Flipping
from fluoroscope.attribution.metrics.informative import Informative as Informative
from fluoroscope.attribution.metrics.informative import informative as informative
from fluoroscope.attribution.metrics.intervals import bootstrap as bootstrap
from fluoroscope.attribution.metrics.maps import as_maps as as_maps
from fluoroscope.attribution.metrics.metric import Metric as Metric
from fluoroscope.attribution.metrics.registry import METRICS as METRICS
from fluoroscope.attribution.metrics.registry import metric as metric
from fluoroscope.attribution.metrics.setting import Setting as Setting
from fluoroscope.attribution.metrics.similarity import entropy as entropy
from fluoroscope.attribution.metrics.similarity import entropy_rise as entropy_rise
from fluoroscope.attribution.metrics.similarity import mean_similarity as mean_similarity
from fluoroscope.attribution.metrics.similarity import similarity as similarity
