"""One call of a model on real data: what it is traced with, and what its inputs and outputs are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, treespec_dumps

from accel.errors import ConfigError, describe
from accel.export.dynamic_sizes import Dynamic
from accel.export.tensor_info import TensorInfo

__all__ = ["SAMPLES", "Example", "ModelCall", "make_example"]

SAMPLES = 4
"""Samples of an example, at most: a graph does not depend on their number. One would be taken for a constant."""


@dataclass(frozen=True)
class ModelCall:
    """The tensors that a task gives to its model in one call, and what comes out."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs, those by keyword last. Raise ConfigError if one is no tensor."""
        values = (*self.args, *self.kwargs.values())
        if wrong := [value for value in values if not isinstance(value, Tensor)]:
            raise ConfigError(
                f"the task gives {describe(wrong[0])} to its model, and an exported file takes tensors alone; let the model's "
                "forward take tensors, and keep what else it needs as attributes"
            )
        return values


@dataclass(frozen=True)
class Example:
    """One call of a model, with what an engine asks for."""

    inputs: tuple[Tensor, ...]
    input_infos: tuple[TensorInfo, ...]
    output_infos: tuple[TensorInfo, ...]
    keywords: tuple[str, ...]
    """Names of the last inputs, those that the model is given by keyword."""
    structure: str
    """How the outputs stand in what the model returns, as `torch.utils._pytree` writes it down."""

    @property
    def dynamic_dims(self) -> tuple[dict[int, str], ...]:
        """The dimensions of each input that may have another size, with their names."""
        return tuple({place: size for place, size in enumerate(info.shape) if isinstance(size, str)} for info in self.input_infos)


def make_example(model: nn.Module, call: ModelCall, dynamic: Dynamic, batch: int | None) -> Example:
    """Return an example of a call of a model.

    Args:
        model: the module, in evaluation mode, which is called with fewer samples.
        call: a recorded call.
        dynamic: which sizes may change.
        batch: samples of each call, for an engine that takes no other number; None for any.

    Raises:
        ConfigError: for inputs or outputs that are no tensors.
    """
    inputs = call.inputs
    samples = len(inputs[0]) if inputs and inputs[0].dim() else 0
    if not samples:
        raise ConfigError("the task gives its model no batch of samples, so there is nothing to export")
    count = batch or (1 if dynamic == "none" else SAMPLES)
    rows = torch.arange(count) % samples
    inputs = tuple(value[rows].contiguous() if value.dim() and len(value) == samples else value for value in inputs)
    sizes = _sizes(inputs, dynamic, batch)
    with torch.no_grad():
        output = model(*inputs[: len(call.args)], **dict(zip(call.kwargs, inputs[len(call.args) :], strict=True)))
    paths, spec = tree_flatten_with_path(output)
    if wrong := [leaf for _, leaf in paths if not isinstance(leaf, Tensor)]:
        raise ConfigError(f"the model returns {describe(wrong[0])}, and an exported file returns tensors alone")
    names = ["output"] if len(paths) == 1 else [_name(path, place) for place, (path, _) in enumerate(paths)]
    return Example(
        inputs, _infos(_input_names(model, call), inputs, sizes), _infos(names, [leaf for _, leaf in paths], sizes),
        tuple(call.kwargs), treespec_dumps(spec),
    )  # fmt: skip


def _sizes(inputs: Sequence[Tensor], dynamic: Dynamic, batch: int | None) -> dict[int, tuple[int, str]]:
    """Return size and name of each dimension that may change, by its place."""
    sizes = {} if dynamic == "none" or batch is not None else {0: (len(inputs[0]), "batch")}
    if dynamic == "length":
        if inputs[0].dim() < 2:
            raise ConfigError("dynamic=length: the model's input has no second dimension; leave it out")
        sizes[1] = (inputs[0].shape[1], "length")
    return sizes


def _infos(names: Sequence[str], tensors: Sequence[Tensor], sizes: Mapping[int, tuple[int, str]]) -> tuple[TensorInfo, ...]:
    infos = []
    for name, tensor in zip(names, tensors, strict=True):
        shape: list[int | str] = list(tensor.shape)
        for place, (size, word) in sizes.items():
            if place < len(shape) and shape[place] == size:
                shape[place] = word
        infos.append(TensorInfo(name, tuple(shape), str(tensor.dtype).removeprefix("torch.")))
    return tuple(infos)


def _input_names(model: nn.Module, call: ModelCall) -> list[str]:
    """Return the names of the inputs: those of the arguments of `forward`."""
    known = signature(model.forward).parameters.values()
    plain = [one.name for one in known if one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    return [plain[place] if place < len(plain) else f"input_{place}" for place in range(len(call.args))] + list(call.kwargs)


def _name(path: tuple[Any, ...], place: int) -> str:
    """Return the name of an output among several: the key that it has in a dict, else its place."""
    key = getattr(path[-1], "key", None) if path else None
    return key if isinstance(key, str) else f"output_{place}"
