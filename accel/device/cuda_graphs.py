"""Work on a CUDA device that is captured once and then replayed by a single call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")


class Recorder(Protocol):
    """Runs work, and captures it."""

    def run_on_capture_stream(self, work: Callable[[], T]) -> T:
        """Runs `work` where captures are made, in turn with everything before and after."""

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Captures `work`; returns what replays it, and its result, which each replay writes anew."""


class CudaRecorder:
    """Captures on a stream of its own; all its graphs share one pool of memory, since they are replayed in turn.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. What is to be captured must have run aside before:
    cuBLAS and cuDNN set themselves up on the stream, autograd remembers on which stream a parameter's gradient is gathered.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def run_on_capture_stream(self, work: Callable[[], T]) -> T:
        """Runs `work` on the stream of the captures."""
        here = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            result = work()
        here.wait_stream(self.stream)
        return result

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Captures `work`. The default random generator is captured with it: each replay draws on from where it is.

        Raises:
            RuntimeError: where the work asks the device for something, or runs what cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads, such as a loader's that pins memory, may allocate meanwhile
        capture = torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local")
        with torch.cuda.stream(torch.cuda.current_stream(self.stream.device)), capture:  # which a capture that fails does not leave
            result = work()
        return graph.replay, result
