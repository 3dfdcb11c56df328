"""What a run is going to do, before it does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from accel.data.batches.base import Batches
from accel.engine.select_parts import part_name
from accel.parts import Part, Run
from accel.values import to_plain

__all__ = ["Plan", "PlanRow", "effective_batch", "make_plan"]


@dataclass
class PlanRow:
    """One plugin: where it acts, how it is set, whether it is on or why not."""

    plugin: str
    part: str
    settings: dict[str, Any]
    status: str


@dataclass
class Plan:
    """The plugins of a run, the facts of it, each with its value in words, and the warnings."""

    rows: list[PlanRow] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The content of plan.json."""
        return {"schema": 1, **asdict(self)}


def make_plan(run: Run, plugins: Sequence[Part], skipped: dict[str, str], bundled: Sequence[str], train: Batches) -> Plan:
    """The plan of a run that is set up.

    Args:
        run: the run.
        plugins: those that are on.
        skipped: those left out, with the reason.
        bundled: names of those that only a bundle asked for: what has no effect here is their status, and no warning.
        train: what it trains on.
    """
    rows = [PlanRow(plugin.name, part_name(plugin), to_plain(plugin.settings), "on") for plugin in plugins]
    rows += [PlanRow(name, "", {}, f"skipped: {reason}") for name, reason in skipped.items()]
    count = sum(param.numel() for param in run.unwrapped_model.parameters())
    trained = sum(param.numel() for param in run.unwrapped_model.parameters() if param.requires_grad)
    size = run.parts.group.size
    known = run.batch_size if train.uses_batch_size else None
    facts = {
        "device": str(run.device),
        "model": f"{type(run.unwrapped_model).__name__}, {count:,} parameters"
        + (f", {trained:,} trained" if trained < count else ""),
        "data": train.describe(),
        "effective batch": effective_batch(known, size, run.parts.parallel.world_size),
        "updates": "unknown: the data has no length" if run.updates is None else
        f"{run.updates:,} = {run.epochs} epoch{'s' * (run.epochs != 1)} x {-(-(run.batches or 0) // size)}",
    }  # fmt: skip
    facts |= train.plan_notes()
    warnings = []
    for part in [*run.parts.all(), *run.watches]:
        facts |= part.plan_notes()
        idle = part.ineffective_settings(run)
        if idle and part.name in bundled:
            next(row for row in rows if row.plugin == part.name).status = "on; " + "; ".join(idle)
        else:
            warnings += idle
    return Plan(sorted(rows, key=lambda row: row.plugin), facts, warnings)


def effective_batch(batch_size: int | None, size: int, world_size: int) -> str:
    """Samples per update and how they come about; `batch_size` is None where the data comes in ready batches."""
    factors = [f"{size} micro-batches"] * (size > 1) + [f"{world_size} ranks"] * (world_size > 1)
    if batch_size is None:
        return " x ".join(["as the data's own batches", *factors])
    total = batch_size * size * world_size
    return f"{total} = " + " x ".join([str(batch_size), *factors]) if factors else str(total)
