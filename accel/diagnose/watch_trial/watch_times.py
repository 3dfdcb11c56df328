"""The time that the watches of a run take in an update, and the line of code on which they spend it."""

from __future__ import annotations

import multiprocessing as mp
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from accel.data.loaders.fork_map import can_fork
from accel.diagnose.code_lines.line_sampler import LineSampler
from accel.diagnose.decision.figures import CodeLine
from accel.diagnose.probes.probed_run import MOST, ProbedRun
from accel.diagnose.watch_trial.enclosure import enclose
from accel.diagnose.watch_trial.write_lock import can_lock_writes
from accel.parts import Grads, Watch

__all__ = ["FEWEST", "PATIENCE", "WatchTimes", "WatchTrial", "time_watches"]

FEWEST = 2
"""Updates that a watch sees at least, after a first one, in which it opens its files."""
PATIENCE = 30.0
"""Seconds beyond those of measuring after which a watch is given up: it waits for what it cannot get."""


@dataclass(frozen=True)
class WatchTimes:
    """Times of watches.

    Args:
        seconds: of an update, by the name of the watch.
        line: on which most of it goes, if there is one.
        unmeasured: why a watch could not be measured, by its name.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    line: CodeLine | None = None
    unmeasured: dict[str, str] = field(default_factory=dict)


def time_watches(probed: ProbedRun, watches: Sequence[Watch], out: str | None, seconds: float) -> WatchTimes:
    """Return the times of watches, measured in a fork of this process, which can write nothing and is thrown away.

    accel's own are measured as in a run without a directory. With several ranks the times are those of the rank that takes longest.

    Args:
        probed: the run, built without watches.
        watches: of the run.
        out: its directory; None if it has none.
        seconds: for all of them, about.
    """
    if not watches:
        return WatchTimes()
    if probed.on_device or not can_fork() or not can_lock_writes():
        why = "measured on a CPU alone" if probed.on_device else "this system cannot keep them from writing"
        times = WatchTimes(unmeasured={watch.name: why for watch in watches})
    else:
        times = _in_a_fork(probed, watches, out, seconds)
    ranks: list[WatchTimes] = probed.run.parts.parallel.gather(times)
    return max(ranks, key=lambda rank: sum(rank.seconds.values()))


def _in_a_fork(probed: ProbedRun, watches: Sequence[Watch], out: str | None, seconds: float) -> WatchTimes:
    context = mp.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(probed, watches, out, seconds, sender), daemon=True)
    process.start()
    sender.close()
    times = WatchTimes(unmeasured={watch.name: "it ended the process, or never came back" for watch in watches})
    try:
        with suppress(EOFError):
            if receiver.poll(seconds + PATIENCE):
                times = receiver.recv()
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()
    return times


def _measure(probed: ProbedRun, watches: Sequence[Watch], out: str | None, seconds: float, pipe: Connection) -> None:
    """Measure one watch after the other, and send their times. The work of the fork."""
    torch.set_num_threads(1)
    times = WatchTimes()
    line = None
    try:
        enclose({pipe.fileno()}, Path.cwd())
        with LineSampler() as sampler:
            for watch in watches:
                try:
                    trial = WatchTrial(probed, watch, out, sampler)
                    times.seconds[watch.name] = trial.seconds(seconds / len(watches))
                except Exception as error:
                    times.unmeasured[watch.name] = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            line = sampler.busiest("watches")
    except OSError as error:
        times.unmeasured.update({watch.name: str(error) for watch in watches})
    with suppress(OSError):
        pipe.send(WatchTimes(times.seconds, line, times.unmeasured))
    os._exit(0)


class WatchTrial:
    """One watch of a run, which it sees as if the run were its own. What it moves stays moved.

    Args:
        probed: the run.
        watch: the watch.
        out: directory of the run; None if it has none.
        sampler: of the lines on which its time goes.
    """

    def __init__(self, probed: ProbedRun, watch: Watch, out: str | None, sampler: LineSampler) -> None:
        self.probed, self.watch, self.run, self.sampler = probed, watch, probed.run, sampler
        self.spent = 0.0
        own = type(watch).__module__.startswith("accel.")
        self.run.out = None if own or out is None or self.run.parts.parallel.rank else Path(out)
        self.run.watches = [watch]
        watch.setup(self.run)
        watch.begin(self.run)
        self.observers: Any = getattr(self.run.parts.update, "observers", None)

    def seconds(self, seconds: float) -> float:
        """Return the seconds of an update that the watch takes: within the update, if it looks at gradients, and after it."""
        loss = self.update()
        self.after(loss)
        within, began, updates = 0.0, perf_counter(), 0
        if hasattr(self.watch, "before_step") and self.observers is not None:
            self.observers.watches, self.spent = [self], 0.0
            while updates < FEWEST or (updates < MOST and perf_counter() - began < seconds / 2):
                loss, updates = self.update(), updates + 1
            within, began = self.spent / updates, perf_counter()
        self.spent, calls = 0.0, 0
        while calls < FEWEST or (calls < MOST and perf_counter() - began < seconds):
            self.after(loss)
            calls += 1
        return within + self.spent / calls

    def update(self) -> Tensor:
        """Make an update of the same batch."""
        loss = self.run.parts.update(self.probed.window)
        self.sampler.book("update")
        return loss

    def after(self, loss: Tensor) -> None:
        """Let the watch see that another update is done."""
        progress, window = self.run.progress, self.probed.window
        progress.step, progress.samples = progress.step + 1, progress.samples + window.samples
        self.timed(self.watch.after, progress.step, loss)

    @property
    def name(self) -> str:
        """The name of the watch."""
        return self.watch.name

    def before_step(self, grads: Grads) -> None:
        """Let the watch see the gradients."""
        self.timed(self.watch.before_step, grads)  # type: ignore[attr-defined]

    def after_step(self) -> dict[str, Any]:
        """Return what the watch logs of the update."""
        return self.timed(self.watch.after_step)  # type: ignore[attr-defined, no-any-return]

    def timed(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call of the watch, and add up its seconds."""
        self.sampler.book("update")
        started = perf_counter()
        result = call(*args)
        self.spent += perf_counter() - started
        self.sampler.book("watches")
        return result
