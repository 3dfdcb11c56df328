"""Memory that a process keeps when it is freed, instead of giving it back to the system: three thresholds of glibc.

Large tensors are mapped when they are made and unmapped when they are freed, in every update anew. The system then fills each of
their pages with zeros once more. While the memory is kept, freed pages are used again as they are. No number changes.
Source: mallopt(3) and malloc/malloc.c of glibc.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from accel.system.cpu.malloc_thresholds import (
    LARGEST_MMAP_THRESHOLD,
    MMAP_MAX,
    MMAP_THRESHOLD,
    TOP_PAD,
    TRIM_THRESHOLD,
    set_thresholds,
    trim,
)

__all__ = ["DEFAULTS", "KEEPING", "KEPT_MEMORY", "KeptMemory", "obstacle", "preset", "settle_thresholds"]

KEEPING = {TRIM_THRESHOLD: -1, TOP_PAD: 64 * 2**20, MMAP_MAX: 0}
"""Thresholds that keep memory: the heap is never shortened, grows by 64 MB more than is asked for, and nothing is mapped apart."""
DEFAULTS = {
    MMAP_MAX: 65536, TOP_PAD: 128 * 2**10, MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD, TRIM_THRESHOLD: 2 * LARGEST_MMAP_THRESHOLD,
}  # fmt: skip
"""glibc's own thresholds. The last two move by themselves until one is set, and this is where large tensors move them to."""
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
TUNABLE = re.compile(r"\bglibc\.malloc\.(trim_threshold|top_pad|mmap_threshold|mmap_max)=")


class KeptMemory:
    """Switch of the process: freed memory is kept while any of its runs asks for it.

    Children that are forked meanwhile, such as workers, begin with glibc's own thresholds: what one decoded at most is not worth
    keeping in each.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.users = 0
        self.watches_forks = False

    def keep(self) -> None:
        """Keep memory that is freed from now on. Each call wants one of `release`. Raises OSError if glibc refuses."""
        with self.lock:
            if not self.users and not set_thresholds(KEEPING):
                set_thresholds(DEFAULTS)
                raise OSError("mallopt refused")
            self.users += 1
            if not self.watches_forks:
                os.register_at_fork(after_in_child=self.forget)
                self.watches_forks = True

    def release(self, thresholds: Mapping[int, int] = DEFAULTS) -> None:
        """Put glibc's thresholds back when the last user has gone, and give to the system what is free.

        Args:
            thresholds: other ones than the defaults.
        """
        with self.lock:
            self.users -= 1
            if not self.users:
                set_thresholds({**DEFAULTS, **thresholds})
                trim()

    def forget(self) -> None:
        """Put glibc's thresholds back in a child, which has no run of its own."""
        self.lock = Lock()
        if self.users:
            self.users = 0
            set_thresholds(DEFAULTS)


KEPT_MEMORY = KeptMemory()
"""The switch of this process."""


def settle_thresholds() -> None:
    """Set glibc's thresholds to where large tensors move them at most, unless somebody else has a say in them.

    By themselves they stand where the largest tensor that was freed so far has left them: one run gives its memory back in every
    update, and the next one, which has freed a larger tensor before it began, in none.
    """
    if not KEPT_MEMORY.users and not obstacle():
        set_thresholds({name: DEFAULTS[name] for name in (MMAP_THRESHOLD, TRIM_THRESHOLD)})


def obstacle(environ: Mapping[str, str] = os.environ) -> str:
    """Return why memory cannot be kept in this process, in words; an empty text if it can."""
    if sys.platform != "linux":
        return f"only glibc has the thresholds, and this is {sys.platform}"
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):  # musl
        libc = None
    if not libc:
        return "only glibc has the thresholds, and this C library is another"
    if (owner := _owner_of_malloc()) is not None:
        return f"{owner} is the allocator of this process, which has its own rules"
    if (name := preset(environ)) != "":
        return f"{name} is set, and stays as it is"
    return ""


def preset(environ: Mapping[str, str]) -> str:
    """Return the environment variable by which the user has set one of the thresholds; an empty text if none is."""
    name = next((name for name in VARIABLES if environ.get(name)), "")
    return name or ("GLIBC_TUNABLES" if TUNABLE.search(environ.get("GLIBC_TUNABLES", "")) else "")


class _Symbol(ctypes.Structure):
    """Dl_info of dladdr(3)."""

    _fields_ = (("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p))


def _owner_of_malloc() -> str | None:
    """Return the name of the library that allocates in place of glibc, such as a preloaded jemalloc; None if glibc does.

    torch allocates by posix_memalign. Whoever replaces that and malloc has its symbols found first.
    """
    program, symbol = ctypes.CDLL(None), _Symbol()
    for function in ("malloc", "posix_memalign"):
        address = ctypes.cast(getattr(program, function), ctypes.c_void_p)
        if not program.dladdr(address, ctypes.byref(symbol)):
            return "an unknown library"
        library = Path(os.fsdecode(symbol.file or b"")).name
        if not re.match(r"libc[.-]", library):
            return library
    return None
