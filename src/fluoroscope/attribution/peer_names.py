"""The names of Captum's methods, and what each must be told. Imports neither PyTorch nor Captum."""

import re
from dataclasses import dataclass
from typing import Literal

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wording import did_you_mean

PREFIX = "captum:"
Wants = Literal["baselines", "windows", "features", "layer", "saliency"]
"""What one of Captum's methods must be told, beside the picture and its class."""


@dataclass(frozen=True)
class Peer:
    """One of Captum's classes."""

    kind: str
    wants: tuple[Wants, ...] = ()
    random: bool = False
    """Draws random numbers; then each picture is explained by itself, with its own."""
    promise: Literal["completeness", "conservation"] | None = None
    converges: bool = False
    """Keeps its promise in the limit alone, of ever more points."""
    inner: bool = False
    """Its map has the size of a layer."""
    of: str = "target"
    """``target``, or ``nothing`` where no class is asked for."""


def _kebab(kind: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", kind).lower()


_ALL = (
    Peer("Saliency"),
    Peer("InputXGradient"),
    Peer("IntegratedGradients", promise="completeness", converges=True),
    Peer("DeepLift", promise="completeness"),
    Peer("DeepLiftShap", ("baselines",), promise="completeness"),
    Peer("GradientShap", ("baselines",), random=True),
    Peer("GuidedBackprop"),
    Peer("Deconvolution"),
    Peer("GuidedGradCam", ("layer",)),
    Peer("LRP", promise="conservation"),
    Peer("Occlusion", ("windows",)),
    Peer("FeatureAblation", ("features",)),
    Peer("ShapleyValueSampling", ("features",), random=True),
    Peer("ShapleyValues", ("features",)),
    Peer("KernelShap", ("features",), random=True),
    Peer("Lime", ("features",), random=True),
    Peer("NoiseTunnel", ("saliency",), random=True),
    Peer("LayerActivation", ("layer",), inner=True, of="nothing"),
    Peer("LayerConductance", ("layer",), inner=True),
    Peer("LayerDeepLift", ("layer",), inner=True),
    Peer("LayerDeepLiftShap", ("layer", "baselines"), inner=True),
    Peer("LayerFeatureAblation", ("layer",), inner=True),
    Peer("LayerGradCam", ("layer",), inner=True),
    Peer("LayerGradientShap", ("layer", "baselines"), random=True, inner=True),
    Peer("LayerGradientXActivation", ("layer",), inner=True),
    Peer("LayerIntegratedGradients", ("layer",), inner=True),
    Peer("LayerLRP", ("layer",), inner=True),
    Peer("InternalInfluence", ("layer",), inner=True),
)
PEERS: dict[str, Peer] = {_kebab(about.kind): about for about in _ALL}
"""Captum's methods by name, without the prefix."""
_SLOPES = ("Saliency", "GuidedBackprop", "Deconvolution", "NoiseTunnel")


def peer_reads(name: str) -> Literal["slope", "part", "heat"]:
    """How the numbers of ``captum:NAME`` are read; see :class:`.names.About`."""
    peer = PEERS.get(name.removeprefix(PREFIX))
    if peer is None or peer.inner or peer.kind == "GuidedGradCam":
        return "heat"
    return "slope" if peer.kind in _SLOPES else "part"


def peer_name(name: str) -> str:
    """Captum's method of ``captum:NAME`` as it is listed; hyphens and case do not matter.

    Raises:
        InvalidParameterError: Captum has no such class for pictures.
    """
    wanted = name.removeprefix(PREFIX)
    spelled = {peer.replace("-", ""): peer for peer in PEERS}
    found = spelled.get(re.sub(r"[-_ ]", "", wanted).lower())
    if found is None:
        raise InvalidParameterError(
            f"there is no attribution method {name!r}; {did_you_mean(wanted, PEERS, PREFIX)}"
            f"expected {PREFIX} and one of {', '.join(PEERS)}"
        )
    return found
