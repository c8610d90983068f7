"""What goes along with a training beside the network: weights of its own, averages, a look now and
then.

Settings are a frozen dataclass with a method ``begin``; what it gives back belongs to one training.
`fit_stream` begins what has not begun, so that the same settings serve many trainings, and whoever
wants to see afterwards what was learnt begins it himself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.trainer.step import FitStep, Moment


class Running:
    """Goes along with one training. Every method here does nothing; override what is needed.

    One that is a loss, too, is called as one. What ``tensors`` gives is in every checkpoint, so a
    training that was broken off goes on to the same bytes.
    """

    settings: Any = None
    """What it was begun from: a dataclass, by which a checkpoint knows the training again."""
    rate: float = 1.0
    """Learning rate of its own weights, in units of the network's."""
    watches: bool = False
    """Whether it only looks on: a checkpoint is the same training's with it and without."""

    def meet(self, module: nn.Module, images: Tensor) -> None:
        """See the first picture ``(1, C, H, W)`` before the first step: what depends on how large
        a layer's output is, or is to be refused by it, is settled here.
        """

    def parameters(self) -> list[nn.Parameter]:
        """Weights of its own that are learnt with the network's; they do not decay."""
        return []

    def tensors(self) -> dict[str, Tensor]:
        """What it keeps from step to step, its own weights included."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what ``tensors`` gave."""

    @contextmanager
    def perturbed(
        self, module: nn.Module, lowered: Callable[[], Tensor], moment: Moment
    ) -> Iterator[None]:
        """Inside, the network has the weights at which the gradient is taken; its own again after.

        ``lowered`` is the loss of the batch at the weights that the network has when it is called,
        on pictures that are moved already.
        """
        yield

    def after(self, module: nn.Module, moment: Moment) -> None:
        """After the update of a step."""

    @contextmanager
    def judged(self, module: nn.Module) -> Iterator[None]:
        """Inside, the network has the weights that it is to be judged by."""
        yield

    def due(self, step: FitStep) -> bool:
        """Whether it wants to look at this step."""
        return True

    def look(self, module: nn.Module, step: FitStep) -> FitStep:
        """See a step, and say more of it. Who only watches sees the weights to be judged by."""
        return step

    def end(self, module: nn.Module) -> None:
        """After the last step: give the network the weights that it is to keep."""

    def findings(self, model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """What came of it, for the training's record: plain values, by a name of its own.

        ``images`` are the test pictures, 8-bit ``(N, C, H, W)``, with their classes ``(N,)``.
        """
        return {}

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was warned of, for the training's record."""
        return ()

    def write(self, weights: Path, classes: tuple[str, ...]) -> list[Path]:
        """Keep what belongs beside the trained weights ``NAME.safetensors``; the files."""
        return []


@runtime_checkable
class Companion(Protocol):
    """Settings of what goes along with a training."""

    def begin(self, module: nn.Module, classes: int) -> Running:
        """Begin for a network of so many classes; what it makes lies where the network does."""
        ...


def check_one_judges(running: Sequence[Running]) -> None:
    """Refuse several that say which weights the network is judged by, and ends with.

    Raises:
        InvalidParameterError: there are several.
    """
    judge = [one for one in running if type(one).judged is not Running.judged]
    if len(judge) > 1:
        named = " and ".join(repr(one.settings or type(one).__name__) for one in judge)
        raise InvalidParameterError(
            f"beside holds {named}, and each says what weights the network is judged by and ends "
            "with; expected one of them"
        )


def begun(given: Any, module: nn.Module, classes: int) -> Any:
    """What was given, begun if it can be and has not been."""
    if isinstance(given, Companion) and not isinstance(given, Running):
        return given.begin(module, classes)
    return given
