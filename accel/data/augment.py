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

__all__ = ["Box", "cut_box", "cutmix", "draw_boxes", "erase", "mixup", "resize", "scale_at", "side_at", "soft"]

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


def draw_boxes(
    count: int, height: int, width: int, share: float, area: tuple[float, float], aspect: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A box for each of `count` pictures, uniform in area and in the logarithm of its shape, wherever it fits.

    The paper draws until a box fits; here the shapes that do not fit are left out of the draw, so that none is drawn in vain
    and the area is uniform as it is said to be.

    Args:
        share: of the pictures that get one; the others get an empty one.
        area: the least and the largest share of a picture, at most 1.
        aspect: height over width is at least this, and at most 1 / this.

    Returns:
        (4, count), int64: top, bottom, left, right, in pixels; bottom and right are outside.
    """
    chosen, size, shape, down, along = rng.random((5, count))
    pixels = np.maximum(height * width * (area[0] + (area[1] - area[0]) * size), 1)
    low = np.maximum(log(aspect), np.log(pixels / width**2))
    high = np.minimum(-log(aspect), np.log(height**2 / pixels))
    ratio = np.exp(low + np.maximum(high - low, 0) * shape)
    tall = np.clip(np.rint(np.sqrt(pixels * ratio)), 1, height)
    wide = np.clip(np.rint(np.sqrt(pixels / ratio)), 1, width)
    top, left = np.floor(down * (height - tall + 1)), np.floor(along * (width - wide + 1))
    return np.where(chosen < share, np.stack([top, top + tall, left, left + wide]), 0).astype(np.int64)


def erase(pictures: Tensor, boxes: Tensor) -> Tensor:
    """The pictures, each with the inside of its box in the mean colour of them all.

    Args:
        pictures: (batch, channels, height, width), uint8 or floating point.
        boxes: (4, batch), int64, on the same device: what `draw_boxes` returns.
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
    """The numbers of the rows, (height, 1), and of the columns, (width,): made once, only ever read."""
    return torch.arange(height, device=device).unsqueeze(1), torch.arange(width, device=device)


def scale_at(time: float, first: float, until: float) -> float:
    """The share of the full side at `time` (both from 0 to 1): from `first`, linearly, to 1 at `until` and ever after."""
    return 1.0 if time >= until else first + (1 - first) * time / until


def side_at(scale: float, full: int, multiple: int) -> int:
    """`scale` of a side of `full` pixels, as the nearest multiple of `multiple`: at least one, and never above `full`."""
    return full if scale >= 1 else min(full, max(multiple, multiple * int(full * scale / multiple + 0.5)))


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """The pictures at another size: bilinear, with the triangle widened where it shrinks them (antialiased).

    Without that, fine patterns would turn into coarse ones that are not there at the full size.

    Args:
        pictures: (batch, channels, any height, any width), floating point.
    """
    return F.interpolate(pictures, (height, width), mode="bilinear", antialias=True)
