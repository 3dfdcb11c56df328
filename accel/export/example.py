"""One call of a model on real data: what it is traced with, and what its inputs and outputs are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.call.structured_values import PlacedTensor, ValueStructure, join_tensors, split_tensors
from accel.export.dynamic_sizes import Dynamic
from accel.export.runtime.failure_reason import reason_of
from accel.export.tensor_info import TensorInfo

__all__ = ["GIVEN", "RETURNED", "SAMPLES", "Example", "ModelCall", "call_with", "make_example", "take_rows"]

GIVEN, RETURNED = "the task gives its model", "the model returns"
"""How sentences on what no file keeps begin."""

SAMPLES = 4
"""Samples of an example, at most: a graph does not depend on their number. One would be taken for a constant."""


@dataclass(frozen=True)
class ModelCall:
    """What a task gives to its model in one call, and what comes out."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any

    @cached_property
    def split(self) -> tuple[list[PlacedTensor], ValueStructure]:
        """The tensors that are given, in order, and what stands around them. Raise ConfigError for what no file keeps."""
        return split_tensors((self.args, dict(self.kwargs)), GIVEN)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that are given, those by keyword last."""
        return tuple(one.tensor for one in self.split[0])


@dataclass(frozen=True)
class Example:
    """One call of a model, with what an engine asks for."""

    inputs: tuple[Tensor, ...]
    input_infos: tuple[TensorInfo, ...]
    output_infos: tuple[TensorInfo, ...]
    arguments: ValueStructure
    """How the inputs stand in what the model is given: a tuple of its arguments, and a dict of those by keyword."""
    structure: ValueStructure
    """How the outputs stand in what the model returns."""

    @property
    def dynamic_dims(self) -> tuple[dict[int, str], ...]:
        """The dimensions of each input that may have another size, with their names."""
        return tuple({place: size for place, size in enumerate(info.shape) if isinstance(size, str)} for info in self.input_infos)


def call_with(model: Callable[..., Any], arguments: ValueStructure, inputs: Sequence[Any]) -> Any:
    """Return what a model makes of inputs that stand in its arguments as `arguments` says."""
    args, kwargs = join_tensors(arguments, inputs)
    return model(*args, **kwargs)


def make_example(model: nn.Module, call: ModelCall, dynamic: Dynamic, batch: int | None) -> Example:
    """Return an example of a call of a model.

    Args:
        model: the module, in evaluation mode, which is called with fewer samples.
        call: a recorded call.
        dynamic: which sizes may change.
        batch: samples of each call, for an engine that takes no other number; None for any.

    Raises:
        ConfigError: for inputs or outputs that no file keeps.
    """
    inputs = call.inputs
    samples = len(inputs[0]) if inputs and inputs[0].dim() else 0
    if not samples:
        raise ConfigError("the task gives its model no batch of samples, so there is nothing to export")
    count = batch or (1 if dynamic == "none" else SAMPLES)
    inputs = tuple(one.contiguous() for one in take_rows(inputs, torch.arange(count) % samples))
    sizes = _sizes(inputs, dynamic, batch)
    placed, arguments = call.split
    try:
        with torch.no_grad():
            returned = call_with(model, arguments, inputs)
    except Exception as error:  # it took the whole batch
        raise ConfigError(
            f"the model takes {samples} rows, as the evaluation has it, and not {count}: {reason_of(error)}; an export needs "
            "samples in the first dimension of what the model is given, and a model that takes any number of them"
        ) from error
    outputs, structure = split_tensors(returned, RETURNED)
    if not outputs:
        raise ConfigError(f"{RETURNED} no tensor, so there is nothing to export")
    names = ["output"] if len(outputs) == 1 else [_name(one.path, place) for place, one in enumerate(outputs)]
    given = _infos(_input_names(model, placed), inputs, sizes)
    made = _infos(_once(names), [one.tensor for one in outputs], sizes)
    if dynamic == "length":
        made = _with_fixed(made, _shapes_of_shorter(model, arguments, inputs, given), inputs[0].shape[1])
    return Example(inputs, given, made, arguments, structure)


def take_rows(inputs: Sequence[Tensor], rows: Tensor | slice) -> list[Tensor]:
    """Return inputs of a call, for some of its samples. A tensor without a row for each sample of the first stays whole."""
    samples = len(inputs[0])
    return [one[rows] if one.dim() and len(one) == samples else one for one in inputs]


def _shapes_of_shorter(
    model: nn.Module, arguments: ValueStructure, inputs: Sequence[Tensor], infos: Sequence[TensorInfo]
) -> list[torch.Size]:  # fmt: skip
    """Return the shapes of the outputs for inputs that are shorter by one; none where the model does not take them."""
    shorter = [one[:, :-1].contiguous() if info.shape[1:2] == ("length",) else one for one, info in zip(inputs, infos, strict=True)]
    try:
        with torch.no_grad():
            return [one.tensor.shape for one in split_tensors(call_with(model, arguments, shorter), RETURNED)[0]]
    except Exception:  # whoever builds the file says why
        return []


def _with_fixed(infos: Sequence[TensorInfo], shorter: Sequence[torch.Size], length: int) -> tuple[TensorInfo, ...]:
    """Return the infos of outputs; what is as long as a text by chance, such as its classes, has its size there."""
    if [len(info.shape) for info in infos] != [len(shape) for shape in shorter]:
        return tuple(infos)
    return tuple(
        info._replace(shape=tuple(size if size == length else one for one, size in zip(info.shape, shape, strict=True)))
        for info, shape in zip(infos, shorter, strict=True)
    )


def _sizes(inputs: Sequence[Tensor], dynamic: Dynamic, batch: int | None) -> dict[int, tuple[int, str]]:
    """Return size and name of each dimension that may change, by its place."""
    sizes = {} if dynamic == "none" or batch is not None else {0: (len(inputs[0]), "batch")}
    if dynamic == "length":
        if inputs[0].dim() < 2:
            raise ConfigError("dynamic=length: the model's input has no second dimension; leave it out")
        if inputs[0].dim() > 3:
            shape = " x ".join(map(str, inputs[0].shape[1:]))
            raise ConfigError(f"dynamic=length is for texts and sequences, and the model is given samples of {shape}; leave it out")
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


def _input_names(model: nn.Module, placed: Sequence[PlacedTensor]) -> list[str]:
    """Return the names of the inputs: those of the arguments of `forward`, or the keys under which they are given in these."""
    known = signature(model.forward).parameters.values()
    plain = [one.name for one in known if one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    names = []
    for place, one in enumerate(placed):
        by_keyword, number, *inner = one.path
        name = _name(tuple(inner), place) if inner else number if by_keyword else plain[number] if number < len(plain) else None
        names.append(f"input_{place}" if name is None or (inner and not isinstance(inner[-1], str)) else name)
    return _once(names)


def _name(path: tuple[Any, ...], place: int) -> str:
    """Return the name of an output among several: the key that it has in a dict, else its place."""
    return path[-1] if path and isinstance(path[-1], str) else f"output_{place}"


def _once(names: Sequence[str]) -> list[str]:
    """Return names each of which is there once: an engine tells its inputs and outputs apart by them."""
    return [name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)]
