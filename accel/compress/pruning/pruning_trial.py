"""Trial of pruning on copies of the model before the run begins: what goes together, whether a cut is followed, what it saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from accel.compress.pruning.channel_groups import ChannelGroup
from accel.compress.pruning.channel_tracing import trace_channels
from accel.compress.pruning.channel_trial import check_cut, perturbed
from accel.compress.pruning.model_cost import CostPair, compare_costs
from accel.device.rng import seeded

__all__ = ["PruningTrial"]


class PruningTrial:
    """Trial on one batch.

    Args:
        model: a copy of the user's model, which nothing has changed yet.
        loss: the user's loss(model, batch).
        batch: of the training data.
        samples: its samples.
    """

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], Any], batch: Any, samples: int) -> None:
        self.model, self.loss, self.batch, self.samples = model, loss, batch, max(1, samples)

    def call(self, model: nn.Module) -> list[Tensor]:
        """Return what a model gives out in a forward pass that the loss makes; the loss itself if it calls parts of it alone."""
        outputs: list[Any] = []
        handle = model.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        try:
            with seeded(0):  # what is drawn is drawn by each copy alike
                loss = self.loss(model, self.batch)
        finally:
            handle.remove()
        return list(_floats(outputs or loss))

    def groups(self, excluded: set[str]) -> list[ChannelGroup]:
        """Return the groups of the model's channels.

        Args:
            excluded: paths of layers whose channels stay.

        Raises:
            ConfigError: if the channels cannot be followed.
        """
        groups = trace_channels(perturbed(self.model), self.call)
        return [
            replace(group, whole=f"prune.exclude names {named[0]}")
            if not group.whole and (named := [path for path, side in group.members if side == "out" and path in excluded])
            else group
            for group in groups
        ]  # fmt: skip

    def check(self, groups: list[ChannelGroup], units: list[list[int]]) -> None:
        """Cut copies of the model down to some units. Raise ConfigError for channels that cannot be followed."""
        check_cut(perturbed(self.model), groups, units, self.call)

    def compare(self, pruned: nn.Module) -> CostPair:
        """Return what the model and a pruned one cost, timed in turns."""
        return compare_costs(self.model, pruned, lambda model: self.loss(model, self.batch), self.samples)


def _floats(value: Any) -> list[Tensor]:
    """Return the tensors of floating-point numbers in a result, whatever holds them."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for inner in value for tensor in _floats(inner)]
    return _floats(list(vars(value).values())) if hasattr(value, "__dict__") else []
