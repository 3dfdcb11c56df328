"""Pruner of channels: the groups of a model, which units of them go next, and what is left of the model so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from accel.compress.pruning.channel_groups import ChannelGroup, after_cut, kept_by_units, units_left
from accel.compress.pruning.channel_importance import Importance, TaylorSums, bn_scale, gammas, has_batch_norm, magnitude
from accel.compress.pruning.channel_trial import cut_copy
from accel.compress.pruning.kept_channels import Kept, as_plain, composed, counts_of, from_plain
from accel.compress.pruning.model_cost import CostPair
from accel.compress.pruning.model_cut import ModelCut, widened
from accel.compress.pruning.pruning_trial import PruningTrial
from accel.compress.pruning.unit_selection import Scope, check_ratio, select_units
from accel.errors import ConfigError, listed

__all__ = ["Agree", "ChannelPruner", "Pruned"]

Agree = Callable[[list[list[int]]], list[list[int]]]
"""Returns, on every rank, the units that the first one has chosen."""


class Pruned(NamedTuple):
    """A parameter that was pruned, the one in its place, which may be itself, and what becomes of a tensor that is kept of it."""

    old: nn.Parameter
    new: nn.Parameter
    carry: Callable[[Tensor], Tensor]


class ChannelPruner:
    """Pruner of the channels of one model, which it cuts several times.

    Args:
        importance: by what units are compared.
        scope: whether they are compared within their group, or all together.
        multiple: number of which the channels of a layer stay a multiple.
    """

    def __init__(self, importance: Importance, scope: Scope, multiple: int) -> None:
        self.importance, self.scope, self.multiple = importance, scope, multiple
        self.groups: list[ChannelGroup] = []
        """The groups, counted as the model is now."""
        self.totals: list[int] = []
        """Units that each group had in the user's own model."""
        self.kept: Kept = {}
        """Channels that are left of the user's own model."""
        self.counts: dict[str, dict[Any, int]] = {}
        """Channels that it had."""
        self.taylor: TaylorSums | None = None

    def take_model(self, model: nn.Module, structure: Mapping[str, Any] | None) -> nn.Module:
        """Take a model as it is when the run begins, which has been cut already where there is a structure.

        Returns:
            A copy of it as it was before it was ever cut.
        """
        self.kept, counts = from_plain(structure) if structure else ({}, {})
        original = widened(model, self.kept, counts)
        self.counts = counts_of(original)
        return original

    def take_groups(self, groups: list[ChannelGroup], model: nn.Module) -> None:
        """Take the groups of the model as it is now.

        Raises:
            ConfigError: if none of them can go.
        """
        if self.importance == "bn_scale":
            groups = [_whole(group, "no BatchNorm scales it") if not has_batch_norm(model, group) else group for group in groups]
        if all(group.whole for group in groups):
            first = next(iter(groups), None)
            reason = f": {first.name}: {first.whole}" if first is not None else ""
            raise ConfigError(
                f"prune.importance={self.importance}: no channels of {type(model).__name__} can go{reason}; prune single weights "
                "instead (prune.mode=weights), or leave prune out"
            )
        self.groups = groups
        self.totals = [len(group.units) for group in groups]

    def watch_gradients(self, model: nn.Module, device: torch.device) -> None:
        """Begin to sum up what the gradients tell of the importance (`taylor`)."""
        self.taylor = TaylorSums(model, self.groups, device)

    def choose(self, model: nn.Module, tensors: Mapping[str, Tensor], ratio: float) -> list[list[int]]:
        """Return the numbers of the units that stay of each group if the share `ratio` of what there was at first is gone.

        Args:
            model: the model as it is now.
            tensors: its parameters by name.
            ratio: share.
        """
        if self.importance == "taylor" and self.taylor is not None:
            values = [self.taylor.importance(number) for number in range(len(self.groups))]
        else:
            measure = bn_scale if self.importance == "bn_scale" else magnitude
            values = [
                torch.zeros(len(group.units), dtype=torch.float64) if group.whole else measure(model, group, tensors)
                for group in self.groups
            ]
        return select_units(self.groups, values, self.totals, ratio, self.multiple, self.scope)

    def prune(self, model: nn.Module, tensors: Mapping[str, Tensor], ratio: float, agree: Agree) -> list[Pruned]:
        """Cut the model down to what stays if the share `ratio` of the channels that there were at first is gone.

        Args:
            model: the model.
            tensors: the tensors that the optimiser moves, and all other parameters, by name.
            ratio: share.
            agree: returns, on every rank, what the first one has chosen.
        """
        units = agree(self.choose(model, tensors, ratio))
        kept = kept_by_units(model, self.groups, units)
        cut = ModelCut(model, kept)
        pairs = cut.apply(model)
        self.groups, self.kept = after_cut(self.groups, kept, units), composed(self.kept, kept)
        if self.taylor is not None:
            self.watch_gradients(model, self.taylor.count.device)
        return [Pruned(old, new, partial(_carried, cut, name)) for name, (old, new) in pairs.items()]

    def try_out(self, trial: PruningTrial, excluded: set[str], ratio: float) -> CostPair:
        """Follow the channels through a copy of the model, and cut it on trial.

        Args:
            trial: has the copy.
            excluded: paths of layers whose channels stay.
            ratio: share that is to be gone in the end.

        Returns:
            What the model costs before and after.

        Raises:
            ConfigError: if none can go, if nothing is left of a layer, and for channels that cannot be followed.
        """
        self.take_groups(trial.groups(excluded), trial.model)
        if self.scope == "layer":
            check_ratio(self.groups, ratio)
        units = self.choose(trial.model, dict(trial.model.named_parameters()), ratio)
        trial.check(self.groups, units)
        cost = trial.compare(cut_copy(trial.model, self.groups, units))
        self.groups = after_cut(self.groups, self.kept, units_left(self.groups, self.kept))
        return cost

    def penalised(self, model: nn.Module) -> list[str]:
        """Return the names of the weights that L1 draws to zero: the scales of BatchNorms whose channels may go."""
        return gammas(model, self.groups)

    def follow(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors that the optimiser moves from here on, by name."""

    def hold(self) -> None:
        """See that the optimiser has moved the weights: what went stays gone by itself."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the model."""
        return {} if self.taylor is None else {"sums": list(self.taylor.sums), "count": self.taylor.count}

    def load_state_dict(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned, once the groups are known. `tensors` are not needed."""
        if self.taylor is not None and "sums" in state:
            for own, saved in zip((*self.taylor.sums, self.taylor.count), (*state["sums"], state["count"]), strict=True):
                own.copy_(saved)

    @property
    def structure(self) -> dict[str, Any]:
        """What is left of the user's own model, in plain values; empty if that is all of it."""
        return as_plain(self.kept, self.counts) if self.kept else {}

    @property
    def text(self) -> str:
        """How much is left of the channels, and which stay whole, in words; empty before they are known."""
        free = [(group, total) for group, total in zip(self.groups, self.totals, strict=True) if not group.whole]
        total = sum(units * group.channels_per_unit for group, units in free)
        left = sum(group.channels for group, _ in free)
        whole = [f"{group.name} ({group.whole})" for group in self.groups if group.whole]
        stays = f"; whole: {listed(whole, 2)}" if whole else ""
        return f"{left:,} of {total:,} channels in {len(free)} groups of layers{stays}" if free else ""

    def largest_change(self) -> str:
        """Return the first groups that have been cut, in words; empty if none has."""
        cut = [
            f"{group.name} {total * group.channels_per_unit} -> {group.channels}"
            for group, total in zip(self.groups, self.totals, strict=True)
            if len(group.units) < total
        ]
        return listed(cut, 4)


def _carried(cut: ModelCut, name: str, tensor: Tensor) -> Tensor:
    """Return what is left of a tensor that is kept of a parameter."""
    left = cut(name, tensor)
    return tensor if left is None else left


def _whole(group: ChannelGroup, reason: str) -> ChannelGroup:
    return group if group.whole else replace(group, whole=reason)
