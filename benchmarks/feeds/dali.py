"""NVIDIA DALI on the CPU, as its ImageNet examples have it; windows and order of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nvidia.dali import fn, pipeline_def, types

from feeds import Job
from feeds.pictures import TIMES, found


def feed(job: Job, store: str, region: bool = False) -> Iterator[Any]:
    """uint8 (batch, side, side, 3); `region`: only the window is decoded."""
    files, labels = found(job.work / "pictures")

    @pipeline_def(batch_size=job.batch, num_threads=job.cores, device_id=None, seed=job.seed + 1, prefetch_queue_depth=2)
    def pipeline() -> Any:
        encoded, label = fn.readers.file(files=files * TIMES, labels=labels * TIMES, shuffle_after_epoch=True)
        if region:
            window = {"random_area": [0.08, 1.0], "random_aspect_ratio": [3 / 4, 4 / 3]}
            pictures = fn.decoders.image_random_crop(encoded, device="cpu", output_type=types.RGB, **window)
            small = fn.resize(pictures, size=[job.side, job.side], interp_type=types.INTERP_TRIANGULAR)
        else:
            pictures = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
            small = fn.random_resized_crop(pictures, size=[job.side, job.side], interp_type=types.INTERP_TRIANGULAR)
        return fn.flip(small, horizontal=fn.random.coin_flip()), label

    pipe = pipeline()
    pipe.build()
    while True:
        pictures, label = pipe.run()
        yield pictures.as_array(), label.as_array()
