"""Recorder of the operators of a pass: their layer, tensors, work and time."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accel.device.host_reads import source_line
from accel.diagnose.layers.module_path import ModulePath
from accel.diagnose.layers.operation import Operation, TensorFacts, Window
from accel.diagnose.layers.operator_timer import EventTimer, HostTimer
from accel.diagnose.layers.operator_work import flops_of, moved_bytes, tensors_in

__all__ = ["OperationRecorder", "OperationTimes", "model_line"]

TORCH_FOLDER = str(Path(torch.__file__).parent) + os.sep
OWN_FOLDER = str(Path(__file__).parents[1]) + os.sep
"""Folders whose lines are not the model's: torch's, and that of this package."""
CALLERS = tuple(f"{os.sep}{name}.py" for name in ("model_pass", "advise"))
"""Files of this package from which the model is called."""

COPIES = frozenset({"_to_copy", "clone"})

Signature = tuple[str, str | None, bool]


class OperationTimes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that times each operator, and keeps its name, layer and direction.

    Args:
        path: knows the module that computes.
        timer: of operators.
    """

    def __init__(self, path: ModulePath, timer: HostTimer | EventTimer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path, self.timer = path, timer
        self.signatures: list[Signature] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.signatures.append((func.overloadpacket.__name__, *self.path.current()))
        start = self.timer.start()
        result = func(*args, **(kwargs or {}))
        self.timer.stop(start)
        return result


class OperationRecorder(OperationTimes):  # type: ignore[no-untyped-call]
    """Dispatch mode that keeps all facts about each operator; the first pass runs in it, whose times count for nothing.

    Args:
        path: knows the module that computes.
        timer: of operators.
        model: its parameters are known by name.
    """

    def __init__(self, path: ModulePath, timer: HostTimer | EventTimer, model: nn.Module) -> None:
        super().__init__(path, timer)
        self.operations: list[Operation] = []
        self.parameters = {_memory(param): name for name, param in model.named_parameters(remove_duplicate=False)}
        self.storages = {memory: number for number, memory in enumerate(self.parameters)}
        self.count = len(self.storages)
        self.made: set[int] = set()
        self.copies: dict[int, str] = {}
        """Names of the parameters of which tensors are copies, such as in another number format, by memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        name, layer, backward = self.signatures[-1]
        operation = self.facts(func, name, args, kwargs or {}, result)
        line = "" if backward else model_line()
        self.operations.append(replace(operation, layer=layer, backward=backward, line=line))
        return result

    def facts(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Operation:
        """Return what is to be known of one call, but where it was made."""
        inputs, outputs = [*tensors_in(list(args)), *tensors_in(list(kwargs.values()))], list(tensors_in(result))
        memories = {_memory(tensor) for tensor in inputs}
        is_view = not func._schema.is_mutable and bool(outputs) and {_memory(tensor) for tensor in outputs} <= memories
        read, written = moved_bytes(name, inputs, outputs, is_view)
        taken = tuple(self.tensor_facts(*pair, is_new=False) for pair in zip(inputs, read, strict=True))
        copied = taken[0].parameter if name in COPIES and taken else ""
        given = tuple(
            self.tensor_facts(tensor, count, is_new=_memory(tensor) not in memories, copied=copied)
            for tensor, count in zip(outputs, written, strict=True)
        )
        named = {**dict(zip((one.name for one in func._schema.arguments), args, strict=False)), **kwargs}
        work, moved = flops_of(func, args, kwargs, result), sum(read) + sum(written)
        return Operation(
            name, None, taken, given, work, moved, pointwise=torch.Tag.pointwise in func.tags, groups=named.get("groups", 1),
            window=_window(named) if name == "convolution" else None,
        )  # fmt: skip

    def tensor_facts(self, tensor: Tensor, count: int, is_new: bool, copied: str = "") -> TensorFacts:
        """Return what is to be known of a tensor that an operator takes or gives.

        Args:
            tensor: the tensor.
            count: bytes of it that are read or written.
            is_new: whether its memory is, whatever was at the same place before.
            copied: name of the parameter of which it is a copy.
        """
        memory = _memory(tensor)
        if is_new or memory not in self.storages:
            self.storages[memory] = self.count
            self.count += 1
        if is_new:
            self.made.add(memory)
            self.copies[memory] = copied
        parameter = self.copies[memory] if memory in self.made else self.parameters.get(memory, "")
        dtype, device = str(tensor.dtype).removeprefix("torch."), str(tensor.device)
        number, given = self.storages[memory], memory not in self.made
        return TensorFacts(tuple(tensor.shape), dtype, count, number, _layout(tensor), device, parameter, given)


def _window(named: Mapping[str, Any]) -> Window | None:
    """Return how a convolution moves over its input, from its arguments by name; None for a transposed one."""
    if named["transposed"]:
        return None
    return Window(*(tuple(map(int, named[name])) for name in ("stride", "padding", "dilation")))


def _memory(tensor: Tensor) -> int:
    """Return a number for the memory of a tensor; it is another's once that memory is free."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse tensors and some subclasses have no one storage
        return id(tensor)


def _layout(tensor: Tensor) -> str:
    if tensor.layout is not torch.strided:
        return "strided"
    if tensor.is_contiguous():
        return "contiguous"
    for dims, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == dims and tensor.is_contiguous(memory_format=layout):
            return "channels_last"
    return "strided"


def model_line() -> str:
    """Return the innermost line of code of neither torch nor this package that a pass runs, `FILE:LINE CODE`; empty for none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((OWN_FOLDER, TORCH_FOLDER, "<")):
        if frame.f_code.co_filename.endswith(CALLERS):
            return ""
        frame = frame.f_back
    return "" if frame is None else source_line(frame.f_code.co_filename, frame.f_lineno)
