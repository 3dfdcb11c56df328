"""timm's transforms and collate function in torch's DataLoader: uint8, normalised later. They need torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from feeds import Job
from feeds.pictures import TIMES, found
from feeds.shim import torchvision as shimmed

shimmed()
from timm.data import create_transform  # noqa: E402
from timm.data.loader import fast_collate  # noqa: E402


class Pictures(Dataset[tuple[Any, int]]):
    """Files through a transform."""

    def __init__(self, files: list[str], labels: list[int], transform: Any) -> None:
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with open(self.files[index], "rb") as file:
            return self.transform(Image.open(file).convert("RGB")), self.labels[index]


def feed(job: Job, store: str) -> Iterator[Any]:
    """uint8 (batch, 3, side, side)."""
    files, labels = found(job.work / "pictures")
    torch.manual_seed(job.seed)
    transform = create_transform(job.side, is_training=True, use_prefetcher=True, color_jitter=None, interpolation="bilinear")
    loader = DataLoader(
        Pictures(files * TIMES, labels * TIMES, transform), job.batch, shuffle=True, drop_last=True, num_workers=job.cores,
        persistent_workers=True, multiprocessing_context="fork", collate_fn=fast_collate,
    )  # fmt: skip
    while True:
        yield from loader
