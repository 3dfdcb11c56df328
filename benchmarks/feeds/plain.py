"""torch's DataLoader over Pillow and torchvision's transforms, whose formulas are written out here: torchvision is not needed.

RandomResizedCrop or RandomCrop with a pad, RandomHorizontalFlip, ToTensor, Normalize; float32 (3, side, side). As
torchvision 0.28 computes them on a Pillow picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from feeds import CIFAR, Job
from feeds.pictures import TIMES, found

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def draw(low: float, high: float) -> float:
    """Uniform, as torchvision draws it."""
    return torch.empty(1).uniform_(low, high).item()


def window(width: int, height: int) -> tuple[int, int, int, int]:
    """RandomResizedCrop.get_params: left, top, width, height."""
    for _ in range(10):
        area = height * width * draw(0.08, 1.0)
        shape = math.exp(draw(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < wide <= width and 0 < high <= height:
            top = int(torch.randint(0, height - high + 1, size=(1,)).item())
            left = int(torch.randint(0, width - wide + 1, size=(1,)).item())
            return left, top, wide, high
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def resized(picture: Image.Image, side: int) -> Image.Image:
    """RandomResizedCrop(side)."""
    left, top, wide, high = window(*picture.size)
    return picture.crop((left, top, left + wide, top + high)).resize((side, side), Image.Resampling.BILINEAR)


def moved(picture: Image.Image, pad: int) -> Image.Image:
    """RandomCrop(side, padding=pad)."""
    width, height = picture.size
    left, top = (int(torch.randint(0, 2 * pad + 1, size=(1,)).item()) for _ in range(2))
    return ImageOps.expand(picture, pad).crop((left, top, left + width, top + height))


def mirrored(picture: Image.Image) -> Image.Image:
    """RandomHorizontalFlip()."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < 0.5 else picture


def normalised(picture: Image.Image) -> Tensor:
    """ToTensor(), Normalize(MEAN, STD)."""
    pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True)).permute(2, 0, 1).contiguous()
    scaled = pixels.to(torch.float32).div(255).clone()  # Normalize is not inplace, as it is hardly ever told to be
    mean, std = torch.as_tensor(MEAN), torch.as_tensor(STD)
    if (std == 0).any():
        raise ValueError("a standard deviation is 0")
    return scaled.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


class Pictures(Dataset[tuple[Tensor, int]]):
    """Files, decoded and augmented one by one."""

    def __init__(self, files: list[str], labels: list[int], side: int, small: bool) -> None:
        self.files, self.labels, self.side, self.small = files, labels, side, small

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with open(self.files[index], "rb") as file:
            picture = Image.open(file).convert("RGB")
        shown = moved(picture, 4) if self.small else resized(picture, self.side)
        return normalised(mirrored(shown)), self.labels[index]


def feed(job: Job, store: str) -> Iterator[Any]:
    """Workers that stay, one for each core."""
    small = store == CIFAR
    root = Path(job.cifar or "") / "train" if small else job.work / "pictures"
    files, labels = found(root)
    times = 1 if small else TIMES
    torch.manual_seed(job.seed)
    data = Pictures(files * times, labels * times, job.side, small)
    loader = DataLoader(
        data, job.batch, shuffle=True, drop_last=True, num_workers=job.cores, persistent_workers=True,
        multiprocessing_context="fork",
    )  # fmt: skip
    while True:
        yield from loader
