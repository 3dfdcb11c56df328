"""One run of several that are compared: the user's, with some of its plugins, built to be tried out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from math import ceil, inf
from statistics import fmean
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from accel.device.cpu.core_split import SETTLE
from accel.device.cpu.waiting_threads import INTERVAL
from accel.device.memory_peak import AllocationPeak, collect_tensors, tensor_bytes
from accel.engine.build import build
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.request import RunRequest
from accel.engine.sandbox import make_trials, sandbox
from accel.engine.training_run import TrainingRun
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Compile, Loader, Micro, Prefetch, Transfer, Window
from accel.system.stop_signals import StopSignals

__all__ = ["EVALUATED", "MAX_UPDATES", "WINDOW", "Arm", "settle_updates"]

Answer = TypeVar("Answer")
WINDOW, MAX_UPDATES = 0.25, 1000
"""Seconds of a window, at least, and updates in it, at most."""
PROBED = 3
"""Updates by which the length of a window is chosen."""
EVALUATED = 20
"""Batches of the held-out data that a loss is taken on, at most."""
TAIL = 4
"""Where there are none, the training loss counts: its mean over the last updates, one in so many."""


class Arm:
    """A run that is built and not begun. Whatever it is asked, it is afterwards where it was, and nothing is written.

    Args:
        request: of the run (`trial_request`). Its task must live as long.
        signals: signals that may end the process.

    Raises:
        ConfigError: if these plugins cannot make a run.
    """

    def __init__(self, request: RunRequest, signals: StopSignals) -> None:
        self.request, self.signals = request, signals
        with ExitStack() as cleanup, warnings.catch_warnings():
            warnings.simplefilter("ignore", AccelWarning)  # they are of settings, and the user's run gives them
            self.run: TrainingRun = build(request, cleanup, signals)
            make_trials(self.run)
            self.run.change_model()  # what is due before the first update; nothing changes its shape in trials
            self.cleanup = cleanup.pop_all()
        self.settle = settle_updates(self.run)
        self.updates = 1
        """Updates of a window that are timed."""
        self.update_samples, self.update_seconds = 0.0, inf
        """Samples and seconds of an update, as `calibrate` found them."""
        self.waiting = self.waited = 0.0
        """Share of the last window in which the loop waited for its data."""
        self.loss: Tensor | None = None
        self.threads_sleep = False
        """Whether CPU threads that wait for one another sleep at once in a window: others need the cores (`calibrate`)."""

    def call(self, function: Callable[..., Answer], *args: Any) -> Answer:
        """Return what a function makes of this arm; one that may be in another process takes it there."""
        return function(self, *args)

    def close(self) -> None:
        """End the run and free what it holds."""
        self.cleanup.close()

    @contextmanager
    def trial(self) -> Iterator[Callable[[], int]]:
        """Give a function that makes the next update, from the run's beginning on, and returns its samples."""
        run, begun = self.run, dict(vars(self.run.progress))
        run.user_state.remember()
        try:
            with run.parts.parallel.share_errors(lambda: self.signals.requested is not None), sandbox(run) as windows:
                yield lambda: self.make_update(windows)
        finally:
            self.loss = None
            vars(run.progress).update(begun)
            run.user_state.undo()

    @contextmanager
    def batches(self) -> Iterator[Iterator[Micro]]:
        """Give the micro-batches of the training data, on the device."""
        with sandbox(self.run) as windows:
            yield (micro for window in windows for micro in window.micros)

    def make_update(self, windows: Iterator[Window]) -> int:
        """Make the next update as the loop does; return its samples. Raise ConfigError if there is no data."""
        run, started = self.run, perf_counter()
        window = next(windows, None)
        self.waiting += perf_counter() - started
        if window is None:
            raise ConfigError("there is no training data")
        step = run.progress.step if run.updates is None else run.progress.step % run.updates
        run.parts.schedule.apply(step)
        self.loss = run.parts.update(window)
        run.progress.step += 1
        run.progress.samples += window.samples
        return window.samples

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.run.device.type == "cuda":
            torch.cuda.synchronize(self.run.device)

    def calibrate(self) -> None:
        """Choose how many updates make a window, after everything has been compiled and read once."""
        with self.trial() as update:
            for _ in range(self.settle):
                update()
            self.wait()
            start, samples = perf_counter(), sum(update() for _ in range(PROBED))
            self.wait()
            seconds = (perf_counter() - start) / PROBED
        run = self.run
        fitting = min(MAX_UPDATES, max(1, ceil(WINDOW / max(seconds, 1e-9))))
        self.updates = run.parts.parallel.highest([fitting])[0]  # ranks make as many
        per_epoch = run.updates_per_epoch
        mean = samples / PROBED if run.train.samples is None or per_epoch is None else run.train.samples / per_epoch
        self.update_samples, self.update_seconds = mean, seconds
        looks = run.parts.parallel.highest([max(1, ceil(INTERVAL / (self.updates * seconds)))])[0]
        waiting = run.parts.backend.waiting
        if waiting is None:
            self.window()  # shapes that only later updates have
        else:
            self.threads_sleep = waiting.crowded(self.window, looks)

    @contextmanager
    def waiting_threads(self) -> Iterator[None]:
        """Let CPU threads that wait sleep at once meanwhile, where the loop would have switched them by now."""
        waiting = self.run.parts.backend.waiting
        with waiting.sleeping() if self.threads_sleep and waiting is not None else nullcontext():
            yield

    def window(self) -> float:
        """Make the updates of one window; return their seconds per sample, the same on every rank: those of the slowest.

        The first updates, which settle the run, are not timed.
        """
        parallel = self.run.parts.parallel
        with self.waiting_threads(), self.trial() as update:
            for _ in range(self.settle):
                update()
            self.wait()
            start, samples, self.waiting = perf_counter(), 0, 0.0
            for _ in range(self.updates):
                samples += update()
            self.wait()
            seconds = perf_counter() - start
        self.waited = self.waiting / max(seconds, 1e-9)
        each = seconds / max(samples, 1)
        return each if parallel.world_size == 1 else parallel.highest([round(1e12 * each)])[0] / 1e12

    def clock(self) -> float:
        """Return the time in seconds, the same on every rank, for decisions that all have to take alike."""
        parallel = self.run.parts.parallel
        return perf_counter() if parallel.world_size == 1 else parallel.highest([round(1e6 * perf_counter())])[0] / 1e6

    def peak_bytes(self) -> int | None:
        """Return the most memory that tensors of the run take in an update: what it holds, and what the update allocates.

        None for compiled code on a CPU, whose memory nobody sees.
        """
        run = self.run
        if run.device.type == "cpu" and type(run.parts.compile) is not Compile:
            return None
        with self.trial() as update:
            update()
            with AllocationPeak(run.device) as peak:
                update()
            self.wait()
            states = [tensor for part in run.parts.all() for tensor in collect_tensors(part.state_dict())]
            return peak.bytes + tensor_bytes([*run.unwrapped_model.parameters(), *run.unwrapped_model.buffers(), *states])

    def loss_after(self, updates: int) -> float:
        """Return the held-out loss after so many updates; without held-out data the training loss over the last of them.

        Returns:
            The loss; infinity if a guard ended the run.
        """
        losses: list[Tensor] = []
        try:
            with self.trial() as update:
                for _ in range(updates):
                    update()
                    losses += [] if self.loss is None else [self.loss.detach()]
                metrics = {} if self.run.held_out is None else evaluate(self.run, self.run.evaluations.metrics, EVALUATED)
        except TrainingError:
            return inf
        held_out = [value for name, value in metrics.items() if name.rpartition("/")[2] == "loss"]
        tail = losses[-max(1, len(losses) // TAIL) :]
        return fmean(held_out) if held_out else float(torch.stack(tail).double().mean())


def settle_updates(run: TrainingRun) -> int:
    """Return the updates that a run makes until its speed is its own: memory is there, and what was read ahead is used up."""
    parts, data = run.parts, getattr(run.train, "data", None)
    plain = (type(parts.loader), type(parts.prefetch), type(parts.transfer)) == (Loader, Prefetch, Transfer)
    plain = plain and not (isinstance(data, DataLoader) and data.num_workers)
    return max(2 if plain else SETTLE, getattr(parts.update, "warmup", 0) + 1)
