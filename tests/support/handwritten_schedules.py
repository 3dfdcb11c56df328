"""Learning rates of whole runs, from formulas that are written out here, or from torch's schedulers where those define them."""

from __future__ import annotations

from math import cos, pi, sqrt
from typing import Any

import torch
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

Settings = dict[str, Any]
WARMED = ("cosine", "linear", "wsd", "step", "polynomial", "constant")
"""Schedules that begin with a linear warm-up."""


def count(length: float, updates: int) -> int:
    """A length in updates: below 1 it is a share of the run."""
    return round(length * updates) if length < 1 else int(length)


def fits(name: str, settings: Settings, updates: int) -> bool:
    """Whether accel, or torch's own scheduler, takes the lengths of a schedule in a run of so many updates."""
    if name == "onecycle":
        return settings["pct_start"] * updates != 1  # torch divides by zero
    warmup = count(settings.get("warmup", 0.0), updates)
    if name == "wsd":
        return warmup + max(1, count(settings["decay"], updates)) <= updates
    if name == "step" and settings["milestones"]:
        drops = [max(1, count(place, updates)) for place in settings["milestones"]]
        return warmup < updates and drops == sorted(drops) and drops[-1] < updates
    return warmup < updates


def rates(name: str, settings: Settings, lr: float, updates: int) -> list[float]:
    """The learning rate of each update.

    Args:
        name: of the schedule; empty for none.
        settings: of accel's plugin of that name.
        lr: of the optimiser.
        updates: of the whole run.
    """
    if not name:
        return [lr] * updates
    if name not in WARMED:
        return torchs(name, settings, lr, updates)
    warmup = count(settings["warmup"], updates)
    climb = [lr * (step + 1) / (warmup + 1) for step in range(warmup)]
    if name == "step":  # drops are counted from the start, and the warm-up multiplies
        heights = [*[(step + 1) / (warmup + 1) for step in range(warmup)], *[1.0] * (updates - warmup)]
        return [lr * heights[step] * settings["gamma"] ** drops(settings, step, updates) for step in range(updates)]
    return climb + [lr * share(name, settings, step - warmup, updates - warmup, updates) for step in range(warmup, updates)]


def drops(settings: Settings, step: int, updates: int) -> int:
    """How often `step` has dropped until an update, from 0."""
    if settings["milestones"] is None:
        return step // max(1, count(settings["step_size"], updates))
    return sum(step >= max(1, count(place, updates)) for place in settings["milestones"])


def share(name: str, settings: Settings, step: int, left: int, updates: int) -> float:
    """The rate behind the warm-up as a share of the optimiser's.

    Args:
        name: of the schedule.
        settings: its settings.
        step: the update, from 0 behind the warm-up.
        left: how many updates there are behind the warm-up.
        updates: of the whole run.
    """
    if name == "constant":
        return 1.0
    floor, length = float(settings["floor"]), left - 1
    if name == "wsd":
        length = max(1, count(settings["decay"], updates))
        step = max(0, step - (left - 1 - length))
    done = 1.0 if length == 0 else step / length
    if done == 1.0:
        return floor
    shape = settings["shape"] if name == "wsd" else name
    height = {
        "linear": 1 - done, "cosine": (1 + cos(pi * done)) / 2, "sqrt": 1 - sqrt(done),
        "polynomial": (1 - done) ** settings.get("power", 1.0),
    }[shape]  # fmt: skip
    return floor + (1 - floor) * height


def torchs(name: str, settings: Settings, lr: float, updates: int) -> list[float]:
    """The rates of torch's OneCycleLR or CyclicLR."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    if name == "onecycle":
        scheduler: Any = OneCycleLR(
            optimizer, settings["max_lr"], total_steps=updates, pct_start=settings["pct_start"], cycle_momentum=False,
            anneal_strategy=settings["anneal"],
        )  # fmt: skip
    else:
        scheduler = CyclicLR(
            optimizer, lr / 25, lr, step_size_up=max(1, count(settings["step_size"], updates)), mode=settings["mode"],
            gamma=settings["gamma"], cycle_momentum=False,
        )  # fmt: skip
    values = []
    for step in range(updates):
        values.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step < updates - 1:
            scheduler.step()
    return values
