"""Ceilings of a machine: the most that it multiplies and moves, and the least that calling an operator takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MachineCeilings"]


@dataclass(frozen=True)
class MachineCeilings:
    """What a machine does at most, as measured.

    Args:
        device: that was measured, in words.
        threads: of torch, of a CPU.
        products: floating-point operations a second of a product of matrices, by dtype.
        copies: bytes a second of a copy, read and written, by the bytes that it moves in all: small ones stay in a cache.
        call: seconds that an operator takes which has nothing to do.
    """

    device: str
    threads: int
    products: Mapping[str, float]
    copies: Mapping[int, float] = field(default_factory=dict)
    call: float = 0.0

    def product(self, dtype: str) -> float:
        """Return the ceiling of products of a dtype, in FLOP/s; float32's for one that was not measured."""
        return self.products.get(dtype) or self.products.get("float32") or max(self.products.values())

    def bandwidth(self, moved: float) -> float:
        """Return the ceiling of an operator that moves some bytes, in bytes/s: of the largest copy that was not larger.

        What was measured of a smaller copy may be less by chance, or because calling it is most of its time: the best from there on
        counts.
        """
        sizes = sorted(self.copies)
        below = max((size for size in sizes if size <= moved), default=sizes[0])
        return max(self.copies[size] for size in sizes if size >= below)

    @property
    def memory(self) -> float:
        """Bytes a second of the largest copy, which no cache holds."""
        return self.copies[max(self.copies)]

    def ridge(self, dtype: str) -> float:
        """Return the FLOP/B from which on memory is no limit, of data that no cache holds."""
        return self.product(dtype) / self.memory
