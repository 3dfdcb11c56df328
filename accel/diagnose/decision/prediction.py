"""Predictions: the seconds that an update would take after a change, from the figures of the run as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.time_split import TimeSplit
from accel.diagnose.decision.timing import Range, taken_in_turn

__all__ = ["PREDICTIONS", "Prediction"]

Prediction = Callable[[RunFigures, TimeSplit, int], Range | None]
"""Function of figures, split and count to the seconds of an update, for as many samples as now; None if nothing tells."""


def _rest(split: TimeSplit) -> float:
    """Return the seconds of what comes between the updates."""
    return split.between


def _noisy(seconds: float, figures: RunFigures) -> Range:
    """Return seconds with the bounds of a measurement: of updates on the run's own data over those of one batch, in turn."""
    noise = taken_in_turn(figures.step, figures.same_batch)
    return Range(seconds, seconds * min(1.0, noise.low / noise.ratio), seconds * max(1.0, noise.high / noise.ratio))


def _moment(figures: RunFigures, split: TimeSplit) -> float:
    """Return how many times as long updates took on the run's own data as those of the same batch, its waiting left out.

    They were measured in turn: more than 1 is what reading costs beside its waiting, such as caches that it empties.
    """
    work = split.total - split.seconds["data"] - split.late - _rest(split)
    return work / (figures.same_batch.median + figures.phases.get("transfer", 0.0))


def _readers(figures: RunFigures, split: TimeSplit, count: int) -> Range | None:
    """Return the seconds where readers bring the data: as many times less as updates took with them, in turn with those without."""
    times = figures.reader_steps
    if count not in times:
        return None
    faster, rest = Range.of_ratio(taken_in_turn(times[0], times[count])), _rest(split)
    return Range.exact(split.total - rest).over(faster) + rest


def _prefetch(figures: RunFigures, split: TimeSplit, count: int) -> Range | None:
    """Return the seconds where one thread reads beside the updates: as long as the longer of both, at the most as both."""
    if figures.loader is None:
        return None
    same, reading = figures.same_batch.range + figures.phases.get("transfer", 0.0), figures.loader.range
    update = same.scaled(_moment(figures, split))
    both, longer = update.middle + reading.middle, max(update.middle, reading.middle)
    beside = both if figures.cores == 1 else longer + TURNS * min(update.middle, reading.middle)
    step = Range(beside, min(beside, max(update.low, reading.low)), max(beside, update.high + reading.high))
    return step + _rest(split)


def _resident(figures: RunFigures, split: TimeSplit, count: int) -> Range:
    step = _noisy(figures.same_batch.median, figures)
    gathered = Range(step.middle + figures.gather, step.low, step.high + 2 * figures.gather)
    return gathered.scaled(_moment(figures, split)) + _rest(split)


def _thread_count(figures: RunFigures, split: TimeSplit, count: int) -> Range | None:
    if count not in figures.by_threads or figures.threads not in figures.by_threads:
        return None
    faster = Range.of_ratio(taken_in_turn(figures.by_threads[figures.threads], figures.by_threads[count]))
    work = split.total - split.seconds["data"] - split.seconds["transfer"] - _rest(split)
    return Range.exact(work).over(faster) + (split.total - work)


def _experiment(name: str, parts: tuple[str, ...], figures: RunFigures, split: TimeSplit, count: int) -> Range | None:
    """Return the seconds where a measured ratio holds for `parts` of the time."""
    if name not in figures.experiments:
        return None
    touched = sum(split.seconds[part] for part in parts)
    return Range.exact(touched).over(Range.of_ratio(figures.experiments[name].ratio)) + (split.total - touched)


def _larger_batch(figures: RunFigures, split: TimeSplit, count: int) -> Range | None:
    """Return the seconds for as many samples in batches that are `count` times as large, as far as such batches were measured."""
    fit, own = figures.fit, figures.batch_size
    before, after = (fit.measured(own), fit.measured(count * own)) if fit is not None else (None, None)
    if before is None or after is None:
        return None
    passes = split.seconds["overhead"] + split.seconds["compute"] + split.seconds["threads"]
    saved = passes * (1 - after / count / before)
    saved += (split.seconds["update"] + split.seconds["communication"]) * (1 - 1 / count)
    return _noisy(split.total - saved, figures)


def _less_often(part: str, figures: RunFigures, split: TimeSplit, count: int) -> Range:
    """Return the seconds where a part of the time comes `count` times less often."""
    return _noisy(split.total - split.seconds[part] * (1 - 1 / count), figures)


def _hidden(part: str, figures: RunFigures, split: TimeSplit, count: int) -> Range:
    """Return the seconds where a part of the time happens beside the rest: all of it at the best, half of it at the least."""
    seconds = split.seconds[part]
    return Range(split.total - 0.85 * seconds, split.total - seconds, split.total - 0.5 * seconds)


TURNS = 0.1
"""Share of the shorter of reading and updating that Python's lock and memory make them take in turns."""
PASSES = ("overhead", "compute", "threads")
PREDICTIONS: dict[str, Prediction] = {
    "threads": _readers,
    "workers": _readers,
    "prefetch": _prefetch,
    "resident": _resident,
    "thread_count": _thread_count,
    "amp": partial(_experiment, "amp", PASSES),
    "channels_last": partial(_experiment, "channels_last", PASSES),
    "kept_memory": partial(_experiment, "kept_memory", (*PASSES, "update")),
    "tf32": partial(_experiment, "tf32", PASSES),
    "fused_optimiser": partial(_experiment, "fused_optimiser", ("update",)),
    "larger_batch": _larger_batch,
    "evaluate_less": partial(_less_often, "evaluation"),
    "checkpoint_less": partial(_less_often, "checkpoint"),
    "accumulate": partial(_less_often, "communication"),
    "cuda_graph": partial(_hidden, "overhead"),
    "stream": partial(_hidden, "transfer"),
}
"""Predictions by the name of the change. A change that is not here has a ceiling alone."""
