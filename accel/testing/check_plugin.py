"""The common suite of all plugins."""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from functools import partial
from io import StringIO

import torch

from accel.device.rng import Randomness
from accel.errors import AccelWarning
from accel.testing.interface_checks import check_close, check_settings
from accel.testing.plugin_runs import PluginFactory, unmet_need
from accel.testing.run_checks import (
    check_accumulation,
    check_host_reads,
    check_no_global_state,
    check_pairs,
    check_refusal,
    check_repeatable,
    check_replay,
    check_resume,
    check_skipped_update,
)  # fmt: skip


def check_plugin(plugin: PluginFactory, *, tolerance: float = 1e-5) -> str:
    """Proves on a small real run, on the CPU, that a plugin keeps what every plugin of accel keeps.

    Settings are checked, the run with it is repeatable, it composes with every plugin of another part in either order,
    accumulation with it equals the big batch, a skipped update moves nothing, a resumed run ends with the same bits, nothing is
    read on the host, an update with it can be replayed from a graph or says why not, and after it a run without it is what it was
    before. Where it cannot stand beside another plugin, a sentence names both.

    Args:
        plugin: the class, or a function that makes an instance with the settings to be tested.
        tolerance: how far accumulated weights may be from those of the big batch (16-bit arithmetic needs more).

    Returns:
        Why it cannot work here (a plugin that needs CUDA, say): then only its settings and its refusal are proven. Else nothing.

    Raises:
        AssertionError: saying what does not hold.
    """
    with (
        warnings.catch_warnings(),
        Randomness(torch.device("cpu")).preserved(),
        redirect_stdout(StringIO()),
    ):  # progress would show each run
        warnings.simplefilter("ignore", AccelWarning)
        reason = unmet_need(plugin())
        if reason:
            check_settings(plugin)
            check_refusal(plugin, reason)
            return reason
        for check in (
            check_settings,
            check_close,
            check_no_global_state,
            check_repeatable,
            check_pairs,
            partial(check_accumulation, tolerance=tolerance),
            check_skipped_update,
            check_resume,
            check_host_reads,
            check_replay,
        ):
            check(plugin)
    return ""
