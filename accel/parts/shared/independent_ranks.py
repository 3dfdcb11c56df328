"""Ranks that work apart until the last backward pass of an update is done, and meet only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from accel.device.dtensor import is_dtensor
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["IndependentRanks", "collective_in_forward"]


class IndependentRanks:
    """Each rank tells the others how its passes went, and the gradients travel when all of them have gone well.

    With one process there is nobody to tell, and nothing travels.

    Args:
        run: whose ranks they are, with its model.
        name: of the plugin that needs it, for what it cannot work with.

    Raises:
        ConfigError: where something makes ranks wait for one another inside the forward pass.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.parallel, self.precision = run.parts.parallel, run.parts.precision
        self.several = self.parallel.world_size > 1
        self.lacking: tuple[bool, ...] = ()
        """Which parameters got no gradient on any rank when the ranks last told."""
        if self.several and (meets := collective_in_forward(run)):
            raise ConfigError(
                f"{name} cannot work with {meets} inside the forward pass: one rank that runs out of memory there leaves the "
                f"others waiting; leave one out: '~plugins.{name}'"
            )

    def exchange(self, mine: dict[str, Any], wrong: bool) -> list[dict[str, Any]]:
        """What every rank reports, by rank: told only where one went `wrong`, or other parameters than before got no gradient.

        Where nobody has to tell, this rank's own alone. Every rank must ask, and waits for the others on the host.
        """
        if not self.several:
            return [mine]
        lacking = tuple(param.grad is None for _, param in self.precision.params)
        if not self.parallel.any(wrong or lacking != self.lacking):
            return [mine]
        told = self.parallel.gather((mine, wrong, lacking))
        if not any(wrong for _, wrong, _ in told):
            self.lacking = tuple(all(those) for those in zip(*(lacking for _, _, lacking in told), strict=True))
        return [report for report, _, _ in told]

    def average_gradients(self) -> None:
        """Averages the gradients over the ranks; one that only this rank lacks is 0 here."""
        if not self.several:
            return
        there = [param for (_, param), lacks in zip(self.precision.params, self.lacking, strict=True) if not lacks]
        for param in there:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        self.parallel.average([param.grad for param in there if param.grad is not None])


def collective_in_forward(run: Run) -> str:
    """What makes ranks wait for one another inside the forward pass, in words; empty where nothing does."""
    if any(is_dtensor(param) for param in run.unwrapped_model.parameters()):
        return f"{run.parts.parallel.name}, which gathers weights"
    if any(isinstance(module, nn.SyncBatchNorm) for module in run.model.modules()):
        return "SyncBatchNorm, in which ranks meet"
    return ""
