"""DALI: NVIDIA DALI decodes and resamples the pictures, on the CPU or on the GPU.

The pictures of task=images, in the order, through the windows and with the
mirroring and labels of the plain loader, which are fed to DALI from our own
random numbers. On CUDA it decodes on the GPU (device=mixed).

Helps   a GPU whose CPU cores are too few to decode for it.
Hurts   CPUs: threads with decoder=simplejpeg reads faster. A store of tiles is
        decoded whole; one of raw pixels has nothing to decode, and is refused.
Costs   a large package (nvidia-dali-cuda130, some 700 MB), memory of the GPU.
Source  github.com/NVIDIA/DALI. decoders.image_slice, resize, flip.
Exact   the samples, their order, windows, mirroring and labels, also of a
        resumed run. The pixels are DALI's: on the CPU more than 50 dB (PSNR) from
        those of decoder=pillow, filter=antialias. bad_data=skip and substitute
        hold for a file that is cut short or no JPEG; a JPEG that DALI finds to
        be damaged inside ends the run all the same.
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
from accel.system.machine import Need, cores
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["DALI"]


@dataclass(eq=False)
class DALI(Loader):
    """Reads by NVIDIA DALI.

    Args:
        device: where it decodes; auto is mixed on CUDA, and cpu elsewhere.
        threads: of the CPU; auto is one for each core that this process may use.
        depth: how many batches are under way.
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
        self.where, self.number = ("mixed" if on_gpu else "cpu"), run.device.index or 0
        self.count = cores() if self.threads == "auto" else self.threads
        self.pipelines: dict[Batches, Pipeline] = {}

    def open(self, data: Any, train: bool) -> Batches:
        """The batches of a data set of pictures; any other data is read here.

        Raises:
            ConfigError: where DALI cannot do what is done to the pictures.
        """
        batches = super().open(data, train)
        if not isinstance(batches, MapBatches) or not hasattr(data, "look"):
            return batches
        if data.store.encoding == "raw":
            raise ConfigError("dali decodes pictures, and a raw store has nothing to decode; use threads in its place")
        if getattr(data, "crop", "") == "pad":
            raise ConfigError("dali cuts boxes out of pictures, and task.crop=pad moves them; set task.crop=resized or none")
        if data.reader.filter != "antialias":
            raise ConfigError(f"dali resamples as task.filter=antialias does, not {data.reader.filter}; set that, or use threads")
        self.pipelines[batches] = Pipeline(batches, self.where, self.count, self.depth, self.number)
        return batches

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        return self.pipelines[batches].epoch(epoch, start) if batches in self.pipelines else batches.epoch(epoch, start)

    def identity(self) -> dict[str, Any]:
        """Where it decodes: the pixels are not the same to the last bit."""
        return {"where": self.where}

    def plan_notes(self) -> Mapping[str, str]:
        where = "on the GPU" if self.where == "mixed" else "on the CPU"
        threads = f"{self.count} thread{'s' * (self.count > 1)}"
        said = f"decoded and resampled by DALI {where}, {threads}: close to Pillow's, not the same"
        return {"pictures": said} if self.pipelines else {}

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if self.pipelines else ["dali has no effect: the data is no folder of pictures; it is read here"]

    def close(self) -> None:
        self.pipelines = {}
