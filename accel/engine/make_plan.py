"""The plan: what a run is going to do, before it does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from accel.data.datasets.store_notes import CLASSES, PASSED_OVER
from accel.device.dtensor import SHORT
from accel.engine.select_parts import part_name
from accel.errors import listed
from accel.parts import Part, Run
from accel.values import to_plain

__all__ = ["HELD_OUT_NOTES", "Plan", "PlanRow", "effective_batch", "facts_of", "make_plan", "numbers_of", "short_weights"]

HELD_OUT_NOTES = (PASSED_OVER, CLASSES)
"""Notes of the data that the plan has of the held-out data too."""


@dataclass
class PlanRow:
    """One plugin: the part that it provides, its settings, and whether it is on or why not."""

    plugin: str
    part: str
    settings: dict[str, Any]
    status: str


@dataclass
class Plan:
    """Plugins of a run, facts about it by name, in words, and warnings."""

    rows: list[PlanRow] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings of the run itself, by the names that are typed."""
    machine: dict[str, str] = field(default_factory=dict)
    """The machine, in words, by name."""
    task: dict[str, Any] = field(default_factory=dict)
    """The `class` of the task, and its own `arguments` by name; an object is the name of its class."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What the run was made with and by (`accel.checkpoints.code.provenance`)."""
    numbers: dict[str, int | None] = field(default_factory=dict)
    """Sizes of the run, by name; None where the data does not tell."""

    def as_dict(self) -> dict[str, Any]:
        """Return the content of plan.json."""
        return {"schema": 1, **asdict(self)}


def make_plan(run: Run, plugins: Sequence[Part], skipped: dict[str, str], bundled: Sequence[str]) -> Plan:
    """Return the plan of a run that is set up.

    Args:
        run: the run.
        plugins: the plugins that are on.
        skipped: plugins left out, each with the reason.
        bundled: plugins that only a bundle asked for: a setting without effect is their status, and no warning.
    """
    rows = [PlanRow(plugin.name, part_name(plugin), to_plain(plugin.settings), "on") for plugin in plugins]
    rows += [PlanRow(name, "", {}, f"skipped: {reason}") for name, reason in skipped.items()]
    facts, warnings = facts_of(run) | run.train.plan_notes(), []
    for split, batches in run.held_out_sets.items():
        notes = batches.plan_notes()
        facts |= {f"{name}, {split}": notes[name] for name in HELD_OUT_NOTES if name in notes}
    for part in [*run.parts.all(), *run.watches]:
        facts |= part.plan_notes()
        ineffective = part.ineffective_settings(run)
        if ineffective and part.name in bundled:
            next(row for row in rows if row.plugin == part.name).status = "on; " + "; ".join(ineffective)
        else:
            warnings += ineffective
    rows.sort(key=lambda row: row.plugin)
    return Plan(rows, facts, warnings + short_weights(run), numbers=numbers_of(run))


def numbers_of(run: Run) -> dict[str, int | None]:
    """Return the sizes that `facts_of` tells in words, as numbers."""
    parameters, ranks, micro_batches = list(run.unwrapped_model.parameters()), run.parts.parallel.world_size, run.parts.group.size
    return {
        "parameters": sum(param.numel() for param in parameters),
        "trained": sum(param.numel() for param in parameters if param.requires_grad),
        "batch_size": run.batch_size if run.train.uses_batch_size else None,
        "micro_batches": micro_batches,
        "ranks": ranks,
        "effective_batch": run.batch_size * micro_batches * ranks if run.train.uses_batch_size else None,
        "updates": run.updates,
        "updates_per_epoch": run.updates_per_epoch,
    }


def short_weights(run: Run) -> list[str]:
    """Return a warning if the optimiser moves 16-bit weights, in which small updates vanish; an empty list if it moves none."""
    short = [(name, str(param.dtype).removeprefix("torch.")) for name, param in run.parts.precision.params if param.dtype in SHORT]
    if not short:
        return []
    fix = "train it in float32 with the plugin amp"
    if run.parts.parallel.world_size == 1:
        fix = f"add the plugin master_weights, which keeps them in float32 for the optimiser, or {fix}"
    weights = f"the model trains weights of 16 bits ({listed(name for name, _ in short)}, {short[0][1]})"
    return [f"{weights}, where small updates are lost in rounding; {fix}"]


def facts_of(run: Run) -> dict[str, str]:
    """Return device, model, data, effective batch and number of updates, in words."""
    parameters = list(run.unwrapped_model.parameters())
    count = sum(param.numel() for param in parameters)
    trained = sum(param.numel() for param in parameters if param.requires_grad)
    micro_batches = run.parts.group.size
    updates = "unknown: the data has no length"
    per_epoch = run.updates_per_epoch
    if run.updates is not None and per_epoch is None:
        updates = f"{run.updates:,}; the data has no length"
    elif run.updates is not None and per_epoch is not None:
        epochs = round(run.updates / per_epoch, 4)
        updates = f"{run.updates:,} = {epochs:g} epoch{'s' * (epochs != 1)} x {per_epoch}"
    elif per_epoch is not None:
        updates = "as many as there is time for"
    return {
        "device": str(run.device),
        "model": f"{type(run.unwrapped_model).__name__}, {count:,} parameters"
        + (f", {trained:,} trained" if trained < count else ""),
        "data": run.train.describe(),
        "effective batch": effective_batch(
            run.batch_size if run.train.uses_batch_size else None, micro_batches, run.parts.parallel.world_size
        ),
        "updates": updates,
    }


def effective_batch(batch_size: int | None, micro_batches: int, world_size: int) -> str:
    """Return the samples per update and the factors that they come from. `batch_size` is None for ready batches."""
    factors = [f"{micro_batches} micro-batches"] * (micro_batches > 1) + [f"{world_size} ranks"] * (world_size > 1)
    if batch_size is None:
        return " x ".join(["as the data's own batches", *factors])
    total = batch_size * micro_batches * world_size
    return f"{total} = " + " x ".join([str(batch_size), *factors]) if factors else str(total)
