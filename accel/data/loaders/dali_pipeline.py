"""Pictures by NVIDIA DALI, which decodes and resamples the boxes that it is given, on the CPU or on the GPU."""

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

from accel.data.batches.assembly import BatchAssembly
from accel.data.batches.bad_samples import MISSING, UnreadableSample
from accel.data.batches.mapped import MapBatches
from accel.data.codecs import pillow_decoder, tiled_jpeg
from accel.data.codecs.crops import Box
from accel.data.codecs.image_reader import decode_record
from accel.data.codecs.jpeg_decoder import rgb_jpeg_header
from accel.data.sampling import reused_rng
from accel.errors import BadSample, ConfigError, listed

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PictureAssembly", "PictureInput", "Pipeline", "encode_bmp", "import_dali", "picture_input", "point", "prepare_record"]


def import_dali() -> Any:
    """Return the package nvidia.dali.

    Raises:
        ConfigError: if it is not installed, or cannot be imported.
    """
    try:
        import nvidia.dali as module
        import nvidia.dali.fn
        import nvidia.dali.types  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"dali needs NVIDIA DALI ({error}): pip install 'accel-train[dali]'") from None
    return module


class PictureInput(NamedTuple):
    """DALI's input for one picture: its file, and the box of it that is shown. Places and sizes are in pixels, float32."""

    encoded: NDArray[np.uint8]
    """(bytes,) uint8: the file; or a BMP of the picture, where DALI might read the file otherwise than Pillow."""
    anchor: NDArray[np.float32]
    """(2,): top and left of the part that is decoded, which is the box and its surroundings that the filter reaches."""
    extent: NDArray[np.float32]
    """(2,): height and width of that part."""
    start: NDArray[np.float32]
    """(2,): top and left of the box in that part."""
    end: NDArray[np.float32]
    """(2,): bottom and right of the box in that part."""
    mirrored: NDArray[np.int32]
    """(): 1 if the picture is mirrored left to right."""


def prepare_record(record: Any, name: str, limit: int) -> tuple[Any, tuple[int, int]]:
    """Return the bytes that DALI decodes, and the width and height of the picture in them.

    A whole JPEG in RGB or grey is passed on as it is. Pillow decodes any other record first.

    Args:
        record: of a store.
        name: of the record, for messages.
        limit: of the picture, in pixels.

    Raises:
        BadSample: if the picture cannot be read, or has more than `limit` pixels.
    """
    if getattr(record, "ndim", 1) == 3:  # pixels that a cache has kept
        return encode_bmp(decode_record(record, name, "raw")), (record.shape[1], record.shape[0])
    header = rgb_jpeg_header(record, name)
    if header is not None:
        size = header.width, header.height
        if tiled_jpeg.is_tiled(record):  # wider than the picture: filled up to whole tiles
            size = tiled_jpeg.read_index(record, name).width, header.height
        pillow_decoder.check_pixel_limit(*size, name, limit)
        return record, size
    picture = decode_record(record, name, limit=limit)
    return encode_bmp(picture), picture.size


def encode_bmp(picture: Image) -> bytes:
    """Return a BMP file of a picture, which every decoder reads to the same pixels."""
    stream = BytesIO()
    picture.save(stream, "BMP")
    return stream.getvalue()


def picture_input(record: Any, size: tuple[int, int], box: Box, mirrored: bool, side: int) -> PictureInput:
    """Return DALI's input for one picture; the filter reaches as far beyond the box as Pillow's does.

    Args:
        record: the file's bytes.
        size: width and height of the picture.
        box: left, top, right, bottom of the part that is shown, in pixels.
        mirrored: whether it is mirrored left to right.
        side: of the square that comes out, in pixels.
    """
    margin = ceil(max(box[2] - box[0], box[3] - box[1]) / side) + 2
    left, top = max(0, floor(box[0]) - margin), max(0, floor(box[1]) - margin)
    right, bottom = min(size[0], ceil(box[2]) + margin), min(size[1], ceil(box[3]) + margin)
    anchor, extent = point(top, left), point(bottom - top, right - left)
    start, end = point(box[1] - top, box[0] - left), point(box[3] - top, box[2] - left)
    return PictureInput(np.frombuffer(record, np.uint8), anchor, extent, start, end, np.array(mirrored, np.int32))


def point(y: float, x: float) -> NDArray[np.float32]:
    """Return two coordinates in the order of an array's axes: (2,) float32."""
    return np.array((y, x), np.float32)


class PictureAssembly(BatchAssembly):
    """Assembly of DALI's input for a batch. A sample is its number, or that of its substitute, with its PictureInput."""

    def read_sample(self, place: int, key: int) -> tuple[int, PictureInput]:
        data = self.batches.data
        record, size = prepare_record(data.store.get(key), data.store.name(key), data.reader.limit)
        box, mirrored = data.draw_box(size, reused_rng(self.batches.seed, self.epoch, key))
        return key, picture_input(record, size, box, mirrored, data.side)

    def collate(self) -> list[tuple[int, PictureInput]]:
        return self.samples


