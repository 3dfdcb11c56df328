"""CudaGraph: capture an update in a CUDA graph, and launch it by one call.

The kernels of an update (forward, backward, clip, step, average) are captured
once for each shape of its batches. From then on they are replayed: the host
only copies the batches to the memory that the graph reads.

Helps   small models and small batches on CUDA, where the host cannot launch
        kernels as fast as the device runs them.
Hurts   devices that are busy anyway, which gain nothing, and data of many
        shapes. A shape is captured when it has come `warmup` times; other
        shapes run without a graph. No Python of model and loss runs in a
        replay. Values that they read on the host are refused. A choice that
        they make there (a layer dropped by `random.random()`) stays as it was
        at the capture.
Costs   memory: the tensors of an update are kept, once for all graphs, with a
        copy of the batches for each graph.
Source  https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
Exact   A replay runs the kernels that the update would run, on the random
        numbers that it would draw. So the bits do not depend on which updates
        are replayed: a resumed run, which begins without graphs, ends as an
        uninterrupted one. Learning rates are float32 on the device; without
        this plugin the kernels take them in float64.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from accel.data.batches.structure import flatten, unflatten
from accel.device.cuda_graphs import CudaRecorder, Recorder
from accel.device.out_of_memory import is_out_of_memory
from accel.errors import ConfigError, TrainingError
from accel.parts import Part, Update, Window
from accel.parts.mean import constant
from accel.system.call_stack import is_user_code
from accel.system.clock import COMPILE, UPDATE
from accel.system.machine import Need
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MAX_COUNTED_SHAPES", "CudaGraph", "Graph", "causes", "describe_cause"]

MAX_COUNTED_SHAPES = 10_000
"""Shapes whose occurrences are counted, at most: data in which no two batches are alike has shapes without end."""


class Graph(NamedTuple):
    """A captured update of one shape."""

    replay: Callable[[], None]
    inputs: list[Tensor]
    """The tensors from which the graph reads the window."""
    loss: Tensor
    """The tensor in which the graph leaves the mean loss."""
    references: Any
    """Everything else that the graph reads and writes: if freed, another tensor would take its place in memory."""
    logged: dict[str, Tensor]
    """The tensors in which the graph leaves the numbers that the loss logs."""


@dataclass(eq=False)
class CudaGraph(Update):
    """Update that is captured in a CUDA graph, once per shape, and replayed.

    Args:
        warmup: updates of a shape that run before it is captured.
        graphs: shapes that are captured, at most; updates of other shapes run without a graph.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("cuda"),)

    warmup: Count = 3
    graphs: Count = 4

    def setup(self, run: Run) -> None:
        super().setup(run)
        parts = run.parts
        update_parts = [parts.schedule, parts.compile, parts.activations, parts.parallel, parts.precision]
        update_parts += [parts.objective, parts.guard, parts.clip, parts.optim, parts.average]
        update_parts += parts.shapes().values()  # a replay knows no parameter that stands where another stood
        for reason in (part.capture_blocker() for part in update_parts):
            if reason:
                raise ConfigError(f"cuda_graph cannot capture the update: {reason}")
        for part in update_parts:
            part.to_device_scalars()
        self.replay_hooks = [part.before_replay for part in update_parts if type(part).before_replay is not Part.before_replay]
        self.graphs_by_shape: dict[Hashable, Graph] = {}
        self.shape_counts: dict[Hashable, int] = {}
        self.recorder = self.make_recorder(run.device)

    def follow_parameters(self, run: Run) -> None:
        super().follow_parameters(run)
        self.load_state_dict({})

    def make_recorder(self, device: torch.device) -> Recorder:
        """Return the recorder that captures on `device`."""
        return CudaRecorder(device)

    def __call__(self, window: Window) -> Tensor:
        window = window._replace(micros=tuple(window.micros))
        for hook in self.replay_hooks:
            hook()
        tensors: list[Tensor] = []
        try:
            shape = flatten(window, tensors)
        except TypeError as error:
            raise ConfigError(
                f"cuda_graph cannot copy {error} in a batch; let the data give tensors, numbers, and tuples, lists, dicts of them"
            ) from None
        graph = self.graphs_by_shape.get(shape)
        if graph is None:
            if len(self.shape_counts) == MAX_COUNTED_SHAPES:
                self.shape_counts.clear()
            self.shape_counts[shape] = self.shape_counts.get(shape, 0) + 1
            if self.shape_counts[shape] <= self.warmup or len(self.graphs_by_shape) == self.graphs:
                return self.recorder.run_on_capture_stream(lambda: super(CudaGraph, self).__call__(window))
            graph = self.graphs_by_shape[shape] = self.capture(window, tensors)
        if tensors:
            torch._foreach_copy_(graph.inputs, tensors, non_blocking=True)
        graph.replay()
        loss = graph.loss.clone()  # the next replay writes over it
        self.logged = {name: number.clone() for name, number in graph.logged.items()}  # type: ignore[misc]
        self.lap(UPDATE)
        return loss

    def capture(self, window: Window, tensors: list[Tensor]) -> Graph:
        """Capture the update of a window like this one, without running it.

        Raises:
            ConfigError: if model or loss does something that a graph cannot hold.
            TrainingError: if memory is short.
        """
        inputs = [tensor.clone() for tensor in tensors]
        static = unflatten(window, iter(inputs))
        lap = self.lap
        self.lap = lambda phase: None  # capturing belongs to no phase of an update
        try:
            replay, loss = self.recorder.capture(lambda: super(CudaGraph, self).__call__(static))
        except RuntimeError as error:
            if any(map(is_out_of_memory, causes(error))):
                raise TrainingError(
                    f"cuda_graph: memory is short in the capture of an update ({describe_cause(error)}): a graph keeps the tensors "
                    "of its update; take smaller batches, fewer plugins.cuda_graph.graphs, or '~plugins.cuda_graph'"
                ) from error
            raise ConfigError(
                f"cuda_graph cannot capture the update ({describe_cause(error)}): loss and model must not read numbers of the "
                "device on the host, nor make tensors there; leave it out with '~plugins.cuda_graph'"
            ) from error
        finally:
            self.lap = lap
            lap(COMPILE)
        if fixed := [name for name, value in self.objective.logged.items() if not isinstance(value, Tensor)]:
            raise ConfigError(
                f"cuda_graph: the loss logs {fixed[0]!r} as a number of the host, which a replay would not renew; log a tensor, or "
                "leave cuda_graph out with '~plugins.cuda_graph'"
            )
        weights = [constant(micro.weight, loss.dtype, loss.device) for micro in static.micros]
        return Graph(replay, inputs, loss, (static, weights, self.optim.capture_refs()), dict(self.logged))

    def plan_notes(self) -> Mapping[str, str]:
        return {"CUDA graphs": f"an update is captured when its shape has come {self.warmup} times, up to {self.graphs} shapes"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Drop the graphs, which move state that is no longer the run's, so that updates are captured anew."""
        self.graphs_by_shape.clear()
        self.shape_counts.clear()

    def close(self) -> None:
        super().close()
        if hasattr(self, "graphs_by_shape"):
            self.graphs_by_shape.clear()


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those that led to it, to the first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__context__


def describe_cause(error: BaseException) -> str:
    """Return the first of the errors that led to this one, in words, with the last line of the user's own code on its way."""
    *_, error = causes(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_code(frame.filename)]
    where = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return str(error).strip().split("\n")[0][:200] + where
