"""What all ways to train in several processes share: meeting, deciding together, parting."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store

from accel.errors import ConfigError, TrainingError
from accel.parts.parallel import Parallel
from accel.system.rendezvous import name_interface, open_store
from accel.values import Positive

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["ABOUT", "Asked", "ProcessGroup", "rendezvous"]

Asked = tuple[Any, Tensor]
"""A collective that is under way, and the numbers that it fills."""
ABOUT = ("save", "stop")
"""What the ranks agree about. All of it travels together, when they have been asked about the last."""


@dataclass(eq=False)
class ProcessGroup(Parallel):
    """Processes that `torchrun` started, in one group. Without torchrun, or where it starts one, this process trains alone.

    Args:
        backend: who carries tensors between the ranks: nccl on GPUs, gloo on CPUs; auto takes the one for the run's device.
        timeout: seconds to wait for the others before one of them counts as lost.
    """

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    timeout: Positive = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.joined, self.restarts = False, 0
        self.asked: Asked | None = None
        self.flags, self.answers = [0] * len(ABOUT), [0] * len(ABOUT)

    @property
    def rank(self) -> int:
        return _number("RANK", 0) if self.several else 0

    @property
    def world_size(self) -> int:
        return _number("WORLD_SIZE", 1)

    @property
    def several(self) -> bool:
        """Whether there is anybody else."""
        return self.world_size > 1

    @property
    def attempt(self) -> int:
        return self.restarts

    def join(self, device: torch.device) -> torch.device:
        """Meets the other processes in a group of nobody else's; returns this one's device.

        Raises:
            ConfigError: for a backend that cannot carry the device's tensors, or more processes than GPUs.
            TrainingError: where the others do not come in time.
        """
        kind, self.restarts = self._kind(device), _number("TORCHELASTIC_RESTART_COUNT", 0)
        if not self.several:
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
            why = " ".join(str(error).split())[:200]
            raise TrainingError(f"{self.name}: the {self.world_size} processes did not meet ({why})") from error
        self.joined = True
        self.restarts = max(self.gather(self.restarts))  # each node counts its own
        return device

    def _kind(self, device: torch.device) -> str:
        """The name of the backend for tensors of `device`."""
        kind = {"cuda": "nccl"}.get(device.type, "gloo") if self.backend == "auto" else self.backend
        if kind == "nccl" and device.type != "cuda":
            raise ConfigError(f"{self.name}.backend=nccl carries tensors of GPUs, and this run is on the CPU; set backend=gloo")
        return kind

    def setup(self, run: Run) -> None:
        super().setup(run)
        if self.several and not self.joined:
            raise ConfigError(f"{self.name} has not joined the other processes")

    def sum(self, number: Tensor) -> Tensor:
        return self.all_reduce_async(number)()

    def all_reduce_async(self, number: Tensor) -> Callable[[], Tensor]:
        if not self.joined:
            return lambda: number
        total = number.clone()
        work = dist.all_reduce(total, async_op=True)

        def arrived() -> Tensor:
            work.wait()
            return total

        return arrived

    def any(self, flag: bool) -> bool:
        if not self.joined:
            return flag
        number = torch.tensor(int(flag))
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self.host)
        return bool(number)

    def vote(self, flag: bool, about: str = "stop") -> bool:
        if not self.joined:
            return flag
        if self.asked is not None:
            work, found = self.asked
            work.wait()
            self.answers, self.asked = found.tolist(), None
        place = ABOUT.index(about)
        answer = bool(self.answers[place])
        self.flags[place] = int(flag and not answer)  # what has been answered is not asked again
        if place == len(ABOUT) - 1:
            number = torch.tensor(self.flags)
            self.asked = dist.all_reduce(number, dist.ReduceOp.MAX, group=self.host, async_op=True), number
            self.flags = [0] * len(ABOUT)
        return answer

    def gather(self, value: Any) -> list[Any]:
        if not self.joined:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value, group=self.host)
        return found

    def close(self) -> None:
        if self.joined:
            self.joined = False
            self.asked = None
            dist.destroy_process_group()

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.several:
            return []
        start = "torchrun --nproc-per-node=2 -m accel.train"
        return [f"{self.name} has no effect: this process trains alone; start several by {start}"]

    def identity(self) -> None:
        """Nothing: how many ranks there are may change from one start to the next."""


def rendezvous(store: Store, rank: int, world_size: int, timeout: float) -> Store:
    """A corner of the store for these very processes, whoever died in it before them.

    Processes that torchrun begins anew find in its store the addresses of the dead ones, and would wait for them forever. Its count
    of restarts does not tell them apart: it is each node's own. So every process leaves a name that is new; the first puts them
    together, the others confirm that theirs is among them, and what all have confirmed is where they meet.

    Raises:
        TimeoutError: where they do not all come within `timeout` seconds.
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
    """What torchrun tells."""
    return int(os.environ.get(variable, otherwise))
