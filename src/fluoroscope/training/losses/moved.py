"""What losses share that learn from pictures moved against the network."""

from typing import ClassVar

from torch import Tensor, nn

from fluoroscope.training.trainer.step import Moment, Ready, Terms


class MovedLoss:
    """Pictures are moved, the network answers to them, and terms are made of the answers."""

    learns_clean: ClassVar[bool] = True
    """Whether the terms need the logits of the images as they are."""

    def __call__(
        self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Terms, Tensor]:
        """The terms to lower, and the logits of the moved images ``(N, classes)``."""
        return self.prepare(module, images, labels, moment)()

    def prepare(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Ready:
        """Move the images; the loss of them at the weights that the network has when asked."""
        moved = self.moved(module, images, labels, moment)

        def lowered() -> tuple[Terms, Tensor]:
            clean = module(images) if self.learns_clean else None
            logits = module(moved)
            return self.terms(clean, logits, labels), logits

        return lowered

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """The images ``(N, C, H, W)`` moved against the network, as it is now."""
        raise NotImplementedError

    def terms(self, clean: Tensor | None, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What is lowered, by name, from the logits of the images, where they are learnt from, and
        of the moved ones.
        """
        raise NotImplementedError
