"""Numbers in the form that people read."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, isfinite
from typing import Any

__all__ = [
    "cell",
    "duration",
    "elapsed",
    "gain_text",
    "loss_change",
    "metric",
    "number",
    "ratio",
    "rounded_percentages",
    "setting",
    "short_count",
    "size",
    "size_change",
    "suggestions_text",
    "throughput",
]


def number(value: float) -> str:
    """Return a loss or a metric to about four digits: 0.9861, 12.35, 3.10e-05."""
    size = abs(value)
    if not isfinite(value) or size == 0:
        return f"{value:g}"
    if size < 1e-3 or size >= 1e5:
        return f"{value:.2e}"
    return f"{value:.4f}" if size < 10 else f"{value:.2f}" if size < 1000 else f"{value:,.1f}"


def short_count(value: float) -> str:
    """Return a count in at most five characters: 950, 1.25k, 12.3k, 4.50M."""
    if value < 999.5:
        return f"{value:.0f}"
    for unit in ("k", "M", "G"):  # noqa: B007
        value /= 1000
        if value < 999.5:
            break
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}"


def duration(seconds: float) -> str:
    """Return seconds as 0:07, 12:34, 1:02:03, or 2 d 03:04:05."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours:02}:{minutes:02}:{whole % 60:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def elapsed(seconds: float) -> str:
    """Return an elapsed time in seconds: 4.2 s below a minute, a duration above."""
    return f"{seconds:.1f} s" if seconds < 59.95 else duration(seconds)


def gain_text(gain: float | None, ceiling: float | None) -> str:
    """Return what a change saves of a time, as a share from 0 to 1, or saves at most; empty if neither is known.

    >>> gain_text(0.123, None), gain_text(None, 0.5)
    ('saves 12.3% of the time', 'saves at most 50.0% of the time')
    """
    share = ceiling if gain is None else gain
    if share is None:
        return ""
    least = "less than 0.1%" if share < 0.001 else f"{'at most ' if gain is None else ''}{share:.1%}"
    return f"saves {least} of the time"


def size(count: float) -> str:
    """Return a number of bytes: 950 B, 1.2 MB, 139 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):  # noqa: B007
        if count < 999.5:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def size_change(count: float | None) -> str:
    """Return a difference of two numbers of bytes: +1.2 MB, -950 B, same; `-` if it is not known."""
    return "-" if count is None else "same" if count == 0 else f"{'+-'[count < 0]}{size(abs(count))}"


def ratio(middle: float, low: float, high: float) -> str:
    """Return how many times as fast something is, with the bounds: 1.31x (1.28 to 1.35)."""
    return f"{middle:.2f}x ({low:.2f} to {high:.2f})"


def loss_change(difference: float, base: float, noise: float, is_beyond_noise: bool) -> str:
    """Return a difference of losses beside the noise between seeds, and what it means if it is beyond that.

    >>> loss_change(0.0021, 0.412, 0.008, False)
    '+0.0021 of 0.4120, noise 0.008'
    >>> loss_change(-0.02, 0.412, 0.008, True)
    'better: -0.02 of 0.4120, noise 0.008'
    >>> loss_change(0.0, 0.412, 0.008, False)
    'same, 0.4120'
    """
    if not difference:
        return f"same, {number(base)}"
    meaning = ("worse: " if difference > 0 else "better: ") if is_beyond_noise else ""
    return f"{meaning}{difference:+.2g} of {number(base)}, noise {noise:.2g}"


def throughput(rate: float, ceiling: float | None) -> str:
    """Return the samples per second that came through, and those that reading alone makes, if that is known."""
    alone = f", and reading alone makes {short_count(ceiling)}" if ceiling else ""
    return f"{short_count(rate)} samples/s came through{alone}"


def suggestions_text(suggestions: Mapping[str, float]) -> str:
    """Return the settings that a trial suggests, in a sentence; empty for none."""
    settings = ", ".join(f"{name}={value:.2g}" for name, value in suggestions.items())
    return f"suggested by the trial before the first update: {settings}" if settings else ""


def cell(name: str, value: str | float) -> str:
    """Return a value of a table, in the unit that the last word of its column's `name` names."""
    if isinstance(value, str):
        return value
    unit = name.split()[-1]
    if unit == "bytes":
        return size(value)
    if unit == "percent":
        return f"{value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def setting(value: Any) -> str:
    """Return a value as it is typed in an override: true, null, 0.001."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"[{','.join(map(setting, value))}]" if isinstance(value, list | tuple) else str(value)


def metric(split: str, name: str) -> str:
    """Return the name of a metric for people: `test accuracy`. Without a split, its data stands in the name: `test/accuracy`."""
    words = name.replace("_", " ")
    return f"{split} {words}" if split else words.replace("/", " ", 1)


def rounded_percentages(shares: Mapping[str, float]) -> dict[str, float]:
    """Return percentages rounded to one decimal that still add up to 100.0: the largest remainders are rounded up."""
    total = sum(shares.values())
    if not total:
        return dict.fromkeys(shares, 0.0)
    exact = {name: 1000 * share / total for name, share in shares.items()}
    units = {name: floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: units[name] - exact[name])
    for name in by_remainder[: 1000 - sum(units.values())]:
        units[name] += 1
    return {name: unit / 10 for name, unit in units.items()}
