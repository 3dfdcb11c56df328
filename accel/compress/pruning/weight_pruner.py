"""Pruner of single weights: masks that follow a schedule, and keep what is zero at zero."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from accel.compress.pruning.channel_pruner import Pruned
from accel.compress.pruning.model_cost import CostPair
from accel.compress.pruning.pruning_trial import PruningTrial
from accel.compress.pruning.unit_selection import Scope
from accel.compress.pruning.weight_masks import global_masks, layer_mask, maskable_weights, pattern_mask
from accel.errors import ConfigError

__all__ = ["WeightPruner"]


class WeightPruner:
    """Pruner of the weights of linear layers and convolutions.

    Args:
        pattern: N and M, of which N of every M weights stay; None for the least weights anywhere.
        scope: whether the weights of a layer are compared, or all together; a pattern compares within a block.
    """

    def __init__(self, pattern: tuple[int, int] | None, scope: Scope) -> None:
        self.pattern, self.scope = pattern, scope
        self.names: list[str] = []
        """Names of the weights that may be pruned."""
        self.masks: dict[str, Tensor] = {}
        """Which weights stay, bool, by name."""
        self.weights: list[Tensor] = []
        """Those of them that the optimiser moves."""
        self.columns: list[Tensor] = []
        """Their masks."""

    def take_model(self, model: nn.Module, structure: Mapping[str, Any] | None) -> nn.Module:
        """Return a copy of a model as it is when the run begins: none of its modules changes."""
        return deepcopy(model)

    def take_weights(self, model: nn.Module, excluded: set[str]) -> None:
        """Find the weights of a model that may be pruned: all but those of the layers whose paths are excluded.

        Raises:
            ConfigError: if there is none.
        """
        self.names = self.prunable(model, excluded)
        if not self.names:
            inputs = f" whose inputs come in blocks of {self.pattern[1]}" if self.pattern else ""
            raise ConfigError(f"prune: {type(model).__name__} has no linear layer or convolution{inputs} to prune; leave prune out")

    def prunable(self, model: nn.Module, excluded: set[str]) -> list[str]:
        """Return the names of the weights of a model that may be pruned, but for those of some layers."""
        return [
            name
            for name, weight in maskable_weights(model).items()
            if name.rpartition(".")[0] not in excluded and (self.pattern is None or not weight.shape[1] % self.pattern[1])
        ]

    def try_out(self, trial: PruningTrial, excluded: set[str], ratio: float) -> CostPair:
        """Time the model beside a copy with as many zeros as there are going to be. Raise ConfigError if there can be none."""
        self.take_weights(trial.model, excluded)
        copy = deepcopy(trial.model)
        twin = WeightPruner(self.pattern, self.scope)
        twin.names = self.names
        twin.prune(copy, dict(copy.named_parameters()), ratio)
        return trial.compare(copy)

    @torch.no_grad()
    def prune(self, model: nn.Module, tensors: Mapping[str, Tensor], ratio: float, agree: Any = None) -> list[Pruned]:
        """Choose the masks of a schedule point, and make zeros. Ranks, whose weights are equal, choose the same.

        Args:
            model: the model.
            tensors: the tensors that the optimiser moves, and all other parameters, by name.
            ratio: share of the weights that is zero from here on; with a pattern, of the blocks that have it.
            agree: not needed.
        """
        weights = {name: tensors[name] for name in self.names}
        if self.pattern is not None:
            masks = {name: pattern_mask(weight, *self.pattern, ratio) for name, weight in weights.items()}
        elif self.scope == "global":
            masks = global_masks(weights, ratio)
        else:
            masks = {name: layer_mask(weight, ratio) for name, weight in weights.items()}
        self.masks = masks
        self.follow(tensors)
        self.hold()
        params = dict(model.named_parameters())
        return [Pruned(params[name], params[name], partial(_masked, mask)) for name, mask in masks.items()]

    def follow(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors that the optimiser moves from here on, by name."""
        moved = [name for name in self.masks if name in tensors]
        self.weights, self.columns = [tensors[name] for name in moved], [self.masks[name] for name in moved]

    @torch.no_grad()
    def hold(self) -> None:
        """Make zeros again of weights that an optimiser has moved."""
        if self.weights:
            torch._foreach_mul_([weight.detach() for weight in self.weights], self.columns)

    @torch.no_grad()
    def clear_gradients(self) -> None:
        """Make zeros of the gradients of weights that are zero. They must be the true ones, which may be changed."""
        pairs = [(weight.grad, mask) for weight, mask in zip(self.weights, self.columns, strict=True) if weight.grad is not None]
        if pairs:
            torch._foreach_mul_([grad for grad, _ in pairs], [mask for _, mask in pairs])

    def penalised(self, model: nn.Module) -> list[str]:
        """Return the names of the weights that L1 draws to zero: all that may go."""
        return self.names

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the model."""
        return {"masks": self.masks}

    def load_state_dict(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned."""
        devices = {name: tensor.device for name, tensor in tensors.items()}
        self.masks = {name: mask.to(devices.get(name, mask.device), copy=True) for name, mask in state.get("masks", {}).items()}
        self.follow(tensors)

    @property
    def structure(self) -> dict[str, Any]:
        """Empty: the zeros are in the weights, and the modules as they were."""
        return {}

    def largest_change(self) -> str:
        """Nothing: the layers are as large as they were."""
        return ""

    @property
    def text(self) -> str:
        """How many weights are not zero, in words; empty before the first mask."""
        zero, total = self.zeros
        return f"{total - zero:,} of {total:,} weights in {len(self.masks)} layers" if self.masks else ""

    @property
    def zeros(self) -> tuple[int, int]:
        """How many weights are zero, and how many may be."""
        return sum(int((~mask).sum()) for mask in self.masks.values()), sum(mask.numel() for mask in self.masks.values())


def _masked(mask: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor that is kept of a weight with zeros where the weight has them."""
    return tensor * mask if tensor.shape == mask.shape else tensor
