"""All probes of a run, in their order, within a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import torch

from accel.diagnose.code_lines.busiest_lines import busiest_lines
from accel.diagnose.code_lines.outside_operators import outside_operators
from accel.diagnose.decision.figures import CodeLine, RunFigures
from accel.diagnose.decision.timing import Timing
from accel.diagnose.machine.disk_reads import disk_bytes
from accel.diagnose.machine.graphics_cards import GraphicsCard
from accel.diagnose.machine.page_swaps import page_swaps
from accel.diagnose.probes.batch_growth import growth
from accel.diagnose.probes.cards_at_work import cards_at_work
from accel.diagnose.probes.experiments import run_experiments
from accel.diagnose.probes.host_read_places import host_read_places
from accel.diagnose.probes.operator_times import operator_mix
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.probes.rank_times import time_ranks
from accel.diagnose.probes.reader_steps import gather_seconds, reader_counts, time_readers
from accel.diagnose.probes.run_costs import seconds_of_checkpoints, seconds_of_evaluations
from accel.diagnose.probes.step_times import device_phases, queueing_time, steps_in_turn, time_loader
from accel.diagnose.probes.thread_times import time_thread_counts
from accel.diagnose.watch_trial.watch_times import time_watches
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.sandbox import sandbox
from accel.engine.training_run import TrainingRun
from accel.parts import Watch
from accel.schema.settings import Settings

__all__ = ["WARM_UP", "Measurement", "Measurer"]

OF_VERDICT = ("fit", "evaluation", "checkpoint", "watches", "outside", "by_threads", "lines", "host_reads")
"""Probes without which what takes most of the time may not be seen, or not where. Those that take little are always made."""
LONGER = 2
"""Multiple of the time that they may take, all together."""
OF_DATA = ("gather", "reader_steps")
"""Probes that tell how data would come faster."""
WARM_UP = 3
"""Updates before anything is timed."""


@dataclass
class Measurement:
    """Figures of a run, and what there was no time for.

    Args:
        figures: the figures.
        left_out: names of the probes that were left out.
        cards: GPUs of the machine, while the run's own computes.
    """

    figures: RunFigures
    left_out: list[str] = field(default_factory=list)
    cards: tuple[GraphicsCard, ...] = ()


class Measurer:
    """Measurer of one run.

    Args:
        run: the run, set up.
        settings: its settings.
        watches: of the run as the user asked for it.
        saves: whether it keeps checkpoints.
        cores: that it can keep busy.
        seconds: of measuring, about.
        say: told what is measured, before it is.
    """

    def __init__(
        self, run: TrainingRun, settings: Settings, watches: Sequence[Watch], saves: bool, cores: int, seconds: float,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.run, self.settings, self.saves, self.cores, self.seconds, self.say = run, settings, saves, cores, seconds, say
        self.watches = watches
        self.left_out: list[str] = []
        self.lines: dict[str, CodeLine] = {}
        self.unmeasured: dict[str, str] = {}
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
            swaps, cold = page_swaps(), disk_bytes()
            self.announce("updates on the run's own data, and of the same batch again, in turn")
            steps, same = steps_in_turn(probed, 3 * share)
            moved, cold = (page_swaps() - swaps) // (2 * steps.count), (disk_bytes() - cold) // steps.count
            self.update_seconds = same.each.median
            self.announce("the loader alone, without updates")
            loader = time_loader(probed, share)
            phases = device_phases(probed) if probed.on_device else same.phases
            cards = cards_at_work(probed)
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
                micro_batches=probed.window.batches, batch_size=probed.batch_size, ranks=ranks, swaps=moved, disk_bytes=cold,
                **self.details(probed, same.each.median, waits=run.parts.parallel.any(wait.median > same.each.median)),
            )  # fmt: skip
        return Measurement(figures, self.left_out, cards)

    def details(self, probed: ProbedRun, update: float, waits: bool) -> dict[str, Any]:
        """Return the figures of the probes that there may be no time for, by the name of their field.

        Args:
            probed: the run.
            update: seconds of an update of the same batch.
            waits: whether the run waits for its data, so that what tells of that is not left out.
        """
        run, share = self.run, self.seconds / 10
        counts, in_threads = reader_counts(run, self.cores)
        readers = partial(time_readers, probed, counts, in_threads, 2.5 * share)
        end = self.began + self.seconds
        threads = 25 * update if torch.get_num_threads() <= self.cores else 0.0  # too many make updates slow themselves
        figures: dict[str, Any] = {"lines": self.lines}
        probes: Sequence[tuple[str, str, float, Callable[[], object]]] = (
            ("fit", "half the batch and twice the batch", 25 * update, lambda: growth(probed, 2 * share)),
            ("operators", "the operators of a pass", 0.0, lambda: operator_mix(probed)),
            ("evaluation", "an evaluation", 2 * update, lambda: seconds_of_evaluations(run, share / 2)),
            ("checkpoint", "a checkpoint", 0.1, self.checkpoints),
            ("watches", "watches, in a copy of this process", 0.1, lambda: self.times_of_watches(probed, share)),
            ("outside", "operators, and what is between them", 12 * update, lambda: outside_operators(probed, share / 2)),
            ("by_threads", "other numbers of threads", threads, lambda: time_thread_counts(probed, share, self.cores)),
            ("lines", "lines of code", 4 * update, lambda: self.busy_lines(probed, share / 2, figures)),
            ("host_reads", "numbers read on the host", 6 * update, lambda: host_read_places(probed)),
            ("gather", "a batch out of memory", 0.1, lambda: gather_seconds(probed)),
            ("reader_steps", "updates whose data readers bring, in turn with updates as they are", 1.2 * len(counts), readers),
            ("experiments", "other precision, layout and memory", 40 * update, lambda: run_experiments(probed, end)),
        )
        needed = ("fit", "operators", "host_reads", *(OF_DATA if waits else ()))
        for name, words, least, probe in probes:
            alone = name == "outside" and figures.get("fit") is None  # then nothing else tells overhead from computing
            always = name in needed or alone or (name in OF_VERDICT and least <= share)
            most = self.seconds * (LONGER if name in OF_VERDICT else 1)
            if run.parts.parallel.any(not always and perf_counter() - self.began + least > most):
                self.left_out.append(words)
                continue
            if name != "watches" or self.watches:
                self.announce(words)
            figures[name] = probe()
        figures["unmeasured"] = self.unmeasured
        return {**trained_weights(run), **{name: value for name, value in figures.items() if value is not None}}

    def announce(self, words: str) -> None:
        """Say what is measured next. A signal that comes meanwhile ends it at once: everything is undone then too."""
        self.run.signals.immediate = True  # an evaluation has set it back
        self.say(words)

    def times_of_watches(self, probed: ProbedRun, seconds: float) -> dict[str, float]:
        """Return the seconds of watches in an update; those that could not be measured are told."""
        times = time_watches(probed, self.watches, self.settings.out, seconds)
        self.unmeasured = times.unmeasured
        if times.line is not None:
            self.lines["watches"] = times.line
        return times.seconds

    def busy_lines(self, probed: ProbedRun, seconds: float, figures: dict[str, Any]) -> dict[str, CodeLine]:
        """Return the lines of code on which most of the time goes. An evaluation is looked at where it takes some of it."""
        run, evaluation = self.run, None
        if run.parts.parallel.any(figures.get("evaluation", 0.0) > self.update_seconds / 5):
            evaluation = partial(evaluate, run, run.evaluations.metrics)
        self.lines |= busiest_lines(probed, seconds, evaluation)
        return self.lines

    def checkpoints(self) -> float:
        """Return the seconds of checkpoints in an update."""
        return seconds_of_checkpoints(self.run, self.settings, self.update_seconds) if self.saves else 0.0


def trained_weights(run: TrainingRun) -> dict[str, Any]:
    """Return how many numbers are trained, and the largest parameter of them, by the names of the figures."""
    sizes = {name: param.numel() for name, param in run.unwrapped_model.named_parameters() if param.requires_grad}
    largest = max(sizes, key=lambda name: sizes[name])
    return {"weights": sum(sizes.values()), "largest": (largest, sizes[largest])}
