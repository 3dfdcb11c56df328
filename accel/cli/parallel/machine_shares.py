"""What each of several jobs has of this machine while they run at the same time: cores, threads and a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accel.system.cpu.local_ranks import BINDINGS, RANK_CORES, core_share

__all__ = ["THREADS", "MachineShare", "gpus_of_job", "share_machine", "take_share"]

THREADS = "OMP_NUM_THREADS"
"""Variable by which the user has said how many threads a process has."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class MachineShare:
    """Part of this machine for one job at a time.

    Args:
        cores: that it runs on alone; empty for all.
        threads: of torch; None for as many as the process has anyway.
        gpus: what CUDA_VISIBLE_DEVICES shows it; empty for all that there are.
    """

    cores: tuple[int, ...] = ()
    threads: int | None = None
    gpus: tuple[str, ...] = ()


def share_machine(
    count: int, cores: Sequence[int], gpus: Sequence[str], environ: Mapping[str, str], can_pin: bool = True
) -> list[MachineShare]:
    """Return the shares of jobs that run at the same time.

    Args:
        count: of jobs.
        cores: that this process may run on, neighbours side by side.
        gpus: names of the GPUs; empty if the jobs use none.
        environ: variables of this process. Those of OpenMP stand for the user's own division.
        can_pin: whether a process can be kept on some of the cores.

    >>> share_machine(2, [0, 1, 2, 3], ["0"], {})[1]
    MachineShare(cores=(2, 3), threads=2, gpus=('0',))
    """
    own = can_pin and not any(environ.get(name) for name in (THREADS, *BINDINGS))
    threads = None if environ.get(THREADS) else max(1, len(cores) // count)
    return [
        MachineShare(tuple(core_share(cores, place, count)) if own else (), threads, tuple(gpus_of_job(gpus, place)))
        for place in range(count)
    ]


def gpus_of_job(gpus: Sequence[str], number: int, each: int = 1) -> list[str]:
    """Return the GPUs of one job among several at the same time: its own, as long as there are enough, then again from the first.

    Args:
        gpus: names of the GPUs, as CUDA_VISIBLE_DEVICES takes them.
        number: of the job, from 0.
        each: GPUs of a job.

    >>> [gpus_of_job(["4", "5", "7"], number) for number in range(4)], gpus_of_job(["0", "1", "2", "3"], 1, each=2)
    ([['4'], ['5'], ['7'], ['4']], ['2', '3'])
    """
    return [gpus[(number * each + place) % len(gpus)] for place in range(min(each, len(gpus)))]


def take_share(share: MachineShare) -> None:
    """Keep this process, before it uses a GPU, within a share."""
    import torch

    if share.gpus:
        os.environ[VISIBLE] = ",".join(share.gpus)
    if share.cores:
        RANK_CORES.move(share.cores, is_split=True)
    if share.threads is not None and share.threads != torch.get_num_threads():
        torch.set_num_threads(share.threads)
