"""EMA: an exponential moving average of the weights, to evaluate and to keep.

Helps   final accuracy, and accuracy before the learning rate has fallen: the
        average is smoother than any one point.
Hurts   very short runs, because the average lags behind the weights. warmup
        shortens its memory at the start.
Costs   a copy of the weights, and one pass over both per update.
Source  Polyak and Juditsky, 1992; Tarvainen and Valpola, Mean teachers, arXiv
        1703.01780. The warm-up is TensorFlow's min(decay, (1 + t) / (10 + t)).
        Buffers (BatchNorm's statistics) are the model's own, as in
        `torch.optim.swa_utils.AveragedModel`.
Exact   The average moves once per update, not per micro-batch. A skipped update
        does not move it. Of 16-bit weights it is kept in float32, and rounded
        when the model evaluates with it or hands it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accel.device.dtensor import real_shard, shard_like
from accel.parts import Average, Grads
from accel.values import Decay

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["EMA"]


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
        self.names = [name for name, _ in run.parts.precision.params]
        weights = [param.detach() for _, param in run.parts.precision.params]
        # in 16 bits an average would stand still: what an update adds to it is less than half of its last bit
        self.averages = [param.to(torch.promote_types(param.dtype, torch.float32), copy=True) for param in weights]
        # of sharded weights, the shards of this process, each of which moves by itself
        self.local_weights, self.average = list(map(real_shard, weights)), list(map(real_shard, self.averages))
        self.rounded = any(average.dtype != weight.dtype for average, weight in zip(self.averages, weights, strict=True))
        self.step = 0
        self.weight: Tensor | None = None

    def decay_at(self, step: int) -> float:
        """Return the decay of update `step`, from 0."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    def update(self, grads: Grads) -> None:
        weight = self.next_weight() if self.weight is None else self.weight
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
