"""Numbers that an update reads on the host, by line of code."""

from __future__ import annotations

from accel.device.sync_warnings import HostReadReporter, SyncReporter
from accel.diagnose.probes.probed_run import ProbedRun

__all__ = ["WATCHED", "host_read_places"]

WATCHED = 2
"""Updates that are watched."""


def host_read_places(probed: ProbedRun) -> dict[str, float]:
    """Return the reads of an update of the same batch, by line: `FILE:LINE CODE`. On CUDA, the waits that torch reports."""
    counts: dict[str, int] = {}

    def count(line: str) -> None:
        counts[line] = counts.get(line, 0) + 1

    reporter = (SyncReporter if probed.on_device else HostReadReporter)(count)
    probed.update()
    for _ in range(WATCHED):
        reporter.start()
        try:
            probed.update()
        finally:
            reporter.stop()
    return {line: number / WATCHED for line, number in counts.items()}
