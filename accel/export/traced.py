"""A model followed through one call: the graph that engines are built from, or a sentence on what cannot be followed."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.jit._trace import TracerWarning

from accel.errors import ConfigError
from accel.export.example import Example
from accel.export.runtime.failure_reason import reason_of

__all__ = ["exported_program", "quiet_build", "traced_module"]

READS = (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default)
"""Operators that take a number out of a tensor."""


def exported_program(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """Return the graph of a model, as `torch.export` follows it: for batches of any size, and lengths up to that of the example."""
    largest = example.inputs[0].shape[1] if example.inputs[0].dim() > 1 else None
    known = {"batch": torch.export.Dim("batch", min=1), "length": torch.export.Dim("length", max=largest)}
    dims = tuple({place: known[name] for place, name in sizes.items()} for sizes in example.dynamic_dims)
    shapes = {"inputs": dims} if any(dims) else None
    return torch.export.export(model, example.inputs, dynamic_shapes=shapes, strict=False)


def traced_module(model: nn.Module, example: Example) -> Any:
    """Return a module of TorchScript: what one call of a model did, operator by operator.

    Raises:
        ConfigError: if numbers in a tensor decide what the model computes: the trace would have them as they were in that call.
    """
    trace: Any = torch.jit.trace
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        script = trace(model, example.inputs, check_trace=False)
    if any(issubclass(one.category, TracerWarning) for one in caught):  # sizes are read so, too, and do no harm
        _require_no_numbers(model, example)
    return script


def _require_no_numbers(model: nn.Module, example: Example) -> None:
    """Raise ConfigError if the graph of a model asks for the numbers in a tensor, or cannot be made since they decide its way."""
    asked = "the model asks for the numbers in a tensor"
    try:
        program = exported_program(model, example)
    except Exception as error:
        if "data-dependent" not in (reason := reason_of(error)):
            return  # torch.export cannot follow it, for another reason that does not concern a trace
        raise ConfigError(f"{asked}, and a trace has but one way through it: {reason}") from error
    given = set(program.graph_signature.user_inputs)
    if any(node.target in READS and given & _origins(node) for node in program.graph.nodes):
        raise ConfigError(f"{asked}, and a trace keeps them as they were in one call; export it by another target, such as pt2")


def _origins(node: Node) -> set[str]:
    """Return the names of the inputs, weights and constants that a node is computed from."""
    names, pending = set(), [node]
    while pending:
        if (one := pending.pop()).name not in names:
            names.add(one.name)
            pending += one.all_input_nodes
    return names


@contextmanager
def quiet_build(target: str) -> Iterator[None]:
    """Turn any error of a build inside into a sentence with the operator and its line, and show none of the engine's warnings.

    Raises:
        ConfigError: for an error.
        OSError: as it is: the disk is to blame.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad(), _without_logs(), _without_output():
            warnings.simplefilter("ignore")
            yield
    except (ConfigError, OSError):
        raise
    except Exception as error:
        raise ConfigError(f"target={target}: the model cannot be exported: {reason_of(error)}") from error


@contextmanager
def _without_logs() -> Iterator[None]:
    """Let no package log anything meanwhile: torch.onnx names operators of packages that are not installed, torch.export graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _without_output() -> Iterator[None]:
    """Let nothing be printed meanwhile: MNN's converter and torch.export write to the process's own output, past Python."""
    streams = {1: sys.stdout, 2: sys.stderr}
    kept, nothing = {number: os.dup(number) for number in streams}, os.open(os.devnull, os.O_WRONLY)
    for number, stream in streams.items():
        stream.flush()
        os.dup2(nothing, number)
    try:
        yield
    finally:
        for number, stream in streams.items():
            stream.flush()
            os.dup2(kept[number], number)
            os.close(kept[number])
        os.close(nothing)
