"""Numbers among the results of the user's metrics, checked and added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from accel.device.accelerators.float64 import wide_dtype
from accel.errors import ConfigError, describe
from accel.parts.loss_output import check_items
from accel.parts.shared.item_counts import clean_count

__all__ = ["PAIR", "add", "pair", "scalar"]

PAIR = "a pair is (sum, count), a number or a 0-dim tensor each"


def scalar(
    name: str,
    value: Any,
    device: torch.device,
    owner: str = "metrics(model, batch)",
    fix: str = "return a number or a 0-dim tensor",
) -> Tensor:
    """Return one metric, 0-dim: float64, or float32 on a device without it.

    Args:
        name: name of the metric.
        value: what there is for it.
        device: device of the result, if the value is no tensor.
        owner: what returned it.
        fix: what to do, if it is no number.

    Raises:
        ConfigError: if it is no number, or its name none.
    """
    if not name.strip():
        raise ConfigError(f"{owner} returned a number under the name {name!r}, which nobody would see; give it a name")
    if name in ("epoch", "update"):
        raise ConfigError(f"{owner} returned {name!r}, by which the results are numbered; call it something else")
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.detach().reshape(()).to(wide_dtype(value.device))
    try:
        return torch.tensor(float(value), dtype=wide_dtype(device), device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(f"{owner} returned {describe(value)} for {name!r}; {fix}") from None


def add(
    sums: dict[str, tuple[Tensor, Any]], values: Mapping[str, Any], items: Any, device: torch.device, bad: list[Tensor],
    weightless: bool = False,
) -> None:  # fmt: skip
    """Add the metrics of one batch to the sums by name: each times its number of items, or a pair of a sum and its own number.

    Args:
        sums: sum and number of items by name.
        values: metrics of the batch.
        items: number of items that those without a number of their own are means over.
        device: device of the sums.
        bad: takes, of each number of a pair that only the device knows, whether it is none.
        weightless: whether a pair does not count either.
    """
    for name, value in values.items():
        if isinstance(value, tuple):
            weighted, number = pair(name, value, device, bad)
            number = 0 if weightless else number
        else:
            weighted, number = scalar(name, value, device) * items, items
        if isinstance(number, Tensor) or number == 0:  # the mean of nothing is NaN, and weighs nothing
            weighted = torch.where(torch.as_tensor(number, device=weighted.device) == 0, 0.0, weighted)
        total, count = sums.get(name, (0.0, 0))
        sums[name] = total + weighted, count + number


def pair(name: str, value: tuple[Any, ...], device: torch.device, bad: list[Tensor]) -> tuple[Tensor, Any]:
    """Return the sum of a `(sum, count)` pair, as `scalar` does, and its count.

    Raises:
        ConfigError: for a tuple that is none.
    """
    if len(value) != 2:
        raise ConfigError(f"metrics(model, batch) returned {describe(value)} for {name!r}; {PAIR}")
    count = check_items(value[1], "metrics", PAIR)
    if isinstance(count, Tensor):
        count, is_bad = clean_count(count)
        bad.append(is_bad)
    return scalar(name, value[0], device, fix=PAIR), count
