"""Remark on a machine that was busy with other programs while the run computed on its processor."""

from __future__ import annotations

import torch

from accel.device.cpu.waiting_threads import user_spin
from accel.engine.training_run import TrainingRun
from accel.parts import Backend
from accel.report.other_load import BUSY, busy_remark
from accel.system.machine import cores

__all__ = ["LONG_RUN", "remark_on_other_load"]

LONG_RUN = 10.0
"""Seconds from which on a run is worth the remark."""


def remark_on_other_load(run: TrainingRun, seconds: float) -> list[str]:
    """Return a sentence, if others took much of the cores from a run on a CPU that took `seconds`; else an empty list."""
    if run.device.type != "cpu" or seconds < LONG_RUN:
        return []
    percent = run.pace_meter.load.percent()
    if percent is None or percent < BUSY:
        return []
    added = "'+plugins=[backend]' " * (type(run.parts.backend) is Backend)
    setting = f"{added}plugins.backend.threads={{}}" if run.command else "Backend(threads={})"
    return [busy_remark(percent, cores(), torch.get_num_threads(), user_spin(), setting)]
