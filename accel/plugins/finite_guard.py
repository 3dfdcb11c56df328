"""FiniteGuard: an update that is not finite moves nothing, and too many end the run.

Where the loss or a gradient is infinite or NaN, the update is skipped: weights,
average, the optimiser's state and its counters, and BatchNorm's statistics stay
as they were, bit for bit. The next update goes on, and the summary tells how
many were skipped. After `in_a_row` of them the run ends with exit code 1 and a
sentence that names them, and the last checkpoint that is proven finite.

With float16 skips are part of the search for the loss scale: from 65536 it can
take 16 in a row until the scale is 1, which is why `in_a_row` is 20.

Helps   long runs: one bad batch no longer costs the weights, and a run that has
        diverged ends with its last good weights instead of filling a night.
Hurts   as a cure for a learning rate that is too high: what it skips, it hides.
Costs   one read of the gradients, which clip by norm and float16 make anyway, a
        dozen small operations and a copy of the model's buffers per update.
Source  the found_inf of `torch.amp.GradScaler`, for every precision.
Exact   Nothing is read on the host: whether an update was skipped is a number
        on the device, which a fused optimiser and the average heed there; an
        optimiser that is not fused waits for it once per update. On CUDA the
        end comes when the count has reached the host, some updates after the
        row. A gradient whose norm overflows float32 counts as infinite. Buffers
        go back, moved in place or assigned anew in the same shape. With several
        ranks loss and gradients are those of all, so all of them skip together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accel.device.async_readback import AsyncReadback
from accel.device.buffers import Buffers
from accel.errors import TrainingError
from accel.parts import Grads, Guard
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["SEARCH", "FiniteGuard", "some"]

SEARCH = 16
"""How many updates in a row float16 may skip, halving its loss scale from 65536 to 1."""


@dataclass(eq=False)
class FiniteGuard(Guard):
    """Skips updates that are not finite.

    Args:
        in_a_row: so many of them, one after the other, end the run.
    """

    in_a_row: Count = 20

    def setup(self, run: Run) -> None:
        self.run, self.progress, self.precision = run, run.progress, run.parts.precision
        self.waits = not run.parts.optim.fused
        self.mail = AsyncReadback(3, run.device)
        self.row, self.longest, self.skipped = self.mail.slots
        """Updates skipped: in a row until now, in the longest row so far, and in all."""
        self.sent = 0
        """The update after which they were sent to the host last."""
        self.buffers = Buffers(run.unwrapped_model)
        self.held = False
        """Whether updates are replayed."""

    def check(self, grads: Grads, loss: Tensor) -> Grads:
        self.loss = loss.detach()
        grads.need_found_inf(self.loss)
        assert grads.found_inf is not None
        assert self.skipped is not None
        self.row.add_(1).mul_(grads.found_inf)
        torch.maximum(self.longest, self.row, out=self.longest)
        self.skipped.add_(grads.found_inf)
        self.buffers.restore_if_skipped(grads.found_inf)
        if not self.held:
            self.listen(self.progress.step + 1)
        return grads

    def capture_blocker(self) -> str:
        return ""

    def to_device_scalars(self) -> None:
        self.held = True

    def before_replay(self) -> None:
        self.listen(self.progress.step)  # in a replay no Python runs: what the last update counted is looked at before the next

    def listen(self, step: int) -> None:
        """Sends the counts after update `step` on their way, and looks at those that have arrived."""
        self.receive()
        if self.mail.start():
            self.sent = step
            self.receive()

    def receive(self) -> None:
        """Looks at the counts that were sent, if they have arrived: on a CPU at once. Raises TrainingError for too many."""
        counts = self.mail.poll()
        if counts is not None and counts[1] >= self.in_a_row:
            row, longest = int(counts[0]), int(counts[1])
            what = "the loss or a gradient was not finite in"
            checkpoint = self.run.newest_finite()
            text = f"finite_guard: {what} {self.which(row, longest)} {self.cause()}; {self.back(checkpoint)}"
            raise TrainingError(text, "" if checkpoint is None else str(checkpoint))

    def which(self, row: int, longest: int) -> str:
        """The updates that were not finite."""
        if row != longest:
            return f"{longest} update{'s in a row' if longest > 1 else ''}, not long before update {self.sent}"
        if row == 1:
            return f"update {self.sent}"
        return f"updates {self.sent - row + 1} to {self.sent}, {row} in a row"

    def cause(self) -> str:
        """What is not finite now, and what to do. Reads on the host: the run is over."""
        params = self.precision.params
        spoilt = [name for name, param in params if not torch.isfinite(param).all()]
        if spoilt:
            return f"since the weights are not ({some(spoilt)}); begin again with a lower learning rate or a longer warm-up"
        bad = [name for name, param in params if param.grad is not None and not torch.isfinite(param.grad).all()]
        where = f", gradients of {some(bad)}" if bad else ""
        return (
            f"(at last: loss {float(self.loss):g}{where}); none of them moved anything. In a new run try a lower learning rate, "
            "the plugin clip, or bfloat16 in place of float16; or mend the data"
        )

    def back(self, checkpoint: Path | None) -> str:
        """Where there is something to go back to. The command line adds its command."""
        if checkpoint is not None:
            how = "" if self.run.command else f"; go on from it with resume={str(checkpoint)!r}"
            return f"the last checkpoint that is proven finite is {checkpoint}{how}"
        if self.run.has_run_directory and not self.run.dry_run:
            return "no checkpoint is proven finite, so there is none to go on from"
        return "there is no checkpoint to go on from, for the run has no directory (out)"

    def plan_notes(self) -> Mapping[str, str]:
        waits = "; the optimiser is not fused, so each update waits for the device once" if self.waits else ""
        return {"updates not finite": f"skipped; {self.in_a_row} in a row end the run{waits}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if run.parts.precision.skipped is None or self.in_a_row > SEARCH:
            return []
        return [
            f"finite_guard.in_a_row={self.in_a_row}: with a loss scale the first updates may be skipped, up to {SEARCH} in a row, "
            f"while the scale is being found; take more than {SEARCH}"
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.mail.row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mail.poll(wait=True)  # what was sent before is of another run, or of a trial
        self.mail.row.copy_(state["counts"])
        self.buffers.save()


def some(names: list[str]) -> str:
    """The first name, and how many others there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
