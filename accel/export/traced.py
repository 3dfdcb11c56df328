"""A model followed through one call: the graph that engines are built from, or a sentence on what cannot be followed."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from accel.errors import ConfigError
from accel.export.example import Example

__all__ = ["exported_program", "quiet_build", "reason_of", "traced_module"]

USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\s*\n\s*([^\n]+)')
"""A frame in the text of a traceback."""
MORE = ' For more information, run with TORCH_LOGS="+dynamic".'
"""What torch has to say to its own developers."""


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


def reason_of(error: BaseException) -> str:
    """Return an error of an engine in a sentence: its first line that says something, and the line of the model's code."""
    texts = [str(one) for one in _chain(error)]
    text = texts[-1] if texts[-1].strip() else texts[0]
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 3]
    first = " ".join(lines[:1] + [line for line in lines[1:] if line.startswith("- ")][:1]) or type(error).__name__
    first = first.replace(MORE, "")
    if "data-dependent" in first:
        first = f"what it computes next depends on the numbers in a tensor, which no graph knows: {first}"
    places = [match for one in texts for match in USER_LINE.findall(one)] or _frames(error)
    if not places:
        return first[:300]
    file, line, function, code = places[-1]
    return f"{first[:300]} ({function} in {file}, line {line}: {code.strip()})"


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and those that it came from, the first cause last."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _frames(error: BaseException) -> list[tuple[Any, ...]]:
    """Return the innermost frame of code that is neither torch's nor of another package, as `USER_LINE` finds it."""
    import traceback

    frames = [frame for one in _chain(error) for frame in traceback.extract_tb(one.__traceback__)]
    own = [frame for frame in frames if "site-packages" not in frame.filename and "/accel/export/" not in frame.filename]
    return [(frame.filename, frame.lineno, frame.name, frame.line or "") for frame in own if "<" not in frame.filename]
