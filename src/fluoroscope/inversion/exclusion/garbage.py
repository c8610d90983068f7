"""What a network is to exclude: noise at first, and after each epoch its own inverted pictures.

A generator is trained to make what the network of that moment takes for its classes, and what it
makes goes to the garbage. It begins each time with what it had learnt, so that the network has to
close the ways in that are left. Everything random is hashed from the seed, the epoch and the number
of the picture.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.inversion.generator.conditioning import MOST_OF_A_MATRIX, conditioning, sample_keys
from fluoroscope.inversion.generator.features import feature_places
from fluoroscope.inversion.generator.fitting import Fitting
from fluoroscope.inversion.generator.network import Generator, Shape
from fluoroscope.inversion.generator.network_pass import NetworkPass
from fluoroscope.inversion.generator.settings import Settings
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.frozen import frozen
from fluoroscope.models.wording import first_line
from fluoroscope.process import random_state_lock
from fluoroscope.tensor_files import read_tensors, write_tensors

_NOISE, _AT_ONCE = 7, 256
# Batches of training pictures are sampled beside -1, those of the noise beside this.
_OF_NOISE = -2


@dataclass(frozen=True)
class Inverting:
    """How much is inverted, and how."""

    noise: int | None = None
    """Pictures of Gaussian noise at the start; by default as many as a class has on average."""
    inverted: int | None = None
    """Pictures of each class after each epoch; by default so many that in the end there are about
    as many as pictures to learn from."""
    steps: int = 60
    """Of the generator, after each epoch."""
    batch_size: int = 64
    """Of the generator's training."""
    generator: Settings = field(default_factory=Settings)
    """Its layers and losses; the conditioning is the hot matrix up to 32 outputs, beyond these an
    embedding, and steps and batch size are those above."""

    def __post_init__(self) -> None:
        for name in ("noise", "inverted"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name))
        self.settings("matrix")  # which refuses steps and batches that cannot be

    def settings(self, told: str) -> Settings:
        """The generator's, for a conditioning by name."""
        return replace(
            self.generator, steps=self.steps, batch_size=self.batch_size, conditioning=told,
            patience=None,
        )  # fmt: skip


