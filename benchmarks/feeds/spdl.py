"""SPDL's threads, each task so many pictures by simplejpeg and OpenCV: the quickest way that was found with it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from spdl.pipeline import PipelineBuilder

from feeds import Job
from feeds.pictures import TIMES, found, window

TASK = 16


def feed(job: Job, store: str) -> Iterator[Any]:
    """uint8 (batch, side, side, 3), in the order in which they are ready."""
    cv2.setNumThreads(0)
    files, labels = found(job.work / "pictures")
    files, labels = files * TIMES, labels * TIMES

    def order() -> Iterator[list[int]]:
        for epoch in count():
            numbers = list(range(len(files)))
            random.Random(f"{job.seed} {epoch}").shuffle(numbers)
            yield from (numbers[place : place + TASK] for place in range(0, len(numbers) - TASK + 1, TASK))

    def read(numbers: list[int]) -> tuple[NDArray[np.uint8], list[int]]:
        out = np.empty((len(numbers), job.side, job.side, 3), np.uint8)
        for place, number in enumerate(numbers):
            with open(files[number], "rb") as file:
                picture = simplejpeg.decode_jpeg(file.read(), "RGB")
            left, top, wide, high = window(picture.shape[1], picture.shape[0])
            small = cv2.resize(picture[top : top + high, left : left + wide], (job.side, job.side))
            out[place] = cv2.flip(small, 1) if random.random() < 0.5 else small
        return out, [labels[number] for number in numbers]

    def joined(parts: list[tuple[NDArray[np.uint8], list[int]]]) -> tuple[NDArray[np.uint8], list[int]]:
        return np.concatenate([pictures for pictures, _ in parts]), [name for _, names in parts for name in names]

    builder = PipelineBuilder().add_source(order()).pipe(read, concurrency=job.cores)
    pipeline = builder.aggregate(job.batch // TASK, drop_last=True).pipe(joined).add_sink(3).build(num_threads=job.cores + 1)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()
