"""The abilities of this machine, found without importing torch (which takes seconds)."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accel.errors import ConfigError
from accel.system.deprecation.old_attributes import MovedAttribute

__all__ = [
    "BF16_CAPABILITY", "DRIVER_QUERY", "OTHER_ACCELERATORS", "Need", "capabilities_by_nvml", "cores", "gpu_capabilities",
    "gpu_names", "has_cuda", "importable", "lacks_bf16", "required", "resolve_device", "visible_devices",
]  # fmt: skip

OTHER_ACCELERATORS = ("mps", "xpu")
"""Kinds of accelerator beside CUDA that a run can be on: Apple's and Intel's."""


@dataclass(frozen=True)
class Need:
    """A requirement of a plugin, declared in its class body and read from its source text.

    Args:
        what: `"cuda"` (the run's device), `"bfloat16"` (instructions for it), `"compiler"` (a C++ compiler), or `"package:NAME"`
            (an importable package).
        when: the settings under which it is needed; empty means always. A literal dict.
        why: one clause saying what happens without it; may be empty.
        instead: the setting to type instead, such as `"dtype=bfloat16"`; may be empty.
        extra: the extra of the distribution that installs the package.
    """

    what: str
    when: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    instead: str = ""
    extra: str = ""

    def unmet_reason(self, settings: dict[str, Any], device: str) -> str | None:
        """Return the reason why `settings` cannot work on `device` (`"cpu"`, `"cuda"`, `"mps"`), or None if they can."""
        if any(settings.get(name) != value for name, value in self.when.items()):
            return None
        subject = " and ".join(f"{name}={value}" for name, value in self.when.items() if value is not False)
        subject = f"{subject} needs" if subject else "needs"
        kind, _, package = self.what.partition(":")
        if kind == "package" and not importable(package):
            return f"{subject} the package {package}: pip install 'accel-train[{self.extra or package}]'"
        if kind == "cuda" and device != "cuda":
            where = device if device in OTHER_ACCELERATORS else "the CPU"
            return f"{subject} CUDA, and this run is on {where}" + (f" ({self.why})" if self.why else "")
        if kind == "bfloat16" and lacks_bf16(device):
            lack = "(avx512_bf16, amx_bf16), and this CPU has none"
            if device == "cuda":
                lack = "(compute capability 8.0), and this GPU has none: torch emulates them; dtype=float16 needs none"
                return f"{subject} bfloat16 instructions {lack}"
            return f"{subject} bfloat16 instructions {lack}" + (f" ({self.why})" if self.why else "")
        if kind == "compiler" and not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
            return f"{subject} a C++ compiler, and none is installed (on Debian or Ubuntu: apt-get install g++)"
        return None

    lacking = MovedAttribute("unmet_reason")

    def sentence(self, plugin: str, reason: str) -> str:
        """Return the error for a plugin that was asked for by name: the reason, and the setting to type instead."""
        instead = f"; use plugins.{plugin}.{self.instead}" if self.instead else f"; leave it out with '~plugins.{plugin}'"
        return f"{plugin}: {reason}{instead}"


def importable(package: str) -> bool:
    """Return whether a package is installed, without importing it. The parent of `nvidia.dali` may be missing too."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def has_cuda() -> bool:
    """Return whether the installed torch was built for CUDA and there is at least one device that CUDA_VISIBLE_DEVICES shows.

    CUDA is not initialised in this process by that: a program may still choose its devices, or fork.
    """
    return bool(gpu_capabilities())


def gpu_capabilities() -> tuple[tuple[int, int], ...]:
    """Return the compute capability, such as (9, 0), of each GPU that torch may use here."""
    return _gpu_capabilities(os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpu_names(count: int | None = None, visible: str | None = None) -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES would show each GPU that torch may use here.

    Args:
        count: number of GPUs, and
        visible: value of the variable; both None for those of this process.

    >>> gpu_names(2), gpu_names(2, "3,5"), gpu_names(1, "MIG-7f"), gpu_names(0, "")
    (['0', '1'], ['3', '5'], ['MIG-7f'], [])
    """
    if count is None:
        count, visible = len(gpu_capabilities()), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(count)] if visible is None else [word.strip() for word in visible.split(",")]
    return names[:count]


@cache
def _gpu_capabilities(visible: str | None) -> tuple[tuple[int, int], ...]:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ()
    version = Path(spec.origin).with_name("version.py")
    if not version.exists() or not re.search(r"^cuda\b[^=]*= *'", version.read_text(), re.MULTILINE):
        return ()
    try:
        ctypes.CDLL("libcuda.so.1")  # which some containers lack that show GPUs; loading it initialises nothing
        management = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return _capabilities_by_driver()
    capabilities = capabilities_by_nvml(management)
    return _capabilities_by_driver() if capabilities is None else visible_devices(capabilities, visible)


def capabilities_by_nvml(management: Any) -> tuple[tuple[int, int], ...] | None:
    """Return the compute capability of each GPU of this machine, as NVIDIA's management library tells; None if it fails.

    Args:
        management: the library `libnvidia-ml.so.1`.
    """
    count, device, major, minor = ctypes.c_uint(0), ctypes.c_void_p(), ctypes.c_int(0), ctypes.c_int(0)
    if management.nvmlInit_v2() != 0 or management.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return None
    capabilities = []
    for index in range(count.value):
        failed = management.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        if failed or management.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor)):
            return None
        capabilities.append((major.value, minor.value))
    return tuple(capabilities)


def visible_devices(capabilities: tuple[tuple[int, int], ...], visible: str | None) -> tuple[tuple[int, int], ...]:
    """Return those of all GPUs that CUDA_VISIBLE_DEVICES shows: those before the first that there is not, as CUDA reads it.

    >>> visible_devices(((9, 0), (7, 5)), "1"), visible_devices(((9, 0), (7, 5)), "-1"), visible_devices(((9, 0),), "")
    (((7, 5),), (), ())
    """
    if visible is None:
        return capabilities
    shown = []
    for word in map(str.strip, visible.split(",")):
        if word.startswith(("GPU-", "MIG-")):  # named, which is not looked up
            return capabilities
        if not word.isdigit() or int(word) >= len(capabilities):
            break
        shown.append(capabilities[int(word)])
    return tuple(shown)


DRIVER_QUERY = """
import ctypes
driver, count, major, minor = ctypes.CDLL("libcuda.so.1"), *(ctypes.c_int(0) for _ in range(3))
assert driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
for device in range(count.value):
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    print(major.value, minor.value)
"""
"""Program that prints the compute capability of each visible GPU. In this process it would initialise the driver."""


def _capabilities_by_driver() -> tuple[tuple[int, int], ...]:
    """Return the compute capability of each visible GPU, as CUDA's driver tells a process of its own."""
    try:
        ctypes.CDLL("libcuda.so.1")
        query = subprocess.run([sys.executable, "-I", "-S", "-c", DRIVER_QUERY], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = (line.split() for line in query.stdout.splitlines()) if query.returncode == 0 else ()
    return tuple((int(major), int(minor)) for major, minor in lines)


def resolve_device(device: str) -> str:
    """Return `"cpu"` or `"cuda"` for `"auto"`, else the type of the named device."""
    return ("cuda" if has_cuda() else "cpu") if device == "auto" else device.partition(":")[0]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


BF16_CAPABILITY = (8, 0)
"""First compute capability whose tensor cores multiply bfloat16 (Ampere); on others torch emulates it in float32."""


def lacks_bf16(device: str = "cpu") -> bool:
    """Return whether `device` (`"cpu"` or `"cuda"`) is known to have no instructions for bfloat16: an x86 CPU, or a GPU here."""
    if device == "cuda":
        return any(capability < BF16_CAPABILITY for capability in gpu_capabilities())
    return device == "cpu" and _cpu_lacks_bf16()


@cache
def _cpu_lacks_bf16() -> bool:
    try:
        return _x86_without_bf16(Path("/proc/cpuinfo").read_text())
    except OSError:
        return False


def _x86_without_bf16(cpuinfo: str) -> bool:
    """Return whether what /proc/cpuinfo says is that of an x86 CPU without instructions for bfloat16."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is not None and not {"avx512_bf16", "amx_bf16"} & set(flags[1].split())


@contextmanager
def required(need: str, extra: str) -> Iterator[None]:
    """Turn a missing package, imported in the block, into a sentence that names the extra.

    Args:
        need: Clause that says for what the package is needed, such as `"an LMDB store needs the package lmdb"`.
        extra: Extra of the distribution that installs the package.

    Raises:
        ConfigError: If an import in the block does not find its module.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise ConfigError(f"{need}: pip install 'accel-train[{extra}]'") from None
