"""Path of the module whose operators run now, in the forward pass and, by the order of the graph's nodes, in the backward pass."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["ModulePath"]

NO_NODE = 2**63
"""Number that no node of a graph reaches; that of nodes which add up gradients is above it."""


class ModulePath:
    """Context in which `current` is the path of the module that computes, None outside of the model.

    The hooks are those for all modules: the model's own are not touched. torch numbers the nodes of a graph as they are made,
    and so each node belongs to the module that was under way at its number.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names: dict[nn.Module, str] = {}
        for name, module in model.named_modules():
            self.names.setdefault(module, name)
        self.stack: list[str] = []
        self.starts: list[int] = [-1]
        self.owners: list[str | None] = [None]
        """The module from each number of a node on."""
        self.last: str | None = None

    def __enter__(self) -> ModulePath:
        self.handles = [
            register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave, always_call=True)
        ]  # fmt: skip
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        if module in self.names:
            self.stack.append(self.names[module])
            self._mark()

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if module in self.names and self.stack:
            self.stack.pop()
            self._mark()

    def _mark(self) -> None:
        self.starts.append(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]
        self.owners.append(self.stack[-1] if self.stack else None)

    def current(self) -> tuple[str | None, bool]:
        """Return the path of the module that computes, None outside of the model, and whether it is the backward pass."""
        node = torch._C._current_autograd_node()
        if node is None:
            return (self.stack[-1] if self.stack else None), False
        if self.stack:  # a part of the forward pass that is computed anew
            return self.stack[-1], True
        number = node._sequence_nr()
        if number < NO_NODE:
            self.last = self.owners[bisect_right(self.starts, number) - 1]
        return self.last, True
