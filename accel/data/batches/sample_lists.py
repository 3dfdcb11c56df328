"""Lists, tuples, arrays and dicts in memory that a user passes as data: samples, columns, or ready batches.

The rule is what `DataLoader(data, batch_size)` would make of them, except that a list may hold ready batches:

- An array or tensor has a sample in each row; a dict, or a tuple, of arrays of one length has a column in each. Two or three
  arrays that are of one kind may be columns or ready batches: columns in a tuple whose rows are unlike, else ready batches, with
  a warning.
- Elements of a list, tuple or deque are samples if they have one array beside a number, or none at all.
- They are ready batches if each has a `batch_size`, or two arrays or more that agree in their leading dimension, or is one matrix.
- Else they may be either (one vector, one picture, arrays that disagree). They are samples if a `batch_size` or a `collate` is
  given, and else ready batches, with a warning unless the last of them alone is shorter.
"""

from __future__ import annotations

from collections import UserList, deque
from collections.abc import Iterator, Mapping, Set
from dataclasses import is_dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from accel.data.batches.collation import is_data_set
from accel.data.batches.sample_count import MAX_FIELDS, leading_length, sample_count
from accel.data.batches.structure import NUMBER_TYPES
from accel.errors import ConfigError
from accel.system.call_stack import warn_user

__all__ = ["AS_BATCHES", "LOOKED_AT", "Columns", "Reading", "Rows", "as_data_set", "read_as"]

LOOKED_AT = 16
"""Elements that are looked at, besides the last."""
AS_BATCHES = "data=torch.utils.data.DataLoader(data, batch_size=None)"
"""Argument of a Trainer that says that elements are ready batches."""
Reading = Literal["sample", "batch", "either", "object"]


