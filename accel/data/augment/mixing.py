"""Labels that are probabilities, and batches whose samples are mixed with one another.

The partner of a sample is the one before it in the batch, and that of the first is the last: each batch is a random
draw already, so this is a random pair, without a permutation that would have to be drawn and sent to the device. In an
odd batch it leaves no sample to itself, as reversing the batch would.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from accel.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

Box = tuple[int, int, int, int]
"""Top, bottom, left, right, in pixels; bottom and right are outside."""


def soft(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Class numbers as probabilities: 1 - smoothing for the class named, and smoothing / num_classes more for every class.

    The targets of `F.cross_entropy(..., label_smoothing=smoothing)`.
    Source: Szegedy et al., Rethinking the Inception Architecture, arXiv 1512.00567.

    Args:
        labels: (batch,), int64 from 0 to num_classes - 1.

    Returns:
        (batch, num_classes), float32.

    Raises:
        ConfigError: for a label of no class, on a CPU (CUDA reports it when it comes to it).
    """
    rest = smoothing / num_classes
    even = torch.full((len(labels), num_classes), rest, dtype=torch.float32, device=labels.device)
    try:
        return even.scatter_(1, labels.unsqueeze(1), 1 - smoothing + rest)
    except RuntimeError:
        low, high = int(labels.min()), int(labels.max())
        mend = f"say num_classes={high + 1}" if low >= 0 else "number the classes from 0"
        raise ConfigError(f"the batch has labels from {low} to {high}, and there are {num_classes} classes; {mend}") from None


def mixup(samples: Tensor, share: float) -> Tensor:
    """share * samples + (1 - share) * partners. (batch, ...), floating point; pictures, points or labels.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, arXiv 1710.09412.
    """
    return torch.lerp(samples.roll(1, 0), samples, share)


def cutmix(pictures: Tensor, box: Box) -> Tensor:
    """The pictures, each with the inside of `box` from its partner. (batch, channels, height, width), any type.

    Source: Yun et al., CutMix, arXiv 1905.04899.
    """
    top, bottom, left, right = box
    mixed = pictures.clone()  # on a CPU the batch may be the user's own
    mixed[..., top:bottom, left:right] = pictures[..., top:bottom, left:right].roll(1, 0)
    return mixed


def cut_box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[Box, float]:
    """A box of 1 - share of the picture's area and of its shape, centred anywhere; what would lie outside is cut off.

    Returns:
        The box, and the share of the picture that is left, of which the labels must have as much: 1 - area / (height * width).
    """
    side = sqrt(1 - share)
    high, wide = int(height * side), int(width * side)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(y - high // 2, 0), max(x - wide // 2, 0)
    bottom, right = min(y + high // 2, height), min(x + wide // 2, width)
    return (top, bottom, left, right), 1 - (bottom - top) * (right - left) / (height * width)
