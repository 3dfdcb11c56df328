"""Means of several sets of weights, which come one after the other: of all of them, or of the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from accel.device.dtensor import real_shard, shard_like

__all__ = ["LastMean", "WeightMean", "WeightSet"]


class WeightSet:
    """One tensor for each weight.

    Args:
        weights: tensors whose shapes, layouts and devices the set has; of sharded ones (DTensor) it is sharded too.
        wide: whether 16-bit weights are kept in float32.
    """

    def __init__(self, weights: Sequence[Tensor], *, wide: bool) -> None:
        self.wide = wide
        self.hold([self.memory(weight) for weight in weights])

    def memory(self, weight: Tensor) -> Tensor:
        """Return memory for a weight, in the dtype of the set."""
        return torch.empty_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32) if self.wide else weight.dtype)

    def hold(self, tensors: list[Tensor]) -> None:
        """Set the tensors of the set."""
        self.tensors = tensors
        self.local = list(map(real_shard, tensors))
        """The shards of this process, which share the memory of `tensors`."""

    def follow(self, places: Sequence[int | None], weights: Sequence[Tensor]) -> None:
        """Hold a tensor for each of other weights: that of its place before, or a copy where it had none."""
        pairs = zip(places, weights, strict=True)
        self.hold([self.memory(weight).copy_(weight) if place is None else self.tensors[place] for place, weight in pairs])

    def carry(self, functions: Mapping[int, Callable[[Tensor], Tensor]]) -> None:
        """Hold what functions make of the tensors at some places: those of weights that have another shape now."""
        self.hold([functions[place](tensor) if place in functions else tensor for place, tensor in enumerate(self.tensors)])

    def load(self, saved: Sequence[Tensor]) -> None:
        """Copy saved tensors into the set. Raise ValueError for those of another model."""
        shards = [real_shard(shard_like(value, tensor)) for value, tensor in zip(saved, self.tensors, strict=True)]
        if [shard.shape for shard in shards] != [shard.shape for shard in self.local]:
            raise ValueError("its averaged weights are those of another model")  # one number would be copied to all of a weight
        torch._foreach_copy_(self.local, [shard.to(self.local[0].device) for shard in shards])


class WeightMean(WeightSet):
    """Mean of all sets, as `torch.optim.swa_utils.AveragedModel` computes it on a CPU, in float32 at least.

    Whether a set counts is a number on the device, so nobody waits for it. The number of launches does not depend on that of the
    weights.

    Args:
        weights: tensors whose shapes, layouts and devices the mean has.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__(weights, wide=True)
        torch._foreach_zero_(self.local)
        self.count = torch.zeros((), dtype=torch.float32, device=self.local[0].device)
        """Number of sets that count, 0-dim float32 on the device."""

    def add(self, weights: Sequence[Tensor], skip: Tensor) -> None:
        """Add a set of weights, shards as `real_shard` gives them; nothing at all if `skip` (0-dim float32) is 1."""
        count = self.count + 1
        steps = [torch.empty_like(mean) for mean in self.local]
        torch._foreach_copy_(steps, list(weights))
        torch._foreach_sub_(steps, self.local)
        torch._foreach_div_(steps, torch.where(skip == 0, count, torch.inf))
        torch._foreach_add_(self.local, steps)
        torch.where(skip == 0, count, self.count, out=self.count)

    def mean(self) -> WeightMean:
        """Return the mean of all sets so far."""
        return self

    def state_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the mean by the names of the weights, and how many sets it is of."""
        return {"count": self.count, "average": dict(zip(names, self.tensors, strict=True))}

    def load_state_dict(self, state: dict[str, Any], names: Sequence[str]) -> None:
        """Load what `state_dict` returned; without a mean in it, begin anew."""
        if "average" in state:
            self.load([state["average"][name] for name in names])
            self.count.copy_(state["count"])


class LastMean:
    """Mean of the last sets, of which copies are kept, each in its own dtype.

    Args:
        weights: tensors whose shapes, layouts and devices the sets have.
        last: how many sets.
    """

    def __init__(self, weights: Sequence[Tensor], last: int) -> None:
        self.weights, self.last = list(weights), last
        self.sets: list[tuple[WeightSet, Tensor]] = []
        """The sets, oldest first, each with a 1 if it does not count, 0-dim float32 on the device."""

    def add(self, weights: Sequence[Tensor], skip: Tensor) -> None:
        """Add a copy of a set of weights, shards as `real_shard` gives them. It does not count if `skip` (0-dim float32) is 1."""
        copies = self.sets.pop(0)[0] if len(self.sets) == self.last else WeightSet(self.weights, wide=False)
        torch._foreach_copy_(copies.local, list(weights))
        self.sets.append((copies, skip.clone()))

    def mean(self) -> WeightMean:
        """Return the mean of the last sets, computed here."""
        mean = WeightMean(self.weights)
        for copies, skip in self.sets:
            mean.add(copies.local, skip)
        return mean

    def follow(self, places: Sequence[int | None], weights: Sequence[Tensor]) -> None:
        """Hold tensors for other weights, as `WeightSet.follow` does."""
        self.weights = list(weights)
        for copies, _ in self.sets:
            copies.follow(places, weights)

    def carry(self, functions: Mapping[int, Callable[[Tensor], Tensor]]) -> None:
        """Hold other tensors at some places, as `WeightSet.carry` does. `follow` has to be called next."""
        for copies, _ in self.sets:
            copies.carry(functions)

    def state_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the sets by the names of the weights, oldest first."""
        sets = [{"skip": skip, "weights": dict(zip(names, copies.tensors, strict=True))} for copies, skip in self.sets]
        return {"snapshots": sets}

    def load_state_dict(self, state: dict[str, Any], names: Sequence[str]) -> None:
        """Load the newest sets of what `state_dict` returned; without sets in it, begin anew."""
        for saved in state.get("snapshots", [])[-self.last :]:
            copies = WeightSet(self.weights, wide=False)
            copies.load([saved["weights"][name] for name in names])
            self.sets.append((copies, saved["skip"].to(copies.local[0].device, copy=True)))
