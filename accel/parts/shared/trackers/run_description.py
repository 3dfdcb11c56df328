"""Description of a run for a tracker: its name, and all of its settings under dotted names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["RunDescription", "flattened"]


@dataclass(frozen=True)
class RunDescription:
    """What a tracker is told of a run before its first point.

    Args:
        name: that of the run directory, with that of a multirun before it.
        group: the name of the directory around it.
        parameters: settings by dotted names: `epochs`, `task.width`, `plugins.amp.dtype`; plain values.
        facts: `versions.torch`, `host`, `command`, `git.revision`, by dotted names.
        out: the run directory.
        update: updates done before.
    """

    name: str
    group: str
    parameters: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    out: str = ""
    update: int = 0

    @classmethod
    def of(cls, run: Run) -> RunDescription:
        """Return the description of a run that has a directory and a plan."""
        assert run.out is not None
        out, plan = run.out.resolve(), run.plan
        name = f"{out.parent.name}/{out.name}" if out.name.isdigit() else out.name  # a job of a multirun
        plugins = {row.plugin: {"": row.status, **row.settings} for row in plan.rows if row.status.startswith("on")}
        task = {"": plan.task.get("class", ""), **plan.task.get("arguments", {})}
        parameters = dict(flattened({**plan.settings, "task": task, "plugins": plugins}))
        return cls(name, out.parent.name, parameters, dict(flattened(plan.provenance)), str(out), run.progress.step)


def flattened(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything in nested dicts; an empty key adds nothing to the name."""
    for key, inner in value.items():
        name = f"{prefix}.{key}".strip(".") if prefix or key else prefix
        if isinstance(inner, dict) and inner:
            yield from flattened(inner, name)
        else:
            yield name, inner