class Pipeline:
    """Batches of a data set of pictures, in our order and with our random numbers, decoded and resampled by DALI.

    A file that is cut short, or that Pillow has to decode and cannot, is a bad sample (`accel.data.batches.bad_samples`).
    A file that only DALI finds damaged ends the run under every policy: DALI does not go on after it.

    Args:
        batches: over a data set with `store`, `side` and `draw_box` (`accel.data.datasets.image_folder.Folder`).
        device: where DALI decodes: `cpu`, or `mixed`, whose batches are on the GPU.
        threads: of the CPU.
        depth: batches that are prepared ahead.
        number: of the GPU.
    """

    def __init__(self, batches: MapBatches, device: str, threads: int, depth: int, number: int = 0) -> None:
        nvidia_dali = import_dali()
        fn, types = nvidia_dali.fn, nvidia_dali.types
        self.batches, self.on_gpu, self.broken = batches, device == "mixed", False
        self.number = number
        self.inputs: Iterator[list[list[Any]]] = iter(())
        self.pending: deque[tuple[list[int], list[UnreadableSample]]] = deque()
        self.unreadable: list[UnreadableSample] = []
        """Samples that could not be read, of batches of which nothing was left."""
        self.error: Exception | None = None
        self.pipe = nvidia_dali.Pipeline(batches.batch_size, threads, number if self.on_gpu else None, prefetch_queue_depth=depth)
        with self.pipe:
            inputs = fn.external_source(source=self._next_input, num_outputs=len(PictureInput._fields))
            encoded, anchor, extent, start, end, mirrored = inputs
            pixels = fn.decoders.image_slice(
                encoded, anchor, extent, device=device, output_type=types.RGB, axes=(0, 1), adjust_orientation=False,
                normalized_anchor=False, normalized_shape=False,
            )  # fmt: skip
            side = batches.data.side
            resized = fn.resize(pixels, size=[side, side], interp_type=types.INTERP_TRIANGULAR, roi_start=start, roi_end=end)
            self.pipe.set_outputs(fn.flip(resized, horizontal=mirrored))
        self.pipe.build()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches from number `start` on: pictures (batch, side, side, 3) uint8, and labels (batch,) int64.

        A caller that stops early waits for the batches that are prepared.

        Raises:
            ConfigError: if a picture cannot be read; it is named, after the batches before it.
            TrainingError: if more of them cannot be read than the limit allows, or none in place of one.
        """
        self.inputs, self.error, self.unreadable = self._read_inputs(epoch, start), None, []
        try:
            while (batch := self._next_batch()) is not None:
                yield batch
            self.batches.bad_sample_log.add(self.unreadable)
            if self.error is not None:
                raise self.error
        finally:
            self.inputs = iter(())
            while not self.broken and self._next_batch() is not None:
                pass
            self.pending.clear()
            self.pipe.reset()

    def _read_inputs(self, epoch: int, start: int) -> Iterator[list[list[Any]]]:
        """Yield the inputs of each batch, one list for each field of PictureInput."""
        for keys in self.batches.batches_of_indices(epoch, start):
            assembly = PictureAssembly(self.batches, epoch, keys.tolist())
            for place in range(len(assembly.keys)):
                assembly.fill_slot(place)
            pictures = assembly.finish()
            self.unreadable += assembly.bad
            if pictures is MISSING:
                continue
            self.pending.append(([key for key, _ in pictures], self.unreadable))
            self.unreadable = []
            yield [list(values) for values in zip(*(input_fields for _, input_fields in pictures), strict=True)]

    def _next_input(self) -> list[list[Any]]:
        """Return the inputs of the next batch. DALI calls it in our own thread, some batches ahead, and ends at StopIteration."""
        try:
            return next(self.inputs)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from None

    def _next_batch(self) -> list[Any] | None:
        """Return the next batch, or None at the end."""
        try:
            stream = torch.cuda.current_stream(self.number) if self.on_gpu else None
            (output,) = self.pipe.run(stream)  # by place: it has no such keyword
        except StopIteration:
            return None
        except RuntimeError as error:
            self.broken = True
            raise self._read_error(self.pending.popleft()[0], error) from None
        keys, bad = self.pending.popleft()
        self.batches.bad_sample_log.add(bad)
        # the memory is DALI's, which uses it again
        pictures = from_dlpack(output.as_tensor()).clone() if self.on_gpu else torch.from_numpy(np.array(output.as_array()))
        store = self.batches.data.store
        return [pictures, torch.tensor([store.label(key) for key in keys])]

    def _read_error(self, keys: list[int], error: RuntimeError) -> Exception:
        """Return an error that names the picture: one that Pillow cannot read either, or a few of the batch."""
        store = self.batches.data.store
        continues = self.batches.bad_sample_handler.rule.policy != "raise"
        hint = "; DALI does not go on after it, whatever bad_data says: read by threads in its place" if continues else ""
        for key in keys:
            record = store.get(key)
            if getattr(record, "ndim", 1) == 1:
                try:
                    decode_record(record, store.name(key))
                except BadSample as bad:
                    return BadSample(f"{bad}{hint}")
        names = listed(map(store.name, keys), 3)
        reason = " ".join(str(error).split())[:300]
        return ConfigError(f"DALI cannot read a picture among {names}: {reason}{hint}")
