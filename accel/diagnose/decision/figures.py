"""Figures of one run, as the probes measure them: plain numbers, from which everything else follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from accel.compare import SpeedRatio
from accel.diagnose.decision.timing import Timing

__all__ = ["SMALL", "BatchFit", "CodeLine", "Experiment", "OperatorMix", "RankTimes", "RunFigures", "fit_batches"]

SMALL = 8
"""Samples up to which a batch belongs to the line, however small the run's own is."""


@dataclass(frozen=True)
class BatchFit:
    """Forward and backward pass of a micro-batch as a line over its size: t = overhead + per_sample * n, in seconds.

    Args:
        overhead: seconds that any batch takes: launches, Python, small operations.
        per_sample: seconds that each sample adds.
        sizes: samples of the batches that were measured.
        seconds: of each.
    """

    overhead: float
    per_sample: float
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def measured(self, samples: int) -> float | None:
        """Return the seconds of a batch of so many samples, as they were measured; None if that size was not."""
        return dict(zip(self.sizes, self.seconds, strict=True)).get(samples)


def fit_batches(times: Mapping[int, float], samples: int) -> BatchFit | None:
    """Return the line through times by batch size, with the least relative errors; None for fewer than two sizes up to the run's.

    Larger batches than it and `SMALL` are left out of the line: they may not fit into a cache or into kept memory, and then grow
    faster. Neither part is below 0: a line that would begin there goes through the origin, one that falls is level.

    Args:
        times: seconds by the size of the batch.
        samples: size of the run's own batch.

    >>> fit = fit_batches({16: 0.010, 32: 0.012, 64: 0.016, 128: 0.034}, 64)
    >>> round(fit.overhead, 6), round(fit.per_sample, 6)
    (0.008, 0.000125)
    """
    line = {size: seconds for size, seconds in times.items() if size <= max(samples, SMALL)}
    if len(line) < 2:
        return None
    weights = {size: 1 / seconds**2 for size, seconds in line.items()}
    total = sum(weights.values())
    size_mean = sum(weight * size for size, weight in weights.items()) / total
    time_mean = sum(weights[size] * seconds for size, seconds in line.items()) / total
    spread = sum(weight * (size - size_mean) ** 2 for size, weight in weights.items())
    slope = sum(weights[size] * (size - size_mean) * (seconds - time_mean) for size, seconds in line.items()) / spread
    start = time_mean - slope * size_mean
    if slope < 0:
        slope, start = 0.0, time_mean
    elif start < 0:
        squares = sum(weight * size**2 for size, weight in weights.items())
        start, slope = 0.0, sum(weights[size] * size * seconds for size, seconds in line.items()) / squares
    return BatchFit(start, slope, tuple(sorted(times)), tuple(times[size] for size in sorted(times)))


@dataclass(frozen=True)
class CodeLine:
    """Line of code, or function, on which much of a time goes.

    Args:
        text: `FILE:LINE CODE`, or `FILE FUNCTION()`.
        share: of that time, from 0 to 1.
    """

    text: str
    share: float


@dataclass(frozen=True)
class Experiment:
    """One thing about an update changed: both ways took turns.

    Args:
        ratio: how many times faster the update, or the part of it that was timed, is with the change.
        memory: bytes that it takes beside, at the peak; negative if it saves some; None if that was not measured.
    """

    ratio: SpeedRatio
    memory: int | None = None


@dataclass(frozen=True)
class OperatorMix:
    """Operators of forward and backward pass of a micro-batch.

    Args:
        count: how many are called.
        products: share of their time that products of matrices and convolutions take, from 0 to 1.
    """

    count: int
    products: float


@dataclass(frozen=True)
class RankTimes:
    """Times of the ranks of a run, by rank, in seconds.

    Args:
        compute: forward and backward pass of a window without any communication.
        loader: a window from the loader alone.
        synchronised: forward and backward pass with the gradients of all ranks.
        noise: by which `compute` may be off.
        rank: of the process whose other figures these are.
        update: moving the weights; empty if that was not measured.
    """

    compute: tuple[float, ...]
    loader: tuple[float, ...]
    synchronised: tuple[float, ...]
    noise: tuple[float, ...] = ()
    rank: int = 0
    update: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunFigures:
    """What the probes have measured of a run. All times are seconds of an update, unless they say otherwise.

    Args:
        device: `"cpu"` or `"cuda"`.
        cores: that this process can keep busy.
        threads: of torch on a CPU.
        samples: of an update, over all ranks.
        step: update with the wait for its data, as in the run.
        wait: of that, the wait for data.
        loader: the data of an update from the loader alone; None if that was not measured.
        loader_busy: of that, seconds of processor time; None where other processes read.
        loader_idle: of that, seconds in which the process neither computed nor waited for a core; None as above.
        same_batch: update of the same batch again, which waits for no data.
        same_batch_busy: of that, seconds of processor time, of all threads.
        weights: numbers that are trained.
        largest: name of the largest parameter of these, and its numbers.
        phases: parts of it: transfer, forward, backward, update. On CUDA as the device has them.
        host: until the host has queued an update on CUDA; None on a CPU.
        fit: forward and backward pass of a micro-batch over its size; None if that was not measured.
        micro_batches: of an update.
        batch_size: samples of a micro-batch.
        by_threads: update of the same batch, by the number of torch's threads.
        outside: share of forward and backward pass, from 0 to 1, in which no operator computes; None if that was not measured.
        lines: the line of code on which much goes of `data`, `forward`, `backward`, `update`, `evaluation` and `watches`, where
            there is one.
        host_reads: numbers read on the host in an update, by line of code.
        operators: of the passes; None if they were not looked at.
        reader_steps: update with the wait for its data, by the number of readers that bring it; by 0 as the run has it.
            Empty if that was not measured.
        experiments: by name, such as `amp`.
        ranks: times of all ranks; None for one.
        evaluation: spread over the updates between two evaluations.
        checkpoint: spread over the updates between two checkpoints.
        watches: what happens after each update, by the name of the watch.
        unmeasured: watches that could not be measured, each with the reason.
        gather: a batch of the data out of memory, as `resident` has it.
        swaps: pages that went to or came from the swap meanwhile.
        disk_bytes: of the data, what came from a disk, since it was not in the system's cache of files; 0 where others read.
    """

    device: str
    cores: int
    threads: int
    samples: int
    step: Timing
    wait: Timing
    same_batch: Timing
    same_batch_busy: float = 0.0
    loader: Timing | None = None
    loader_busy: float | None = None
    loader_idle: float | None = None
    weights: int = 0
    largest: tuple[str, int] = ("", 0)
    phases: Mapping[str, float] = field(default_factory=dict)
    host: float | None = None
    fit: BatchFit | None = None
    micro_batches: int = 1
    batch_size: int = 0
    by_threads: Mapping[int, Timing] = field(default_factory=dict)
    outside: float | None = None
    lines: Mapping[str, CodeLine] = field(default_factory=dict)
    host_reads: Mapping[str, float] = field(default_factory=dict)
    operators: OperatorMix | None = None
    reader_steps: Mapping[int, Timing] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    ranks: RankTimes | None = None
    evaluation: float = 0.0
    checkpoint: float = 0.0
    watches: Mapping[str, float] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    gather: float = 0.0
    swaps: int = 0
    disk_bytes: int = 0
