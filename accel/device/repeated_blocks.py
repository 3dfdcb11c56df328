"""The blocks of a model: what it repeats."""

from __future__ import annotations

from torch import nn


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The outermost modules of which the model has several of the same class: its blocks.

    Containers, which only call what they hold, and modules without children, which are one operation, are no blocks.
    """
    counts: dict[type[nn.Module], int] = {}
    for module in model.modules():
        counts[type(module)] = counts.get(type(module), 0) + 1

    def inside(module: nn.Module) -> list[nn.Module]:
        found = []
        for child in module.children():
            block = type(child) not in (nn.Sequential, nn.ModuleList, nn.ModuleDict) and counts[type(child)] > 1
            found += [child] if block and any(True for _ in child.children()) else inside(child)
        return found

    return list(dict.fromkeys(inside(model)))  # a block may stand in two places
