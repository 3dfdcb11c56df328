"""Base of the ways to train in several processes: joining, agreeing to save or stop, leaving."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from time import monotonic, sleep
from typing import Any, Literal
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store

from accel.errors import ConfigError, TrainingError
from accel.parts.parallel import Parallel
from accel.parts.run import Run
from accel.system.rendezvous import name_interface, open_store
from accel.values import Positive

__all__ = ["TOPICS", "PendingVote", "ProcessGroup", "rendezvous"]

PendingVote = tuple[Any, Tensor]
"""Collective that is under way, and the numbers that it fills."""
TOPICS = ("save", "stop")
"""Topics of votes. Votes on all of them travel together, when the last topic has been asked."""


@dataclass(eq=False)
class ProcessGroup(Parallel):
    """Processes that `torchrun` started, in one group. Without torchrun, or if it starts one, this process trains alone.

    Args:
        backend: library that carries tensors between the ranks: nccl on GPUs, gloo on CPUs; auto takes the one for the device.
        timeout: seconds to wait for the others before one of them counts as lost.
    """

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    timeout: Positive = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.joined, self.restarts = False, 0
        self.pending_vote: PendingVote | None = None
        self.flags, self.answers = [0] * len(TOPICS), [0] * len(TOPICS)

    @property
    def rank(self) -> int:
        return _number("RANK", 0) if self.is_distributed else 0

    @property
    def world_size(self) -> int:
        return _number("WORLD_SIZE", 1)

    @property
    def is_distributed(self) -> bool:
        """Whether there is more than one process."""
        return self.world_size > 1

    @property
    def attempt(self) -> int:
        return self.restarts

    def join(self, device: torch.device) -> torch.device:
        """Join the other processes in a new group, and return the device of this one.

        Raises:
            ConfigError: for a backend that cannot carry the device's tensors, or for more processes than GPUs.
            TrainingError: if the others do not come in time.
        """
        kind, self.restarts = self._kind(device), _number("TORCHELASTIC_RESTART_COUNT", 0)
        if not self.is_distributed:
            return device
        lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if lacking:
            raise ConfigError(f"{self.name}: WORLD_SIZE is {self.world_size} and {lacking[0]} is not set; start it by torchrun")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", _number("LOCAL_RANK", 0))
            if device.index >= torch.cuda.device_count():
                raise ConfigError(
                    f"{self.name}: torchrun started more processes here than there are GPUs ({torch.cuda.device_count()}); "
                    f"start --nproc-per-node={torch.cuda.device_count()}"
                )
        if device.type == "cuda":
            torch.cuda.set_device(device)
        limit = timedelta(seconds=self.timeout)
        try:
            store = rendezvous(open_store(self.timeout), self.rank, self.world_size, self.timeout)
            name_interface(store, self.rank, self.world_size)
            dist.init_process_group(kind, store=store, rank=self.rank, world_size=self.world_size, timeout=limit)
            # decisions travel between the hosts, whatever carries the tensors, and in an order of their own
            self.host = dist.new_group(backend="gloo", timeout=limit)
        except (dist.DistError, TimeoutError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"{self.name}: the {self.world_size} processes did not meet ({reason})") from error
        self.joined = True
        self.restarts = max(self.gather(self.restarts))  # each node counts its own
        return device

    def _kind(self, device: torch.device) -> str:
        """Return the name of the backend for tensors of `device`."""
        kind = {"cuda": "nccl"}.get(device.type, "gloo") if self.backend == "auto" else self.backend
        if kind == "nccl" and device.type != "cuda":
            raise ConfigError(f"{self.name}.backend=nccl carries tensors of GPUs, and this run is on the CPU; set backend=gloo")
        return kind

    def setup(self, run: Run) -> None:
        super().setup(run)
        if self.is_distributed and not self.joined:
            raise ConfigError(f"{self.name} has not joined the other processes")

    def sum(self, number: Tensor) -> Tensor:
        return self.all_reduce_async(number)()

    def all_reduce_async(self, number: Tensor) -> Callable[[], Tensor]:
        if not self.joined:
            return lambda: number
        total = number.clone()
        work = dist.all_reduce(total, async_op=True)

        def wait() -> Tensor:
            work.wait()
            return total

        return wait

    def any(self, flag: bool) -> bool:
        if not self.joined:
            return flag
        number = torch.tensor(int(flag))
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self.host)
        return bool(number)

    def vote(self, flag: bool, topic: str = "stop") -> bool:
        if not self.joined:
            return flag
        if self.pending_vote is not None:
            work, votes = self.pending_vote
            work.wait()
            self.answers, self.pending_vote = votes.tolist(), None
        place = TOPICS.index(topic)
        answer = bool(self.answers[place])
        self.flags[place] = int(flag and not answer)  # what has been answered is not asked again
        if place == len(TOPICS) - 1:
            number = torch.tensor(self.flags)
            self.pending_vote = dist.all_reduce(number, dist.ReduceOp.MAX, group=self.host, async_op=True), number
            self.flags = [0] * len(TOPICS)
        return answer

    def gather(self, value: Any) -> list[Any]:
        if not self.joined:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.host)
        return values

    def close(self) -> None:
        if self.joined:
            self.joined = False
            self.pending_vote = None
            dist.destroy_process_group()

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.is_distributed:
            return []
        start = "torchrun --nproc-per-node=2 -m accel.train"
        return [f"{self.name} has no effect: this process trains alone; start several by {start}"]

    def identity(self) -> None:
        """Return None: the number of ranks may change from one start to the next."""


def rendezvous(store: Store, rank: int, world_size: int, timeout: float) -> Store:
    """Return a part of the store for these very processes, whichever processes died in it before them.

    Processes that torchrun restarts find in its store the addresses of the dead ones, and would wait for them forever. Its count
    of restarts does not tell them apart: each node has its own. So every process leaves a new name. The first puts the names
    together, and the others confirm that theirs is among them. The names that all have confirmed name the part of the store.

    Raises:
        TimeoutError: if not all of them come within `timeout` seconds.
    """
    me, since = uuid4().hex, monotonic()
    store.set(f"accel/here/{rank}", me)
    wanted = [f"accel/here/{other}" for other in range(world_size)] if rank == 0 else ["accel/names"]
    while True:
        names: list[str] = []
        if store.check(wanted):  # to get what is not there yet is to wait where no signal is heard
            names = " ".join(store.get(key).decode() for key in wanted).split()
        if names and rank == 0:
            store.set("accel/names", " ".join(names))
        corner = "accel/" + sha256(" ".join(names).encode()).hexdigest()[:16]
        if names[rank:][:1] == [me]:
            store.set(f"{corner}/{rank}", "")
            done = [f"{corner}/{other}" for other in range(world_size)] if rank == 0 else [f"{corner}/done"]
            if store.check(done):
                store.set(f"{corner}/done", "")
                return PrefixStore(corner, store)
        if monotonic() - since > timeout:
            raise TimeoutError(f"not within {timeout:g} seconds")
        sleep(0.01)


def _number(variable: str, otherwise: int) -> int:
    """Return a number that torchrun sets in the environment."""
    return int(os.environ.get(variable, otherwise))
