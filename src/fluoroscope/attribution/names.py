"""Every method in plain words: names, papers, formulas, promises, costs. Imports no PyTorch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from fluoroscope.attribution.peer_names import PEERS, PREFIX, peer_name, peer_reads
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class About:
    """What a method says of itself."""

    home: str
    """Where its class is: ``module:Class`` within ``fluoroscope.attribution``."""
    summary: str
    """What its map is, in a line."""
    formula: str
    paper: str
    cost: str
    """Passes for each picture and class."""
    promise: str = "none"
    """What its map adds up to."""
    reads: Literal["slope", "part", "heat"] = "part"
    """How its numbers are read: ``slope``, what brighter pixels do to the class; ``part``, what a
    pixel as it is speaks for or against it; ``heat``, where something is, in no unit."""
    caution: str = ""
    """What to know before it is used."""
    of_class: bool = True
    """Whether its maps are of the class that is asked for."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What each option means; its name and default are those of the class."""
    quick: Mapping[str, int] = field(default_factory=dict)
    """Options with which an audit looks at it, where as it is it would take too long."""


_OBJECTIVE = {"objective": "the number to explain: logit, log-probability, probability or margin"}

_SINGLE = (
    "black, white, mean (of the picture's channels), blur, noise, a number in [0, 1], or a picture "
    "(C, H, W)"
)
_BASELINE = f"{_SINGLE} or a set of pictures (M, C, H, W)"
_CAM = {
    **_OBJECTIVE,
    "layer": "the layer to read, by its dotted name; the last with maps if it is left out",
    "call": "which use of a layer that is used several times in a pass, from 0; else the last",
}
_RECTIFIED = {"relu": "whether only what speaks for the class is kept; else the map is signed"}
_READ = "1 forward, and back to the layer"

_NOISY = {
    "samples": "noisy copies of the picture",
    "noise": "the noise's standard deviation, as a share of the range of the picture's values",
    **_OBJECTIVE,
}

