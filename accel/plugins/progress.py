"""Progress: a watch that prints the plan, a line of progress, and the summary.

On a terminal and in a notebook the line is drawn anew in place. Elsewhere (a
pipe, a log file) a plain line is printed every few seconds. Each evaluation
leaves a line of its own. Samples per second and data wait are those
of the last few seconds of training, without the first update, compiling,
evaluation and checkpoints; the time left does not count compiling. The
loss is that of the last update that has reached the host. On by default;
`watch=()` in Python, or `'~plugins.progress'`, makes a run silent.

Helps   always.
Hurts   nothing.
Costs   under a microsecond per update, and a millisecond for each time the line
        is drawn; it never waits for the device.
Source  drawn by rich, rich.readthedocs.io.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import proxy

from torch import Tensor

from accel.device.async_readback import AsyncReadback
from accel.parts import Watch
from accel.parts.run import UNLIMITED
from accel.report.formatting import metric, number
from accel.report.plan import draw as draw_plan
from accel.report.progress_line import GAP, ProgressLine
from accel.report.progress_screen import open_screen
from accel.report.summary import draw as draw_summary
from accel.system.clock import COMPILE, ThroughputMark
from accel.values import Positive

if TYPE_CHECKING:
    from accel.errors import Interrupted
    from accel.parts import Run
    from accel.report.progress_screen import Screen
    from accel.report.result import Result

__all__ = ["RECENT", "Progress"]

RECENT = 3.0
"""Seconds over which samples per second and data wait are measured, on a terminal."""


@dataclass(eq=False)
class Progress(Watch):
    """Watch that shows the run on a terminal or in a log.

    Args:
        refresh: seconds between two drawings of the line on a terminal or in a notebook.
        every: seconds between two plain lines elsewhere.
        plan: show the plan at the start.
    """

    refresh: Positive = 0.2
    every: Positive = 10.0
    plan: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.screen: Screen | None = None
        self.result: Result | None = None

    def begin(self, run: Run) -> None:
        self.run: Run = proxy(run)  # the run holds this watch
        self.screen = open_screen(quiet=run.parts.parallel.rank > 0)
        if self.plan and run.plan is not None:
            self.screen.print(draw_plan(run.plan))
        self.skipped = run.parts.guard.skipped
        self.readback = AsyncReadback(1 if self.skipped is None else 2, run.device)
        self.logged: dict[str, float] = {}
        self.logged_readback = AsyncReadback(0, run.device)
        self.last_loss: Tensor | None = None
        self.loss: float | None = None
        self.skipped_count: int | None = None if self.skipped is None else 0
        self.first_step, self.started_at = run.progress.step, self.seconds()
        self.warm = False
        renews = self.screen.begin_renewing()
        self.interval = self.refresh if renews else self.every
        self.next_draw = 0.0  # the first update is looked at, and measures no other: much warms up in it
        self.first_draw = perf_counter() + self.interval
        self.marks = deque([self.throughput_mark()], maxlen=max(2, round(RECENT / self.refresh)) if renews else 2)

    def after(self, step: int, loss: Tensor) -> None:
        self.last_loss = loss
        if perf_counter() >= self.next_draw:
            self.draw_line()

    def draw_line(self) -> None:
        """Draw the line. On CUDA the loss is the one sent at the last drawing, which has arrived by now."""
        if not self.warm and self.begin_measuring():
            return
        self.send_loss()
        self.receive_loss()
        assert self.screen is not None
        self.screen.renew(self.make_line())
        self.next_draw = perf_counter() + self.interval

    def begin_measuring(self) -> bool:
        """Measure from here on, after the first update, and return whether the line is not due yet."""
        self.warm, self.next_draw = True, self.first_draw
        if early := perf_counter() < self.first_draw:
            self.first_step, self.started_at = self.run.progress.step, self.seconds()
            self.marks.clear()
            self.marks.append(self.throughput_mark())
        return early

    def seconds(self) -> float:
        """Return a time that stands still while torch compiles: the updates to come do not wait for that again."""
        return perf_counter() - self.run.clock.spent[COMPILE]

    def send_loss(self) -> None:
        """Send the last loss to the host; a run resumed just before an evaluation has none yet."""
        if self.last_loss is None:
            return
        self.readback.slots[0].copy_(self.last_loss)
        if self.skipped is not None:
            self.readback.slots[1].copy_(self.skipped)
        self.readback.start()
        logged = self.run.parts.update.logged
        if logged and (len(logged) != len(self.logged_readback.slots) or not self.logged_readback.pending):
            self.send_logged(logged)

    def send_logged(self, logged: Mapping[str, Any]) -> None:
        """Send the numbers that the last loss logs to the host."""
        if len(logged) != len(self.logged_readback.slots):
            self.logged_readback = AsyncReadback(len(logged), self.run.device)
        for slot, value in zip(self.logged_readback.slots, logged.values(), strict=True):
            slot.copy_(value) if isinstance(value, Tensor) else slot.fill_(value)
        self.logged_readback.start()
        self.logged_names = list(logged)

    def receive_loss(self, wait: bool = False) -> None:
        """Take the loss that has arrived, if one has."""
        numbers = self.readback.poll(wait)
        if numbers is not None:
            self.loss = numbers[0]
            self.skipped_count = int(numbers[1]) if self.skipped is not None else None
        logged = self.logged_readback.poll(wait)
        if logged is not None:
            self.logged = dict(zip(self.logged_names, logged, strict=True))

    def throughput_mark(self) -> ThroughputMark:
        """Return the samples and times of the run at this moment."""
        return ThroughputMark.now(self.run.clock, self.run.progress.samples)

    def make_line(self) -> ProgressLine:
        """Return the line of progress at this moment."""
        run, progress = self.run, self.run.progress
        self.marks.append(self.throughput_mark())
        rate, wait = self.marks[-1].since(self.marks[0])
        done = progress.step - self.first_step
        left = None if run.updates is None else (run.updates - progress.step) * (self.seconds() - self.started_at) / max(done, 1)
        return ProgressLine(
            epoch=min(progress.epoch + 1, run.epochs), epochs=None if run.epochs == UNLIMITED else run.epochs,
            update=progress.step, updates=run.updates, loss=self.loss,
            lr=run.parts.schedule.lr(max(progress.step - 1, 0)), rate=rate, wait=wait, skipped=self.skipped_count,
            left=left, logged=self.logged,
        )  # fmt: skip

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        self.receive_loss(wait=True)
        self.send_loss()
        self.receive_loss(wait=True)
        total = "" if self.run.epochs == UNLIMITED else f"/{self.run.epochs}"
        cells = [f"epoch {epoch:{len(total) - 1 if total else 1}}{total}"]
        cells += [] if self.loss is None else [f"loss {number(self.loss)}"]
        cells += [f"{metric(self.run.evaluation_split, name)} {number(value)}" for name, value in metrics.items()]
        if self.screen is not None:
            self.screen.print(GAP.join(cells), soft_wrap=True)

    def stopped(self, why: Interrupted) -> None:
        if not self.run.command and self.screen is not None:  # the command line prints it itself
            self.screen.print(f"{why}; go on with {why.resume}" if why.resume else str(why), soft_wrap=True)

    def end(self, result: Any) -> None:
        self.result = result

    def close(self) -> None:
        """Print the summary: by now everything has been written."""
        screen, self.screen, result, self.result = self.screen, None, self.result, None
        if screen is None:
            return
        screen.end_renewing(leave=result is None)
        if result is None:
            return
        screen.print(draw_summary(result))
        # unwrapped and on lines of their own, to be copied
        if result.flow is not None and result.flow.tries:
            tries = "\n".join(f"  {text}" for text in result.flow.tries)
            screen.print(f"\nto wait less for data, try\n{tries}", soft_wrap=True)
        if result.verdict and result.doctor:
            screen.print(f"\nmeasure what would make it faster with\n  {result.doctor}", soft_wrap=True)
        if result.resume:
            screen.print(f"\nresume with\n  {result.resume}", soft_wrap=True)
