"""The processor of this machine: its name, its instructions, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from accel.system.free_space import control_groups
from accel.system.machine import cores

__all__ = ["CPUINFO", "FLAGS", "Processor", "cpu_quota", "flags_of", "processor_name", "read_processor"]

CPUINFO = Path("/proc/cpuinfo")
FLAGS = {
    "AVX2": ("avx2",),
    "AVX512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16", "bf16"),
    "AMX": ("amx_tile",),
}
"""Instructions that matter for training, each with the names that Linux has for it on x86 and Arm."""
QUOTA_FILES = ("cpu.max",)
OLD_QUOTA_FILES = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@dataclass(frozen=True)
class Processor:
    """Processor of this machine, and the share of it that this process has.

    Args:
        name: as the system calls it.
        cores: that this process may use.
        installed: cores of the machine.
        quota: cores' worth of time that the containers of this process allow; None without a limit.
        flags: those of `FLAGS` that it has.
    """

    name: str
    cores: int
    installed: int
    quota: float | None
    flags: tuple[str, ...]

    @property
    def usable(self) -> int:
        """Cores that this process can keep busy: within its quota, and at least one."""
        return self.cores if self.quota is None else max(1, min(self.cores, round(self.quota)))


def read_processor() -> Processor:
    """Return the processor of this machine."""
    try:
        cpuinfo = CPUINFO.read_text()
    except OSError:
        cpuinfo = ""
    return Processor(processor_name(cpuinfo), cores(), os.cpu_count() or 1, cpu_quota(), flags_of(cpuinfo))


def processor_name(cpuinfo: str | None = None) -> str:
    """Return the name of the processor.

    Args:
        cpuinfo: content of /proc/cpuinfo; None to read it.
    """
    if cpuinfo is None:
        try:
            cpuinfo = CPUINFO.read_text()
        except OSError:
            cpuinfo = ""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def flags_of(cpuinfo: str) -> tuple[str, ...]:
    """Return those of `FLAGS` that the content of /proc/cpuinfo names.

    >>> flags_of("flags : fpu avx2 avx512f")
    ('AVX2', 'AVX512')
    """
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    words = set(match[1].split()) if match else set()
    return tuple(flag for flag, names in FLAGS.items() if words & set(names))


def cpu_quota() -> float | None:
    """Return the least quota of the control groups that this process is in, in cores; None if none has one."""
    quotas = []
    for controller, files in (("", QUOTA_FILES), ("cpu", OLD_QUOTA_FILES)):
        for folder in control_groups(controller):
            try:
                words = [word for file in files for word in (folder / file).read_text().split()]
                quota, period = int(words[0]), int(words[1])
            except (OSError, ValueError, IndexError):  # no such version, or no limit ("max")
                continue
            if quota > 0 and period > 0:  # -1 stands for none in version 1
                quotas.append(quota / period)
    return min(quotas, default=None)
