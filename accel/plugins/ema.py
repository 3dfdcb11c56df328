"""EMA: a moving average of the weights, to evaluate and to keep.

Helps   final accuracy, and accuracy before the learning rate has fallen; the
        average is smoother than any one point.
Hurts   very short runs: the average lags behind the weights (warmup shortens
        its memory at the start).
Costs   a copy of the weights, and one pass over both per update.
Source  Polyak and Juditsky, 1992; Tarvainen and Valpola, Mean teachers, arXiv
        1703.01780. The warm-up is TensorFlow's min(decay, (1 + t) / (10 + t)).
        Buffers (BatchNorm's statistics) are the model's own, as in
        `torch.optim.swa_utils.AveragedModel`.
Exact   It moves once per update, not per micro-batch, and where an update was
        skipped it does not move.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accel.device.dtensor import local_shard, shard_like
from accel.parts import Average, Grads
from accel.values import Decay

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["EMA"]


@dataclass(eq=False)
class EMA(Average):
    """average = decay * average + (1 - decay) * weights, after every update.

    Args:
        decay: how slowly the average forgets; 0.999 remembers about 1,000 updates.
        warmup: use min(decay, (1 + t) / (10 + t)) at update t (from 0), so that a young average is not stuck at the start.
    """

    decay: Decay = 0.999
    warmup: bool = True

    def setup(self, run: Run) -> None:
        self.names = [name for name, _ in run.parts.precision.params]
        weights = [param.detach() for _, param in run.parts.precision.params]
        self.averages = [param.clone() for param in weights]
        # of weights that are spread over several processes, the pieces that are here: they move by themselves
        self.live, self.average = [local_shard(param) for param in weights], [local_shard(param) for param in self.averages]
        self.step = 0
        self.weight: Tensor | None = None

    def at(self, step: int) -> float:
        """The decay of update `step`, from 0."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    def update(self, grads: Grads) -> None:
        weight = self.next() if self.weight is None else self.weight
        if grads.found_inf is not None:  # a weight of 0 where the update was skipped, without asking the device whether it was
            weight = weight * (1 - grads.found_inf)
        if isinstance(weight, Tensor):
            torch._foreach_lerp_(self.average, self.live, [weight] * len(self.live))
        else:
            torch._foreach_lerp_(self.average, self.live, weight)

    def next(self) -> float:
        """The share of the weights in this update's average."""
        self.step += 1
        return 1 - self.at(self.step - 1)

    def capture_blocker(self) -> str:
        return ""

    def to_device_scalars(self) -> None:
        self.weight = torch.zeros((), dtype=torch.float32, device=self.live[0].device)

    def before_replay(self) -> None:
        if self.weight is not None:
            self.weight.fill_(self.next())

    @contextmanager
    def weights(self, model: nn.Module) -> Iterator[None]:
        kept = [param.clone() for param in self.live]
        torch._foreach_copy_(self.live, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(self.live, kept)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "average": dict(zip(self.names, self.averages, strict=True))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        device = self.average[0].device
        found = [shard_like(state["average"][name], ours) for name, ours in zip(self.names, self.averages, strict=True)]
        found = [local_shard(average).to(device) for average in found]
        if [average.shape for average in found] != [average.shape for average in self.average]:
            raise ValueError("its averaged weights are those of another model")  # one number would be copied to all of a weight
        torch._foreach_copy_(self.average, found)
