"""A plugin that halves a hidden layer between two updates: the smallest change of shape that all parts have to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from accel.parts import Pruning, Replacement, Run
from accel.values import Count

__all__ = ["Halve"]


@dataclass(eq=False)
class Halve(Pruning):
    """Halves the first hidden layer of `Toy` after some updates: every second unit is left.

    Args:
        at: the updates after which it does, the first time.
        times: how often it does, each time as many updates later.
    """

    at: Count = 3
    times: Count = 1

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        self.done = (structure or {}).get("done", 0)
        return model

    def change(self, run: Run) -> Sequence[Replacement] | None:
        if self.done == self.times or run.progress.step < self.at * (self.done + 1):
            return None
        self.done += 1
        return halve(run.unwrapped_model)

    def structure(self) -> dict[str, Any]:
        return {"done": self.done} if self.done else {}

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        for _ in range(structure["done"]):
            halve(model)
        return model

    def capture_blocker(self) -> str:
        return "Halve changes the model between two updates"


def halve(model: Any) -> list[Replacement]:
    """Halve the layer between the first and the last Linear of a `Sequential`, and the LayerNorm after it."""
    first, norm, last = model[0], model[1], model[4]
    replacements = []
    for owner, name, dim in ((first, "weight", 0), (first, "bias", 0), (norm, "weight", 0), (norm, "bias", 0), (last, "weight", 1)):

        def carry(tensor: Tensor, dim: int = dim) -> Tensor:
            return (tensor[::2] if dim == 0 else tensor[:, ::2]).contiguous()

        old = owner._parameters[name]
        new = nn.Parameter(carry(old.detach()).clone(), old.requires_grad)
        setattr(owner, name, new)
        replacements.append(Replacement(old, new, carry))
    first.out_features = last.in_features = first.weight.shape[0]
    norm.normalized_shape = (first.out_features,)
    return replacements
