"""What the ranks tell one another while remedies are tried: no process group is there between two runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from time import perf_counter, sleep
from typing import Any, TypeVar

from torch import distributed

from accel.errors import ConfigError, TrainingError
from accel.parts import Parallel, Part
from accel.parts.shared.ranks.rank_meeting import rendezvous
from accel.system.rendezvous import open_store

__all__ = ["TIMEOUT", "LoneRank", "RankTable", "meet_ranks"]

TIMEOUT = 600.0
"""Seconds to wait for another rank."""
Outcome = TypeVar("Outcome")


class LoneRank:
    """One process, which agrees with itself."""

    rank, world_size = 0, 1

    def gather(self, value: Any) -> list[Any]:
        """Return the plain values of all ranks, by rank. Every rank must call it."""
        return [value]

    def clock(self) -> float:
        """Return the time in seconds, the same on every rank."""
        return float(self.gather(perf_counter())[0])

    def together(self, call: Callable[[], Outcome]) -> Outcome:
        """Return what a call returns, after every rank has made it.

        Raises:
            ConfigError: on every rank, where the call raises it or a TrainingError on one of them.
        """
        failure, outcome = "", None
        try:
            outcome = call()
        except (ConfigError, TrainingError) as error:
            if self.world_size == 1:
                raise
            failure = str(error)
        if failures := [text for text in self.gather(failure) if text]:
            raise ConfigError(failures[0])
        return outcome  # type: ignore[return-value]


class RankTable(LoneRank):
    """Ranks that write into one store what they tell the others.

    Args:
        store: part of the store that belongs to these very processes.
        rank: of this process.
        world_size: number of ranks.
    """

    def __init__(self, store: Any, rank: int, world_size: int) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size
        self.round = 0

    def gather(self, value: Any) -> list[Any]:
        self.round += 1
        self.store.set(f"trial/{self.round}/{self.rank}", json.dumps(value))
        keys, since = [f"trial/{self.round}/{other}" for other in range(self.world_size)], perf_counter()
        while not self.store.check(keys):  # to get what is not there yet is to wait where no signal is heard
            if perf_counter() - since > TIMEOUT:
                raise TrainingError(f"another rank has not answered for {TIMEOUT:.0f} seconds")
            sleep(0.005)
        return [json.loads(self.store.get(key)) for key in keys]


def meet_ranks(plugins: Iterable[Part]) -> LoneRank:
    """Return the ranks that torchrun started for a run; a lone one where it trains alone. Every rank must call it.

    Args:
        plugins: of the run.

    Raises:
        ConfigError: if the ranks belong to a process group that the user has made, which no further process can join.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if not any(isinstance(plugin, Parallel) for plugin in plugins):
        return LoneRank()
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        raise ConfigError("runs that are tried meet in groups of their own, and this process is in one that it has made itself")
    if world_size == 1:
        return LoneRank()
    rank = int(os.environ["RANK"])
    table = RankTable(rendezvous(open_store(TIMEOUT), rank, world_size, TIMEOUT), rank, world_size)
    table.gather(None)  # none goes on, to a meeting of the next run, before all have left this one
    return table
