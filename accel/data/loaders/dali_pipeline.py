"""Pictures by NVIDIA DALI, which decodes and resamples the boxes that it is told to, on the CPU or on the GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from io import BytesIO
from math import ceil, floor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from accel.data.batches.bad_samples import MISSING, UnreadableSample
from accel.data.batches.mapped import BatchAssembly, MapBatches
from accel.data.codecs import pillow_decoder, tiled_jpeg
from accel.data.codecs.crops import Box
from accel.data.codecs.image_reader import plain_jpeg
from accel.data.sampling import borrowed_rng
from accel.errors import BadSample, ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Fed", "Pipeline", "Shown", "bmp", "dali", "pair", "readable", "shown"]


def dali() -> Any:
    """The package. Raises ConfigError where it is not installed, or cannot be imported."""
    try:
        import nvidia.dali as module
        import nvidia.dali.fn
        import nvidia.dali.types  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"dali needs NVIDIA DALI ({error}): pip install 'accel-train[dali]'") from None
    return module


class Shown(NamedTuple):
    """One picture on its way: its file, and the box of it that is shown."""

    encoded: NDArray[np.uint8]
    """The file's bytes; where DALI might read it otherwise than Pillow, those of a BMP of it. (bytes,)"""
    anchor: NDArray[np.float32]
    """Top and left of what is decoded: the box and what the filter reaches around it."""
    extent: NDArray[np.float32]
    """Its height and width."""
    start: NDArray[np.float32]
    """Top and left of the box in it."""
    end: NDArray[np.float32]
    """Bottom and right of the box in it."""
    mirrored: NDArray[np.int32]


def readable(record: Any, name: str, limit: int) -> tuple[Any, tuple[int, int]]:
    """What DALI shall decode, and the width and height of the picture in it.

    JPEGs that are whole and in RGB or grey it is given as they are; all else is decoded by Pillow first.

    Raises:
        BadSample: where the picture cannot be read, or has more than `limit` pixels.
    """
    if getattr(record, "ndim", 1) == 3:  # pixels that a cache has kept
        return bmp(pillow_decoder.decoded(record, name, "raw")), (record.shape[1], record.shape[0])
    found = plain_jpeg(record, name)
    if found is not None:
        size = found.width, found.height
        if tiled_jpeg.is_tiled(record):  # wider than the picture: filled up to whole tiles
            size = tiled_jpeg.index(record, name).width, found.height
        pillow_decoder.hold_limit(*size, name, limit)
        return record, size
    picture = pillow_decoder.decode(record, name, limit)
    return bmp(picture), picture.size


def bmp(picture: Image) -> bytes:
    """A file of it that every decoder reads to the same pixels."""
    stream = BytesIO()
    picture.save(stream, "BMP")
    return stream.getvalue()


def shown(record: Any, size: tuple[int, int], box: Box, mirrored: bool, side: int) -> Shown:
    """One picture with the box of it to be shown, whose filter may reach as far over it as Pillow's does."""
    reach = ceil(max(box[2] - box[0], box[3] - box[1]) / side) + 2
    left, top = max(0, floor(box[0]) - reach), max(0, floor(box[1]) - reach)
    right, bottom = min(size[0], ceil(box[2]) + reach), min(size[1], ceil(box[3]) + reach)
    anchor, extent = pair(top, left), pair(bottom - top, right - left)
    start, end = pair(box[1] - top, box[0] - left), pair(box[3] - top, box[2] - left)
    return Shown(np.frombuffer(record, np.uint8), anchor, extent, start, end, np.array(mirrored, np.int32))


def pair(down: float, across: float) -> NDArray[np.float32]:
    """In the order of an array's axes."""
    return np.array((down, across), np.float32)


class Fed(BatchAssembly):
    """A batch of pictures for DALI. What reading a sample gives is its number, or that of its substitute, and what is shown."""

    def read_sample(self, place: int, key: int) -> tuple[int, Shown]:
        data = self.batches.data
        record, size = readable(data.store.get(key), data.store.name(key), data.reader.limit)
        box, mirrored = data.look(size, borrowed_rng(self.batches.seed, self.epoch, key))
        return key, shown(record, size, box, mirrored, data.side)

    def collate(self) -> list[tuple[int, Shown]]:
        return self.samples


