"""CudaGraph: the whole update is launched by one call.

The kernels of an update (forward, backward, clip, step, average) are captured
once for each shape of window, and replayed from then on: the host does nothing
but copy the batch to where the graph reads it.

Helps   small models and small batches on CUDA, where the host cannot launch
        kernels as fast as the device runs them.
Hurts   where the device is busy anyway (nothing to gain), and data of many
        shapes: one is captured when it has come `warmup` times, the rest runs
        without a graph. No Python of model and loss runs in a replay: what they
        read on the host is refused, but a choice that they make there (a layer
        dropped by `random.random()`) stays as it was when it was captured.
Costs   memory: what an update needs is kept, once for all graphs, and a copy of
        each window.
Source  https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
Exact   A replay runs the kernels that the update would run, on the random
        numbers it would draw, so that it makes no difference to the bits
        whether an update is replayed: a resumed run, which begins without
        graphs, ends as the whole one. Learning rates are float32 on the device;
        without this plugin the kernels take them in float64.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from accel.data.batches.structure import put_together, take_apart
from accel.device.cuda_graphs import CudaRecorder, Recorder
from accel.errors import ConfigError
from accel.parts import Part, Update, Window
from accel.parts.mean import constant
from accel.system.clock import OTHER, UPDATE
from accel.system.machine import Need
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["LIBRARIES", "MANY", "CudaGraph", "Graph", "cause"]

MANY = 10_000
"""Of so many shapes at most it is remembered how often they came: data in which no two batches are alike has no end of them."""
LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
"""Where the code is that is not the user's own."""


class Graph(NamedTuple):
    """An update of one shape, captured."""

    replay: Callable[[], None]
    inputs: list[Tensor]
    """Where it reads the window."""
    loss: Tensor
    """Where it leaves the mean loss."""
    pins: Any
    """What else it reads and writes: freed, another tensor would take its place in memory."""


@dataclass(eq=False)
class CudaGraph(Update):
    """The update, captured and replayed.

    Args:
        warmup: so many updates of a shape run before it is captured.
        graphs: so many shapes are captured; updates of any other are not replayed.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("cuda"),)

    warmup: Count = 3
    graphs: Count = 4

    def setup(self, run: Run) -> None:
        super().setup(run)
        parts = run.parts
        inside = [parts.schedule, parts.compile, parts.activations, parts.parallel, parts.precision]
        inside += [parts.objective, parts.guard, parts.clip, parts.optim, parts.average]
        for reason in (part.capture_blocker() for part in inside):
            if reason:
                raise ConfigError(f"cuda_graph cannot capture the update: {reason}")
        for part in inside:
            part.to_device_scalars()
        self.beats = [part.before_replay for part in inside if type(part).before_replay is not Part.before_replay]
        self.captured: dict[Hashable, Graph] = {}
        self.seen: dict[Hashable, int] = {}
        self.recorder = self.record(run.device)

    def record(self, device: torch.device) -> Recorder:
        """What captures on `device`."""
        return CudaRecorder(device)

    def __call__(self, window: Window) -> Tensor:
        window = window._replace(micros=tuple(window.micros))
        for beat in self.beats:
            beat()
        tensors: list[Tensor] = []
        try:
            shape = take_apart(window, tensors)
        except TypeError as error:
            raise ConfigError(
                f"cuda_graph cannot copy {error} in a batch; let the data give tensors, numbers, and tuples, lists, dicts of them"
            ) from None
        graph = self.captured.get(shape)
        if graph is None:
            if len(self.seen) == MANY:
                self.seen.clear()
            self.seen[shape] = self.seen.get(shape, 0) + 1
            if self.seen[shape] <= self.warmup or len(self.captured) == self.graphs:
                return self.recorder.run_on_capture_stream(lambda: super(CudaGraph, self).__call__(window))
            graph = self.captured[shape] = self.capture(window, tensors)
        if tensors:
            torch._foreach_copy_(graph.inputs, tensors, non_blocking=True)
        graph.replay()
        loss = graph.loss.clone()  # the next replay writes over it
        self.lap(UPDATE)
        return loss

    def capture(self, window: Window, tensors: list[Tensor]) -> Graph:
        """Captures the update of a window like this one, without running it."""
        inputs = [tensor.clone() for tensor in tensors]
        static = put_together(window, iter(inputs))
        lap = self.lap
        self.lap = lambda phase: None  # the time is of none of its phases
        try:
            replay, loss = self.recorder.capture(lambda: super(CudaGraph, self).__call__(static))
        except RuntimeError as error:
            raise ConfigError(
                f"cuda_graph cannot capture the update ({cause(error)}): loss and model must not read numbers of the device on the "
                "host, nor make tensors there; leave it out with '~plugins.cuda_graph'"
            ) from error
        finally:
            self.lap = lap
            lap(OTHER)
        weights = [constant(micro.weight, loss.dtype, loss.device) for micro in static.micros]
        return Graph(replay, inputs, loss, (static, weights, self.optim.capture_refs()))

    def plan_notes(self) -> Mapping[str, str]:
        return {"CUDA graphs": f"an update is captured when its shape has come {self.warmup} times, up to {self.graphs} shapes"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The graphs move state that is no longer the run's: the next updates are captured anew."""
        self.captured.clear()
        self.seen.clear()

    def close(self) -> None:
        if hasattr(self, "captured"):
            self.captured.clear()


def cause(error: BaseException) -> str:
    """The first of the errors that led to this one, in words, with the last line of the user's own code that it came from."""
    while error.__context__ is not None:
        error = error.__context__
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(LIBRARIES)]
    where = f" in {own[-1].filename}:{own[-1].lineno}" if own else ""
    return str(error).strip().split("\n")[0][:200] + where
