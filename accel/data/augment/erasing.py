"""Boxes of pictures that are painted over.

Source: Zhong et al., Random Erasing Data Augmentation, arXiv 1708.04896. The boxes get the mean colour (their RE-M), which
they found as good as noise (RE-R) and better than black or white; it is that of the batch, so it suits pictures of any range.
"""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
