"""What the figures say of the cause of a verdict, in clauses."""

from __future__ import annotations

from math import inf

from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.time_split import TimeSplit, fixed_share, mean_of_others
from accel.report.run_verdict import Verdict, verdict

__all__ = ["IDLE_READING", "THRASHING", "decide", "details_of"]

IDLE_READING = 0.5
"""Share of reading in which the processor is idle, above which the data is waited for rather than computed."""
GOOD_PART = 0.3
"""Share of forward and backward pass together, from which on one of them is looked at."""
MANY = 1e6
"""Samples from which on it says nothing how many a batch would need; and weights that are worth a word."""
MOSTLY = 50.0
"""Percent of the operators' time that are most of it."""
COLD = 256
"""Bytes of a sample that come from a disk, from which on its files were not in memory: less is code that is loaded."""
THRASHING = 256
"""Pages to or from the swap in an update from which on memory is what is slow: a megabyte."""


def decide(figures: RunFigures, split: TimeSplit) -> Verdict:
    """Return the verdict on a run. A pure function of its figures.

    The largest part is named. Pages that go to and from the swap slow everything down, and go before.
    """
    if figures.swaps >= THRASHING:
        worst = max(split.seconds[part] for part in split.seconds)
        return Verdict("memory", worst / (split.total or 1.0), (f"{figures.swaps:,} pages in each update",))
    return verdict(split.seconds, details_of(figures, split))


def details_of(figures: RunFigures, split: TimeSplit) -> dict[str, tuple[str, ...]]:
    """Return clauses on the cause of each verdict, by part."""
    return {
        "data": (*_of_data(figures), *_of_disk(figures), *_line(figures, "data")),
        "overhead": (*_of_overhead(figures), *_lines_of_passes(figures)),
        "compute": (*_of_compute(figures), *_line(figures, "backward")),
        "threads": _of_threads(figures),
        "straggler": _of_straggler(figures, split),
        "update": (*_of_update(figures), *_line(figures, "update")),
        "evaluation": _line(figures, "evaluation"),
        "watches": (*_of_watches(figures), *_line(figures, "watches")),
    }


def _line(figures: RunFigures, activity: str) -> tuple[str, ...]:
    """Return a clause on the line of code that an activity spends most of its time on, if there is one."""
    line = figures.lines.get(activity)
    whole = {"forward": "the forward pass", "backward": "the backward pass"}.get(activity, "it")
    return () if line is None else (f"{100 * line.share:.0f} % of {whole} in {line.text}",)


def _lines_of_passes(figures: RunFigures) -> tuple[str, ...]:
    """Return clauses on the busiest lines of forward and backward pass, of either if it takes a good part of both."""
    both = sum(figures.phases.get(name, 0.0) for name in ("forward", "backward"))
    names = [name for name in ("forward", "backward") if figures.phases.get(name, 0.0) >= GOOD_PART * both]
    return tuple(clause for name in names for clause in _line(figures, name))


def _of_data(figures: RunFigures) -> tuple[str, ...]:
    if figures.loader is None or not figures.loader.median:
        return ()
    rate = figures.samples / figures.loader.median
    busy, idle = figures.loader_busy, figures.loader_idle
    if busy is None or idle is None or busy + idle == 0:
        return (f"reading alone makes {rate:,.0f} samples/s",)
    if (share := idle / (busy + idle)) > IDLE_READING:
        waits = f"the processor is idle for {100 * share:.0f} % of it: reading waits itself"
        return (f"reading alone makes {rate:,.0f} samples/s, and {waits}",)
    cores = f"{busy / figures.loader.median:.1f} of {figures.cores} cores" if figures.cores > 1 else "the one core"
    return (f"reading alone makes {rate:,.0f} samples/s and keeps {cores} busy",)


