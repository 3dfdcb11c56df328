"""Times of the ranks of a run: what each computes alone, and what they take together."""

from __future__ import annotations

from collections.abc import Mapping

from accel.diagnose.decision.figures import RankTimes
from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.probed_run import ProbedRun

__all__ = ["time_ranks"]


def time_ranks(probed: ProbedRun, phases: Mapping[str, float], loader: Timing | None, seconds: float) -> RankTimes | None:
    """Return the times of all ranks; None for one process. Every rank must call it.

    Args:
        probed: the run.
        phases: seconds of each phase of an update on this rank, its passes with the gradients of all.
        loader: the loader of this rank alone; None if that was not measured.
        seconds: of measuring.
    """
    run = probed.run
    parts = run.parts
    if parts.parallel.world_size == 1:
        return None
    batches = [micro.batch for micro in probed.window.micros]

    def passes() -> None:
        for batch in batches:
            with parts.parallel.sync(last=False), parts.precision.cast():
                loss, _ = parts.parallel.call(parts.objective, run.model, batch)
            with parts.parallel.sync(last=False):
                loss.backward()  # type: ignore[no-untyped-call]
        run.unwrapped_model.zero_grad()

    alone = probed.time(passes, seconds).range
    reading, noise_of_this = 0.0 if loader is None else loader.median, (alone.high - alone.low) / 2
    synchronised, update = phases["forward"] + phases["backward"], phases["update"]
    rows = parts.parallel.gather((alone.middle, reading, synchronised, noise_of_this, update))
    compute, loaders, together, noise, updates = zip(*rows, strict=True)
    return RankTimes(compute, loaders, together, noise, parts.parallel.rank, updates)
