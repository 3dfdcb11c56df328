"""Everything that is known of this machine, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from accel.data.codecs.pillow_decoder import is_fast_jpeg
from accel.diagnose.machine.data_disk import DataDisk, read_disk
from accel.diagnose.machine.graphics_cards import GraphicsCard
from accel.diagnose.machine.host_memory import HostMemory, read_memory
from accel.diagnose.machine.speed_variables import speed_variables
from accel.diagnose.machine.torch_build import TorchBuild, read_torch
from accel.system.cpu.processor import Processor, read_processor

__all__ = ["Machine", "read_machine"]


@dataclass(frozen=True)
class Machine:
    """This machine, as a run finds it.

    Args:
        processor: cores, quota, instructions.
        memory: what is free, and what is swapped out.
        torch: version and switches, as they are while the run is set up.
        variables: environment variables that change speed, by name.
        cards: GPUs.
        disk: of the training data; None if that is in memory, or does not tell where it is.
        fast_jpeg: whether Pillow decodes JPEGs by libjpeg-turbo; None if it is not installed.
        busy: percent of this process's cores that others took while the run was measured; None if it is not known.
    """

    processor: Processor
    memory: HostMemory
    torch: TorchBuild
    variables: dict[str, str] = field(default_factory=dict)
    cards: tuple[GraphicsCard, ...] = ()
    disk: DataDisk | None = None
    fast_jpeg: bool | None = None
    busy: float | None = None


def read_machine(data: Any, cards: tuple[GraphicsCard, ...] = ()) -> Machine:
    """Return this machine. Reading its disk takes up to four seconds, and all else next to nothing.

    Args:
        data: the training data, whose disk is read; None for none.
        cards: GPUs, as they were while they computed.
    """
    return Machine(
        read_processor(), read_memory(), read_torch(), speed_variables(), cards,
        None if data is None else read_disk(data), is_fast_jpeg(),
    )  # fmt: skip
