"""Batches of samples and their labels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from accel.errors import ConfigError, describe


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The samples and the labels of a tuple, list or named tuple that begins with them.

    Raises:
        ConfigError: for any other batch.
    """
    if isinstance(batch, list | tuple) and len(batch) > 1 and isinstance(batch[0], Tensor) and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    raise ConfigError(
        f"augment needs batches of (pictures or points, labels), and this one is {describe(batch)}; "
        "leave it out with '~plugins.augment'"
    )


def paired(samples: Tensor, labels: Tensor, batch: Any) -> Any:
    """`batch` with other samples and labels: of the same type, and with whatever else it holds."""
    members = [samples, labels, *batch[2:]]
    return type(batch)(*members) if hasattr(batch, "_fields") else type(batch)(members)


def channels_at_the_end(pictures: Tensor) -> bool:
    """Whether a tensor of four dimensions is (batch, height, width, channels): 1, 3 or 4 of them, and fewer than either side."""
    _, first, second, third = pictures.shape
    return third in (1, 3, 4) and third < min(first, second)
