"""The bare work: crops are drawn and tiles joined beforehand; what is left is decoding, resampling and mirroring, without a loader.

It bounds what a loader can reach by the same decoder and filter on as many cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from accel.data.codecs import tiled_jpeg
from accel.data.codecs.crops import random_resized
from accel.data.codecs.resample import whole_pixels
from accel.data.codecs.simplejpeg_decoder import scratch
from accel.data.sampling import sample_rng
from accel.data.stores.formats import store_at
from feeds import STORES, Job

Work = Callable[[NDArray[np.uint8]], None]
"""Function that writes one crop into (side, side, 3) uint8."""
CROPS = 2000
"""Crops that are drawn beforehand, and then come over and over."""


def feed(job: Job, store: str, threads: int | None = None) -> Iterator[Any]:
    """Batches (batch, side, side, 3) uint8, of each thread its own memory over and over; a thread for each core by default."""
    records = store_at(job.work / STORES[store][0])
    works = [prepared(records.get(number % len(records)), sample_rng(job.seed, 0, number)) for number in range(CROPS)]
    cv2.setNumThreads(0)
    done: SimpleQueue[Any] = SimpleQueue()
    count = threads or job.cores
    for place in range(count):
        threading.Thread(target=write, args=(works[place::count], job, done), daemon=True).start()
    while True:
        yield done.get()


def prepared(record: Any, rng: np.random.Generator) -> Work:
    """The work of one crop, drawn as training draws it."""
    if getattr(record, "ndim", 1) == 3:
        pixels = np.asarray(record)
        height, width, _ = pixels.shape
        box, mirrored = random_resized(width, height, rng), rng.random() < 0.5
        part = pixels[slice(*whole_pixels(box[1], box[3], height)), slice(*whole_pixels(box[0], box[2], width))]
        return lambda out: shown(part, mirrored, out)
    index = tiled_jpeg.read_index(record, "")
    box, mirrored = random_resized(index.width, index.height, rng), rng.random() < 0.5
    jpeg, (left, top), size = tiled_jpeg.splice(record, index, box)
    (first, last), (begin, end) = whole_pixels(box[0], box[2], index.width), whole_pixels(box[1], box[3], index.height)
    part_of = slice(begin - top, end - top), slice(first - left, last - left)
    room = 3 * size[0] * size[1]
    return lambda out: shown(simplejpeg.decode_jpeg(jpeg, "RGB", buffer=scratch(room))[part_of], mirrored, out)


def shown(part: NDArray[np.uint8], mirrored: bool, out: NDArray[np.uint8]) -> None:
    """Resamples a crop into its place, and mirrors it there."""
    cv2.resize(part, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_LINEAR)
    if mirrored:
        cv2.flip(out, 1, dst=out)


def write(works: list[Work], job: Job, done: SimpleQueue[Any]) -> None:
    """One thread, for ever: it says when a batch is written."""
    memory = np.empty((job.batch, job.side, job.side, 3), np.uint8)
    number = 0
    while True:
        for out in memory:
            works[number % len(works)](out)
            number += 1
        done.put(memory)
