"""Medians and how far the single measurements lie from them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles


def spread(numbers: Sequence[float]) -> dict[str, float]:
    """The median and the 10th and 90th percentile (of one number: itself)."""
    tenths = quantiles(numbers, n=10, method="inclusive") if len(numbers) > 1 else [numbers[0]] * 9
    return {"median": round(median(numbers), 3), "p10": round(tenths[0], 3), "p90": round(tenths[-1], 3)}


def shown(found: dict[str, float], digits: int = 1, sign: bool = False) -> str:
    """The median with its spread: `12.3 (11.9 .. 13.0)`."""
    plus = "+" if sign else ""
    return f"{found['median']:{plus}.{digits}f} ({found['p10']:{plus}.{digits}f} .. {found['p90']:{plus}.{digits}f})"
