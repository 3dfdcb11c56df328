"""Where the time of an update goes: parts that add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accel.diagnose.decision.figures import RankTimes, RunFigures
from accel.diagnose.decision.timing import taken_in_turn

__all__ = ["BETWEEN", "PARTS", "TimeSplit", "fixed_share", "mean_of_others", "split_time"]

PARTS = {
    "data": "waiting for data",
    "transfer": "copying to the device",
    "overhead": "Python, and launching small operations",
    "compute": "forward and backward, growing with the batch",
    "threads": "threads in each other's way",
    "update": "the optimiser's update",
    "communication": "gradients between the ranks",
    "straggler": "waiting for the slowest rank",
    "evaluation": "evaluation",
    "checkpoint": "checkpoints",
    "watches": "watches, after each update",
}
"""The parts, by name, in words."""
BETWEEN = ("evaluation", "checkpoint", "watches")
"""Those that come between the updates."""


@dataclass(frozen=True)
class TimeSplit:
    """Seconds of an update by part; those of evaluations and checkpoints are spread over the updates between two.

    Args:
        seconds: by the names of `PARTS`, all of them.
        straggler: number of the slowest rank, if one is slower than the others; else None.
        late: of the straggler's seconds, those in which it reads: what makes reading faster takes them away too.
    """

    seconds: dict[str, float]
    straggler: int | None = None
    late: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of an update with everything."""
        return sum(self.seconds.values())

    @property
    def between(self) -> float:
        """Seconds of what comes between the updates."""
        return sum(self.seconds[part] for part in BETWEEN)

    def share(self, part: str) -> float:
        """Return the share of a part, from 0 to 1."""
        return self.seconds[part] / self.total if self.total else 0.0

    def without(self, *parts: str) -> TimeSplit:
        """Return the split of the time that is left without some parts."""
        seconds = {part: 0.0 if part in parts else seconds for part, seconds in self.seconds.items()}
        return TimeSplit(seconds, self.straggler, self.late)

    def ceiling(self, *parts: str, share: float = 1.0) -> float:
        """Return the speed-up that taking a share of some parts away would bring (Amdahl); infinite if nothing is left."""
        taken = sum(self.seconds[part] for part in parts) + (self.late if "data" in parts else 0.0)
        left = self.total - share * taken
        return self.total / left if left > 0 else float("inf")


