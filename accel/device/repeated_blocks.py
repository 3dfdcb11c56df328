"""The blocks that a model repeats."""

from __future__ import annotations

from torch import nn

__all__ = ["repeated_blocks"]


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the outermost modules of which the model has several of one class: its blocks.

    Containers, which only call their children, and modules without children, which are one operation, are no blocks.
    """
    counts: dict[type[nn.Module], int] = {}
    for module in model.modules():
        counts[type(module)] = counts.get(type(module), 0) + 1

    def inside(module: nn.Module) -> list[nn.Module]:
        blocks = []
        for child in module.children():
            is_block = type(child) not in (nn.Sequential, nn.ModuleList, nn.ModuleDict) and counts[type(child)] > 1
            blocks += [child] if is_block and any(True for _ in child.children()) else inside(child)
        return blocks

    return list(dict.fromkeys(inside(model)))  # a block may stand in two places
