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
    """Return the GPUs that the library tells of; none if it cannot be initialised.

    Args:
        management: the library `libnvidia-ml.so.1`.
    """
    count = ctypes.c_uint(0)
    if management.nvmlInit_v2() != 0 or management.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return ()
    driver = _text(management.nvmlSystemGetDriverVersion)
    cards = []
    for index in range(count.value):
        device = ctypes.c_void_p()
        if management.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0:
            cards.append(_card(management, device, driver))
    return tuple(cards)


def _card(management: Any, device: ctypes.c_void_p, driver: str) -> GraphicsCard:
    memory, major, minor = _Memory(), ctypes.c_int(0), ctypes.c_int(0)
    has_memory = management.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0
    has_capability = management.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor)) == 0
    asks = ("CurrPcieLinkGeneration", "CurrPcieLinkWidth", "MaxPcieLinkGeneration", "MaxPcieLinkWidth")
    link = [_number(getattr(management, f"nvmlDeviceGet{name}"), device) for name in asks]
    clocks = [_number(getattr(management, f"nvmlDeviceGet{name}"), device, GRAPHICS) for name in ("ClockInfo", "MaxClockInfo")]
    bits = ctypes.c_ulonglong(0)
    management.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(bits))
    return GraphicsCard(
        name=_text(management.nvmlDeviceGetName, device),
        capability=(major.value, minor.value) if has_capability else None,
        total=int(memory.total) if has_memory else None,
        free=int(memory.free) if has_memory else None,
        driver=driver,
        link=None if None in link else (link[0], link[1], link[2], link[3]),  # type: ignore[arg-type]
        clock=None if None in clocks else (clocks[0], clocks[1]),  # type: ignore[arg-type]
        slowed=tuple(reason for bit, reason in SLOWED.items() if bits.value & bit),
    )


def _text(ask: Any, *arguments: Any) -> str:
    """Return a text that a function of the library writes; empty if it fails."""
    space = ctypes.create_string_buffer(96)
    return space.value.decode(errors="replace") if ask(*arguments, space, len(space)) == 0 else ""


def _number(ask: Any, *arguments: Any) -> int | None:
    """Return a number that a function of the library writes; None if it fails."""
    number = ctypes.c_uint(0)
    return number.value if ask(*arguments, ctypes.byref(number)) == 0 else None
