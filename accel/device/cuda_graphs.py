"""Work on a CUDA device that is captured once and then replayed by a single call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

__all__ = ["CudaRecorder", "Recorder", "T"]

T = TypeVar("T")


class Recorder(Protocol):
    """Interface: run work, and capture it."""

    def run_on_capture_stream(self, work: Callable[[], T]) -> T:
        """Run `work` on the stream of the captures, after all work before it and before all work after it."""

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Capture `work`. Return the function that replays it, and its result, which each replay writes anew."""


class CudaRecorder:
    """Captures on a stream of its own; all its graphs share one pool of memory, because they are replayed in turn.

    Work must have run on the capture stream before it is captured. cuBLAS and cuDNN set themselves up on the stream, and autograd
    remembers on which stream a parameter's gradient is accumulated.

    Args:
        device: a CUDA device.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def run_on_capture_stream(self, work: Callable[[], T]) -> T:
        """Run `work` on the stream of the captures, after all work before it and before all work after it."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        try:
            with torch.cuda.stream(self.stream):
                return work()
        finally:  # an error does not end what is queued, such as an optimiser's kernels
            current.wait_stream(self.stream)

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Capture `work`. Return the function that replays it, and its result, which each replay writes anew.

        The default random generator is captured with it: each replay draws on from its present state.

        Raises:
            RuntimeError: if the work reads from the device, or runs an operation that cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads, such as a loader's that pins memory, may allocate meanwhile
        capture = torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local")
        device = self.stream.device
        current = torch.cuda.stream(torch.cuda.current_stream(device))  # which a capture that fails does not leave
        with torch.cuda.device(device), current, capture:
            result = work()
        return graph.replay, result
