"""DALI: decoding and resampling of pictures by NVIDIA DALI, on CPU or GPU.

DALI reads the pictures of task=images. Order, crops, mirroring and labels are
those of the plain loader, because DALI is given accel's own random numbers. On
CUDA it decodes on the GPU (device=mixed).

Helps   a GPU whose CPU cores are too few to decode for it.
Hurts   CPUs: threads with decoder=simplejpeg reads faster. A store of tiles is
        decoded whole. A store of raw pixels has nothing to decode, and is
        refused.
Costs   a large package (nvidia-dali-cuda130, some 700 MB), and memory of the
        GPU.
Source  github.com/NVIDIA/DALI: decoders.image_slice, resize, flip.
Exact   The samples, their order, crops, mirroring and labels, also of a resumed
        run. The pixels are DALI's: on the CPU more than 50 dB (PSNR) from those
        of decoder=pillow, filter=antialias. bad_data=skip and substitute hold
        for a file that is cut short or no JPEG. A JPEG that DALI finds to be
        damaged inside ends the run all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.dali_pipeline import Pipeline
from accel.errors import ConfigError
from accel.parts import Loader
from accel.system.cpu.local_ranks import RANK_CORES
from accel.system.machine import Need
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["DALI"]


@dataclass(eq=False)
class DALI(Loader):
    """Loader that reads by NVIDIA DALI.

    Args:
        device: device that decodes: cpu, or mixed for CPU and GPU; auto is mixed on CUDA, and cpu elsewhere.
        threads: CPU threads; auto is one for each core that this process may use.
        depth: batches under way at a time.
    """

    needs: ClassVar[tuple[Need, ...]] = (
        Need("package:nvidia.dali", extra="dali"),
        Need("cuda", when={"device": "mixed"}, instead="device=cpu"),
    )
    device: Literal["auto", "cpu", "mixed"] = "auto"
    threads: Count | Literal["auto"] = "auto"
    depth: Count = 2

    def setup(self, run: Run) -> None:
        super().setup(run)
        on_gpu = run.device.type == "cuda" and self.device != "cpu"
        self.decode_device, self.device_index = ("mixed" if on_gpu else "cpu"), run.device.index or 0
        self.thread_count = RANK_CORES.count() if self.threads == "auto" else self.threads
        self.pipelines: dict[Batches, Pipeline] = {}

    def open(self, data: Any, train: bool) -> Batches:
        """Return the batches of a data set of pictures; any other data is read by this process.

        Raises:
            ConfigError: if DALI cannot crop or resample the pictures as the task does.
        """
        batches = super().open(data, train)
        if not isinstance(batches, MapBatches) or not hasattr(data, "draw_box"):
            return batches
        if self.batch_options.collate is not None:
            raise ConfigError("dali makes batches by itself, and the run has a collate of its own; use threads in its place")
        if data.store.encoding == "raw":
            raise ConfigError("dali decodes pictures, and a raw store has nothing to decode; use threads in its place")
        if getattr(data, "crop", "") == "pad":
            raise ConfigError("dali cuts boxes out of pictures, and task.crop=pad moves them; set task.crop=resized or none")
        if data.reader.filter != "antialias":
            raise ConfigError(f"dali resamples as task.filter=antialias does, not {data.reader.filter}; set that, or use threads")
        self.pipelines[batches] = Pipeline(batches, self.decode_device, self.thread_count, self.depth, self.device_index)
        return batches

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        return self.pipelines[batches].epoch(epoch, start) if batches in self.pipelines else batches.epoch(epoch, start)

    def identity(self) -> dict[str, Any]:
        """Return the device that decodes, because the pixels of two devices differ in the last bits."""
        return {"where": self.decode_device}

    def plan_notes(self) -> Mapping[str, str]:
        device = "on the GPU" if self.decode_device == "mixed" else "on the CPU"
        threads = f"{self.thread_count} thread{'s' * (self.thread_count > 1)}"
        note = f"decoded and resampled by DALI {device}, {threads}: close to Pillow's, not the same"
        return {"pictures": note} if self.pipelines else {}

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if self.pipelines else ["dali has no effect: the data is no folder of pictures; it is read here"]

    def close(self) -> None:
        self.pipelines = {}
