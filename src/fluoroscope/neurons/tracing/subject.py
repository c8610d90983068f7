"""A network and a layer of it, looked at in one picture after another."""

import torch
from torch import Tensor

from fluoroscope.engine.memory import fewer_at_once
from fluoroscope.errors import FluoroscopeError, InvalidImagesError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.rest import Rest
from fluoroscope.neurons.answers.relevance import LayerReader
from fluoroscope.neurons.reading.units import find_units
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.neurons.tracing.ablation import Ablation, Put
from fluoroscope.neurons.tracing.turning_layer import turning_layer
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count


class Subject:
    """The units of a layer, and the network from that layer on.

    Args:
        model: the network.
        like: pictures of the size that will be looked at, on the network's device.
        layer: its name; by default :func:`.usual.usual_layer`.
        turning: by default rather :func:`.turning_layer.turning_layer`.
        call: which use of it in a pass, from 0; by default the last.
        batch_size: copies at once; by default what suits the layer.

    Raises:
        InvalidParameterError: no such layer or call, or one without units.
    """

    def __init__(
        self, model: Classifier, like: Tensor, layer: str | None, call: int | None,
        batch_size: int | None, *, turning: bool = False,
    ) -> None:  # fmt: skip
        size, why = (int(like.shape[2]), int(like.shape[3])), ""
        self.model, self.batch_size, self.chosen = model, batch_size, ""
        if layer is None:
            if turning and call is None:
                layer, call, why = turning_layer(model, size)
            else:
                layer = usual_layer(model, size)
            self.chosen = f"the layer is {layer!r}, as none was named{why}"
        self.units = find_units(model, layer, call, size)
        self.rest = Rest(model, self.units.layer, call)

    def ablation(self, picture: Tensor, put: Put) -> Ablation:
        """A picture ``(1, C, H, W)``; asking about an earlier one is over with that."""
        return Ablation(
            self.model, picture, self.units, put, batch_size=self.batch_size, rest=self.rest
        )

    def predicted(self, pictures: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of some pictures, one at a time."""
        with torch.inference_mode(False), torch.no_grad():
            return torch.cat([self.model(one) for one in pictures.split(1)])

    def maps(
        self, picture: Tensor, which: Tensor, pair: tuple[int, int]
    ) -> tuple[Tensor, str, str]:
        """Where units ``(M,)`` looked for a class over another, ``(M, C, H, W)``.

        Also how that was found (``lrp`` or ``activation-x-gradient``), or why it was not.
        """
        none = torch.zeros((0, *picture.shape[1:]), dtype=torch.float32, device="cpu")
        if not len(which):
            return none, "", ""
        try:
            reader = LayerReader(self.model, picture, self.units.layer, call=self.units.call)
            found, done, size = [], 0, len(which)
            while done < len(which):
                part = which[done : done + size].to(picture.device)
                rows = picture.expand(len(part), -1, -1, -1)
                pairs = torch.tensor([pair], dtype=torch.long, device=rows.device)
                try:
                    found.append(reader.at_pixels(rows, pairs.expand(len(part), -1), part).cpu())
                except Exception as problem:
                    size = fewer_at_once(problem, len(part))
                    continue
                done += len(part)
        except FluoroscopeError as problem:
            return none, "", f"where units looked is not shown: {problem}"
        return torch.cat(found).float(), reader.way, ""

    def notes(self) -> list[str]:
        """What a reader should know of the layer."""
        found, calls = [], self.rest.calls
        if self.chosen:
            found.append(self.chosen)
        if calls > 1:
            use = "the last" if self.units.call is None else f"number {self.units.call} from 0"
            found.append(
                f"the layer {self.units.layer!r} is used {count(calls, 'time')} in a pass; {use} "
                "counts"
            )
        return found


def one_picture(image: Tensor, model: Classifier, name: str = "image") -> Tensor:
    """The picture ``(1, C, H, W)`` on the network's device.

    Raises:
        InvalidImagesError: not just one, or none in ``[0, 1]``.
    """
    batch = check_images(image, model.channels)
    if len(batch) != 1:
        raise InvalidImagesError(
            f"{name} holds {count(len(batch), 'picture')}; expected one (C, H, W)"
        )
    return batch.to(model.device, model.dtype)
