"""Augmentation of whole batches on the device: soft labels, mixup, CutMix, random erasing, progressive resizing.

Mixing: the partner of a sample is the one before it in the batch, and that of the first is the last. Each batch is a random
draw already, so this is a random pair, without a permutation to draw and to send to the device. In an odd batch no sample is
left to itself, as it would be if the batch were reversed.

Erasing: Zhong et al., Random Erasing Data Augmentation, arXiv 1708.04896. The boxes get the mean colour (RE-M in the paper),
which is as good there as noise (RE-R) and better than black or white. It is the batch's mean, so it suits pictures of any range.
"""

from __future__ import annotations

from functools import lru_cache
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Box",
    "cutmix",
    "cutmix_box",
    "erase",
    "erasing_boxes",
    "mixup",
    "resize",
    "resize_scale",
    "resized_side",
    "soft_labels",
]

Box = tuple[int, int, int, int]
"""Top, bottom, left, right, in pixels; bottom and right are outside."""


def soft_labels(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Return class numbers as probabilities: 1 - smoothing for the true class, and smoothing / num_classes more for every class.

    They are the targets of `F.cross_entropy(..., label_smoothing=smoothing)`.
    Source: Szegedy et al., Rethinking the Inception Architecture, arXiv 1512.00567.

    Args:
        labels: (batch,) int64, from 0 to num_classes - 1.
        num_classes: at least 1.
        smoothing: from 0 to 1.

    Returns:
        (batch, num_classes), float32.

    Raises:
        ConfigError: for a label of no class, on a CPU. (CUDA reports it later.)
    """
    off_value = smoothing / num_classes
    probabilities = torch.full((len(labels), num_classes), off_value, dtype=torch.float32, device=labels.device)
    try:
        return probabilities.scatter_(1, labels.unsqueeze(1), 1 - smoothing + off_value)
    except RuntimeError:
        low, high = int(labels.min()), int(labels.max())
        remedy = f"say num_classes={high + 1}" if low >= 0 else "number the classes from 0"
        raise ConfigError(f"the batch has labels from {low} to {high}, and there are {num_classes} classes; {remedy}") from None


def mixup(samples: Tensor, share: float) -> Tensor:
    """Return share * samples + (1 - share) * partners. (batch, ...), floating point: pictures, points or labels.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, arXiv 1710.09412.
    """
    return torch.lerp(samples.roll(1, 0), samples, share)


def cutmix(pictures: Tensor, box: Box) -> Tensor:
    """Return the pictures, each with the inside of `box` from its partner. (batch, channels, height, width), any dtype.

    Source: Yun et al., CutMix, arXiv 1905.04899.
    """
    top, bottom, left, right = box
    mixed = pictures.clone()  # on a CPU the batch may be the user's own
    mixed[..., top:bottom, left:right] = pictures[..., top:bottom, left:right].roll(1, 0)
    return mixed


def cutmix_box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[Box, float]:
    """Return a box of the picture's shape and of 1 - share of its area, centred anywhere, cut off at the picture's border.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        share: of the picture that stays, before the box is cut off.
        rng: two numbers are drawn from it.

    Returns:
        The box, and the share of the picture outside it: 1 - area / (height * width). The labels are mixed by that share.
    """
    side = sqrt(1 - share)
    box_height, box_width = int(height * side), int(width * side)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(y - box_height // 2, 0), max(x - box_width // 2, 0)
    bottom, right = min(y + box_height // 2, height), min(x + box_width // 2, width)
    return (top, bottom, left, right), 1 - (bottom - top) * (right - left) / (height * width)


def erasing_boxes(
    count: int, height: int, width: int, share: float, area: tuple[float, float], aspect: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return a box for each of `count` pictures, uniform in area and in the logarithm of its shape, wherever it fits.

    The paper draws until a box fits. Here shapes that do not fit are left out of the draw, so the area is uniform as stated.

    Args:
        count: pictures.
        height: of a picture, in pixels.
        width: of a picture, in pixels.
        share: of the pictures that get a box; the others get an empty one.
        area: the least and the largest share of a picture, at most 1.
        aspect: height over width is at least this, and at most 1 / this.
        rng: 5 * count numbers are drawn from it.

    Returns:
        (4, count) int64: top, bottom, left, right, in pixels; bottom and right are outside.
    """
    chosen, size, shape, down, along = rng.random((5, count))
    pixels = np.maximum(height * width * (area[0] + (area[1] - area[0]) * size), 1)
    least = np.maximum(log(aspect), np.log(pixels / width**2))
    greatest = np.minimum(-log(aspect), np.log(height**2 / pixels))
    ratio = np.exp(least + np.maximum(greatest - least, 0) * shape)
    heights = np.clip(np.rint(np.sqrt(pixels * ratio)), 1, height)
    widths = np.clip(np.rint(np.sqrt(pixels / ratio)), 1, width)
    top, left = np.floor(down * (height - heights + 1)), np.floor(along * (width - widths + 1))
    return np.where(chosen < share, np.stack([top, top + heights, left, left + widths]), 0).astype(np.int64)


def erase(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Return the pictures, each with the inside of its box in the mean colour of the batch.

    Args:
        pictures: (batch, channels, height, width), uint8 or floating point.
        boxes: (4, batch) int64, on the same device, as of `erasing_boxes`.
    """
    rows, columns = _places(*pictures.shape[2:], pictures.device)
    top, bottom, left, right = boxes.view(4, -1, 1, 1, 1)
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    colour = pictures.mean((0, 2, 3), keepdim=True, dtype=torch.float32)
    if not pictures.is_floating_point():
        colour = colour.round()
    return torch.where(inside, colour.to(pictures.dtype), pictures)


@lru_cache(maxsize=64)  # progressive resizing has several sizes
def _places(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the numbers of the rows, (height, 1), and of the columns, (width,), int64. They are made once and only read."""
    return torch.arange(height, device=device).unsqueeze(1), torch.arange(width, device=device)


def resize_scale(time: float, start: float, end: float) -> float:
    """Return the share of the full side at `time`, both from 0 to 1: linear from `start` to 1 at `end`, and 1 ever after."""
    return 1.0 if time >= end else start + (1 - start) * time / end


def resized_side(scale: float, full: int, multiple: int) -> int:
    """Return `scale` of a side of `full` pixels, as the nearest multiple of `multiple`: at least one of them, at most `full`."""
    return full if scale >= 1 else min(full, max(multiple, multiple * int(full * scale / multiple + 0.5)))


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """Return the pictures in another size: bilinear, with the triangle widened where they shrink (antialiased).

    Without antialiasing, fine patterns turn into coarse ones that the full size does not have.

    Args:
        pictures: (batch, channels, any height, any width), floating point.
        height: in pixels.
        width: in pixels.

    Returns:
        (batch, channels, height, width), of the same dtype.
    """
    return F.interpolate(pictures, (height, width), mode="bilinear", antialias=True)