METHODS: dict[str, About] = {
    "gradient": About(
        home="gradient:Gradient",
        summary="which way each pixel moves the class, to first order",
        formula="df_c / dx",
        paper="Simonyan et al. 2013 (1312.6034)",
        cost="1 forward and backward",
        reads="slope",
        options=_OBJECTIVE,
    ),
    "gradient-x-input": About(
        home="gradient:GradientTimesInput",
        summary="what each pixel adds to the class, if the network were linear and black nothing",
        formula="x * df_c / dx",
        paper="Shrikumar et al. 2016 (1605.01713)",
        cost="1 forward and backward",
        options=_OBJECTIVE,
    ),
    "guided-backprop": About(
        home="guided_backprop:GuidedBackprop",
        summary="the gradient, where at each ReLU only what speaks for the class goes back",
        formula="at y = relu(x): max(g, 0) where x > 0",
        paper="Springenberg et al. 2014 (1412.6806)",
        cost="1 forward and backward",
        reads="slope",
        options=_OBJECTIVE,
    ),
    "deconvolution": About(
        home="guided_backprop:Deconvolution",
        summary="the gradient, where each ReLU rectifies what comes back in place of what went in",
        formula="at y = relu(x): max(g, 0)",
        paper="Zeiler and Fergus 2013 (1311.2901)",
        cost="1 forward and backward",
        reads="slope",
        options=_OBJECTIVE,
    ),
    "smoothgrad": About(
        home="smoothgrad:SmoothGrad",
        summary="the mean gradient over noisy copies of the picture",
        formula="mean over n of df_c / dx at x + n, n normal",
        paper="Smilkov et al. 2017 (1706.03825)",
        cost="50 forwards and backwards (samples)",
        reads="slope",
        quick={"samples": 10},
        options=_NOISY,
    ),
    "smoothgrad-squared": About(
        home="smoothgrad:SmoothGradSquared",
        summary="the mean square of the gradients over noisy copies: how much, not which way",
        formula="mean over n of (df_c / dx at x + n)^2, n normal",
        paper="Hooker et al. 2019 (1806.10758)",
        cost="50 forwards and backwards (samples)",
        reads="heat",
        quick={"samples": 10},
        options=_NOISY,
    ),
    "vargrad": About(
        home="smoothgrad:VarGrad",
        summary="the variance of the gradients over noisy copies: where they change most",
        formula="variance over n of df_c / dx at x + n, n normal",
        paper="Adebayo et al. 2018 (1810.03307)",
        cost="50 forwards and backwards (samples)",
        reads="heat",
        quick={"samples": 10},
        options=_NOISY,
    ),
    "integrated-gradients": About(
        home="integrated_gradients:IntegratedGradients",
        summary="what each pixel adds to the class on a straight way from the baseline",
        formula="(x - b) * mean over a in [0, 1] of df_c / dx at b + a (x - b)",
        paper="Sundararajan et al. 2017 (1703.01365)",
        cost="2 forwards, and 16 to 496 forwards and backwards, or as many as points",
        promise="completeness: adds up to f(x) - f(baseline), of a set the mean f(baseline)",
        options={
            "baseline": f"{_BASELINE}; from each picture of a set, and the mean of these",
            "points": "gradients on the way; by default 16, doubled until the tolerance is reached",
            "tolerance": "the completeness error that is good enough, as a share of "
            "f(x) - f(baseline)",
            "max_points": "where the doubling ends; a note says where the tolerance was not "
            "reached",
            **_OBJECTIVE,
        },
        quick={"max_points": 64},
    ),
    "expected-gradients": About(
        home="integrated_gradients:ExpectedGradients",
        summary="integrated gradients, as a mean over a set of baselines and places on the way",
        formula="mean over b and a of (x - b) * df_c / dx at b + a (x - b)",
        paper="Erion et al. 2021 (1906.10670)",
        cost="200 forwards and backwards (samples), and as many forwards as baselines are used",
        promise="completeness, in the mean: adds up to f(x) - mean f(baseline)",
        quick={"samples": 20},
        options={
            "baseline": "a set of pictures (M, C, H, W), or noise: others for each sample",
            "samples": "pairs of a baseline and a place on the way from it; a set of fewer "
            "pictures is used whole, each equally often",
            "tolerance": "the completeness error from which a note says so",
            **_OBJECTIVE,
        },
    ),
    "grad-cam": About(
        home="cam.gradients:GradCAM",
        summary="where the last maps are active that raise the class on the whole; coarse",
        formula="relu(sum_k mean_ij(dy / dA_k) A_k)",
        paper="Selvaraju et al. 2017 (1610.02391)",
        cost=_READ,
        reads="heat",
        options={**_CAM, **_RECTIFIED},
    ),
    "grad-cam++": About(
        home="cam.gradients:GradCAMPlusPlus",
        summary="Grad-CAM that gives several small objects each their due",
        formula="relu(sum_k sum_ij(relu(G_k) / (2 + G_k sum_ij A_k)) A_k), G = dy / dA",
        paper="Chattopadhay et al. 2018 (1710.11063)",
        cost=_READ,
        reads="heat",
        options={**_CAM, **_RECTIFIED},
    ),
    "hires-cam": About(
        home="cam.gradients:HiResCAM",
        summary="what each place of the last maps adds, by the gradient at that very place",
        formula="sum_k dy / dA_k * A_k",
        paper="Draelos and Carin 2020 (2011.08891)",
        cost=_READ,
        promise=(
            "none; where a mean over places and a linear layer follow, its places add up to the "
            "logit without the bias"
        ),
        reads="heat",
        options={**_CAM, **_RECTIFIED},
    ),
    "layer-cam": About(
        home="cam.gradients:LayerCAM",
        summary="where a layer is active and more of it would raise the class; for any depth",
        formula="relu(sum_k relu(dy / dA_k) A_k)",
        paper="Jiang et al. 2021 (10.1109/TIP.2021.3089943)",
        cost=_READ,
        reads="heat",
        options={**_CAM, **_RECTIFIED},
    ),
    "eigen-cam": About(
        home="cam.eigen_cam:EigenCAM",
        summary="what the places of the last maps have most in common, whatever the class",
        formula="A v, with v the first right singular vector of A (h*w, K)",
        paper="Muhammad and Yeasin 2020 (2008.00299)",
        cost="1 forward",
        reads="heat",
        of_class=False,
        options=_CAM,
    ),
    "score-cam": About(
        home="cam.score_cam:ScoreCAM",
        summary="the last maps, weighed by the class's score of the picture seen through each",
        formula="relu(sum_k a_k A_k), a = softmax_k y(x * s(U(A_k)))",
        paper="Wang et al. 2020 (1910.01279)",
        cost="1 forward, and 1 for each channel of the layer",
        reads="heat",
        quick={"channels": 32},
        options={
            **_CAM,
            **_RECTIFIED,
            "channels": "how many channels are asked about, those that vary most; by default all",
        },
    ),
    "deeplift": About(
        home="deeplift:DeepLift",
        summary="what each pixel's difference from a baseline adds to the class, rule by rule",
        formula="(x - b) * m, with m = (f(x) - f(b)) / (x - b) at each non-linear operation",
        paper="Shrikumar et al. 2017 (1704.02685); of a set of baselines DeepSHAP, "
        "Lundberg and Lee 2017 (1705.07874)",
        cost="2 forwards and a backward for each baseline",
        promise="completeness: f(x) - f(baseline), of a set its mean",
        options={
            "objective": "logit alone",
            "baseline": f"{_BASELINE}; of a set the mean over its pictures, which is DeepSHAP",
        },
    ),
    "lrp": About(
        home="lrp:LRP",
        summary="what each pixel adds to the class, handed back from layer to layer by rules",
        formula="R_i = sum over j of c_ij / (sum over i of c_ij) * R_j, with c_ij by the rule; of "
        "epsilon c_ij = x_i w_ij + |x_i w_ij| / (sum over i of |x_i w_ij|) * (b_j + epsilon)",
        paper="Bach et al. 2015 (10.1371/journal.pone.0130140); Achtibat et al. 2024 (2402.05602)",
        cost="1 forward and backward, each convolution 2 to 3 times",
        promise="conservation: adds up to f(x), by construction where every operation has a rule: "
        "what biases and epsilon add is shared out among the inputs",
        caution="conservation says nothing of the choice of rules or of epsilon, as any conserves; "
        "its authors state that LRP is patented, and free of charge for personal and "
        "scientific use only",
        options={
            "composite": "epsilon-plus-flat (flat where the picture is met, z-plus in other "
            "convolutions, epsilon in dense layers), epsilon-gamma-box (box, gamma, epsilon), "
            "gamma (throughout) or epsilon (throughout)",
            "depthwise": "the rule of depthwise convolutions: z-plus, signed, gamma or epsilon; by "
            "default that of the other convolutions",
            "epsilon": "what is added to the sums that the rule epsilon divides by",
            "gamma": "how much the rule gamma favours what speaks for an output",
            "attention": "held: what a softmax or a sigmoid weighs gets all; shared: each factor "
            "gets its part (AttnLRP), which does not conserve",
            "bias": "shared: what biases, shifts of norms and epsilon add is shared out by the "
            "size of contributions; absorbed: they keep it, as published (Bach et al. 2015, "
            "equation 58; other libraries), and maps add up to less or more than f(x)",
            "objective": "the number to explain: logit or margin",
        },
    ),
    "occlusion": About(
        home="masks.occlusion:Occlusion",
        summary="how much the class falls while a window hides the pixel",
        formula="mean of f(x) - f(x with the window hidden) over the windows that cover a pixel",
        paper="Zeiler and Fergus 2014 (1311.2901)",
        cost="1 forward, and one for each window: 226 by default",
        options={
            "window": "its side or (height, width) in pixels; by default an eighth of the picture",
            "stride": "pixels from one window to the next; by default half a window",
            "baseline": f"what is seen in the window: {_SINGLE}",
            **_OBJECTIVE,
        },
    ),
    "feature-ablation": About(
        home="masks.feature_ablation:FeatureAblation",
        summary="how much the class falls while the pixel's part of the picture is hidden",
        formula="f(x) - f(x with the part hidden)",
        paper="parts by SLIC, Achanta et al. 2012 (doi 10.1109/TPAMI.2012.120)",
        cost="1 forward, and one for each part: about 51 by default",
        options={
            "segments": "the number of each pixel's part, (H, W) or (N, H, W); by default "
            "superpixels",
            "parts": "about how many superpixels",
            "baseline": f"what is seen in its place: {_SINGLE}",
            **_OBJECTIVE,
        },
    ),
    "rise": About(
        home="masks.rise:Rise",
        summary="how much more the class is worth while a random mask lets the pixel through",
        formula="mean over masks M of (f(x * M) - mean f) * M / p",
        paper="Petsiuk et al. 2018 (1806.07421)",
        cost="501 forwards (samples)",
        quick={"samples": 100},
        options={
            "samples": "masks; the grain of the map shrinks with the square root of their number",
            "grid": "cells of a mask along each side",
            "keep": "the probability that a cell is seen",
            "centred": "less the mean f over all masks; false is the map of the paper, which has "
            "no zero",
            "baseline": f"what is seen elsewhere: {_SINGLE}",
            "objective": "the number to explain: probability, or logit, log-probability or margin",
        },
    ),
}
"""All methods by name, in the order in which they are listed."""
# What others call them, or what is nearest to what they do.
_OTHERWISE = {
    "saliency": "gradient",
    "vanilla-gradient": "gradient",
    "input-x-gradient": "gradient-x-input",
    "ig": "integrated-gradients",
    "cam": "grad-cam",
    "shap": "deeplift",
    "deepshap": "deeplift",
    "deep-shap": "deeplift",
}


