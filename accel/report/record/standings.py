"""Which of several runs is ahead, by how much, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import median

import numpy as np

from accel.report.comparison import JobGroup, speed_up
from accel.report.formatting import elapsed, number
from accel.report.record.metric_choice import MetricChoice
from accel.report.record.run_files import RunFiles

__all__ = ["Contender", "seconds_to", "standings"]


@dataclass(frozen=True)
class Contender:
    """Runs that differ in their seed alone, with their name and their paces."""

    name: str
    runs: Sequence[RunFiles]
    group: JobGroup

    def evaluations(self, metric: str) -> list[tuple[list[float], list[float]]]:
        """Return updates and values of a metric, by its name in metrics.jsonl, for each run that has it."""
        curves = [run.curves.evaluated for run in self.runs if run.curves is not None]
        return [evaluated[metric] for evaluated in curves if metric in evaluated]


def standings(contenders: Sequence[Contender]) -> list[str]:
    """Return sentences: who has the better metrics, who reaches the same metric sooner, and who is faster."""
    evaluated = [_metrics(one) for one in contenders]
    shared = [name for name in evaluated[0] if all(name in names for names in evaluated)]
    sentences = [sentence for metric in shared if (sentence := _better(contenders, metric))]
    main = next((name for name in shared if not MetricChoice.read(name).lower), shared[0] if shared else None)
    if main is not None:
        sentences += filter(None, [_sooner(contenders, main)])
    return sentences + _faster(contenders)


def seconds_to(contender: Contender, metric: str, target: float) -> float | None:
    """Return the seconds after which an evaluation was first as good as `target`, the median over runs; None if one never was."""
    choice, moments = MetricChoice.read(metric), []
    for run in contender.runs:
        if run.curves is None or run.times is None or metric not in run.curves.evaluated:
            return None
        updates, values = run.curves.evaluated[metric]
        reached = [update for update, value in zip(updates, values, strict=True) if _cost(choice, value) <= _cost(choice, target)]
        seconds = float(run.times.at(np.array(reached[:1], dtype=np.float64))[0]) if reached else inf
        if not isfinite(seconds):
            return None
        moments.append(seconds)
    return median(moments)


def _metrics(contender: Contender) -> list[str]:
    return list(dict.fromkeys(name for run in contender.runs if run.curves is not None for name in run.curves.evaluated))


def _cost(choice: MetricChoice, value: float) -> float:
    return choice.cost({choice.metric: value})


def _better(contenders: Sequence[Contender], metric: str) -> str:
    """Return who has the better last value of a metric; empty if one has none that is finite."""
    choice, words = MetricChoice.read(metric), metric.replace("_", " ")
    costs = [(one, [_cost(choice, values[-1]) for _, values in one.evaluations(metric)]) for one in contenders]
    if any(not some or not all(map(isfinite, some)) for _, some in costs):
        return ""
    (first, best), (second, next_best) = sorted(costs, key=lambda one: median(one[1]))[:2]
    one, other = median(best), median(next_best)
    if one == other:
        return f"{words}: {first.name} and {second.name} are equal, at {number(choice.value(one))}"
    values = f"{number(choice.value(one))} against {number(choice.value(other))} of {second.name}"
    ahead = f"{words}: {first.name} is ahead with {values}, {number(abs(one - other))} {'less' if choice.lower else 'more'}"
    single = " and ".join(one.name for one, costs_of_one in ((first, best), (second, next_best)) if len(costs_of_one) == 1)
    if single:
        return f"{ahead}; of {single} there is one seed, and another may change that as much"
    return ahead if max(best) < min(next_best) else f"{ahead}; the ranges of their seeds overlap, so it may be chance"


def _sooner(contenders: Sequence[Contender], metric: str) -> str:
    """Return who first reaches the value that all reach; empty if their times are not known."""
    choice = MetricChoice.read(metric)
    reached = [max(min(_cost(choice, value) for value in values) for _, values in one.evaluations(metric)) for one in contenders]
    if not all(map(isfinite, reached)):
        return ""
    target = choice.value(max(reached))
    times = [(seconds_to(one, metric, target), one.name) for one in contenders]
    known = sorted((seconds, name) for seconds, name in times if seconds is not None)
    if len(known) < len(times) or known[0][0] <= 0:
        return ""
    others = ", ".join(
        f"{name} after {elapsed(seconds)} ({seconds / known[0][0]:.2f} times as long)" for seconds, name in known[1:]
    )
    return f"{metric.replace('_', ' ')} of {number(target)}, which all reach: {known[0][1]} after {elapsed(known[0][0])}, {others}"


def _faster(contenders: Sequence[Contender]) -> list[str]:
    """Return who has more samples per second, and by how much."""
    known = [(one, pace) for one in contenders if (pace := one.group.pace) is not None]
    if len(known) < 2:
        return ["samples per second: some run is too short to tell"] if known else []
    (first, fast), *others = sorted(known, key=lambda pair: -pair[1].rate)
    sentences = []
    for one, pace in others:
        factor = speed_up(fast, pace)
        if factor == "~":
            pair = f"{first.name} and {one.name} cannot be told apart"
            sentences.append(f"samples per second: {pair}: their ranges overlap, or the machine was busy")
        else:
            middle, _, bounds = factor.partition("\n")
            sentences.append(f"samples per second: {first.name} is {middle} as fast as {one.name} ({bounds})")
    return sentences
