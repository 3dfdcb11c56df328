"""accel's resident: everything read once, then one gather a batch. The first batch waits for the reading."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch

from accel.data.loaders import load_all
from accel.data.loaders.device_batches import DeviceBatches
from feeds import Job
from feeds.ours import data_set


def feed(job: Job, store: str) -> Iterator[Any]:
    """Epoch after epoch, uint8 (batch, 32, 32, 3), cropped and mirrored."""
    data = data_set(job, store, crop="pad")
    parts, form = load_all.first_sample(data)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shelf = DeviceBatches(
        load_all.load_samples(data, parts)[0], form, data.moves(), job.batch, job.seed, True, torch.device(device)
    )
    for epoch in count():
        yield from shelf.epoch(epoch)