def check_method(name: object) -> None:
    """Refuse a name that is no method's.

    Raises:
        InvalidParameterError: no such method.
    """
    if isinstance(name, str) and name.startswith(PREFIX):
        peer_name(name)
        return
    if isinstance(name, str) and name in METHODS:
        return
    wanted = re.sub(r"[\s_-]+", "-", str(name).strip().lower())
    near = [_OTHERWISE[wanted]] if wanted in _OTHERWISE else get_close_matches(wanted, METHODS, n=1)
    raise InvalidParameterError(
        f"there is no attribution method {name!r}; "
        + (f"did you mean {near[0]}? " if near else "")
        + f"expected one of {', '.join(METHODS)}"
    )


def about(name: str) -> About:
    """What a method says of itself; of one of Captum's what we know of it.

    Raises:
        InvalidParameterError: no such method.
    """
    check_method(name)
    if name in METHODS:
        return METHODS[name]
    peer = PEERS[peer_name(name)]
    options = {"layer": "dotted name; by default the last convolution"}
    return About(
        home="peers:Captum",
        summary=f"what {peer.kind} of Captum makes of a copy of the network",
        formula="Captum's, with its defaults",
        paper="Kokhlikyan et al. 2020 (2009.07896)",
        cost="what Captum takes; a result says how many passes that was",
        promise=peer.promise or "none",
        reads=read_as(name),
        options={
            **(options if "layer" in peer.wants else {}),
            "others": "those of Captum's attribute, by its names",
        },
    )


NO_CLASS = ("eigen-cam",)
"""Methods whose map of a picture is the same for every class."""


def read_as(method: str) -> Literal["slope", "part", "heat"]:
    """How the numbers of a method's maps are read, Captum's included; see :class:`About`."""
    about = METHODS.get(method)
    return peer_reads(method) if about is None else about.reads
