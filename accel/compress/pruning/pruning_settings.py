"""Settings of pruning that cannot work, or have no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accel.errors import listed

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["find_conflict", "unused_settings"]

MODES = {"channels": ("importance", "multiple", "taylor_updates"), "weights": (), "pattern": ("pattern",)}
"""The settings that only one mode has."""


def find_conflict(plugin: Any, run: Run, first: int) -> str:
    """Return why a run cannot be pruned so, and what to do; empty if it can.

    Args:
        plugin: the plugin, with its settings.
        run: the run.
        first: the update after which the first step is made.
    """
    parts = run.parts
    looks = "prune.importance=taylor" if plugin.mode == "channels" and plugin.importance == "taylor" else ""
    if parts.parallel.name == "fsdp":
        return "prune needs each weight whole, and fsdp spreads them over the ranks; use ddp, or leave prune out"
    if hasattr(parts.optim, "members"):
        return "prune knows one objective, and this task has several; leave prune out"
    if parts.update.name == "step_in_backward" and (looks or plugin.mode != "channels"):
        looks = looks or f"prune.mode={plugin.mode}"
        return f"{looks} looks at all gradients, and step_in_backward has each for itself; leave one out"
    if plugin.mode != "channels" and (lost := lost_zeros(plugin, run)):
        return (
            f"prune.mode={plugin.mode} makes zeros, and {parts.quantisation.name} has no level 0 in {listed(lost, 2)}; take a "
            f"scheme with one, as lowbit.kind=twn, or leave these layers whole: prune.exclude=[{', '.join(lost)}]"
        )
    if looks and first < 1:
        return (
            f"{looks} needs gradients, and there are none before its first step, after update 0; set a later prune.end, or "
            "prune.importance=magnitude"
        )
    return ""


def lost_zeros(plugin: Any, run: Run) -> list[str]:
    """Return the names of layers whose weights would be pruned, and in which zeros are something else."""
    model, without_zero = run.unwrapped_model, set(run.parts.quantisation.loses_zeros())
    names = plugin.pruner.prunable(model, plugin.excluded(model)) if without_zero else []
    return [layer for layer in (name.rpartition(".")[0] for name in names) if layer in without_zero]


def unused_settings(plugin: Any) -> list[str]:
    """Return a sentence on each changed setting that has no effect."""
    unused = [name for mode, names in MODES.items() if mode != plugin.mode for name in names]
    messages = [f"prune.{name} has no effect with prune.mode={plugin.mode}" for name in plugin.changed(*unused)]
    if plugin.mode == "pattern":
        messages += [f"prune.{name} has no effect with prune.mode=pattern" for name in plugin.changed("ratio", "scope")]
    if plugin.mode == "channels" and plugin.importance != "taylor" and plugin.changed("taylor_updates"):
        messages.append(f"prune.taylor_updates has no effect with prune.importance={plugin.importance}")
    if plugin.mode != "pattern" and plugin.ratio == 0:
        messages.append("prune has no effect: prune.ratio=0 takes nothing away")
    return messages