def _of_disk(figures: RunFigures) -> tuple[str, ...]:
    """Return a clause on data that was not in memory yet: later epochs may find it there."""
    each = figures.disk_bytes / max(figures.samples, 1)
    if each < COLD:
        return ()
    return (f"{each / 1000:,.3g} kB of each sample come from the disk, and from memory later if all of them fit there",)


def _of_overhead(figures: RunFigures) -> tuple[str, ...]:
    clauses = []
    if figures.operators is not None:
        clauses.append(f"forward and backward pass call {figures.operators.count:,} operators")
    if figures.fit is not None and figures.fit.overhead > 0 and fixed_share(figures) >= (figures.outside or 0.0) / 2:
        before = f"{1000 * figures.fit.overhead:.3g} ms before its first sample"
        several = f"each of {figures.micro_batches} micro-batches" if figures.micro_batches > 1 else "a batch"
        even = figures.fit.overhead / figures.fit.per_sample if figures.fit.per_sample else inf
        as_long = f", as long as {even:,.0f} samples" if even < MANY else ""
        clauses.append(f"{several} of {figures.batch_size:,} takes {before}{as_long}")
    reads = sum(figures.host_reads.values())
    if reads:
        place = max(figures.host_reads, key=lambda line: figures.host_reads[line])
        numbers, most = ("a number is", "") if round(reads) == 1 else (f"{reads:,.0f} numbers are", "most ")
        clauses.append(f"{numbers} read on the host in an update, {most}in {place}")
    return tuple(clauses)


def _of_compute(figures: RunFigures) -> tuple[str, ...]:
    known = figures.fit is not None or figures.outside is not None
    clauses = [] if known else ["how much of that is overhead, whatever the batch, was not measured"]
    if figures.operators is not None:
        share = 100 * figures.operators.products
        products, rest = "products and convolutions", "operators that move memory"
        first, part, other = (products, share, rest) if share >= MOSTLY else (rest, 100 - share, products)
        clauses.append(f"{first} take {part:.0f} % of it" + f", {other} the others" * (part < 99.5))
    return tuple(clauses)


def _of_threads(figures: RunFigures) -> tuple[str, ...]:
    if not figures.by_threads:
        return ()
    best = min(figures.by_threads, key=lambda count: figures.by_threads[count].median)
    times = figures.by_threads[figures.threads].median / figures.by_threads[best].median
    cores = f"{figures.cores} core{'s' * (figures.cores > 1)}"
    return (f"{figures.threads} threads on {cores} take {times:.1f} times as long as {best}",)


def _of_straggler(figures: RunFigures, split: TimeSplit) -> tuple[str, ...]:
    if figures.ranks is None or split.straggler is None:
        return ()
    slow, ranks = split.straggler, figures.ranks
    doing = {"computes": ranks.compute, "reads": ranks.loader, "moves its weights": ranks.update}
    means = {what: mean_of_others(times, slow) for what, times in doing.items() if times}
    what = max(means, key=lambda name: doing[name][slow] - means[name])
    factor = doing[what][slow] / means[what] if means[what] else 0.0
    return (f"rank {slow} {what} {factor:.1f} times as long as the others",)


def _of_watches(figures: RunFigures) -> tuple[str, ...]:
    if not figures.watches:
        return ()
    slowest = max(figures.watches, key=lambda name: figures.watches[name])
    return (f"{slowest} takes {1000 * figures.watches[slowest]:.3g} ms after each update",)


def _of_update(figures: RunFigures) -> tuple[str, ...]:
    passes = sum(figures.phases.get(name, 0.0) for name in ("forward", "backward"))
    update = figures.phases.get("update", 0.0)
    clauses = [f"it takes {update / passes:.1f} times as long as forward and backward pass together"] if passes else []
    name, largest = figures.largest
    if figures.weights >= MANY and largest > figures.weights / 2:
        clauses.append(f"{100 * largest / figures.weights:.0f} % of the {figures.weights / 1e6:.1f} million weights are {name}")
    return tuple(clauses)
