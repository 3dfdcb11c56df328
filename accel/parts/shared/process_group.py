"""Base of the ways to train in several processes: joining, agreeing to save or stop, leaving."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, ClassVar, Literal
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore

from accel.errors import ConfigError, TrainingError
from accel.parts.parallel import NOTHING, Parallel
from accel.parts.run import Run
from accel.parts.shared.ranks.abort_watch import AbortWatch
from accel.parts.shared.ranks.end_group import end_group
from accel.parts.shared.ranks.rank_failures import FAREWELL, RankFailures, is_known
from accel.parts.shared.ranks.rank_meeting import rendezvous
from accel.system.rendezvous import name_interface, open_store
from accel.values import Positive

__all__ = ["TOPICS", "PendingVote", "ProcessGroup"]

PendingVote = tuple[Any, Tensor]
"""Collective that is under way, and the numbers that it fills."""
TOPICS = ("save", "end", "stop")
"""Topics of votes. Votes on all of them travel together, when the last topic has been asked."""


@dataclass(eq=False)
class ProcessGroup(Parallel):
    """Processes that `torchrun` started, in one group. Without torchrun, or if it starts one, this process trains alone.

    Args:
        backend: library that carries tensors between the ranks: nccl on GPUs, gloo on CPUs; auto takes the one for the device.
        timeout: seconds to wait for the others before one of them counts as lost.
    """

    one_run: ClassVar[bool] = True

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    timeout: Positive = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.joined, self.restarts = False, 0
        self.is_own_group = True
        """Whether the group of all ranks was made here, and not by the user."""
        self.failures: RankFailures | None = None
        self.abort_watch: AbortWatch | None = None
        self.stop_requested: Callable[[], bool] = lambda: False
        self.pending_vote: PendingVote | None = None
        self.flags, self.answers = [0] * len(TOPICS), [0] * len(TOPICS)

    @property
    def rank(self) -> int:
        if dist.is_initialized():
            return dist.get_rank()
        return _number("RANK", 0) if self.is_distributed else 0

    @property
    def world_size(self) -> int:
        return dist.get_world_size() if dist.is_initialized() else _number("WORLD_SIZE", 1)

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
        if not dist.is_initialized():
            lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
            if lacking:
                raise ConfigError(f"{self.name}: WORLD_SIZE is {self.world_size} and {lacking[0]} is not set; start it by torchrun")
        device = self._own_device(device)
        try:
            self._make_groups(kind)
        except (dist.DistError, TimeoutError, RuntimeError) as error:
            if is_known(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"{self.name}: the {self.world_size} processes did not meet ({reason})") from error
        self.joined = True
        self.restarts = max(self.gather(self.restarts))  # each node counts its own
        return device

    def _own_device(self, device: torch.device) -> torch.device:
        """Return the GPU of this process, where the run is on GPUs; else `device`."""
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", _number("LOCAL_RANK", 0))
            if device.index >= (count := torch.cuda.device_count()):
                raise ConfigError(
                    f"{self.name}: torchrun started more processes than there are GPUs ({count}); start --nproc-per-node={count}"
                )
        return device

    def _make_groups(self, kind: str) -> None:
        """Make the group of all ranks, if the user has not, one for decisions on the host, and the table of failures."""
        limit = timedelta(seconds=self.timeout)
        self.is_own_group = not dist.is_initialized()
        if self.is_own_group:
            # imported while a group exists, as DistributedDataParallel does, its default arguments hold the group for good, and
            # with it the threads of gloo, which may not outlive Python (torch 2.13)
            import_module("torch.distributed.nn.functional")
            store = rendezvous(open_store(self.timeout), self.rank, self.world_size, self.timeout)
            name_interface(store, self.rank, self.world_size)
            dist.init_process_group(kind, store=store, rank=self.rank, world_size=self.world_size, timeout=limit)
        # decisions travel between the hosts, whatever carries the tensors, and in an order of their own
        self.host = dist.new_group(backend="gloo", timeout=limit)
        names: list[Any] = [uuid4().hex]
        dist.broadcast_object_list(names, 0, group=self.host)
        corner = PrefixStore(f"accel/{names[0]}", dist.distributed_c10d._get_default_store())
        self.failures = RankFailures(corner, self.rank, self.world_size)
        self.abort_watch = AbortWatch(self.failures) if kind == "nccl" else None

    def _kind(self, device: torch.device) -> str:
        """Return the name of the backend for tensors of `device`. Raise ConfigError if it cannot carry them."""
        kind = {"cuda": "nccl"}.get(device.type, "gloo") if self.backend == "auto" else self.backend
        if kind == "nccl" and device.type != "cuda":
            raise ConfigError(f"{self.name}.backend=nccl carries tensors of GPUs, and this run is on {device}; set backend=gloo")
        if not dist.is_initialized():
            return kind
        started, ranks = _number("WORLD_SIZE", dist.get_world_size()), dist.get_world_size()
        if started != ranks:
            raise ConfigError(
                f"{self.name}: the process group that exists has {ranks} ranks, and WORLD_SIZE is {started}; make one of all"
            )
        backends = dict(pair.split(":") for pair in dist.get_backend_config().split(","))
        existing = backends.get(device.type, "none")
        if existing == "none" or (self.backend != "auto" and existing != kind):
            wish = f"{self.name}.backend={self.backend}" if existing != "none" else f"device={device.type}"
            raise ConfigError(
                f"{self.name}: the process group that exists carries tensors of {device.type} by {existing}, which does not "
                f"go with {wish}; make it by init_process_group({kind!r}), or leave that to {self.name}"
            )
        return existing

    def setup(self, run: Run) -> None:
        super().setup(run)
        if self.is_distributed and not self.joined:
            raise ConfigError(f"{self.name} has not joined the other processes")
        sparse = [name for name, buffer in run.unwrapped_model.named_buffers() if buffer.layout != torch.strided]
        if self.is_distributed and sparse:
            raise ConfigError(
                f"{self.name} sends each rank the first one's buffers, and torch cannot send {sparse[0]}, which is sparse; keep it "
                "as a plain attribute of its module, or dense"
            )

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

    def highest(self, numbers: Sequence[int]) -> list[int]:
        if not self.joined:
            return [int(number) for number in numbers]
        most = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(most, dist.ReduceOp.MAX, group=self.host)
        return [int(number) for number in most.tolist()]

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

    def share_errors(self, stop_requested: Callable[[], bool] = lambda: False) -> AbstractContextManager[None]:
        self.stop_requested = stop_requested
        return NOTHING if self.failures is None else self.failures.shared(stop_requested)

    def close(self) -> None:
        if not self.joined or self.failures is None:
            return
        self.joined = False
        failures, held = self.failures, vars(self)
        if self.abort_watch is not None:
            self.abort_watch.end()
        # no name here for what holds the connections: they end as this call does
        end_group(held.pop("host"), self.is_own_group, failures, held.pop("pending_vote"), self.stop_requested)
        self.pending_vote = None
        if failures.published:  # the others wait for this rank until its connections end, and then look why
            failures.wait_until_all_leave(FAREWELL, self.stop_requested)

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.is_distributed:
            return []
        start = "torchrun --nproc-per-node=2 -m accel.train"
        return [f"{self.name} has no effect: this process trains alone; start several by {start}"]

    def identity(self) -> None:
        """Return None: the number of ranks may change from one start to the next."""


def _number(variable: str, otherwise: int) -> int:
    """Return a number that torchrun sets in the environment."""
    return int(os.environ.get(variable, otherwise))
