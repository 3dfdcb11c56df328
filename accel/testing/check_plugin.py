"""The common suite of all plugins."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO

import torch

from accel.device.rng import Randomness
from accel.errors import AccelWarning
from accel.system.machine import has_cuda
from accel.testing.device_waits import check_device_waits
from accel.testing.interface_checks import check_close, check_settings
from accel.testing.objective_checks import check_objectives
from accel.testing.plugin_runs import PluginFactory, unmet_need
from accel.testing.run_checks import (
    check_accumulation,
    check_host_reads,
    check_pairs,
    check_refusal,
    check_repeatable,
    check_replay,
    check_resume,
    check_skipped_update,
)  # fmt: skip

__all__ = ["Check", "check_plugin"]

Check = Callable[[PluginFactory], None]
"""Check of one promise. It raises AssertionError where that is broken."""


def check_plugin(plugin: PluginFactory, *, tolerance: float = 1e-5, beside: Sequence[str] | None = None) -> str:
    """Prove by small real runs, on the CPU but for the last, that a plugin keeps the promises of every plugin of accel.

    - Settings of the wrong kind are refused, and the plugin closes without having been set up.
    - The run with it is repeatable, and leaves no global state: a later run without it is equal to an earlier one.
    - It composes with every plugin of another part, in either order; if two cannot stand together, a sentence names both.
    - Accumulation with it equals the big batch, and a skipped update moves nothing.
    - A resumed run ends with the bits of an uninterrupted one.
    - No number is read on the host. Its updates can be replayed from a graph, or it says why not.
    - In a run of two objectives the last two hold too, and with a single one it is the run of its loss; or it is refused there.
    - Where there is a CUDA device, no steady update waits for it.

    Args:
        plugin: the class, or a function that makes an instance with the settings to be tested.
        tolerance: the largest difference between the weights of accumulation and of the big batch (16-bit arithmetic needs more).
        beside: names of the built-in plugins that it is composed with; None is all of them.

    Returns:
        Why the plugin cannot work here (it needs CUDA, say): then only its settings and its refusal are proven. Else nothing.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    with (
        warnings.catch_warnings(),
        Randomness(torch.device("cpu")).preserved(),
        redirect_stdout(StringIO()),
    ):  # progress would show each run
        warnings.simplefilter("ignore", AccelWarning)
        reason = unmet_need(plugin())
        for check in refusal_checks(reason, beside) if reason else run_checks(tolerance, beside):
            check(plugin)
    return reason


def refusal_checks(reason: str, beside: Sequence[str] | None) -> list[Check]:
    """Return the checks of a plugin that cannot work here."""
    return [check_settings, partial(check_refusal, reason=reason, beside=beside), check_on_device]


def run_checks(tolerance: float, beside: Sequence[str] | None) -> list[Check]:
    """Return the checks of a plugin that can."""
    return [
        check_settings,
        check_close,
        check_repeatable,
        partial(check_pairs, beside=beside),
        partial(check_accumulation, tolerance=tolerance),
        check_skipped_update,
        check_resume,
        check_host_reads,
        check_objectives,
        check_replay,
        check_on_device,
    ]


def check_on_device(plugin: PluginFactory) -> None:
    """Check on a CUDA device, where there is one, what a CPU cannot show."""
    if has_cuda():
        check_device_waits(plugin)
