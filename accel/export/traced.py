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

from accel.errors import ConfigError
from accel.export.example import Example
from accel.export.runtime.failure_reason import reason_of

__all__ = ["exported_program", "quiet_build", "traced_module"]


def exported_program(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """Return the graph of a model, as `torch.export` follows it: for batches of any size, and lengths up to that of the example."""
    largest = example.inputs[0].shape[1] if example.inputs[0].dim() > 1 else None
    known = {"batch": torch.export.Dim("batch", min=1), "length": torch.export.Dim("length", max=largest)}
    dims = tuple({place: known[name] for place, name in sizes.items()} for sizes in example.dynamic_dims)
    shapes = {"inputs": dims} if any(dims) else None
    return torch.export.export(model, example.inputs, dynamic_shapes=shapes, strict=False)


def traced_module(model: nn.Module, example: Example) -> Any:
    """Return a module of TorchScript: what one call of a model did, operator by operator."""
    trace: Any = torch.jit.trace
    return trace(model, example.inputs, check_trace=False)


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
