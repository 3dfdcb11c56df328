"""What makes a run the run it is: a checkpoint goes on only in a run of the same identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.parts import Part, Run, Schedule
from accel.values import plain


def identity(run: Run, plugins: Sequence[Part]) -> dict[str, Any]:
    """Plain values; plugins that change nothing, such as watches, are no part of it."""
    changing = {plugin.name: plain(its) for plugin in plugins if (its := plugin.identity()) is not None}
    found = {"seed": run.seed, "batch_size": run.batch_size, "plugins": changing}
    if type(run.parts.schedule) is not Schedule or run.parts.augment.paced:
        found["updates"] = run.updates  # a schedule of another length has other learning rates, or sizes of pictures
    return found


def difference(was: dict[str, Any], now: dict[str, Any]) -> str:
    """The first thing in which two identities differ, in words; empty where they are the same."""
    for name in now:
        before, after = was.get(name), now[name]
        if isinstance(before, dict) and isinstance(after, dict):
            if odd := sorted(before.keys() ^ after.keys()):
                return (
                    f"the plugin {odd[0]} was {'on' if odd[0] in before else 'off'} and is now {'on' if odd[0] in after else 'off'}"
                )
            for inner in after:
                if isinstance(after[inner], dict) and (changed := difference(before[inner], after[inner])):
                    return f"{inner}.{changed}"
        elif before != after:
            return f"{name} was {before} and is now {after}"
    return ""
