"""What every parameterisation is: numbers to optimise, and the picture that they stand for."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fluoroscope.inversion.portraits.canvas import Canvas


@dataclass(frozen=True)
class Parameterisation(ABC):
    """Turns parameters ``(n, *)``, one tensor of real numbers, into pictures.

    Its options are fields. Rows never depend on each other.
    """

    name: ClassVar[str]

    @property
    def cut_off(self) -> bool:
        """Whether pictures are the parameters themselves, cut off at 0 and 1."""
        return False

    @abstractmethod
    def start(self, canvas: Canvas, keys: Tensor) -> Tensor:
        """Random parameters ``(n, *)``, hashed from the keys ``(n,)`` of the portraits."""

    @abstractmethod
    def start_from(self, canvas: Canvas, pictures: Tensor) -> Tensor:
        """The parameters that stand for pictures ``(n, C, H, W)`` in ``[0, 1]``.

        Raises:
            InvalidParameterError: it cannot stand for any picture.
        """

    @abstractmethod
    def picture(self, canvas: Canvas, parameters: Tensor) -> Tensor:
        """Pictures ``(n, C, H, W)`` in ``[0, 1]``, differentiable in the parameters."""

    def led(self, canvas: Canvas, gradient: Tensor) -> Tensor:
        """What the optimiser is given of a gradient of the parameters; by default as it is."""
        return gradient

    def notes(self, canvas: Canvas) -> tuple[str, ...]:
        """What a user should know of how it stands on this canvas."""
        return ()

    def notes_on(self, pictures: Tensor) -> tuple[str, ...]:
        """What a user should know of finished pictures ``(n, C, H, W)``."""
        return ()
