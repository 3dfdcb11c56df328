"""What the figures say of the cause of a verdict, in clauses."""

from __future__ import annotations

from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.time_split import TimeSplit, mean_of_others
from accel.report.run_verdict import Verdict, verdict

__all__ = ["IDLE_READING", "THRASHING", "decide", "details_of"]

IDLE_READING = 0.5
"""Share of reading in which the processor is idle, above which the data is waited for rather than computed."""
MOSTLY = 50.0
"""Percent of the operators' time that are most of it."""
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
        "data": _of_data(figures),
        "overhead": _of_overhead(figures),
        "compute": _of_compute(figures),
        "threads": _of_threads(figures),
        "straggler": _of_straggler(figures, split),
        "update": _of_update(figures),
    }


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


def _of_overhead(figures: RunFigures) -> tuple[str, ...]:
    clauses = []
    if figures.operators is not None:
        clauses.append(f"forward and backward pass call {figures.operators.count:,} operators")
    if figures.fit is not None and figures.fit.overhead > 0 and figures.fit.per_sample > 0:
        even = figures.fit.overhead / figures.fit.per_sample
        before = f"{1000 * figures.fit.overhead:.2g} ms before its first sample"
        clauses.append(f"a batch takes {before}, as long as {even:,.0f} samples")
    reads = sum(figures.host_reads.values())
    if reads:
        place = max(figures.host_reads, key=lambda line: figures.host_reads[line])
        clauses.append(f"{reads:,.0f} numbers are read on the host in an update, most in {place}")
    return tuple(clauses)


def _of_compute(figures: RunFigures) -> tuple[str, ...]:
    clauses = [] if figures.fit is not None else ["how much of that is overhead, whatever the batch, was not measured"]
    if figures.operators is not None:
        share = 100 * figures.operators.products
        products, rest = "products and convolutions", "operators that move memory"
        first, part, other = (products, share, rest) if share >= MOSTLY else (rest, 100 - share, products)
        clauses.append(f"{first} take {part:.0f} % of it, {other} the others")
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


def _of_update(figures: RunFigures) -> tuple[str, ...]:
    passes = sum(figures.phases.get(name, 0.0) for name in ("forward", "backward"))
    update = figures.phases.get("update", 0.0)
    return (f"it takes {update / passes:.1f} times as long as forward and backward pass together",) if passes else ()