class Rows(Dataset[Any]):
    """Samples of a list, a tuple or an array.

    Args:
        data: the samples.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]

    def plan_notes(self) -> dict[str, str]:
        """Return what the elements are taken for."""
        return {"elements": f"of the {type(self.data).__name__}, each a sample"}


class Columns(Dataset[Any]):
    """Samples of a dict or a tuple that has an array or a list for each member of a sample.

    Args:
        data: arrays or lists of one length.
    """

    def __init__(self, data: Mapping[Any, Any] | tuple[Any, ...]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(next(iter(self.data.values()))) if isinstance(self.data, Mapping) else len(self.data[0])

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.data, Mapping):
            return {name: column[index] for name, column in self.data.items()}
        return tuple(column[index] for column in self.data)

    def plan_notes(self) -> dict[str, str]:
        """Return what the members are taken for."""
        return {"elements": f"of the {type(self.data).__name__}, each a column"}


def as_data_set(data: Any, as_samples: bool) -> Any:
    """Return a list, tuple, array or dict in memory as a map-style data set, if its elements are samples; else `data` itself.

    Args:
        data: what the user passes as data, of any type.
        as_samples: whether elements that may be either are samples: a batch size or a function that collates was given.

    Raises:
        ConfigError: for a dict of columns that are not of one length, and for a table of pandas.
    """
    if hasattr(data, "iloc"):
        raise ConfigError(
            f"data is a {type(data).__name__}; pass a dict of arrays: {{name: data[name].to_numpy() for name in data}}"
        )
    if isinstance(data, str | bytes | Set):
        raise ConfigError(f"data is a {type(data).__name__}, which is no data; pass a torch Dataset, a DataLoader or a list")
    if isinstance(data, np.ndarray) and data.dtype.names:
        return Columns({name: data[name] for name in data.dtype.names})
    if isinstance(data, np.ndarray) and data.dtype == object and data.ndim:
        data = [tuple(row) for row in data] if data.ndim > 1 else list(data)
    if isinstance(data, Tensor | np.ndarray) and data.ndim:
        return Rows(data)
    if isinstance(data, deque | range | UserList) or (isinstance(data, list) and type(data).__getitem__ is list.__getitem__):
        data = list(data)  # other sequences may read an element when they are asked for it
    if (type(data) in (tuple, list) or (isinstance(data, Mapping) and not isinstance(data, Dataset))) and (
        columns := _as_columns(data)
    ) is not None:
        return columns
    if type(data) not in (list, tuple) or not data:
        return data
    reading = _reading_of(data)
    if reading in ("either", "object"):
        if not as_samples and reading == "either" and not _last_is_short(data):
            warn_user(
                f"data is a {type(data).__name__} whose elements may be samples or ready batches, and are taken for batches; pass "
                f"batch_size=32, or another, for samples, or {AS_BATCHES} for batches"
            )
        reading = "sample" if as_samples else "batch"
    return Rows(data) if reading == "sample" else data


def _as_columns(data: Any) -> Any:
    """Return a dict, or a tuple or list of unlike arrays, as a data set of their rows; None if it has no columns."""
    columns = list(data.values()) if isinstance(data, Mapping) else data
    if isinstance(data, Mapping) and columns and all(map(is_data_set, columns)):
        raise ConfigError(
            f"data is a {type(data).__name__} of data sets, {' and '.join(map(repr, data))}; pass one of them, such as "
            f"data[{next(iter(data))!r}], and what is evaluated as val"
        )
    lengths = [len(column) if isinstance(column, list | tuple) else leading_length(column) for column in columns]
    if isinstance(data, Mapping):
        if not columns or None in lengths or len(set(lengths)) > 1:
            shown = ", ".join(
                f"{name!r} of {'no length' if length is None else length}" for name, length in zip(data, lengths, strict=True)
            )
            raise ConfigError(
                f"data is a dict of {shown or 'nothing'}; pass a dict of columns of one length, one for each member of a sample"
            )
        return Columns(data)
    arrays = [column for column in columns if isinstance(column, Tensor | np.ndarray) and column.ndim]
    if not len(columns) > 1 or not arrays or any(not isinstance(column, list) for column in columns if not _is_array(column)):
        return None
    if len(arrays) < len(columns):  # an array beside a list, such as one of labels
        return Columns(tuple(columns)) if len(set(lengths)) == 1 and not any(map(_holds_arrays, columns)) else None
    kinds = {(str(column.dtype), column.ndim) for column in columns}
    if len(kinds) == 1 and len(columns) <= MAX_FIELDS and len(set(lengths)) == 1:
        unlike = len({tuple(column.shape[1:]) for column in columns}) == len(columns)
        if type(data) is not tuple or not unlike or columns[0].ndim < 2:
            if columns[0].ndim > 1:
                tensors = "*data" if all(isinstance(column, Tensor) for column in columns) else "*map(torch.from_numpy, data)"
                warn_user(
                    f"data is a {type(data).__name__} of {len(columns)} arrays that may be columns or ready batches, and they are "
                    f"taken for batches; pass data=torch.utils.data.TensorDataset({tensors}) for columns, or {AS_BATCHES} for "
                    "batches"
                )
            return None
    elif len(kinds) < len(columns):
        return None
    elif len(set(lengths)) > 1:
        shown = " and ".join(str(length) for length in lengths)
        raise ConfigError(f"data is a {type(data).__name__} of columns of {shown} samples; pass columns of one length")
    return TensorDataset(*columns) if all(isinstance(column, Tensor) for column in columns) else Columns(tuple(columns))


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0


def _holds_arrays(column: Any) -> bool:
    """Return whether a list has arrays, so that it may be a sample."""
    return isinstance(column, list) and any(isinstance(part, Tensor | np.ndarray | list | tuple) for part in column[:LOOKED_AT])


def _reading_of(data: Any) -> Reading:
    """Return what the elements of a list are, by the first of them and the last."""
    readings = {read_as(element) for element in [*data[:LOOKED_AT], data[-1]]}
    if "sample" in readings:
        return "sample"
    return readings.pop() if len(readings) == 1 else "either"


def read_as(element: Any) -> Reading:
    """Return whether an element is a sample or a ready batch, as far as it shows."""
    if isinstance(element, (str, bytes, type(None), np.generic, *NUMBER_TYPES)):
        return "sample"
    if isinstance(element, Tensor | np.ndarray):
        return "sample" if not element.ndim else "batch" if element.ndim > 1 and not _is_picture(element) else "either"
    known = isinstance(element, list | tuple | Mapping) or is_dataclass(element)
    count = sample_count(element)
    arrays, alone = list(_arrays(element)), any(True for _ in _numbers(element))
    if not arrays:
        lists = any(isinstance(part, list | tuple) for part in (element.values() if isinstance(element, Mapping) else ()))
        return "object" if not known else "either" if lists and not alone else "sample"
    lengths = [array.shape[0] for array in arrays]
    if len(arrays) == 1 and known:
        if arrays[0].ndim == 1 and any(isinstance(part, float | np.floating) for part in _parts_of(element)):
            return "sample"  # a vector and what is to be computed of it
        counted = arrays[0].ndim == 2 and not any(hasattr(number, "dtype") for number in _numbers(element))
        return read_as(arrays[0]) if not alone else "either" if counted else "sample"
    if count.doubt:
        vectors = {array.shape[0] for array in arrays if array.ndim == 1}
        if len(vectors) == 1 and all(array.ndim == 1 or array.shape[1] in vectors for array in arrays):
            return "batch"  # time first, and one label for each sample
        return "sample" if alone and len(set(lengths)) > 1 else "either"
    if len(set(lengths)) == 1 and (all(array.ndim == 1 for array in arrays) or all(_is_picture(array) for array in arrays)):
        return "sample" if alone and known else "either"
    return "batch"


def _is_picture(array: Any) -> bool:
    """Return whether an array has three dimensions, of which the first or the last may be channels."""
    return array.ndim == 3 and (array.shape[0] in (1, 3, 4) or array.shape[2] in (1, 3, 4))


def _arrays(value: Any) -> Iterator[Any]:
    """Yield the arrays in an element that have dimensions."""
    if isinstance(value, Tensor | np.ndarray):
        if value.ndim and not getattr(value, "is_nested", False):
            yield value
        return
    for part in _parts_of(value):
        yield from _arrays(part)


def _parts_of(value: Any) -> Iterator[Any]:
    """Yield the members of a dict, list, tuple or dataclass."""
    if is_dataclass(value) and not isinstance(value, type):
        yield from vars(value).values()
    else:
        yield from value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()


def _numbers(value: Any) -> Iterator[Any]:
    """Yield the members of an element that are one number, as a label is; floats beside arrays may be of a whole batch."""
    for part in _parts_of(value):
        if (
            type(part) is int
            or isinstance(part, bool | np.integer | np.bool_)
            or (isinstance(part, Tensor | np.ndarray) and not part.ndim)
        ):
            yield part


def _last_is_short(data: Any) -> bool:
    """Return whether the last element alone differs in a length, as the last batch of an epoch does."""
    outlines = [tuple(tuple(array.shape) for array in _arrays(element)) for element in [*data[:LOOKED_AT][:-1], *data[-1:]]]
    return len(outlines) > 1 and len(set(outlines[:-1])) == 1 and outlines[-1] != outlines[0]
