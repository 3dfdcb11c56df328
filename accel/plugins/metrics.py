"""Metrics: each update and each evaluation on the disk, and their curves.

`metrics.jsonl` has a line for each update, `{"update", "epoch", "loss", "lr",
"samples"}`, with `"skipped"` where updates can be skipped (how many so far), and
one for each evaluation, `{"update", "epoch", "test_accuracy", ...}`. `update`
and `epoch` count from 1, `samples` is how many were consumed in all, and `loss`
is the mean over the update's window, in the nine digits that tell every float32
apart. JSON has no NaN and no infinity: such a number is `null`.
No line holds a time, so the file of a resumed run is, byte for byte, that of an
uninterrupted one. `curves.svg` is drawn from it at the end. On by default; a
run without a directory writes nothing.

Helps   always: it is the record of the run.
Hurts   nothing.
Costs   two microseconds per update on a CPU, one small kernel on CUDA; it never
        waits for the device. The curves take half a second, once, at the end.
Source  JSON Lines, jsonlines.org.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from torch import Tensor

from accel.device.loss_log import LossLog
from accel.parts import Watch
from accel.report.curves import draw
from accel.system.append_log import AppendLog
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FILE", "PICTURE", "Metrics", "whole"]

FILE, PICTURE = "metrics.jsonl", "curves.svg"


@dataclass(eq=False)
class Metrics(Watch):
    """Writes metrics.jsonl and curves.svg.

    Args:
        every: updates are read from the device and written in blocks of so many.
        curves: draw curves.svg at the end.
    """

    every: Count = 64
    curves: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file: Any = None
        """A Log; None where nothing is to be written."""
        self.waiting = ""
        """Of a resumed run: lines that the disk had not taken by the checkpoint."""

    def begin(self, run: Run) -> None:
        if run.out is None or run.parts.parallel.rank > 0:
            return
        self.run, self.lr, self.progress = run, run.parts.schedule.lr, run.progress
        self.path = run.out / FILE
        self.losses = LossLog(self.every, run.device, run.parts.guard.skipped, self.write)
        before = self.path.read_bytes() if self.path.exists() else b""
        self.file = AppendLog(self.path, whole(before, run.progress.step, evaluated=run.progress.batch == 0))
        self.file.write(self.waiting.encode())

    def after(self, step: int, loss: Tensor) -> None:
        if self.file is not None:
            self.losses.add((step, self.progress.epoch + 1, self.progress.samples), loss)

    def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
        if self.file is not None:
            self.losses.flush()
            values = {f"{self.run.evaluation_split}_{name}": value if isfinite(value) else None for name, value in metrics.items()}
            self.file.write(json.dumps({"update": self.progress.step, "epoch": epoch, **values}).encode() + b"\n")
            self.file.flush()

    def state_dict(self) -> dict[str, Any]:
        """Nothing but the lines that a full disk did not take: a resumed run cuts the file off behind its last update."""
        if self.file is None:
            return {"waiting": self.waiting} if self.waiting else {}
        self.losses.flush()
        self.file.flush()
        return {"waiting": self.file.pending.decode()} if self.file.pending else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.waiting = str(state.get("waiting", ""))

    def sync(self) -> None:
        """What the checkpoint takes to be in the file must be on the disk before the checkpoint is."""
        if self.file is not None:
            self.file.sync()

    def end(self, result: Any) -> None:
        if self.file is None:
            return
        self.losses.flush()
        self.file.flush()
        if self.file.incomplete_reason:
            result.unsaved[FILE] = self.file.incomplete_reason
        if self.curves:
            draw(self.path, self.path.with_name(PICTURE))

    def close(self) -> None:
        if self.file is not None:
            self.losses.flush()
            self.file.close()
            self.file = None

    def write(self, rows: list[tuple[int, int, int]], losses: list[float], skipped: Iterable[float | None]) -> None:
        """Writes a block of updates."""
        self.file.write("".join(map(self.line, rows, losses, skipped)).encode())
        self.file.flush()

    def line(self, row: tuple[int, int, int], loss: float, skipped: float | None) -> str:
        """One update as JSON. `json.dumps` and seventeen digits would take three times as long."""
        step, epoch, samples = row
        shown = f"{loss:.9g}" if isfinite(loss) else "null"
        tail = "" if skipped is None else f', "skipped": {skipped:.0f}'
        lr = f"{self.lr(step - 1):.9g}"
        return f'{{"update": {step}, "epoch": {epoch}, "loss": {shown}, "lr": {lr}, "samples": {samples}{tail}}}\n'


def whole(data: bytes, step: int, evaluated: bool) -> int:
    """How many bytes of a metrics.jsonl belong to a run that has done `step` updates, and whether it has `evaluated` since.

    Cuts off a torn last line, what a power cut has left in place of lines, later updates, and an evaluation that the resumed run
    makes again.
    """
    end = data.rfind(b"\n") + 1
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        try:
            row = json.loads(data[start:end])
            if row["update"] < step or (row["update"] == step and ("lr" in row or evaluated)):
                break
        except (ValueError, TypeError, KeyError):
            """No line of ours."""
        end = start
    return end
