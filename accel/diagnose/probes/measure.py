"""All probes of a run, in their order, within a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.batch_growth import growth
from accel.diagnose.probes.experiments import run_experiments
from accel.diagnose.probes.host_read_places import host_read_places
from accel.diagnose.probes.operator_times import operator_mix
from accel.diagnose.probes.page_swaps import page_swaps
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.probes.rank_times import time_ranks
from accel.diagnose.probes.readers_beside import gather_seconds, reader_counts, time_beside
from accel.diagnose.probes.run_costs import seconds_of_checkpoints, seconds_of_evaluations
from accel.diagnose.probes.step_times import device_phases, queueing_time, steps_in_turn, time_loader
from accel.diagnose.probes.thread_times import time_thread_counts
from accel.engine.sandbox import sandbox
from accel.engine.training_run import TrainingRun
from accel.schema.settings import Settings

__all__ = ["WARM_UP", "Measurement", "Measurer"]

OF_DATA = ("gather", "read_rates")
"""Probes that tell how data would come faster."""
WARM_UP = 3
"""Updates before anything is timed."""


@dataclass
class Measurement:
    """Figures of a run, and what there was no time for.

    Args:
        figures: the figures.
        left_out: names of the probes that were left out.
    """

    figures: RunFigures
    left_out: list[str] = field(default_factory=list)


class Measurer:
    """Measurer of one run.

    Args:
        run: the run, set up.
        settings: its settings.
        saves: whether it keeps checkpoints.
        cores: that it can keep busy.
        seconds: of measuring, about.
        say: told what is measured, before it is.
    """

    def __init__(
        self, run: TrainingRun, settings: Settings, saves: bool, cores: int, seconds: float, say: Callable[[str], None]
    ) -> None:
        self.run, self.settings, self.saves, self.cores, self.seconds, self.say = run, settings, saves, cores, seconds, say
        self.left_out: list[str] = []
        self.began = perf_counter()

    def measure(self) -> Measurement:
        """Return the figures of the run, which is afterwards what it was, to the last bit. Every rank must call it."""
        run = self.run
        self.began = perf_counter()
        with sandbox(run) as windows:
            self.announce("warming up")
            self.probed = probed = ProbedRun(run, windows, self.seconds)
            for _ in range(WARM_UP):
                probed.update()
            share = self.seconds / 10
            swaps = page_swaps()
            self.announce("updates on the run's own data, and of the same batch again, in turn")
            steps, same = steps_in_turn(probed, 3 * share)
            moved = (page_swaps() - swaps) // (2 * steps.count)
            self.update_seconds = same.each.median
            self.announce("the loader alone, without updates")
            loader = time_loader(probed, share)
            phases = device_phases(probed) if probed.on_device else same.phases
            ranks = time_ranks(probed, phases, loader.window, share / 2)
            wait = steps.wait
            if probed.on_device:  # the host runs ahead: what the device waits is what updates take longer with their own data
                late = max(0.0, steps.step.median - same.each.median - steps.transfer)
                wait = Timing.of([late])
            figures = RunFigures(
                device=run.device.type, cores=self.cores, threads=torch.get_num_threads(), samples=probed.window.samples,
                step=steps.step, wait=wait, same_batch=same.each, same_batch_busy=same.busy, loader=loader.window,
                loader_busy=loader.busy, loader_idle=loader.idle,
                phases={**phases, "transfer": steps.transfer}, host=queueing_time(probed),
                micro_batches=probed.window.batches, batch_size=probed.batch_size, ranks=ranks, swaps=moved,
                **self.details(probed, same.each.median, waits=run.parts.parallel.any(wait.median > same.each.median)),
            )  # fmt: skip
        return Measurement(figures, self.left_out)

    def details(self, probed: ProbedRun, update: float, waits: bool) -> dict[str, Any]:
        """Return the figures of the probes that there may be no time for, by the name of their field.

        Args:
            probed: the run.
            update: seconds of an update of the same batch.
            waits: whether the run waits for its data, so that what tells of that goes first.
        """
        run, share = self.run, self.seconds / 10
        counts, in_threads = reader_counts(run, self.cores)
        until = self.began + self.seconds
        probes: Sequence[tuple[str, str, float, Callable[[], object]]] = (
            ("fit", "half the batch and twice the batch", 25 * update, lambda: growth(probed, 2 * share)),
            ("operators", "the operators of a pass", 0.0, lambda: operator_mix(probed)),
            ("by_threads", "other numbers of threads", 25 * update, lambda: time_thread_counts(probed, share, self.cores)),
            ("host_reads", "numbers read on the host", 6 * update, lambda: host_read_places(probed)),
            ("evaluation", "an evaluation", 2 * update, lambda: seconds_of_evaluations(run)),
            ("checkpoint", "a checkpoint", 1.0, self.checkpoints),
            ("gather", "a batch out of memory", 0.1, lambda: gather_seconds(probed)),
            ("read_rates", "readers beside updates", 1.2 * len(counts), lambda: time_beside(probed, counts, in_threads)),
            ("experiments", "other precision, layout and memory", 40 * update, lambda: run_experiments(probed, until)),
        )
        if waits:
            probes = sorted(probes, key=lambda probe: probe[0] not in OF_DATA)
        figures = {}
        needed = ("fit", "operators", "host_reads", *(OF_DATA if waits else ()))
        for name, words, least, probe in probes:
            elapsed = 0.0 if name in needed else perf_counter() - self.began
            if run.parts.parallel.any(elapsed + least > self.seconds):
                self.left_out.append(words)
                continue
            self.announce(words)
            figures[name] = probe()
        return {name: value for name, value in figures.items() if value is not None}

    def announce(self, words: str) -> None:
        """Say what is measured next. A signal that comes meanwhile ends it at once: everything is undone then too."""
        self.run.signals.immediate = True  # an evaluation has set it back
        self.say(words)

    def checkpoints(self) -> float:
        """Return the seconds of checkpoints in an update."""
        return seconds_of_checkpoints(self.run, self.settings, self.update_seconds) if self.saves else 0.0
