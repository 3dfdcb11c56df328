"""Whether a card that was read is one: whatever the file says, what comes after may rely on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, get_args

from accel.export.call.structured_values import join_tensors
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.quantisation.variant import Variant

if TYPE_CHECKING:
    from accel.export.tensor_info import TensorInfo

__all__ = ["is_card"]

TYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "int64", "int32", "int16", "int8", "bool"),
    *("uint64", "uint32", "uint16", "uint8"),
)


def is_card(card: Any) -> bool:
    """Return whether each field of a card has the form that it is written in. Raise ValueError or the like for some others."""
    return all(_facts(card))


def _facts(card: Any) -> Iterator[bool]:
    yield all(isinstance(one, str) and one for one in (card.target, card.file, card.weights))
    yield isinstance(card.files, dict) and card.file in card.files
    for name, facts in card.files.items():
        yield name == PurePath(name).name and name not in ("", ".", "..")  # nothing outside of the folder
        yield isinstance(facts, dict) and isinstance(facts["sha256"], str) and _is_whole(facts["bytes"])
    for infos in (card.inputs, card.outputs):
        yield bool(infos) and all(map(_is_info, infos))
        yield len({info.name for info in infos}) == len(infos)
    join_tensors(card.structure, card.outputs)
    call = join_tensors(card.arguments, card.inputs)
    yield isinstance(call, tuple) and tuple(map(type, call)) == (tuple, dict) and all(isinstance(name, str) for name in call[1])
    yield card.batch is None or (_is_whole(card.batch) and card.batch > 0)
    PixelNormalisation.of(card.normalisation)
    yield card.normalisation is None or card.preprocessing == "graph" or len(card.inputs[0].shape) == 4
    yield card.preprocessing == "caller" or (card.preprocessing == "graph" and card.normalisation is not None)
    yield isinstance(card.classes, list) and all(isinstance(name, str) for name in card.classes)
    yield isinstance(card.versions, dict) and all(isinstance(one, str) for one in card.versions.values())
    yield isinstance(card.variant, str) and card.variant in get_args(Variant)
    yield isinstance(card.quantisation, dict) and (not card.quantisation or _is_quantisation(card.quantisation))
    yield isinstance(card.proof, dict)


def _is_info(info: TensorInfo) -> bool:
    """Return whether an input or output has a name, sizes, and a type that numpy knows or torch alone has."""
    sizes = all(isinstance(size, str) or _is_whole(size) for size in info.shape)
    return isinstance(info.name, str) and bool(info.name) and sizes and _is_type(info.type)


def _is_quantisation(facts: dict[str, Any]) -> bool:
    """Return whether facts on layers of integers are those that an export writes."""
    layers, errors = facts["layers"], facts["sensitivity"]
    names = isinstance(facts["floats"], list) and all(isinstance(name, str) for name in [*facts["floats"], *(layers or [])])
    counted = _is_whole(facts["samples"]) if facts["calibrate"] not in (None, "trained") else facts["samples"] is None
    measured = isinstance(errors, dict) and all(isinstance(error, int | float) for error in errors.values())
    return names and counted and measured and isinstance(layers, list | None) and isinstance(facts["calibrate"], str | None)


def _is_type(name: Any) -> bool:
    return name in TYPES


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
