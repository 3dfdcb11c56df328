"""Several jobs at the same time: one process each, as many as there are places."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import wait

from accel.cli.job import Job
from accel.cli.parallel.job_lines import JobLines
from accel.cli.parallel.job_process import JobProcess, start_method
from accel.cli.parallel.machine_shares import MachineShare
from accel.system.stop_signals import StopSignals

__all__ = ["LOOK", "run_side_by_side"]

LOOK = 0.2
"""Seconds between two looks at what came meanwhile: a signal, and lines to show."""


def run_side_by_side(
    jobs: Sequence[Job], shares: Sequence[MachineShare], signals: StopSignals, lines: JobLines, first: int = 0
) -> list[Job]:
    """Run jobs until all have ended or a signal came; return those that were begun, each with its outcome.

    One that fails, or is killed, ends no other. At a signal no further one begins, and those that run save and end. A second SIGINT
    kills them.

    Args:
        jobs: the jobs.
        shares: what the jobs that run at a time have of this machine: one for each place.
        signals: that may stop them.
        lines: prints what becomes of them.
        first: number of the first job.
    """
    if start_method() == "fork":
        import accel.trainer  # noqa: F401  # once, for all processes
    waiting, free = list(enumerate(jobs, first))[::-1], list(range(len(shares)))[::-1]
    running: dict[int, JobProcess] = {}
    begun: list[Job] = []
    try:
        while running or (waiting and not signals.requested):
            while waiting and free and not signals.requested:
                number, job = waiting.pop()
                begun.append(job)
                place = free.pop()
                running[place] = JobProcess(job, number, shares[place], lines.log_name)
                lines.begin(running[place])
            wait([end for process in running.values() for end in (process.receiver, process.process.sentinel)], LOOK)
            if signals.requested:
                for process in running.values():
                    process.stop()
            for place in [place for place, process in running.items() if process.has_ended]:
                process = running.pop(place)
                free.append(place)
                process.end()
                lines.end(process)
            lines.show(list(running.values()))
    except KeyboardInterrupt:  # a second Ctrl-C
        for process in running.values():
            process.kill()
            lines.end(process)
    finally:
        lines.close()
    return begun
