"""The work of a CUDA graph on the CPU: operators are recorded once, and run again on their memory without any Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from accel.device.host_reads import READS
from accel.schema import plugin_registry

__all__ = ["T", "Tape", "TapeRecorder", "output_tensors", "taped_graph"]

T = TypeVar("T")


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of every operator, with the numbers that the host gave it and the tensors that it read and wrote.

    Raises:
        RuntimeError: for a number that is read on the host: a capture on CUDA fails there too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket._qualified_op_name in READS:
            raise RuntimeError("operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Run all operators again. An operator that makes a new tensor writes it to where the first one was."""
        with torch.no_grad():
            for func, args, kwargs, out in self.calls:
                outputs = func(*args, **kwargs)
                for tensor, new in zip(output_tensors(out), output_tensors(outputs), strict=True):
                    if tensor.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                        tensor.copy_(new)


def output_tensors(out: Any) -> list[Tensor]:
    """Return the tensors that an operator returned."""
    if isinstance(out, Tensor):
        return [out]
    return [tensor for item in out for tensor in output_tensors(item)] if isinstance(out, list | tuple) else []


class TapeRecorder:
    """An `accel.device.cuda_graphs.Recorder` for the CPU: its replays must be right without any Python, as on CUDA."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def run_on_capture_stream(self, work: Callable[[], T]) -> T:
        """Run `work` at once: a CPU has no streams."""
        return work()

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Record `work`, which runs meanwhile, as it does not on CUDA: so the first replay, which follows at once, is skipped."""
        tape = Tape()
        with tape:
            result = work()
        self.captures += 1
        first = True

        def replay() -> None:
            nonlocal first
            if not first:
                tape.replay()
            first = False
            self.replays += 1

        return replay, result


def taped_graph(**settings: Any) -> Any:
    """Return the plugin `cuda_graph` for the CPU; its `recorder` counts captures and replays.

    Args:
        **settings: of the plugin.
    """
    plugin = plugin_registry.load("cuda_graph")

    def make_recorder(self: Any, device: torch.device) -> TapeRecorder:
        return TapeRecorder()

    return type("Taped", (plugin,), {"needs": (), "make_recorder": make_recorder, "__module__": __name__})(**settings)
