"""One pass through a module of the user's: what it raises, and batches of one size only."""

import re
from collections.abc import Callable, Iterator
from traceback import walk_tb
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import FluoroscopeError, ModelOutputError, NoGradientError
from fluoroscope.models.outputs import OtherRowsError
from fluoroscope.models.wording import first_line

# Batch sizes that are tried, and up to how many pixel values in all where no message names one.
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TRIED = 2**22
_NUMPY = "numpy() on Tensor that requires grad"


def out_of_memory(problem: BaseException) -> bool:
    """Whether this is how a device, or the processor's allocator, says that memory ran out."""
    return isinstance(problem, torch.OutOfMemoryError | MemoryError) or (
        isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem)
    )


def run_module(module: nn.Module, inputs: Tensor, name: str) -> Any:
    """What the module returns for inputs ``(N, C, H, W)``.

    Memory that ran out, and what this package raises, come through as they are.

    Raises:
        ModelOutputError: whatever its code raised, with the layer and what it was given.
        NoGradientError: it leaves PyTorch, and so cannot be gone back through.
    """
    try:
        return module(inputs)
    except FluoroscopeError:
        raise
    # Whatever the user's own code raises; its traceback stays reachable as the cause.
    except (Exception, SystemExit) as problem:
        if out_of_memory(problem):
            raise
        said = f"{type(problem).__name__}: {first_line(problem)}"
        where = _place(module, inputs, problem)
        if _NUMPY in str(problem):
            raise NoGradientError(
                f"the logits of {name} do not depend differentiably on the pixels, for it goes "
                f"through NumPy {where} ({said}); use a method that needs no gradient, or write "
                "that part in PyTorch"
            ) from problem
        mend = "state the right channels= and input_size=, or mend the network"
        if inputs.dtype in (torch.float16, torch.bfloat16) and "not implemented for" in said:
            mend = (
                f"{inputs.device} cannot compute it in {_short(inputs.dtype)}: convert it by "
                "model.to(dtype=torch.float32)"
            )
        raise ModelOutputError(
            f"{name} raised {said} {where}; expected logits (N, classes): {mend}"
        ) from problem


def in_batches(answer: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    """Rows for inputs of any number, from what answers just ``size`` at a time.

    The last batch is filled up with its last image.
    """
    rows = []
    for part in inputs.split(size):
        filling = part[-1:].expand(size - len(part), *part.shape[1:])
        rows.append(answer(torch.cat([part, filling]))[: len(part)])
    return torch.cat(rows)


def fixed_size(
    answer: Callable[[Tensor], Tensor], inputs: Tensor, problem: ModelOutputError
) -> int | None:
    """The number of images that a module takes at a time, where it refused another; else nothing.

    Found by trying, from the number that its message names on.
    """
    if problem.__cause__ is None and not isinstance(problem, OtherRowsError):
        return None
    named = [int(number) for number in re.findall(r"\b\d{1,3}\b", str(problem.__cause__ or ""))]
    left = _TRIED // inputs[0].numel()
    for size in dict.fromkeys([*named, *_SIZES]):
        if size == len(inputs) or not 0 < size <= (_SIZES[-1] if size in named else left):
            continue
        left -= size
        tried = inputs.detach()[torch.arange(size, device=inputs.device) % len(inputs)]
        try:
            with torch.no_grad():
                answer(tried)
        except ModelOutputError:
            continue
        return size
    return None


def _place(module: nn.Module, inputs: Tensor, problem: BaseException) -> str:
    """In words the innermost layer that was being asked, and what it was given."""
    names = {id(part): path for path, part in module.named_modules()}
    given = f"images of shape {tuple(inputs.shape)} in {_short(inputs.dtype)}"
    words = f"when it was given {given}"
    for frame in _calls(problem):
        part = frame.f_locals["self"]
        if part is not module:
            path = names.get(id(part), type(part).__name__)
            shapes = [
                str(tuple(one.shape)) for one in frame.f_locals["args"] if isinstance(one, Tensor)
            ]
            taken = f", given {' and '.join(shapes)}" if shapes else ""
            words = (
                f"in its layer {path!r} ({type(part).__name__}{taken}) when it was given {given}"
            )
    return words


def _calls(problem: BaseException) -> Iterator[FrameType]:
    """The frames in which a module was called, outermost first."""
    for frame, _ in walk_tb(problem.__traceback__):
        own = frame.f_locals
        if (
            frame.f_code.co_name == "_call_impl"
            and isinstance(own.get("self"), nn.Module)
            and isinstance(own.get("args"), tuple)
        ):
            yield frame


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
