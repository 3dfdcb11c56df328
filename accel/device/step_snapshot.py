"""What was before an update, to begin it again: random generators and buffers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accel.device.buffers import writable

PROBED_UPDATES = 8
"""In so many updates it is seen whether the model or the loss draw from Python's generator or numpy's."""


class StepSnapshot:
    """Keeps the state that forward and backward passes move, at a cost of a few microseconds per update, and puts it back.

    torch's generators are copied every time (1 microsecond each), and so are the model's buffers, where it has any, moved in place
    or assigned anew. Python's generator and numpy's take 50 microseconds: they are copied in the first `PROBED_UPDATES` updates, and
    from then on only where something drew from them there.

    Args:
        model: whose buffers are kept.
        device: of the run; the generator of a CUDA device is one of torch's.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            self.generators.append(torch.cuda.default_generators[index])
        self.modules = [module for module in model.modules() if module._buffers]
        self.watched, self.draws = 0, False
        self.host: Any = None
        self.buffers: list[Tensor | None] = []
        """The buffers, in order; and as they stand in their modules."""
        self.module_buffers: list[dict[str, Tensor | None]] = []
        self.rows: list[tuple[list[Tensor], list[Tensor]]] = []
        """Those with numbers of their own, by device and format, and their copies."""

    def take(self) -> None:
        """What is now, is what to go back to."""
        self.states = [generator.get_state() for generator in self.generators]
        if self.draws or self.watched < PROBED_UPDATES:
            self.host = drawn()
        if self.modules:
            now = [buffer for module in self.modules for buffer in module._buffers.values()]
            if len(now) != len(self.buffers) or any(a is not b for a, b in zip(now, self.buffers, strict=True)):
                self.buffers, self.rows = now, rows(now)
                self.module_buffers = [dict(module._buffers) for module in self.modules]
            for buffers, copies in self.rows:
                torch._foreach_copy_(copies, buffers)

    def discard(self) -> None:
        """The passes are over, and nothing is to be put back."""
        if self.watched < PROBED_UPDATES and not self.draws:
            self.watched += 1
            self.draws = drawn() != self.host
            self.host = None

    def restore(self) -> None:
        """Puts everything back. May be called more than once."""
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)
        if self.host is not None:
            draw_from(self.host)
        for module, buffers in zip(self.modules, self.module_buffers, strict=True):
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for row, copies in self.rows:
                torch._foreach_copy_(row, copies)


def drawn() -> Any:
    """Where Python's generator and numpy's are, in values that can be compared."""
    name, key, *rest = np.random.get_state()
    return random.getstate(), (name, np.asarray(key).tobytes(), *rest)


def draw_from(host: Any) -> None:
    """Puts Python's generator and numpy's back to where `drawn` has found them."""
    python, (name, key, *rest) = host
    random.setstate(python)
    np.random.set_state((name, np.frombuffer(key, dtype=np.uint32), *rest))


def rows(buffers: list[Tensor | None]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """The buffers by device and format, each with room for a copy."""
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for buffer in buffers:
        if buffer is not None and buffer.numel() and buffer.layout == torch.strided and writable(buffer):
            found.setdefault((buffer.device, buffer.dtype), []).append(buffer.detach())
    return [(row, [torch.empty_like(buffer) for buffer in row]) for row in found.values()]
