"""FFCV from files of its own, which its writer makes; it resamples by area, and its windows and order are its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from feeds import Job
from feeds.pictures import TIMES, found
from feeds.shim import torchvision as shimmed

shimmed()
from ffcv.fields import IntField, RGBImageField  # noqa: E402
from ffcv.fields.basics import IntDecoder  # noqa: E402
from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder  # noqa: E402
from ffcv.loader import Loader, OrderOption  # noqa: E402
from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage  # noqa: E402
from ffcv.writer import DatasetWriter  # noqa: E402


class Pictures:
    """What the writer reads. It shrinks by the longer side alone, so that the shorter one is made `short` here."""

    def __init__(self, files: list[str], labels: list[int], short: int | None) -> None:
        self.files, self.labels, self.short = files, labels, short

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        picture = Image.open(self.files[index]).convert("RGB")
        if self.short and min(picture.size) > self.short:
            scale = self.short / min(picture.size)
            picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
        return picture, self.labels[index]


def written(path: Path, data: Pictures, mode: str, most: int | None) -> None:
    """Makes the file where it is missing."""
    if not path.exists():
        part = path.with_suffix(".part")
        image = RGBImageField(write_mode=mode, max_resolution=most, jpeg_quality=90)
        DatasetWriter(str(part), {"image": image, "label": IntField()}, num_workers=2).from_indexed_dataset(data)
        part.rename(path)


def feed(job: Job, store: str) -> Iterator[Any]:
    """uint8 (batch, 3, side, side). `store`: ffcv-jpeg-500, ffcv-jpeg-256 or ffcv-raw-256."""
    _, mode, size = store.split("-")
    files, labels = found(job.work / "pictures")
    short = int(size) if size != "500" else None
    path = job.work / f"{store}.beton"
    written(path, Pictures(files, labels, short), "jpg" if mode == "jpeg" else "raw", None if short else int(size))
    decoder = RandomResizedCropRGBImageDecoder((job.side, job.side))
    loader = Loader(
        str(path), batch_size=job.batch, num_workers=job.cores, order=OrderOption.RANDOM, os_cache=True, drop_last=True,
        seed=job.seed, indices=np.tile(np.arange(len(files)), TIMES),
        pipelines={"image": [decoder, RandomHorizontalFlip(), ToTensor(), ToTorchImage()], "label": [IntDecoder(), ToTensor()]},
    )  # fmt: skip
    while True:
        yield from loader
