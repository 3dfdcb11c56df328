"""The abilities of this machine, found without importing torch (which takes seconds)."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accel.errors import ConfigError
from accel.system.deprecation.old_attributes import MovedAttribute

__all__ = ["Need", "cores", "has_cuda", "importable", "lacks_bf16", "required", "resolve_device"]


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
        """Return the reason why `settings` cannot work on `device` (`"cpu"` or `"cuda"`), or None if they can."""
        if any(settings.get(name) != value for name, value in self.when.items()):
            return None
        subject = " and ".join(f"{name}={value}" for name, value in self.when.items() if value is not False)
        subject = f"{subject} needs" if subject else "needs"
        kind, _, package = self.what.partition(":")
        if kind == "package" and not importable(package):
            return f"{subject} the package {package}: pip install 'accel-train[{self.extra or package}]'"
        if kind == "cuda" and device != "cuda":
            return f"{subject} CUDA, and this run is on the CPU" + (f" ({self.why})" if self.why else "")
        if kind == "bfloat16" and device == "cpu" and lacks_bf16():
            return f"{subject} bfloat16 instructions (avx512_bf16, amx_bf16), and this CPU has none" + (
                f" ({self.why})" if self.why else ""
            )
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


@cache
def has_cuda() -> bool:
    """Return whether the installed torch was built for CUDA and the driver shows at least one device."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    if not version.exists() or not re.search(r"^cuda\b[^=]*= *'", version.read_text(), re.MULTILINE):
        return False
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def resolve_device(device: str) -> str:
    """Return `"cpu"` or `"cuda"` for `"auto"`, else the type of the named device."""
    return ("cuda" if has_cuda() else "cpu") if device == "auto" else device.partition(":")[0]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def lacks_bf16() -> bool:
    """Return whether this is an x86 CPU known to have no instructions for bfloat16."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return False
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
