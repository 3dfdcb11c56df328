"""EMA: an exponential moving average of the weights, to evaluate and to keep.

Helps   final accuracy, and accuracy before the learning rate has fallen: the
        average is smoother than any one point.
Hurts   very short runs, because the average lags behind the weights. warmup
        shortens its memory at the start.
Costs   a copy of the weights, and one pass over both per update. On a GPU
        another copy of 16-bit weights, in float32.
Source  Polyak and Juditsky, 1992; Tarvainen and Valpola, Mean teachers, arXiv
        1703.01780. The warm-up is TensorFlow's min(decay, (1 + t) / (10 + t)).
        Buffers (BatchNorm's statistics) are the model's own, as in
        `torch.optim.swa_utils.AveragedModel`.
Exact   The average moves once per update, not per micro-batch. A skipped update
        does not move it. Of 16-bit weights it is kept in float32, and rounded
        when the model evaluates with it or hands it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from accel.device.dtensor import real_shard, shard_like
from accel.optim.kernel_row import moves_together
from accel.optim.kernels.kernel_check import is_dense, select_kernel
from accel.optim.kernels.multi_tensor import interpolate
from accel.parts import Average, Grads, Replacement
from accel.values import Decay

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["EMA", "AverageRow", "average_rows"]


class AverageRow(NamedTuple):
    """Averages on a device that move together, in one launch, or two where their weights have another dtype."""

    averages: list[Tensor]
    weights: list[Tensor]
    scratch: list[Tensor]
    """Memory for the weights as the averages are; `weights` themselves where they are so."""

    def update(self, weight: float | Tensor, skip: Tensor | None) -> None:
        """Move the averages towards the weights by a share, unless `skip` (0-dim float32) is 1."""
        if self.scratch is not self.weights:
            torch._foreach_copy_(self.scratch, self.weights)
        if skip is None and not isinstance(weight, Tensor):
            torch._foreach_lerp_(self.averages, self.scratch, weight)
        else:
            first = self.averages[0]
            interpolate(select_kernel("sgd", first.dtype, first.device), self.averages, self.scratch, weight, skip)


def average_rows(averages: list[Tensor], weights: list[Tensor]) -> list[AverageRow]:
    """Return averages and weights on a device in rows of one dtype and one kind of memory layout; nothing on a CPU."""
    if not averages or not moves_together(averages[0]):
        return []
    rows: dict[Any, AverageRow] = {}
    for average, weight in zip(averages, weights, strict=True):
        alike = average.dtype == weight.dtype and average.stride() == weight.stride() and is_dense(weight)
        row = rows.setdefault((alike, average.dtype, weight.dtype, is_dense(weight)), AverageRow([], [], []))
        row.averages.append(average)
        row.weights.append(weight)
        if not alike:
            row.scratch.append(torch.empty_like(average))
    return [row if row.scratch else row._replace(scratch=row.weights) for row in rows.values()]


@dataclass(eq=False)
class EMA(Average):
    """Moving average of the weights: average = decay * average + (1 - decay) * weights, after every update.

    Args:
        decay: share of the average that an update keeps; 0.999 remembers about 1,000 updates.
        warmup: use min(decay, (1 + t) / (10 + t)) at update t, from 0, so that a young average moves faster.
    """

    decay: Decay = 0.999
    warmup: bool = True

    def setup(self, run: Run) -> None:
        self.averages: list[Tensor] = []
        self.params: list[Tensor] = []
        self.track(run)
        self.step = 0
        self.weight: Tensor | None = None

    def replace_parameters(self, replacements: Sequence[Replacement]) -> None:
        new = {id(replacement.old): replacement for replacement in replacements}
        for place, param in enumerate(self.params):
            if id(param) in new:
                self.params[place] = new[id(param)].new
                self.averages[place] = new[id(param)].carried(self.averages[place])

    def follow_parameters(self, run: Run) -> None:
        self.track(run)

    def track(self, run: Run) -> None:
        """Average the parameters that are trained; the average of one that is new begins at its weights."""
        averages = {id(param): average for param, average in zip(self.params, self.averages, strict=True)}
        self.names, self.params = (
            [name for name, _ in run.parts.precision.params],
            [param for _, param in run.parts.precision.params],
        )
        weights = [param.detach() for _, param in run.parts.precision.params]
        # in 16 bits an average would stand still: what an update adds to it is less than half of its last bit
        begun = [param.to(torch.promote_types(param.dtype, torch.float32), copy=True) for param in weights]
        self.averages = [averages.get(id(param), new) for param, new in zip(self.params, begun, strict=True)]
        # of sharded weights, the shards of this process, each of which moves by itself
        self.local_weights, self.average = list(map(real_shard, weights)), list(map(real_shard, self.averages))
        self.rounded = any(average.dtype != weight.dtype for average, weight in zip(self.averages, weights, strict=True))
        self.rows = average_rows(self.average, self.local_weights)

    def decay_at(self, step: int) -> float:
        """Return the decay of update `step`, from 0."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    def update(self, grads: Grads) -> None:
        weight = self.next_weight() if self.weight is None else self.weight
        if self.rows:
            for row in self.rows:
                row.update(weight, grads.found_inf)
            return
        if grads.found_inf is not None:  # weight 0 for a skipped update, without reading on the host whether it was skipped
            weight = weight * (1 - grads.found_inf)
        weights = self.local_weights
        if self.rounded:
            weights = [param.to(average.dtype) for param, average in zip(weights, self.average, strict=True)]
        if isinstance(weight, Tensor):
            torch._foreach_lerp_(self.average, weights, [weight] * len(weights))
        else:
            torch._foreach_lerp_(self.average, weights, weight)

    def next_weight(self) -> float:
        """Count an update, and return the share of the weights in its average."""
        self.step += 1
        return 1 - self.decay_at(self.step - 1)

    def capture_blocker(self) -> str:
        return ""

    def to_device_scalars(self) -> None:
        self.weight = torch.zeros((), dtype=torch.float32, device=self.local_weights[0].device)

    def before_replay(self) -> None:
        if self.weight is not None:
            self.weight.fill_(self.next_weight())

    @contextmanager
    def weights(self, model: nn.Module) -> Iterator[None]:
        saved = [param.clone() for param in self.local_weights]
        torch._foreach_copy_(self.local_weights, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(self.local_weights, saved)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "average": dict(zip(self.names, self.averages, strict=True))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        device = self.average[0].device
        loaded = [shard_like(state["average"][name], average) for name, average in zip(self.names, self.averages, strict=True)]
        loaded = [real_shard(average).to(device) for average in loaded]
        if [average.shape for average in loaded] != [average.shape for average in self.average]:
            raise ValueError("its averaged weights are those of another model")  # one number would be copied to all of a weight
        torch._foreach_copy_(self.average, loaded)
