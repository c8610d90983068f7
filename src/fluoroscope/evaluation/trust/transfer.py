"""Does what is made on another network fool this one where its own gradient leads nowhere?

A gradient that misleads attacks hides pictures that are there all the same, and an attack on
another network comes upon them (Carlini et al. 2019, 1902.06705; Athalye et al. 2018, 1802.00420).
The other network may be the undefended one, or any of the same classes with weights of its own.

Pictures are made by gradient ascent that stops at no success, since the first image that fools one
network rarely fools another, along the mean gradient at neighbours as far off as the ball reaches.
They count by the rule of shares, of those that Auto-PGD left. That few fool the network says the
less, the less it has in common with the other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError, NoGradientError
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.trust.bench import Bench
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.around import Asking, Surrogate
from fluoroscope.models.wrappers.ensemble import averaged, shown_the_same
from fluoroscope.words import listed

Second = Classifier | nn.Module | Sequence[Classifier | nn.Module]
"""Another network, or several."""

STEPS = 10
NEIGHBOURS = 4
"""The same for every picture and at every step, so that none hangs on those beside it."""


def second_networks(
    model: Classifier, second: Second | None, threat: Threat
) -> tuple[Classifier, ...]:
    """The networks to make pictures on, each of which sees all that the one under study sees.

    Raises:
        ModelFormatError: networks that differ from it in classes, channels, device or type.
        InvalidParameterError: it is the network under study, or the threat gives no bound.
    """
    if second is None:
        return ()
    several = [second] if isinstance(second, Classifier | nn.Module) else second
    asked = [as_classifier(each) for each in several]
    if asked and not 0 < float(threat.eps) < float("inf"):
        raise InvalidParameterError(
            f"second was given, and the threat {threat.name} has the bound {threat.eps}; expected "
            "one above 0, such as linf:8/255, within which pictures are made on a second network"
        )
    for each in asked:
        # The undefended network may well have the same weights.
        if each.name == model.name and each.plain.fingerprint() == model.plain.fingerprint():
            raise InvalidParameterError(
                f"second is {each.name}, the network under study itself; expected another one of "
                "the same classes"
            )
    return tuple(shown_the_same(model, each) for each in asked)


def transfer(second: Sequence[Classifier], bench: Bench) -> Check:
    """Do pictures made on other networks fool this one where white-box attacks do not?"""
    fooled = torch.zeros(bench.count, dtype=torch.bool, device="cpu")
    networks, said = [], []
    tried = fooled_there = 0
    for other in second:
        attacked, there, wrong = _made_and_shown(bench, other)
        tried, fooled_there = tried + attacked, fooled_there + there
        fooled[wrong] = True
        said.append(f"{other.name} ({there} of {attacked} fooled it)")
        networks.append(
            {"model": other.name, "model_sha256": other.fingerprint(), "attacked": attacked,
             "fooled_there": there, "fooled": len(wrong)}
        )  # fmt: skip
    names = listed([other.name for other in second])
    found = int(fooled.sum())
    if len(bench.left) and not found and not fooled_there:
        why = (
            f"nothing could be made on {names}, which misclassifies the pictures that Auto-PGD "
            "left as they are, or lets no gradient through"
        )
        if tried:
            why = (
                f"of the {len(bench.left)} pictures left {names} could be attacked on {tried}, and "
                "was fooled on none itself, so there was nothing to transfer"
            )
        words = (
            f"Not applicable: {why}. A second network that classifies fewer correctly than it "
            "should wants its normalisation (mean and std) built into it."
        )
        evidence = {"pictures": bench.count, "left": len(bench.left), "networks": networks}
        return Check("transfer", "not applicable", words, evidence)
    return bench.of_those_left(
        "transfer",
        found,
        f"attacks on {listed(said)} fooled this network on {found}",
        "the gradient misleads attacks. Mend that first (BPDA, EOT, another loss): what is found "
        "through a second network counts against the number as well",
        {"fooled": found, "networks": networks},
    )


def _made_and_shown(bench: Bench, other: Classifier) -> tuple[int, int, Tensor]:
    """What comes of the pictures left that another network classifies correctly.

    How many there are, how many fool that network once they are made, and the rows ``(n,)`` of
    those that fool the one under study.
    """
    rows = bench.left[bench.right(bench.left, bench.images[bench.left], model=other)]
    if not len(rows):
        return 0, 0, rows
    channels, height, width = bench.images.shape[1:]
    keys = randomness.keys(bench.seed, torch.arange(NEIGHBOURS, device=bench.images.device))
    noise = bench.reach() * randomness.normal(keys, 0, (channels, height, width))
    smooth = Surrogate(other, _Nearby, NEIGHBOURS, noise=noise.to(bench.images))
    # The neighbours are of the size of the pictures, whatever the other network makes of them.
    smooth = smooth.restated(input_size=(height, width), resize=(height, width))
    try:
        made = bench.run("bim", model=smooth, rows=rows, keep="last", steps=STEPS)
    except NoGradientError:
        return 0, 0, rows[:0]
    return len(rows), int(made.success.sum()), rows[~bench.right(rows, made.images)]


class _Nearby(Asking):
    """The mean answer at neighbours, which lie ``noise`` ``(neighbours, C, H, W)`` away."""

    def __init__(self, model: Classifier, noise: Tensor) -> None:
        super().__init__(model)
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        return averaged([self.model((images + by).clamp(0, 1)) for by in self.noise], "logits")
