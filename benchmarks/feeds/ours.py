"""accel: a data set over files or a store, read by a ring of threads, or by its workers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch

from accel.data import Ring
from accel.data.batches.mapped import MapBatches
from accel.data.codecs.image_reader import ImageReader
from accel.data.codecs.jpeg_decoder import Decoder
from accel.data.codecs.resample import Filter
from accel.data.datasets.image_folder import AugmentedFolder, Crop
from accel.data.loaders.worker_pool import WorkerPool
from accel.data.store import Store, class_names
from accel.data.stores.formats import store_at
from feeds import SMALL_STORES, STORES, Job
from feeds.pictures import TIMES, Repeated


def data_set(
    job: Job, store: str, decoder: Decoder = "simplejpeg", filter: Filter = "linear", crop: Crop = "resized"
) -> AugmentedFolder:
    """What the task of pictures trains on."""
    small = store in SMALL_STORES
    root = Path(job.cifar or "") / "train" if small else job.work / "pictures"
    data = AugmentedFolder(root, class_names(root), 32 if small else job.side, crop, flip=True, reader=ImageReader(decoder, filter))
    data.reader.check()
    found: Store = data.store
    if small:
        found = store_at(job.work / SMALL_STORES[store][0])
    elif store in STORES:
        found = store_at(job.work / STORES[store][0])
    return data.over(found if small else Repeated(found, TIMES))


def feed(job: Job, store: str, by: str = "threads", threads: int | None = None, **options: Any) -> Iterator[Any]:
    """Epoch after epoch, uint8 (batch, side, side, 3)."""
    data = data_set(job, store, **options)
    if by == "workers":
        workers = WorkerPool([MapBatches(data, job.batch, job.seed, shuffle=True)], job.cores, 2, None)
        for epoch in count():
            yield from workers.batches(0, epoch, 0)
    with Ring(data, job.batch, seed=job.seed, shuffle=True, threads=threads, pin=torch.cuda.is_available()) as ring:
        for epoch in count():
            yield from ring.epoch(epoch)
