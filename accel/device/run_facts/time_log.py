"""The times of a run, written beside its losses: how far it was after how many seconds, and how long it waited for data."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from accel.system.append_log import AppendLog
from accel.system.clock import DATA, TRAINING, Clock

__all__ = ["LEAST_INTERVAL", "SHARE", "STATM", "TimeLog", "memory_in_use"]

LEAST_INTERVAL, SHARE = 0.1, 1 / 400
"""Seconds between two lines at least, and the share of the time so far: an hour has about 1,500 lines, a week 4,000."""
STATM = Path("/proc/self/statm")


class TimeLog:
    """File of times: a line for a moment, dense at first and sparse later.

    A line is `{"update", "samples", "seconds", "training", "waited", "memory"}`: seconds of the run so far, those of its updates
    among them, and those that waited for data, in all; bytes of memory at that moment. The seconds of a resumed run go on
    where the last line ends.

    Args:
        path: the file; it is created if it does not exist.
        kept: the bytes of it that belong to the run so far, whole lines; the rest is cut off.
        clock: the clock of the run.
        device: the device of the run.

    Raises:
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: Path, kept: bytes, clock: Clock, device: torch.device) -> None:
        self.log = AppendLog(path, len(kept))
        self.clock, self.device = clock, device
        last: dict[str, Any] = json.loads(kept.splitlines()[-1]) if kept else {}
        before = [last.get(name) for name in ("seconds", "training", "waited")]
        self.before = [value if isinstance(value, int | float) else 0.0 for value in before]
        self.origin = self.spent()
        self.next = clock.since
        """The instant of the next line, on the host's clock (`Clock.since`)."""
        self.last_update: int = last.get("update", -1)

    def spent(self) -> list[float]:
        """Return the seconds of this process's clock: all of them, those of its updates, and those that waited for data."""
        spent = self.clock.spent
        return [sum(spent), sum(spent[: len(TRAINING)]), spent[DATA]]

    def add(self, update: int, samples: int) -> None:
        """Write the line of this moment, unless this update has one."""
        if update == self.last_update:
            return
        seconds = [old + new - origin for old, new, origin in zip(self.before, self.spent(), self.origin, strict=True)]
        self.next, self.last_update = self.clock.since + max(LEAST_INTERVAL, SHARE * seconds[0]), update
        times = ", ".join(f'"{name}": {value:.4f}' for name, value in zip(("seconds", "training", "waited"), seconds, strict=True))
        memory = memory_in_use(self.device)
        line = f'{{"update": {update}, "samples": {samples}, {times}, "memory": {"null" if memory is None else memory}}}\n'
        self.log.write(line.encode())
        self.log.flush()

    def close(self) -> None:
        """Close the file."""
        self.log.close()


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes that torch holds on a CUDA device, else the resident memory of this process; None if nobody tells."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    with suppress(OSError, ValueError, IndexError):  # no Linux
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
