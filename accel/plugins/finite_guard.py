"""FiniteGuard: skip an update that is not finite, and end the run after too many.

An update whose loss or gradient is infinite or NaN is skipped. Weights,
average, the optimiser's state and counters, and BatchNorm's statistics stay as
they were, bit for bit. The next update goes on, and the summary tells how many
were skipped. After `in_a_row` skipped updates the run ends with exit code 1.
The message names them, and the last checkpoint that is known to be finite.

With float16, skips are part of the search for the loss scale. From 65536 it can
take 16 in a row until the scale is 1, which is why `in_a_row` is 20.

Helps   long runs: one bad batch no longer costs the weights. A run that has
        diverged ends with its last good weights instead of filling a night.
Hurts   as a cure for a learning rate that is too high: skipped updates hide it.
Costs   per update one read of the gradients, which clip by norm and float16
        make anyway. A dozen small operations, and a copy of the model's
        buffers.
Source  the found_inf of `torch.amp.GradScaler`, for every precision.
Exact   Nothing is read on the host: whether an update was skipped is a number
        on the device. A fused optimiser and the average heed it there; an
        optimiser that is not fused waits for it once per update. On CUDA the
        run ends when the count has reached the host, some updates later. A
        gradient whose norm overflows float32 counts as infinite. Buffers are
        restored, moved in place or assigned anew in the same shape. With
        several ranks, loss and gradients are those of all ranks, so all skip
        together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import proxy

import torch
from torch import Tensor

from accel.device.async_readback import AsyncReadback
from accel.errors import TrainingError, listed
from accel.parts import Grads, Guard
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MAX_SCALE_SEARCH", "FiniteGuard"]

MAX_SCALE_SEARCH = 16
"""Updates in a row that float16 may skip, halving its loss scale from 65536 to 1."""


@dataclass(eq=False)
class FiniteGuard(Guard):
    """Guard that skips updates that are not finite.

    Args:
        in_a_row: skipped updates, one after the other, that end the run.
    """

    in_a_row: Count = 20

    def setup(self, run: Run) -> None:
        self.run, self.progress, self.precision = proxy(run), run.progress, run.parts.precision
        self.host_waits = not run.parts.optim.fused
        self.readback = AsyncReadback(3, run.device)
        self.streak, self.longest_streak, self.skipped = self.readback.slots
        """Skipped updates: in a row until now, in the longest row so far, and in all; each a 0-dim tensor on the device."""
        self.sent_after = 0
        """The update after which the counts were last sent to the host."""
        self.buffers = run.saved_buffers
        self.replayed = False
        """Whether updates are replayed from a CUDA graph."""

    def follow_parameters(self, run: Run) -> None:
        self.buffers.collect(run.unwrapped_model)  # a module that was replaced has others

    def check(self, grads: Grads, loss: Tensor) -> Grads:
        self.loss = loss.detach()
        grads.need_found_inf(self.loss)
        assert grads.found_inf is not None
        assert self.skipped is not None
        skipped = grads.is_skipped()
        assert skipped is not None
        # an update without items is skipped too, and neither lengthens a row nor ends it
        self.streak.add_(1 if grads.empty is None else 1 - grads.empty).mul_(skipped)
        torch.maximum(self.longest_streak, self.streak, out=self.longest_streak)
        self.skipped.add_(skipped)
        self.buffers.restore_if_skipped(skipped)
        if not self.replayed:
            self.exchange_counts(self.progress.step + 1)
        return grads

    def capture_blocker(self) -> str:
        return ""

    def to_device_scalars(self) -> None:
        self.replayed = True

    def before_replay(self) -> None:
        # no Python runs in a replay: the counts of the last update are exchanged before the next
        self.exchange_counts(self.progress.step)

    def exchange_counts(self, step: int) -> None:
        """Send the counts after update `step` to the host, and check the counts that have arrived."""
        self.check_counts()
        if self.readback.start():
            self.sent_after = step
            self.check_counts()

    def check_counts(self) -> None:
        """Check the counts that were sent, if they have arrived: on a CPU at once.

        Raises:
            TrainingError: if too many updates in a row were skipped.
        """
        counts = self.readback.poll()
        if counts is not None and counts[1] >= self.in_a_row:
            row, longest = int(counts[0]), int(counts[1])
            checkpoint = self.run.newest_finite()
            updates, cause = self.describe_updates(row, longest), self.describe_cause()
            text = (
                f"finite_guard: the loss or a gradient was not finite in {updates} {cause}; {self.describe_checkpoint(checkpoint)}"
            )
            raise TrainingError(text, "" if checkpoint is None else str(checkpoint))

    def describe_updates(self, row: int, longest: int) -> str:
        """Return the updates that were not finite, in words."""
        if row != longest:
            return f"{longest} update{'s in a row' if longest > 1 else ''}, not long before update {self.sent_after}"
        if row == 1:
            return f"update {self.sent_after}"
        return f"updates {self.sent_after - row + 1} to {self.sent_after}, {row} in a row"

    def describe_cause(self) -> str:
        """Return the tensors that are not finite now, and a cure, in words. Read on the host, because the run is over."""
        params = self.precision.params
        bad_weights = [name for name, param in params if not torch.isfinite(param).all()]
        if bad_weights:
            return f"since the weights are not ({listed(bad_weights)}); begin again with a lower learning rate or a longer warm-up"
        bad_grads = [name for name, param in params if param.grad is not None and not torch.isfinite(param.grad).all()]
        where = f", gradients of {listed(bad_grads)}" if bad_grads else ""
        return (
            f"(at last: loss {float(self.loss):g}{where}); none of them moved anything. In a new run try a lower learning rate, "
            "the plugin clip, or bfloat16 in place of float16; or mend the data"
        )

    def describe_checkpoint(self, checkpoint: Path | None) -> str:
        """Return the checkpoint to go on from, in words. The command line adds its command."""
        if checkpoint is not None:
            advice = "" if self.run.command else f"; go on from it with resume={str(checkpoint)!r}"
            return f"the last checkpoint that is proven finite is {checkpoint}{advice}"
        if self.run.has_run_directory and not self.run.dry_run:
            return "no checkpoint is proven finite, so there is none to go on from"
        return "there is no checkpoint to go on from, for the run has no directory (out)"

    def plan_notes(self) -> Mapping[str, str]:
        waits = "; the optimiser is not fused, so each update waits for the device once" if self.host_waits else ""
        return {"updates not finite": f"skipped; {self.in_a_row} in a row end the run{waits}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if run.parts.precision.skipped is None or self.in_a_row > MAX_SCALE_SEARCH:
            return []
        return [
            f"finite_guard.in_a_row={self.in_a_row}: with a loss scale the first updates may be skipped, up to {MAX_SCALE_SEARCH} "
            f"in a row, while the scale is being found; take more than {MAX_SCALE_SEARCH}"
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.readback.row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.readback.poll(wait=True)  # counts that were sent before belong to another run, or to a trial
        self.readback.row.copy_(state["counts"])
        self.buffers.save()
