"""Times of a GPU's kernels, as torch's profiler has them of the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch._C._autograd import _profiler_enabled
from torch.profiler import ProfilerActivity, profile

__all__ = ["kernel_seconds"]

ATEN = "aten::"


def kernel_seconds(call: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Return the seconds that kernels take in a call, by the operator of ATen that launched them.

    Unlike events before and after an operator, they hold no time in which the device waits for the host.

    Args:
        call: queues work on the device.
        device: the device; a call on any other than CUDA has no kernels.

    Returns:
        The seconds; empty where the profiler sees no kernel, as without CUPTI.
    """
    if device.type != "cuda" or _profiler_enabled():  # one that runs already, around the run, is the user's
        return {}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiler:
        call()
        torch.cuda.synchronize(device)
    times = {event.key: event.self_device_time_total / 1e6 for event in profiler.key_averages()}
    return {name.removeprefix(ATEN): seconds for name, seconds in times.items() if name.startswith(ATEN) and seconds > 0}
