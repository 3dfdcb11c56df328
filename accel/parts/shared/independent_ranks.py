"""Ranks that communicate only after the last backward pass of an update."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from accel.device.dtensor import is_dtensor
from accel.errors import ConfigError
from accel.parts.run import Run

__all__ = ["IndependentRanks", "collective_in_forward"]


class IndependentRanks:
    """Ranks that report how their passes went, and average their gradients when all passes went well.

    With one process nothing is reported and nothing is averaged.

    Args:
        run: the run, with its ranks and its model.
        name: name of the plugin in which a rank may fail alone, for error messages; empty where none does.

    Raises:
        ConfigError: where a rank may fail alone, if something makes ranks wait for one another inside the forward pass.
    """

    def __init__(self, run: Run, name: str = "") -> None:
        self.parallel, self.precision = run.parts.parallel, run.parts.precision
        self.is_distributed = self.parallel.world_size > 1
        self.lacking: tuple[bool, ...] = ()
        """For each parameter, whether it got no gradient on any rank in the last report."""
        if name and self.is_distributed and (collective := collective_in_forward(run)):
            raise ConfigError(
                f"{name} cannot work with {collective} inside the forward pass: one rank that runs out of memory there leaves the "
                f"others waiting; leave one out: '~plugins.{name}'"
            )

    def exchange(self, report: dict[str, Any], failed: bool) -> list[dict[str, Any]]:
        """Return the reports of all ranks, by rank, if one failed or other parameters than before got no gradient.

        Otherwise return the report of this rank alone. Every rank must call it, and waits for the others on the host.

        Args:
            report: plain values about the passes of this rank.
            failed: whether a pass of this rank failed.
        """
        if not self.is_distributed:
            return [report]
        lacking = tuple(param.grad is None for _, param in self.precision.params)
        if not self.parallel.any(failed or lacking != self.lacking):
            return [report]
        reports = self.parallel.gather((report, failed, lacking))
        if not any(failed for _, failed, _ in reports):
            self.lacking = tuple(all(ranks) for ranks in zip(*(lacking for _, _, lacking in reports), strict=True))
        return [report for report, _, _ in reports]

    def average_gradients(self) -> None:
        """Average the gradients over the ranks. A gradient that only this rank lacks counts as 0."""
        if not self.is_distributed:
            return
        params = [param for (_, param), lacks in zip(self.precision.params, self.lacking, strict=True) if not lacks]
        for param in params:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        self.parallel.average([param.grad for param in params if param.grad is not None])


def collective_in_forward(run: Run) -> str:
    """Return what makes ranks wait for one another inside the forward pass, in words; empty if nothing does."""
    if any(is_dtensor(param) for param in run.unwrapped_model.parameters()):
        return f"{run.parts.parallel.name}, which gathers weights"
    if any(isinstance(module, nn.SyncBatchNorm) for module in run.model.modules()):
        return "SyncBatchNorm, in which ranks meet"
    return ""
