"""Normalisation of pictures as plain numbers: inside of an exported graph, beside it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.errors import ConfigError

__all__ = ["PIXEL_ERROR", "PixelNormalisation"]

PIXEL_ERROR = 1e-3
"""Largest distance of a picture from 8-bit pixels, in steps of one, from which on it is none: rounding makes 1e-5."""


@dataclass(frozen=True)
class PixelNormalisation:
    """Mean and standard deviation of each channel, of values from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, numbers: Mapping[str, Any] | None) -> Self | None:
        """Return the normalisation of a task or a card, `mean` and `std` of each channel. Raise ConfigError for anything else."""
        if numbers is None:
            return None
        try:
            mean, std = (tuple(map(float, numbers[name])) for name in ("mean", "std"))
        except (KeyError, TypeError, ValueError):
            mean = std = ()
        if not mean or len(mean) != len(std) or min(std) <= 0:
            raise ConfigError(f"a normalisation is {{'mean': [...], 'std': [...]}}, a number for each channel, not {numbers!r}")
        return cls(mean, std)

    def as_dict(self) -> dict[str, list[float]]:
        """Return it as JSON holds it."""
        return {"mean": list(self.mean), "std": list(self.std)}

    def constants(self) -> tuple[Tensor, Tensor]:
        """Return the factor and the summand of a pixel from 0 to 255, (1, channels, 1, 1) float32 each."""
        mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (self.mean, self.std))
        return 1 / (255 * std), -mean / std

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return pictures, (n, height, width, channels) uint8, as (n, channels, height, width) float32."""
        mean, std = (np.array(numbers) for numbers in (self.mean, self.std))
        normal: NDArray[np.float32] = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
        return np.ascontiguousarray(normal)

    def restore(self, pictures: Tensor) -> NDArray[np.uint8]:
        """Return the pixels that pictures, (n, channels, height, width) float32, were made of: (n, height, width, channels) uint8.

        Raises:
            ConfigError: if they were not made of 8-bit pixels by this normalisation.
        """
        if pictures.dim() != 4 or pictures.shape[1] != len(self.mean):
            raise ConfigError(
                f"the task's normalisation is of {len(self.mean)} channels, and its model is given {tuple(pictures.shape)}"
            )
        scale, shift = self.constants()
        pixels = ((pictures.double() - shift) / scale).permute(0, 2, 3, 1)
        whole = pixels.round().clamp(0, 255)
        distance = float((pixels - whole).abs().max())
        if not distance < PIXEL_ERROR:
            raise ConfigError(
                f"what the task gives its model is not 8-bit pictures by its normalisation (off by {distance:.2g} of a step); mend "
                "the normalisation of the task, or set it to None"
            )
        return np.ascontiguousarray(whole.to(torch.uint8).numpy())
