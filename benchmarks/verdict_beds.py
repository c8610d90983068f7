"""The networks and pictures on which plans are compared, and others on which they are chosen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fluoroscope as fs
from benchmarks.page import Skipped
from benchmarks.peers import MNIST, PICTURES, SHARED

Load = Callable[[], tuple[fs.Classifier, fs.ImageSet]]


@dataclass(frozen=True)
class Bed:
    """A network, labelled pictures for it, and bounds."""

    title: str
    load: Load
    bounds: tuple[str, ...]
    """Such as ``linf:0.3``."""
    count: int
    """Pictures."""
    words: str = ""
    seeds: tuple[int, ...] = (0,)
    cheap: tuple[str, ...] = ()
    """Bounds at which ``standard`` is made with every seed, not with the first alone."""
    prepared: bool = False
    """Whether all plans search on the network prepared exactly, as the command line does."""

    def open(self, limit: int | None = None) -> tuple[fs.Classifier, fs.ImageSet]:
        """The network and the first pictures."""
        model, data = self.load()
        return model, data.take(min(limit or self.count, self.count, len(data)), first=True)


def _test_digits() -> fs.ImageSet:
    _needs(MNIST)
    return fs.load_images(str(MNIST), "test", channels=1)


def _builtin(name: str) -> tuple[fs.Classifier, fs.ImageSet]:
    return fs.load_model(name), _test_digits()


def _trained(name: str) -> tuple[fs.Classifier, fs.ImageSet]:
    from reproductions.verdict_networks import network

    data = _test_digits()
    return network(name), data


def _deceiver(name: str, behind: str, own: str) -> tuple[fs.Classifier, fs.ImageSet]:
    from reproductions import deceivers

    return getattr(deceivers, own)[name](network=behind), _test_digits()


def _pictures(name: str) -> tuple[fs.Classifier, fs.ImageSet]:
    _needs(SHARED / "models" / name)
    _needs(PICTURES)
    return fs.load_model(str(SHARED / "models" / name)), fs.load_images(str(PICTURES))


def _cifar(name: str) -> tuple[fs.Classifier, fs.ImageSet]:
    from reproductions import cifar, training_robust

    _needs(SHARED / "data/cifar10")
    data = fs.load_images(str(SHARED / "data/cifar10"), "test")
    return getattr(cifar, name)() if hasattr(cifar, name) else training_robust.network(name), data


def _needs(path: Path) -> None:
    if not path.is_dir():
        raise Skipped(f"it needs {path}")


_DIGITS = " of MNIST's test set"
_CIFAR = " of CIFAR-10's test set; the network is that of `reproductions.cifar`"
_MADE = f"{_DIGITS}; the network is that of `reproductions.verdict_networks`"
_PICTURES = " of the sample of ImageNet; all plans search on the network as `fs.prepare` makes it"
_DECEIVERS = (
    f"{_DIGITS}, for each of the networks of `reproductions.deceivers`: `digits-cnn` behind "
    "something that makes attacks fail, and one that was trained against a single step"
)
BEDS = {
    "digits-cnn": Bed(
        "Verdicts: `digits-cnn`", partial(_builtin, "digits-cnn"), ("linf:0.1", "linf:0.05"), 1000,
        _DIGITS, seeds=(0, 1), cheap=("linf:0.1",),
    ),
    "cifar-robust": Bed(
        "Verdicts: a network that the plans were not built on, adversarially trained",
        partial(_cifar, "robust"), ("linf:8/255", "linf:4/255"), 100, _CIFAR, seeds=(0, 1),
    ),
    "mobilenet-v2": Bed(
        "Verdicts: MobileNet v2 1.0 at 224×224", partial(_pictures, "mobilenet_v2_1.0_224"),
        ("linf:0.25/255",), 16, _PICTURES, seeds=(0, 1), prepared=True,
    ),
    "mobilenet-small": Bed(
        "Verdicts: MobileNet v1 0.25 at 128×128", partial(_pictures, "mobilenet_v1_0.25_128"),
        ("linf:0.25/255",), 30, _PICTURES, seeds=(0, 1), prepared=True,
    ),
    **{
        f"deceivers:{name.replace(' ', '-')}": Bed(
            "Verdicts: networks built to deceive",
            partial(_deceiver, name, "digits-cnn", "DECEIVERS"), ("linf:0.1",), 50, _DECEIVERS,
        )
        for name in (
            "quantised", "straight-through", "wrong gradient", "saturated", "random resize",
            "not differentiable", "switched off", "ripple", "bent", "finely bent", "softmax",
            "optimised",
        )
    },
    "deceivers:against-one-step": Bed(
        "Verdicts: networks built to deceive", partial(_trained, "against-one-step"),
        ("linf:0.3",), 50, _DECEIVERS,
    ),
    "cifar-plain": Bed(
        "Verdicts: a network that the plans were not built on, plain", partial(_cifar, "plain"),
        ("linf:1/255", "linf:0.5/255"), 100, _CIFAR, seeds=(0, 1),
    ),
    "mart": Bed(
        "Verdicts: a network trained by MART", partial(_cifar, "MART"), ("linf:8/255",), 100,
        " of CIFAR-10's test set; the network is that of `reproductions.training_robust`",
        seeds=(0, 1),
    ),
    "digits-robust": Bed(
        "Verdicts: `digits-robust`", partial(_builtin, "digits-robust"), ("linf:0.3", "linf:0.2"),
        1000, _DIGITS, seeds=(0, 1),
    ),
    "label-smoothed": Bed(
        "Verdicts: a label-smoothed network", partial(_trained, "label-smoothed"), ("linf:0.15",),
        300, _MADE, seeds=(0, 1),
    ),
    "distilled": Bed(
        "Verdicts: a distilled network, T = 100", partial(_trained, "distilled"), ("linf:0.1",),
        250, _MADE, seeds=(0, 1),
    ),
    "digits-cnn-l2": Bed(
        "Verdicts: `digits-cnn` in L2", partial(_builtin, "digits-cnn"), ("l2:1",), 250, _DIGITS,
        seeds=(0, 1),
    ),
    "cifar-robust-l2": Bed(
        "Verdicts: an adversarially trained network in L2", partial(_cifar, "robust"),
        ("l2:1",), 100, _CIFAR, seeds=(0, 1),
    ),
    "mobilenet-v1": Bed(
        "Verdicts: MobileNet v1 0.75 at 224×224", partial(_pictures, "mobilenet_v1_0.75_224"),
        ("linf:0.1/255",), 8, _PICTURES, prepared=True,
    ),
    "efficientnet": Bed(
        "Verdicts: EfficientNet-Lite0 at 224×224", partial(_pictures, "tf_efficientnet_lite0_224"),
        ("linf:0.1/255",), 6, _PICTURES, prepared=True,
    ),
    "mobilenet-v1-half": Bed(
        "Verdicts: MobileNet v1 0.5 at 160×160", partial(_pictures, "mobilenet_v1_0.50_160"),
        ("linf:0.1/255",), 8, _PICTURES, prepared=True,
    ),
}  # fmt: skip
"""Those that are reported on, the most telling first, by name; what stands before a colon is of
those that share a section."""
CHOICE = {
    "trades": Bed("", partial(_cifar, "TRADES"), ("linf:8/255",), 200),
    "at-awp": Bed("", partial(_cifar, "AT + AWP"), ("linf:8/255", "linf:4/255"), 200),
    "other-label-smoothed": Bed("", partial(_trained, "other-label-smoothed"), ("linf:0.1",), 300),
    "other-distilled": Bed("", partial(_trained, "other-distilled"), ("linf:0.1",), 300),
    "against-many-steps": Bed("", partial(_trained, "against-many-steps"), ("linf:0.25",), 300),
    "against-l2": Bed("", partial(_trained, "against-l2"), ("l2:2", "linf:0.15"), 300),
    **{
        f"deceivers:{name.replace(' ', '-')}": Bed(
            "", partial(_deceiver, name, "digits-linear", "OTHER_DECEIVERS"), ("linf:0.05",), 100
        )
        for name in (
            "quantised finer", "straight-through finer", "mirrored gradient", "less saturated",
            "wider ripple", "bent twice", "sharp softmax", "switched off",
        )
    },
}  # fmt: skip
"""Those on which the settings of ``fast`` are chosen; none is reported on."""
