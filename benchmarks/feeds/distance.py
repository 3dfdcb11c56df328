"""How far the pixels of an arm are from those of the original file, decoded and antialiased by Pillow, at the same windows."""

from __future__ import annotations

from math import inf, log10
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accel.data.codecs.crops import random_resized
from accel.data.codecs.image_reader import PILLOW_READER
from accel.data.sampling import sample_rng
from feeds import SMALL_STORES, Arm, Job
from feeds.ours import data_set


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Of two pictures, in decibels; infinite where they are the same."""
    error = float(((one.astype(np.float64) - other) ** 2).mean())
    return 10 * log10(255**2 / error) if error else inf


def distance(job: Job, arm: Arm, crops: int) -> dict[str, Any] | None:
    """The median over so many random resized crops; None for an arm that takes none."""
    if not arm.ours or arm.store in SMALL_STORES:
        return None
    options = {name: value for name, value in arm.options.items() if name not in ("by", "threads")}
    data, truth = data_set(job, arm.store, **options), data_set(job, "files")
    found = []
    for number in range(crops):
        index = number * 7919 % len(data)
        original = PILLOW_READER.open(truth.store.get(index), truth.store.name(index))
        box = random_resized(*original.size, sample_rng(1, 0, number))
        picture = data.picture(index)
        wide, high = picture.size[0] / original.size[0], picture.size[1] / original.size[1]
        there = box[0] * wide, box[1] * high, box[2] * wide, box[3] * high
        found.append(psnr(original.resized_crop(box, job.side), picture.resized_crop(there, job.side)))
    middle = median(found)
    return {"psnr": None if middle == inf else round(middle, 1), "same": found.count(inf), "crops": crops}
