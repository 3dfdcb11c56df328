"""The device of a run: chosen, made the current one, and put back at the end."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext

import torch

from accel.device.accelerators.runtime import other_accelerator
from accel.device.cuda.pinned_memory import forget_refusals
from accel.errors import ConfigError
from accel.system.machine import OTHER_ACCELERATORS, resolve_device

__all__ = ["choose_device", "device_restored", "make_current"]


def choose_device(name: str) -> torch.device:
    """Return the device that `name` stands for. Raise ConfigError if torch has no such device here."""
    device = torch.device(resolve_device("auto") if name == "auto" else name)
    if device.type in OTHER_ACCELERATORS and not other_accelerator(device).is_available():
        raise ConfigError(f"device={name}: torch finds no {name} device here; use device=cpu or device=auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: torch finds no CUDA device here; use device=cpu or device=auto")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device={name}: there {f'are {count}' if count > 1 else 'is 1'} here, from cuda:0 on; name one of them")
    return device


def make_current(device: torch.device) -> torch.device:
    """Make a CUDA device the current one of this thread, and so of all threads of the run.

    What the runs before it left to Python's cycle collector is freed: their memory of the device may be needed.

    Returns:
        The device with its number, as its tensors have it; of another accelerator the current one.
    """
    if device.type == "cpu":
        return device
    gc.collect()
    forget_refusals()
    if device.type != "cuda":
        return torch.device(device.type, torch.xpu.current_device() if device.type == "xpu" else 0)
    if device.index is not None:
        torch.cuda.set_device(device)
    return torch.device("cuda", torch.cuda.current_device())


def device_restored(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that puts the current CUDA device back at its end; one without effect for the CPU."""
    return torch.cuda.device(torch.cuda.current_device()) if device.type == "cuda" else nullcontext()
