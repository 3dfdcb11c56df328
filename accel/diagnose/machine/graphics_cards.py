"""GPUs of this machine as NVIDIA's management library tells: memory, driver, PCIe, clocks, and why they are slowed down."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

__all__ = ["LIBRARY", "SLOWED", "GraphicsCard", "cards_by_nvml", "read_cards"]

LIBRARY = "libnvidia-ml.so.1"
SLOWED = {
    0x4: "the power limit",
    0x8: "the hardware (power brake, heat or supply)",
    0x20: "heat, by the driver",
    0x40: "heat, by the hardware",
    0x80: "the power brake",
}
"""Bits of NVML's reasons why clocks are lower than they could be, without those of an idle card or of a user's own limit."""
REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
"""Functions that tell of them: the new name, and the one of drivers before 535."""
GRAPHICS = 0


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True)
class GraphicsCard:
    """One GPU. Numbers that the library does not tell are None.

    Args:
        name: such as `NVIDIA H200`.
        capability: compute capability, such as (9, 0).
        total: bytes of memory.
        free: bytes that nothing uses.
        driver: version of the driver.
        link: generation and width of its PCIe link now, and the most that it can.
        clock: of the cores now, and the most, in MHz.
        slowed: reasons why its clocks are lower than they could be, in words.
    """

    name: str
    capability: tuple[int, int] | None
    total: int | None
    free: int | None
    driver: str
    link: tuple[int, int, int, int] | None
    clock: tuple[int, int] | None
    slowed: tuple[str, ...]


def read_cards() -> tuple[GraphicsCard, ...]:
    """Return the GPUs of this machine; none without NVIDIA's library. CUDA is not initialised by that."""
    try:
        management = ctypes.CDLL(LIBRARY)
    except OSError:
        return ()
    return cards_by_nvml(management)


def cards_by_nvml(management: Any) -> tuple[GraphicsCard, ...]:
    """Return the GPUs that the library tells of; none if it cannot be initialised. A function that it lacks tells nothing.

    Args:
        management: the library `libnvidia-ml.so.1`.
    """
    count = ctypes.c_uint(0)
    if not _tells(management, "nvmlInit_v2"):
        return ()
    try:
        if not _tells(management, "nvmlDeviceGetCount_v2", ctypes.byref(count)):
            return ()
        driver = _text(management, "nvmlSystemGetDriverVersion")
        cards = []
        for index in range(count.value):
            device = ctypes.c_void_p()
            if _tells(management, "nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(device)):
                cards.append(_card(management, device, driver))
        return tuple(cards)
    finally:
        _tells(management, "nvmlShutdown")


def _card(management: Any, device: ctypes.c_void_p, driver: str) -> GraphicsCard:
    memory, major, minor = _Memory(), ctypes.c_int(0), ctypes.c_int(0)
    has_memory = _tells(management, "nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
    has_capability = _tells(
        management, "nvmlDeviceGetCudaComputeCapability", device, ctypes.byref(major), ctypes.byref(minor)
    )  # fmt: skip
    asks = ("CurrPcieLinkGeneration", "CurrPcieLinkWidth", "MaxPcieLinkGeneration", "MaxPcieLinkWidth")
    link = [_number(management, f"nvmlDeviceGet{name}", device) for name in asks]
    clocks = [_number(management, f"nvmlDeviceGet{name}", device, GRAPHICS) for name in ("ClockInfo", "MaxClockInfo")]
    bits = ctypes.c_ulonglong(0)
    any(_tells(management, name, device, ctypes.byref(bits)) for name in REASONS)
    return GraphicsCard(
        name=_text(management, "nvmlDeviceGetName", device),
        capability=(major.value, minor.value) if has_capability else None,
        total=int(memory.total) if has_memory else None,
        free=int(memory.free) if has_memory else None,
        driver=driver,
        link=None if None in link else (link[0], link[1], link[2], link[3]),  # type: ignore[arg-type]
        clock=None if None in clocks else (clocks[0], clocks[1]),  # type: ignore[arg-type]
        slowed=tuple(reason for bit, reason in SLOWED.items() if bits.value & bit),
    )


def _tells(management: Any, name: str, *arguments: Any) -> bool:
    """Call a function of the library. Return whether there is one, and it succeeds: drivers differ in what they have."""
    ask = getattr(management, name, None)
    return ask is not None and ask(*arguments) == 0


def _text(management: Any, name: str, *arguments: Any) -> str:
    """Return a text that a function of the library writes; empty if it fails."""
    space = ctypes.create_string_buffer(96)
    return space.value.decode(errors="replace") if _tells(management, name, *arguments, space, len(space)) else ""


def _number(management: Any, name: str, *arguments: Any) -> int | None:
    """Return a number that a function of the library writes; None if it fails."""
    number = ctypes.c_uint(0)
    return number.value if _tells(management, name, *arguments, ctypes.byref(number)) else None
