"""Records of any kind as arrays of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from accel.data.store import Record
from accel.errors import ConfigError

__all__ = ["Decode", "RecordSource", "Records"]

Decode = Callable[[Record, NDArray[Any], np.random.Generator], None]
"""Function `decode(buffer, out, rng)` that writes the content of a record into `out`; `rng` is the sample's in this epoch."""


class RecordSource(Protocol):
    """The part of a store that `Records` reads. If it has `label(index)` too, samples have labels."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def get(self, index: int) -> Record:
        """Return a record, which nobody writes to; called by several threads at once."""
        ...


class Records:
    """Data set of a store's records, each decoded into given memory, as `Ring`, `threads` and `workers` read it.

    >>> class Squares:
    ...     def __len__(self): return 5
    ...     def get(self, index): return bytes([index, index * index])
    >>> def decode(buffer, out, rng): out[...] = np.frombuffer(buffer, np.uint8)
    >>> from accel.data import Ring
    >>> with Ring(Records(Squares(), decode, (2,), np.float32), batch_size=3, threads=1) as ring:
    ...     [batch.tolist() for batch in ring.epoch(0)]
    [[[0.0, 0.0], [1.0, 1.0], [2.0, 4.0]], [[3.0, 9.0], [4.0, 16.0]]]

    Args:
        store: the records; any class with `__len__` and `get(index)`, and `label(index)` where there are labels.
        decode: called by several threads at once; runs side by side as far as it lets go of the interpreter's lock, as numpy does.
        shape: of every sample.
        dtype: of every sample.

    Raises:
        ConfigError: if `store` lacks one of the two methods, or `decode` cannot be called.
    """

    def __init__(self, store: RecordSource, decode: Decode, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        missing = [name for name in ("__len__", "get") if not hasattr(store, name)]
        if missing or not callable(decode):
            problem = f"store is a {type(store).__name__} without {' and '.join(missing)}" if missing else "decode cannot be called"
            raise ConfigError(
                f"Records: {problem}; a store has __len__ and get(index), and decode(buffer, out, rng) writes into out"
            )
        self.store, self.decode, self.shape, self.dtype = store, decode, tuple(shape), np.dtype(dtype)
        self.label: Callable[[int], Any] | None = getattr(store, "label", None)

    def __len__(self) -> int:
        return len(self.store)

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[Any]) -> Any:
        """Write sample `index` into `out`, `shape` of `dtype`; return its label, None if there are none."""
        self.decode(self.store.get(index), out, rng)
        return None if self.label is None else self.label(index)