class Garbage:
    """The pictures to exclude, and the generator that makes them.

    Args:
        shape: ``(C, H, W)`` of the pictures.
        classes: how many there are, without that for none of them.
        inverting: how much, with nothing left open.
        colours: mean and standard deviation of the training pictures' channels, ``(C,)`` each: the
            noise has them.
        seed: for everything random.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        inverting: Inverting,
        colours: tuple[Tensor, Tensor],
        seed: int,
    ) -> None:
        assert inverting.noise is not None
        assert inverting.inverted is not None
        self.epoch = 0
        """After which the last pictures were inverted; 0 of noise alone."""
        self._classes, self._inverting, self._seed = classes, inverting, seed
        outputs = classes + 1
        told = conditioning("matrix" if outputs <= MOST_OF_A_MATRIX else "embedding", outputs)[0]
        made = inverting.generator
        with random_state_lock, torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            self.generator = Generator(
                Shape(
                    *shape,
                    features=made.features, noise=made.noise, embedded=made.embedded,
                    growth=made.growth, norm=made.norm, dropout=made.dropout,
                    everywhere=made.everywhere,
                ),
                told,
            )  # fmt: skip
        self.pictures = _noise(inverting.noise, shape, colours, seed)
        """``(M, C, H, W)``, 8-bit."""

    def __len__(self) -> int:
        return len(self.pictures)

    def draw(self, many: int) -> Tensor:
        """So many of them, 8-bit, by torch's global generator."""
        return self.pictures[torch.randint(len(self.pictures), (many,), device="cpu")]

    def invert(self, module: nn.Module, epoch: int) -> dict[str, float]:
        """Put what the network takes for its classes to the rest; the last row of the curve."""
        weight = next(module.parameters())
        channels, height, width = self.pictures.shape[1:]
        model = Classifier(module, channels=channels, input_size=(height, width))
        generator = self.generator.to(weight.device)
        classes = torch.arange(self._classes, device=weight.device)
        settings = self._inverting.settings(generator.conditioning.name)
        blank = torch.zeros(1, channels, height, width, dtype=weight.dtype, device=weight.device)
        seed = int(randomness.keys(self._seed, torch.tensor([epoch], device="cpu"))[0] >> 2)
        with frozen(module), model.held():
            places = feature_places(model, blank, settings.layer, many=settings.feature_layers)
            through = NetworkPass(model, places, None, settings.how)
            fitting = Fitting(model, generator, settings, classes, seed, through)
            for _ in fitting:
                pass
        self.pictures = torch.cat([self.pictures, self._sample(epoch, weight.device)])
        self.epoch = epoch
        return dict(fitting.curve[-1])

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write pictures and generator; whole or not at all."""
        tensors = {f"generator.{name}": one for name, one in self.generator.state_dict().items()}
        about = {"identity": json.dumps(identity), "epoch": str(self.epoch)}
        write_tensors(path, {"pictures": self.pictures, **tensors}, about)

    def restore(self, path: Path, identity: dict[str, Any]) -> None:
        """Go back to what was written.

        Raises:
            InvalidParameterError: the file is of another training.
            ModelFormatError: it cannot be read.
        """
        try:
            tensors, about = read_tensors(path)
            theirs, epoch = json.loads(about["identity"]), int(about["epoch"])
            pictures = tensors.pop("pictures")
            if pictures.dtype != torch.uint8 or pictures.shape[1:] != self.pictures.shape[1:]:
                raise ValueError(f"its pictures are {pictures.dtype} {tuple(pictures.shape)}")
            if theirs == json.loads(json.dumps(identity)):
                state = {name.removeprefix("generator."): one for name, one in tensors.items()}
                self.generator.load_state_dict(state)
        except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as problem:
            raise ModelFormatError(
                f"{path} cannot be read as the pictures that a training excludes "
                f"({first_line(problem)}); expected what this training left: delete it and the "
                "checkpoint beside it to begin anew"
            ) from problem
        if theirs != json.loads(json.dumps(identity)):
            raise InvalidParameterError(
                f"{path} was left by another training; expected the same to go on with: give "
                "another directory, or delete the file and the checkpoint beside it"
            )
        self.pictures, self.epoch = pictures, epoch

    def _sample(self, epoch: int, device: torch.device) -> Tensor:
        each = self._inverting.inverted
        assert each is not None
        classes = torch.arange(self._classes, device=device).repeat_interleave(each)
        numbers = torch.arange(each, device=device).repeat(self._classes) + epoch * each
        keys = sample_keys(self._seed, classes, numbers)
        self.generator.eval()
        found = []
        with torch.inference_mode(False), torch.no_grad():
            for own, shown in zip(keys.split(_AT_ONCE), classes.split(_AT_ONCE), strict=True):
                codes = self.generator.conditioning.codes(shown, own)
                made = self.generator(self.generator.noise(own), shown, codes.asked, own)
                found.append((made * 255).round().to(torch.uint8).cpu())
        return torch.cat(found)


def _noise(
    many: int, shape: tuple[int, int, int], colours: tuple[Tensor, Tensor], seed: int
) -> Tensor:
    """Gaussian noise ``(many, C, H, W)`` of the training pictures' mean and spread, 8-bit."""
    numbers = torch.arange(many, device="cpu")
    keys = sample_keys(seed, torch.full_like(numbers, _OF_NOISE), numbers)
    mean, spread = (each.view(-1, 1, 1).float().cpu() for each in colours)
    found = []
    for own in keys.split(_AT_ONCE):
        drawn = mean + spread * randomness.normal(own, _NOISE, shape)
        found.append((drawn.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(found)