def split_time(figures: RunFigures) -> TimeSplit:
    """Return the parts of an update. A pure function of the figures.

    The whole is the measured update with its wait. What waits neither for data nor is copied is divided as the same batch again
    was: its phases, its growth with the batch, its threads and its ranks.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    step = figures.step.median
    seconds["data"] = min(max(0.0, figures.wait.median), step)
    work = step - seconds["data"]
    phases = {name: max(0.0, figures.phases.get(name, 0.0)) for name in ("transfer", "forward", "backward", "update")}
    whole = max(sum(phases.values()), figures.same_batch.median + phases["transfer"], 1e-12)  # the same batch is on the device
    late, reader = (0.0, None) if figures.ranks is None else _late_data(figures.ranks, work - whole, seconds["data"])
    if figures.ranks is not None and reader == figures.ranks.rank:  # others wait while this one waits for its data
        seconds["data"] -= late
        scale = work / whole
    else:
        scale = (work - late) / whole
    passes = whole - phases["transfer"] - phases["update"]
    overhead, straggler = min(passes, _overhead(figures, passes)), None
    seconds["transfer"], seconds["update"] = phases["transfer"] * scale, phases["update"] * scale
    if figures.ranks is not None:
        waiting, moving, communication, straggler = _between_ranks(figures.ranks, passes)
        seconds["straggler"], seconds["communication"] = late + (waiting + moving) * scale, communication * scale
        seconds["update"] = max(0.0, seconds["update"] - moving * scale)
        straggler = reader if late > (waiting + moving) * scale else straggler
        passes -= waiting + communication
        overhead = min(passes, max(0.0, overhead - waiting - communication))  # neither grows with the batch
    lost = _lost_to_threads(figures) * scale
    seconds["overhead"], seconds["compute"] = overhead * scale, (passes - overhead) * scale
    if lost:
        shared = sum(seconds[part] for part in ("overhead", "compute", "update")) or 1.0
        for part in ("overhead", "compute", "update"):
            seconds[part] -= min(lost, shared) * seconds[part] / shared
        seconds["threads"] = min(lost, shared)
    seconds["evaluation"], seconds["checkpoint"] = figures.evaluation, figures.checkpoint
    seconds["watches"] = sum(figures.watches.values())
    return TimeSplit(seconds, straggler, late)


def _overhead(figures: RunFigures, passes: float) -> float:
    """Return the seconds of forward and backward pass, of `passes` in all, that are not spent on computing with samples.

    On CUDA the device waits while the host queues: what an update takes longer than its phases on the device is overhead.
    Elsewhere it is what does not grow with the batch, by the line over the batch, or what happens outside of operators, which may
    grow with it: a loop over samples in Python. Whichever is more. Shares are taken: the seconds are of another moment.
    """
    if figures.host is not None:
        busy = sum(figures.phases.get(name, 0.0) for name in ("forward", "backward", "update"))
        if (idle := figures.same_batch.median - busy) > 0:
            return idle
    return passes * max(fixed_share(figures), figures.outside or 0.0)


def fixed_share(figures: RunFigures) -> float:
    """Return the share of forward and backward pass, from 0 to 1, that is the same for a batch of any size."""
    if figures.fit is None:
        return 0.0
    whole = figures.fit.overhead + figures.fit.per_sample * figures.batch_size
    return figures.fit.overhead / whole if whole else 0.0


def _lost_to_threads(figures: RunFigures) -> float:
    """Return the seconds that fewer threads would save in an update of the same batch; 0 if they are within the noise."""
    if figures.threads not in figures.by_threads:
        return 0.0
    now = figures.by_threads[figures.threads]
    fewer = [timing for count, timing in figures.by_threads.items() if count < figures.threads]
    best = min(fewer, key=lambda timing: timing.median, default=now)
    return max(0.0, now.median - best.median) if best is not now and taken_in_turn(now, best).low > 1 else 0.0


def _between_ranks(ranks: RankTimes, passes: float) -> tuple[float, float, float, int | None]:
    """Return the seconds for which ranks wait for the slowest, within passes and update, those of communication, and who it is.

    Each rank waits in its backward pass for the last one: that one waits for nobody, and what it takes beyond its own computing
    is communication. What the slowest takes beyond the others is what they wait.
    """
    updates = ranks.update or (0.0,) * len(ranks.compute)
    work = [compute + update for compute, update in zip(ranks.compute, updates, strict=True)]
    slowest = max(range(len(work)), key=lambda rank: work[rank])
    mean = mean_of_others(work, slowest)
    behind = work[slowest] - mean
    communication = max(0.0, min(ranks.synchronised) - max(ranks.compute))
    stands_out = behind > max(STANDS_OUT * mean, 2 * max(ranks.noise, default=0.0))
    moving = waiting = 0.0
    if stands_out:
        if slowest == ranks.rank:
            moving = min(behind, max(0.0, updates[slowest] - mean_of_others(updates, slowest)))
        waiting = min(passes, behind - moving)
    return waiting, moving, min(max(0.0, passes - waiting), communication), slowest if stands_out else None


def _late_data(ranks: RankTimes, extra: float, wait: float) -> tuple[float, int | None]:
    """Return the seconds for which ranks wait for one that reads more slowly than they, and which it is; 0 and None for none.

    Args:
        ranks: times of the ranks.
        extra: seconds that an update of this rank takes beyond its own work.
        wait: seconds for which this rank waits for its own data.
    """
    slowest = max(range(len(ranks.loader)), key=lambda rank: ranks.loader[rank])
    is_this = slowest == ranks.rank
    faster = mean_of_others(ranks.loader, slowest) if is_this else ranks.loader[ranks.rank]
    late = min(ranks.loader[slowest] - faster, wait if is_this else extra)
    return (late, slowest) if late > STANDS_OUT * max(ranks.compute[ranks.rank], faster) else (0.0, None)


def mean_of_others(times: Sequence[float], rank: int) -> float:
    """Return the mean of the times of all ranks but one; its own where it is alone."""
    others = [seconds for number, seconds in enumerate(times) if number != rank]
    return sum(others) / len(others) if others else times[rank]


STANDS_OUT = 0.1
"""Share by which a rank must be slower than the mean of the others, to be called slow."""
