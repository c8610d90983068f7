"""Hold a module still for input work, and give it back exactly as it was.

Inside, every submodule is in evaluation mode and no parameter collects gradients, which saves about
a third of a backward pass; buffers that the network writes while it answers get their old values
back. Holds nest and may overlap between threads, also those of networks that share some of their
parts: what is changed is counted part by part, the first hold saves it and the last restores it.

An interrupt may come between any two lines. So what is to be restored is noted before it is
changed, restoring twice does no harm, and a hold that was cut off is ended when it is forgotten.
"""

import threading
import weakref
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fluoroscope.errors import ModelFormatError


def frozen(module: nn.Module) -> AbstractContextManager[None]:
    """Evaluation mode and no parameter gradients inside the block; everything restored after it."""
    return _Hold(module)


class _Saved:
    """Something of a network that holds change, and how it was; kept while a hold needs it."""

    def __init__(self, *things: Any) -> None:
        self.things = things
        self.holders: set[int] = set()

    def still(self) -> None:
        """Make it still."""

    def restore(self) -> None:
        """Make it what it was, however often this is called."""


class _Mode(_Saved):
    def still(self) -> None:
        # The flag is set by hand: train() may be overridden and do more than set it.
        self.things[0].training = False

    def restore(self) -> None:
        self.things[0].training = True


class _Trainable(_Saved):
    def still(self) -> None:
        self.things[0].requires_grad_(False)

    @torch.inference_mode()  # where weights that were made in it take the flag too
    def restore(self) -> None:
        self.things[0].requires_grad_(True)


class _Slots(_Saved):
    """Which tensor is a module's buffer of each name: networks put others in their place."""

    def __init__(self, buffers: dict[str, Tensor | None]) -> None:
        super().__init__(buffers)
        self._own = dict(buffers)

    def restore(self) -> None:
        (buffers,) = self.things
        for name, own in self._own.items():
            if buffers.get(name) is not own:
                buffers[name] = own


class _Buffers(_Saved):
    """The values of many buffers, in one piece for each kind: so saving them costs next to nothing.

    That nothing was written is seen in the values. Versions do not tell, for neither batch norm nor
    a write to ``.data`` is counted; and writing back what did not change would forbid going back
    through a graph that has saved a buffer.
    """

    def __init__(self, *things: Tensor) -> None:
        super().__init__(*things)
        self._kinds: dict[Any, list[Tensor]] = {}
        for one in things:
            plain = type(one) is Tensor and one.layout is torch.strided and not one.is_quantized
            kind = (one.dtype, one.device) if plain else id(one)
            self._kinds.setdefault(kind, []).append(one)
        self._values = {kind: self._read(kind) for kind in self._kinds}

    def _read(self, kind: Any) -> Tensor:
        buffers = self._kinds[kind]
        if not isinstance(kind, tuple):
            return buffers[0].clone()
        return torch.cat([one.reshape(-1) for one in buffers])

    def restore(self) -> None:
        with torch.inference_mode(), torch._C.DisableTorchFunction():
            for kind, values in self._values.items():
                buffers = self._kinds[kind]
                if not isinstance(kind, tuple):
                    buffers[0].copy_(values)
                elif not torch.equal(self._read(kind), values):
                    pieces = values.split([one.numel() for one in buffers])
                    for one, piece in zip(buffers, pieces, strict=True):
                        if not torch.equal(one.reshape(-1), piece):
                            one.copy_(piece.view(one.shape))


# All of it is guarded by the lock. Ids are safe as keys, since what is saved holds its thing.
_saved: dict[int, _Saved] = {}
_networks: "dict[int, _Network]" = {}
_abandoned: "deque[weakref.ref[_Hold]]" = deque()
_lock = threading.Lock()


class _Network:
    """A module with what has been made still of it, while anybody holds it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.holds: set[weakref.ref[_Hold]] = set()
        self._own: list[_Saved] = []
        self._still = False

    def be_still(self) -> None:
        if self._still:
            return
        buffers = []
        for part in self.module.modules():
            # A frozen TorchScript module has no mode.
            if id(part) in _saved or getattr(part, "training", False):
                self._take(_Mode, part)
            for weight in part._parameters.values():
                if isinstance(weight, UninitializedParameter):
                    raise ModelFormatError(
                        f"the network has a {type(part).__name__} whose size is not settled; "
                        "expected one that has answered once: call the module with a batch"
                    )
                if weight is not None and (id(weight) in _saved or weight.requires_grad):
                    self._take(_Trainable, weight)
            if part._buffers and not isinstance(part, torch.jit.ScriptModule):
                self._take(_Slots, part._buffers)
            buffers += [one for one in part._buffers.values() if isinstance(one, Tensor)]
        if buffers:
            with torch.inference_mode(), torch._C.DisableTorchFunction():
                self._take_buffers(buffers)
        self._still = True

    def _take_buffers(self, buffers: list[Tensor]) -> None:
        new: dict[int, Tensor] = {}
        for buffer in buffers:
            if id(buffer) in _saved:
                self._take(_Buffers, buffer)
            elif not (isinstance(buffer, UninitializedBuffer) or buffer.is_meta):
                new[id(buffer)] = buffer
        if new:
            self._take(_Buffers, *new.values())

    def _take(self, kind: type[_Saved], *things: Any) -> None:
        saved = _saved.get(id(things[0])) or kind(*things)
        self._own.append(saved)
        saved.holders.add(id(self))
        for thing in things:
            _saved[id(thing)] = saved
        saved.still()

    def leave(self, mark: "weakref.ref[_Hold]") -> None:
        self.holds.discard(mark)
        if not self.holds:
            self._let_go()

    def _let_go(self) -> None:
        self._still = False
        for saved in self._own:
            saved.holders.discard(id(self))
            if not saved.holders:
                saved.restore()
                for thing in saved.things:
                    _saved.pop(id(thing), None)
        self._own.clear()
        _networks.pop(id(self.module), None)


class _Hold(AbstractContextManager[None]):
    """One ``with`` block's hold on a module."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._mark: weakref.ref[_Hold] | None = None

    def __enter__(self) -> None:
        try:
            with _lock:
                _end_abandoned()
                self._mark = weakref.ref(self, _abandon)
                network = _networks.get(id(self._module)) or _Network(self._module)
                network.holds.add(self._mark)
                _networks[id(self._module)] = network
                network.be_still()
        except BaseException:
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        with _lock:
            network = _networks.get(id(self._module))
            if network is not None and self._mark is not None:
                network.leave(self._mark)
            self._mark = None


def _abandon(mark: "weakref.ref[_Hold]") -> None:
    """End a hold that was forgotten: an interrupt came between the two ends of its block."""
    _abandoned.append(mark)
    # The collector may have called this anywhere, so nothing is waited for: else the next hold
    # ends it.
    if _lock.acquire(blocking=False):
        try:
            _end_abandoned()
        finally:
            _lock.release()


def _end_abandoned() -> None:
    while _abandoned:
        for network in list(_networks.values()):
            network.leave(_abandoned[0])
        _abandoned.popleft()
