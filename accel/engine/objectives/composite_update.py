"""The update of several objectives: that of each in turn, over the same window."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from accel.engine.objectives.composite import Composite
from accel.engine.objectives.composite_parts import CompositeGuard
from accel.engine.objectives.minimize import METHOD, Minimize
from accel.engine.objectives.objective_update import shared_window
from accel.errors import ConfigError, TrainingError, listed
from accel.parts import Grads, Run, Update, Window
from accel.parts.shared.item_counts import ItemCounts
from accel.values import to_plain

__all__ = ["CompositeUpdate", "named_errors"]


class CompositeUpdate(Composite, Update):
    """Update in which each objective that is due moves its own parameters, after the step of the one before.

    An objective is due in update t, from 0, if its `every` divides t: in the first, whatever it is.

    Args:
        views: as for `Composite`.
        objectives: the objectives, in their order.
        names_by_objective: names of the parameters of each.
        own_parts: names of the plugins that each has of its own, with their settings.
        sentences: what the plan is to warn of.
    """

    kind = "update"

    def __init__(
        self,
        views: Mapping[str, Run],
        objectives: Sequence[Minimize],
        names_by_objective: dict[str, list[str]],
        own_parts: dict[str, dict[str, Any]],
        sentences: list[str],
    ) -> None:
        super().__init__(views)
        self.every = {objective.name: objective.every for objective in objectives}
        self.names_by_objective, self.own_parts, self.sentences = names_by_objective, own_parts, sentences

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.progress, self.parallel, self.average = run.progress, run.parts.parallel, run.parts.average
        guard = run.parts.guard
        assert isinstance(guard, CompositeGuard)
        self.guards, self.objective = guard, run.parts.objective
        counts = ItemCounts(run.device, run.progress)
        for objective in (self.objective, *(view.parts.objective for view in self.views.values())):
            objective.item_counts = counts  # type: ignore[misc]
        for view in self.views.values():
            for watch in view.watches:
                watch.setup(view)

    def __call__(self, window: Window) -> Tensor:
        due = {name: member for name, member in self.members.items() if self.progress.step % self.every[name] == 0}
        window = shared_window(window, len(due), self.parallel)
        logged: dict[str, Any] = {}
        losses: list[Tensor] = []
        skipped: list[Tensor | None] = []
        for name, member in due.items():
            with named_errors(name):
                losses.append(member(window))
            logged[f"{name}/loss"] = losses[-1]
            logged |= {f"{name}/{label}": number for label, number in member.logged.items()}
            skipped.append(member.average.skipped)
        self.logged = logged  # type: ignore[misc]
        self.average.update(Grads([], found_inf=all_of(skipped)))
        self.guards.count()
        return reduce(torch.add, [loss.to(torch.promote_types(loss.dtype, torch.float32)) for loss in losses])

    def measured(self, measure: Any, batch: Any) -> list[Any]:
        measurements: list[Any] = self.first.measured(measure, batch)
        return measurements

    def user_losses(self) -> list[Any]:
        return [view.loss for view in self.views.values()]

    def warn_of_count(self, doubt: str, samples: int) -> None:
        self.first.warn_of_count(doubt, samples)

    def close(self) -> None:
        for member in self.members.values():
            member.close()

    def plan_notes(self) -> Mapping[str, str]:
        return {f"objective {name}": self.describe(name) for name in self.members}

    def describe(self, name: str) -> str:
        """Return what an objective moves, how and when, in words."""
        parts, every = self.views[name].parts, self.every[name]
        count, optim = sum(param.numel() for _, param in parts.precision.params), parts.optim
        own = f"; of its own: {', '.join(self.own_parts[name])}" if self.own_parts[name] else ""
        when = "every update" if every == 1 else f"one of {every} updates"
        names = listed([name for name, _ in parts.precision.params])
        return f"{count:,} parameters ({names}), {optim.plan_notes()['optimizer']}, lr {optim.lr * optim.scale:g}, {when}{own}"

    def ineffective_settings(self, run: Run) -> list[str]:
        return [*self.sentences, *super().ineffective_settings(run)]

    def objectives_identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with this one: order, parameters, plugins of their own."""
        return {
            name: {
                "place": place,
                "every": self.every[name],
                "parameters": f"{len(names)} ({hashlib.sha256(' '.join(names).encode()).hexdigest()[:16]})",
                "plugins": to_plain(self.own_parts[name]),
            }
            for place, (name, names) in enumerate(self.names_by_objective.items())
        }


def all_of(skipped: list[Tensor | None]) -> Tensor | None:
    """Return 1 if none of the steps moved anything, else 0: 0-dim float32; None if one of them cannot have been skipped."""
    flags = [flag for flag in skipped if flag is not None]
    return reduce(torch.minimum, flags) if len(flags) == len(skipped) else None


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Context in which an error says which objective it is of."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{METHOD}, {name}: {error}") from error
    except TrainingError as error:
        raise TrainingError(f"{METHOD}, {name}: {error}", error.resume) from error