class Pipeline:
    """The batches of a data set of pictures, in our order and with our random numbers, decoded and resampled by DALI.

    A file that is cut short, or that Pillow decodes and cannot, has the fate of any bad sample (`accel.data.batches.bad_samples`).
    One that DALI alone sees to be damaged ends the run under every policy: DALI does not go on after it.

    Args:
        batches: over a data set with `store`, `side` and `look` (`accel.data.datasets.image_folder.Folder`).
        device: where DALI decodes, `cpu` or `mixed`; of the latter the batches are on the GPU.
        threads: of the CPU.
        depth: batches that are under way.
        number: of the GPU.
    """

    def __init__(self, batches: MapBatches, device: str, threads: int, depth: int, number: int = 0) -> None:
        module = dali()
        fn, types = module.fn, module.types
        self.batches, self.mixed, self.broken = batches, device == "mixed", False
        self.fed: Iterator[list[list[Any]]] = iter(())
        self.under_way: deque[tuple[list[int], list[UnreadableSample]]] = deque()
        self.unread: list[UnreadableSample] = []
        """Of batches of which nothing was left."""
        self.error: Exception | None = None
        self.pipe = module.Pipeline(batches.batch_size, threads, number if self.mixed else None, prefetch_queue_depth=depth)
        with self.pipe:
            inputs = fn.external_source(source=self._next, num_outputs=len(Shown._fields))
            encoded, anchor, extent, start, end, mirrored = inputs
            pixels = fn.decoders.image_slice(
                encoded, anchor, extent, device=device, output_type=types.RGB, axes=(0, 1), adjust_orientation=False,
                normalized_anchor=False, normalized_shape=False,
            )  # fmt: skip
            side = batches.data.side
            small = fn.resize(pixels, size=[side, side], interp_type=types.INTERP_TRIANGULAR, roi_start=start, roi_end=end)
            self.pipe.set_outputs(fn.flip(small, horizontal=mirrored))
        self.pipe.build()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches from number `start` on. Whoever stops early waits for those under way.

        Raises:
            ConfigError: where a picture cannot be read; it is named, after the batches before it.
            TrainingError: where more of them cannot be read than the limit allows, or none in place of one.
        """
        self.fed, self.error, self.unread = self._feed(epoch, start), None, []
        try:
            while (batch := self._take()) is not None:
                yield batch
            self.batches.bad_sample_log.note(self.unread)
            if self.error is not None:
                raise self.error
        finally:
            self.fed = iter(())
            while not self.broken and self._take() is not None:
                pass
            self.under_way.clear()
            self.pipe.reset()

    def _feed(self, epoch: int, start: int) -> Iterator[list[list[Any]]]:
        for keys in self.batches.batches_of_indices(epoch, start):
            work = Fed(self.batches, epoch, keys.tolist())
            for place in range(len(work.keys)):
                work.fill_slot(place)
            found = work.finish()
            self.unread += work.bad
            if found is MISSING:
                continue
            self.under_way.append(([key for key, _ in found], self.unread))
            self.unread = []
            yield [list(values) for values in zip(*(picture for _, picture in found), strict=True)]

    def _next(self) -> list[list[Any]]:
        """The inputs of the next batch. DALI asks in our own thread, some batches ahead, and ends at StopIteration."""
        try:
            return next(self.fed)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from None

    def _take(self) -> list[Any] | None:
        """The next batch, or None at the end."""
        try:
            (found,) = self.pipe.run(torch.cuda.current_stream() if self.mixed else None)  # by place: it has no such keyword
        except StopIteration:
            return None
        except RuntimeError as error:
            self.broken = True
            raise self._bad(self.under_way.popleft()[0], error) from None
        keys, bad = self.under_way.popleft()
        self.batches.bad_sample_log.note(bad)
        # the memory is DALI's, which uses it again
        pictures = from_dlpack(found.as_tensor()).clone() if self.mixed else torch.from_numpy(np.array(found.as_array()))
        store = self.batches.data.store
        return [pictures, torch.tensor([store.label(key) for key in keys])]

    def _bad(self, keys: list[int], error: RuntimeError) -> Exception:
        """Says which picture it was: one that Pillow cannot read either, or one of the batch."""
        store = self.batches.data.store
        kept_on = self.batches.bad_sample_handler.rule.policy != "raise"
        hint = "; DALI does not go on after it, whatever bad_data says: read by threads in its place" if kept_on else ""
        for key in keys:
            record = store.get(key)
            if getattr(record, "ndim", 1) == 1:
                try:
                    pillow_decoder.decode(record, store.name(key))
                except BadSample as bad:
                    return BadSample(f"{bad}{hint}")
        names = ", ".join(store.name(key) for key in keys[:3])
        why = " ".join(str(error).split())[:300]
        return ConfigError(f"DALI cannot read a picture among {names} and {max(0, len(keys) - 3)} more: {why}{hint}")
