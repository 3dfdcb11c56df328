"""A run that goes on with another number of ranks, and with the first again: 2, 1, 2. Each start but the last stops somewhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from torch import nn

from accel.parts import Part
from tests.support.drill_length import times
from tests.support.points_trainer import RANK, Keeps, Points, Stop

EPOCHS, SAMPLES, BATCH = 3, 23, 3
UPDATES = 4
"""Of an epoch: three with 6 samples, and a last with 5."""
TURNS = times(1, 20)
TOLERANCE = 1e-6
"""Of losses and weights, which are about 1: one process adds up in another order than two."""
Plugins = Callable[[], list[Part]]


def turns(folder: Path, both: Plugins, alone: dict[str, Plugins], kind: type[Points] = Points) -> list[dict[str, Any]]:
    """What this rank saw of a run of two that was left alone, and of runs that one process went on with in between.

    Args:
        folder: for the run directories.
        both: the plugins of two ranks.
        alone: those of one, by how it is called.
        kind: of the trainer.
    """
    actual = []
    counted = type("Counted", (Counted, kind), {})
    for name, plugins in alone.items():
        for number in range(TURNS):
            every, first, second = stops(number)
            out: dict[str, Any] = {"out": folder / f"{name} {number}"}
            go_on: dict[str, Any] = {"resume": folder / f"{name} {number}"}
            starts = [start(counted, both(), every, stop=first, **out)]
            starts.append(start(counted, plugins(), every, stop=second, ranks=1, **go_on) if RANK == 0 else {"seen": {}})
            starts.append(start(counted, both(), every, **go_on))
            actual.append({"name": f"{name} {number}", "starts": starts})
    whole = start(counted, both(), 1)
    return [{**one, "whole": whole} for one in actual]


def stops(number: int) -> tuple[int, int, int]:
    """How often a run saves, and after which updates its first two starts die; what is saved is the middle of an epoch."""
    rng = Random(number)
    while True:
        every, *dies = rng.randint(1, 3), rng.randint(2, 12), rng.randint(2, 12)
        saved = [max(step for step in range(stop) if step % every == 0 or step % UPDATES == 0) for stop in dies]
        if saved[0] < saved[1] and all(step % UPDATES for step in saved):
            return every, *dies  # type: ignore[return-value]


def start(kind: type[Points], plugins: list[Part], every: int, stop: int = 0, ranks: int = 2, **settings: Any) -> dict[str, Any]:
    """What one start came to: `seen`, its samples by the number of the update, `losses`, and on the first rank `weights`."""
    keeps = Keeps(stop=stop)
    trainer: Any = kind(
        samples=SAMPLES, plugins=[*plugins, keeps], watch=(), batch_size=BATCH, epochs=EPOCHS, seed=5, device="cpu",
        checkpoint_every=every if settings else None, **settings,
    )  # fmt: skip
    weights = None
    with patch.dict(os.environ, {"WORLD_SIZE": str(ranks)}), warnings.catch_warnings():
        if ranks == 1:
            warnings.filterwarnings("ignore", ".* has no effect: this process trains alone")
        try:
            model = trainer.fit().model
            weights = [param.detach().clone() for param in model.parameters()] if RANK == 0 else None
        except Stop:
            assert stop
    return {"seen": keeps.seen, "losses": keeps.losses, "weights": weights}


class Counted(Points):
    """It writes down which samples it trains on, by the number of the update, where no checkpoint keeps it."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        if model.training:
            points = super().data("train").tensors[0]
            numbers = [int((points == point).all(1).nonzero()) for point in batch[0]]
            keeps = next(plugin for plugin in self.plugins if isinstance(plugin, Keeps))
            keeps.seen.setdefault(keeps.run.progress.step, []).extend(numbers)
        return super().loss(model, batch)


def check(*ranks: dict[str, Any]) -> None:
    """What both ranks have seen of one run is what they see of one that is left alone."""
    begins = [min(start["seen"]) for start in ranks[0]["starts"]]
    assert 0 == begins[0] < begins[1] < begins[2], "each start goes on where what the one before has saved ends"
    assert all(begin % UPDATES for begin in begins[1:]), "which is the middle of an epoch"
    counted: dict[int, list[int]] = {}
    losses: list[float] = []
    for turn, until in enumerate([*begins[1:], EPOCHS * UPDATES]):
        for update in range(begins[turn], until):
            counted[update] = sorted(number for rank in ranks for number in rank["starts"][turn]["seen"].get(update, []))
        losses += ranks[0]["starts"][turn]["losses"][: until - begins[turn]]
    for epoch in range(EPOCHS):
        updates = [counted[update] for update in range(epoch * UPDATES, (epoch + 1) * UPDATES)]
        assert sorted(chain(*updates)) == list(range(SAMPLES)), f"each sample once in epoch {epoch + 1}"
        assert [len(update) for update in updates] == [6, 6, 6, 5]
    whole = ranks[0]["whole"]
    assert counted == {
        update: sorted(number for rank in ranks for number in rank["whole"]["seen"][update]) for update in counted
    }, "the same samples in each update"
    apart = [abs(resumed - uninterrupted) for resumed, uninterrupted in zip(losses, whole["losses"], strict=True)]
    pairs = zip(ranks[0]["starts"][-1]["weights"], whole["weights"], strict=True)
    assert max(apart + [float((resumed - uninterrupted).abs().max()) for resumed, uninterrupted in pairs]) <= TOLERANCE
