"""WebDataset's tar shards, read by its own loader with a process for each core."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import webdataset as wds
from PIL import Image

from feeds import Job
from feeds.pictures import found, window
from feeds.plain import mirrored, normalised, resized

SHARDS = 6


def shards(job: Job) -> list[str]:
    """The tar files, made where they are missing."""
    folder = job.work / "webdataset"
    if not folder.exists():
        files, labels = found(job.work / "pictures")
        making = folder.with_name("webdataset.part")
        making.mkdir(exist_ok=True)
        for shard in range(SHARDS):
            with tarfile.open(making / f"{shard:03}.tar", "w") as archive:
                for number in range(shard, len(files), SHARDS):
                    for suffix, content in ((".jpg", Path(files[number]).read_bytes()), (".cls", str(labels[number]).encode())):
                        entry = tarfile.TarInfo(f"{number:06}{suffix}")
                        entry.size = len(content)
                        archive.addfile(entry, BytesIO(content))
        making.rename(folder)
    return sorted(str(file) for file in folder.glob("*.tar"))


def feed(job: Job, store: str, by: str = "pillow") -> Iterator[Any]:
    """By Pillow float32 (batch, 3, side, side), by OpenCV uint8 (batch, side, side, 3)."""
    cv2.setNumThreads(0)

    def pillow(sample: dict[str, bytes]) -> Any:
        picture = Image.open(BytesIO(sample["jpg"])).convert("RGB")
        return normalised(mirrored(resized(picture, job.side))), int(sample["cls"])

    def opencv(sample: dict[str, bytes]) -> Any:
        picture = cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR_RGB)
        left, top, wide, high = window(picture.shape[1], picture.shape[0])
        small = cv2.resize(picture[top : top + high, left : left + wide], (job.side, job.side))
        return (cv2.flip(small, 1) if random.random() < 0.5 else small), int(sample["cls"])

    data = wds.WebDataset(shards(job), shardshuffle=False, resampled=True).shuffle(300).map(pillow if by == "pillow" else opencv)
    yield from wds.WebLoader(data.batched(job.batch, partial=False), batch_size=None, num_workers=job.cores)
