"""What removing units costs: exact ablation against bare passes of the rest of the network.

Needs the networks of ../shared for the full-size rows but the transformer, of random weights.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import SHARED
from benchmarks.timing import interleaved
from fluoroscope.neurons.reading.units import find_units, noise
from fluoroscope.neurons.tracing.ablation import Ablation, as_put, pair_margin

GOAL = 1.1


@dataclass(frozen=True)
class _Bed:
    """A network, a layer, and what comes after it, written down by hand."""

    name: str
    model: fs.Classifier
    layer: str
    rest: Callable[[Tensor], Tensor]


def ablation(scale: Scale) -> Section:
    """All units of a layer removed one at a time, over as many bare passes from the layer on."""
    section = Section(PAGE, "ablation", "Exact ablation against bare passes of the rest")
    rows = []
    for bed in _beds():
        units = find_units(bed.model, bed.layer)
        put = as_put(bed.model, units, "zero")
        picture = noise(bed.model)
        ready = Ablation(bed.model, picture, units, put)
        many = units.count if scale.limit is None else min(scale.limit, units.count)
        among = torch.arange(many, device="cpu")
        bare = partial(_passes, bed, ready.activation, many, ready.batch_size)
        with torch.no_grad():  # it is the same rest
            same = bed.rest(ready.activation) - ready.logits
        assert float(same.abs().max()) < 1e-3 * max(1.0, float(ready.logits.abs().max()))
        ways: dict[str, Callable[[], object]] = {
            "bare": bare,
            "removed": partial(ready.without_each, pair_margin((0, 1)), among=among),
            "looked at": partial(Ablation, bed.model, picture, units, put),
        }
        timing = interleaved(ways, scale.repeats or 7, clock=time.process_time, threads=1)
        seconds = {name: timing.median(name) for name in ways}
        ratio = timing.ratio("removed", "bare")
        rows.append(
            [
                bed.name, bed.layer, f"{many:,}", f"{ready.batch_size}",
                f"{1e3 * seconds['bare']:.0f}", f"{ratio:.3f}",
                timing.spread("removed", "bare"), "yes" if ratio <= GOAL else "**no**",
                f"{1e3 * seconds['looked at']:.0f}",
            ]
        )  # fmt: skip
    section.text(
        "Seconds of removing every unit of a layer in one picture, one at a time, over those of as "
        "many bare passes of what comes after the layer, written down by hand, in batches of the "
        "same size, by the CPU's clock on one thread. The part before the layer is computed once: "
        "*once* is what that costs with its checks against whole passes, in milliseconds, for each "
        f"picture. The goal is {GOAL}. Where all bare passes together take but some milliseconds, "
        "what a call costs by itself shows: the copies, and holding the network still."
    )
    section.table(
        ["network", "layer", "units>", "at once>", "bare, ms>", "ratio>", "quartiles",
         f"at most {GOAL}", "once, ms>"],
        rows,
    )  # fmt: skip
    return section


def _passes(bed: _Bed, activation: Tensor, many: int, at_once: int) -> None:
    """As many bare passes from the layer on, of copies that are there."""
    copies = activation.expand(at_once, *activation.shape[1:]).contiguous()
    with torch.no_grad():
        for start in range(0, many, at_once):
            bed.rest(copies[: many - start])


def _beds() -> Iterator[_Bed]:
    """Small, of full size, and a transformer; early and late layers."""
    model = fs.load_model("digits-cnn")
    module: Any = model.module
    for layer in ("1", "5"):
        yield _Bed("digits-cnn", model, layer, module[int(layer) + 1 :])
    name = "mobilenet_v1_0.25_128"
    if (SHARED / "models" / name).is_dir():
        model = fs.load_model(SHARED / "models" / name)
        inner: Any = model.module
        for number in (6, 12, 24):
            body = nn.Sequential(*list(inner.mobilenet_v1.layer)[number + 1 :])
            end = partial(_classified, body, inner.mobilenet_v1.pooler, inner.classifier)
            yield _Bed(name, model, f"mobilenet_v1.layer.{number}", end)
    name = "mobilenet_v2_1.0_224"
    if (SHARED / "models" / name).is_dir():
        model = fs.load_model(SHARED / "models" / name)
        inner = model.module
        body = nn.Sequential(*list(inner.mobilenet_v2.layer)[14:], inner.mobilenet_v2.conv_1x1)
        end = partial(_classified, body, inner.mobilenet_v2.pooler, inner.classifier)
        yield _Bed(name, model, "mobilenet_v2.layer.13", end)
    yield _transformer()


def _classified(body: nn.Module, pooler: nn.Module, head: nn.Module, found: Tensor) -> Tensor:
    logits: Tensor = head(pooler(body(found)).flatten(1))
    return logits


def _transformer() -> _Bed:
    import timm

    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was learnt
        model = fs.Classifier(module, input_size=224, channels=3, name="vit_tiny (random weights)")

    def rest(tokens: Tensor) -> Tensor:
        logits: Tensor = module.forward_head(module.norm(module.blocks[10:](tokens)))
        return logits

    return _Bed(model.name, model, "blocks.9", rest)


SECTIONS = {"ablation": ablation}
