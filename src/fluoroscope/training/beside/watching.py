"""Watching a training from outside: accuracy on held-out pictures, as they are and under attack.

A network that learns from pictures moved in one step may learn to bend its gradient instead of
resisting: within a few batches that one step finds nothing any more, and several steps find
everything (catastrophic overfitting; Wong, Rice and Kolter 2020, 2001.03994). The training's own
numbers only look better then, so a few held-out pictures are attacked now and then by more steps.

**When it warns.** From the share of them that survives at a look (``p``), at the best look so
far (``b``), and the share ``t`` of moved training pictures that were classified correctly since the
look before:

* *fell*: ``p`` is below half of ``b`` and a third of ``t``, the 95 % intervals of ``p`` and ``b``
  do not meet, and ``b`` was more than a network gets that says one class for all; or
* *never rose*: in the second half of the training, ``t`` is above a half and ``p`` below a quarter
  of it, and never was it more than that. One that learns to resist is not so far apart.

Early in a training neither is so: ``p`` has not risen yet. Robust overfitting, in which ``p`` falls
slowly by some points while ``t`` rises, is none of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.gradient.apgd import APGD
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.engine.classes import Given
from fluoroscope.engine.first_look import Look as FirstLook
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.predict import predict
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected, tell
from fluoroscope.training.trainer.classification import check_training, pixels_for
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.step import FitStep, Moment
from fluoroscope.words import percent

# How many times a training is looked at, at even distances; and after every epoch.
LOOKS = 20
PICTURES = 128
STEPS = 10


@dataclass(frozen=True)
class Look:
    """What one look at a training found, on ``pictures`` held-out ones."""

    number: int
    """Of the step."""
    pictures: int
    clean: int
    """How many are classified correctly."""
    surviving: int
    """How many still are under attack."""
    training: float
    """Share of the moved training pictures classified correctly since the look before."""

    @property
    def adversarial(self) -> float:
        """Share of the pictures that survive."""
        return self.surviving / self.pictures


@dataclass(frozen=True, kw_only=True, eq=False)
class Watch:
    """Looks at held-out pictures under attack about 20 times a training, and warns.

    ``images`` ``(N, C, H, W)`` and ``labels`` are not learnt from; of them the first ``pictures``
    are attacked within ``threat`` by ``steps`` steps. ``ramp`` is the share of the training over
    which its own radius grows. Neither weights nor random numbers are touched, and a checkpoint is
    the same training's with a watch and without. Cost: at most 21 passes for each picture and look,
    13,000 forward and as many backward for every ten looks; those that are fooled soon cost less.

    Raises:
        InvalidParameterError: no pictures, fewer looks or steps than one, or a ramp that is no
            share.
    """

    images: Tensor
    labels: Given
    threat: Threat
    pictures: int = PICTURES
    steps: int = STEPS
    looks: int = LOOKS
    ramp: float = 0.0

    watches = True

    def __post_init__(self) -> None:
        for name in ("pictures", "steps", "looks"):
            if getattr(self, name) < 1:
                raise InvalidParameterError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 <= self.ramp <= 1:
            raise InvalidParameterError(f"ramp is {self.ramp}; expected a share from 0 to 1")

    def begin(self, module: nn.Module, classes: int) -> "Watching":
        """For one training.

        Raises:
            InvalidImagesError, InvalidParameterError: pictures or labels that do not fit.
        """
        return Watching(self, *self._few(module))

    def _few(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        labels, _ = check_training(module, self.images, self.labels)
        return self.images[: self.pictures], labels[: self.pictures]


class Watching(Running):
    """The watch of one training."""

    watches = True

    def __init__(self, settings: Watch, images: Tensor, labels: Tensor) -> None:
        self.settings: Watch = settings
        self._images, self._labels = images, labels
        self.found: list[Look] = []
        """Every look so far."""
        self.best: dict[str, Tensor] = {}
        """The network's state at the look at which most pictures survived."""
        self._warned_at = 0
        self._seen, self._right, self._share = 0, 0.0, 1.0

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was warned of."""
        for at, look in enumerate(self.found):
            if look.number == self._warned_at:
                return (_words(self.found[: at + 1], self.settings),)
        return ()

    def after(self, module: nn.Module, moment: Moment) -> None:
        self._share = moment.share

    def due(self, step: FitStep) -> bool:
        self._seen += 1
        self._right += step.accuracy
        total = round(step.number / self._share)
        before, now = (n * self.settings.looks // total for n in (step.number - 1, step.number))
        return now > before or step.held_out is not None

    def look(self, module: nn.Module, step: FitStep) -> FitStep:
        clean, surviving = self._attacked(module)
        right = self._right / self._seen if self._seen else step.accuracy
        look = Look(step.number, len(self._labels), clean, surviving, right)
        self._seen, self._right = 0, 0.0
        best = max((one.surviving for one in self.found), default=0)
        if surviving >= best and not self._warned_at:
            self.best = {name: value.clone() for name, value in module.state_dict().items()}
        self.found.append(look)
        if not self._warned_at and self._doubtful():
            self._warned_at = step.number
            tell(self.doubts[0])
        return replace(step, held_out_adversarial=look.adversarial)

    def tensors(self) -> dict[str, Tensor]:
        rows = [[*vars(look).values()] for look in self.found]
        looks = torch.tensor(rows, dtype=torch.float64, device="cpu").view(-1, 5)
        now = [self._warned_at, self._seen, self._right]
        state = torch.tensor(now, dtype=torch.float64, device="cpu")
        return {"looks": looks, "state": state, **{f"best.{k}": v for k, v in self.best.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        if "looks" not in tensors:  # of a training that nobody watched until now
            return
        self.found = [
            Look(int(number), int(pictures), int(clean), int(surviving), training)
            for number, pictures, clean, surviving, training in tensors["looks"].tolist()
        ]
        warned_at, seen, self._right = tensors["state"].tolist()
        self._warned_at, self._seen = int(warned_at), int(seen)
        kept = {name.partition("best.")[2]: value for name, value in tensors.items()}
        self.best = {name: value for name, value in kept.items() if name}

    def _attacked(self, module: nn.Module) -> tuple[int, int]:
        """How many pictures are classified correctly, and how many still under attack."""
        like = next(module.parameters())
        images, labels = pixels_for(self._images, like), self._labels.to(like.device)
        model = Classifier(module, channels=images.shape[1])
        model.look = FirstLook()  # what is yet to be learnt is no finding
        attack: Method = PGD(threat=self.settings.threat, steps=self.settings.steps)
        if self.settings.threat.name == "l1":
            attack = APGD(threat=self.settings.threat, steps=self.settings.steps)
        with collected(), torch.inference_mode(False):
            right = int((predict(model, images, batch_size=len(images)).winners == labels).sum())
            found = attack(model, images, labels, keep="first", batch_size=len(images))
        return right, int((~found.success).sum())

    def _doubtful(self) -> bool:
        *before, now = self.found
        if not before:
            return False
        best = max(look.surviving for look in before)
        pictures, share = now.pictures, now.adversarial
        # A network that says one class for all is right so often, whatever moves.
        by_one_class = int(self._labels.bincount().max()) / pictures
        low, high = wilson(best, pictures)[0], wilson(now.surviving, pictures)[1]
        fell = low > max(high, by_one_class) and share < min(best / pictures / 2, now.training / 3)
        late = self._share >= max(0.5, self.settings.ramp)
        never_rose = now.training > 0.5 and max(best / pictures, share) < now.training / 4
        return fell or (late and never_rose)


def _words(found: list[Look], settings: Watch) -> str:
    """The warning of the last look."""
    now, best = found[-1], max(found[:-1], key=lambda look: (look.surviving, look.number))
    return (
        f"step {now.number}: {percent(now.training)} of the moved training pictures are classified "
        f"correctly, but under PGD of {settings.steps} steps only {percent(now.adversarial)} of "
        f"{now.pictures} held-out ones, after {percent(best.adversarial)} at step {best.number}: "
        "the network learns to bend its gradient, not to resist (catastrophic overfitting); "
        "give the search more steps or a random start, take a smaller eps or a longer ramp, or "
        f"stop here and take the weights of step {best.number}, which are kept"
    )
