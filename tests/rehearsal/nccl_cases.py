"""What two ranks do for test_nccl.py, in torch alone and under accel; see `tests.support.rank_processes`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore

from accel import Trainer
from accel.plugins.ddp import DDP
from accel.plugins.fsdp import FSDP

__all__ = [
    "case_a_rank_that_does_not_come",
    "case_an_error_of_one_rank",
    "case_other_collectives",
    "case_other_sizes",
    "case_parts_of_the_ranks",
    "case_sums",
]

NUMBERS = [torch.int8, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@contextmanager
def group(name: str, seconds: float = 60) -> Iterator[int]:
    """Have this rank in a group by nccl, on a device of its own. What fails in it is not to end the process."""
    rank = int(os.environ["RANK"])
    torch.cuda.set_device(rank)
    os.environ |= {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0", "TORCH_NCCL_BLOCKING_WAIT": "1", "TORCH_NCCL_ENABLE_MONITORING": "0"}
    store = dist.PrefixStore(name, TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False))
    device = torch.device("cuda", rank)
    dist.init_process_group("nccl", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=seconds), device_id=device)
    try:
        yield rank
        torch.cuda.synchronize()
        dist.destroy_process_group()
    except BaseException:
        with suppress(dist.DistError):  # torch has ended it after a timeout
            dist.distributed_c10d._abort_process_group()
        raise


def ones(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return ones on this rank's device."""
    return torch.ones(count, dtype=dtype, device="cuda")


def case_sums(folder: Path) -> dict[str, Any]:
    """Collectives, by kind of number and operator."""
    operators = {"sum": dist.ReduceOp.SUM, "product": dist.ReduceOp.PRODUCT, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
    results: dict[str, Any] = {}
    with group("sums") as rank:
        for dtype in NUMBERS:
            for name, operator in operators.items():
                tensor = torch.tensor([1, 2, 3], device="cuda").to(dtype) + 2 * rank
                dist.all_reduce(tensor, operator)
                results[f"{name} {dtype}"] = tensor.tolist()
        mean = ones(2) * (rank + 1)
        dist.all_reduce(mean, dist.ReduceOp.AVG)
        pieces = [ones(2) * 9 for _ in range(2)]
        dist.all_gather(pieces, ones(2) * rank)
        piece = ones(2)
        dist.reduce_scatter(piece, [ones(2) * (rank + 1), ones(2) * 10 * (rank + 1)])
        sent = ones(2) * rank
        dist.broadcast(sent, src=1)
        results |= {
            "mean": mean.tolist(),
            "gathered": [each.tolist() for each in pieces],
            "scattered": piece.tolist(),
            "sent": sent.tolist(),
        }
    return results


def case_parts_of_the_ranks(folder: Path) -> float:
    """A group of one rank each, made from the large one."""
    with group("parts") as rank:
        parts = [dist.new_group([each]) for each in range(2)]
        tensor = ones(1) * (rank + 1)
        dist.all_reduce(tensor, group=parts[rank])
        dist.barrier()
        return tensor.item()


def failure_of(name: str, collective: Callable[[int], Any], seconds: float = 60) -> str:
    """Return what torch raises, or what the stand-in wrote down."""
    library = ctypes.CDLL("libnccl.so.2")
    library.ncclGetLastError.restype = ctypes.c_char_p
    try:
        with group(name, seconds) as rank:
            collective(rank)
    except dist.DistError as error:
        return f"{error} {library.ncclGetLastError(None).decode()}"
    return str(library.ncclGetLastError(None).decode())


def case_other_sizes(folder: Path) -> str:
    """NCCL would hang, or read past the end."""
    return failure_of("sizes", lambda rank: dist.all_reduce(ones(3 + rank)))


def case_other_collectives(folder: Path) -> str:
    """The second collective of one rank is the first of the other."""
    return failure_of("order", lambda rank: dist.all_reduce(ones(4)) if rank else dist.broadcast(ones(4), src=0))


class Failing(Trainer):
    """A model whose loss fails on one rank, in the third update."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if os.environ["RANK"] == "1" and batch.sum() > 9:
            raise ValueError("this sample cannot be used")
        return model(batch).square().mean()


def case_an_error_of_one_rank(folder: Path) -> dict[str, str]:
    """Neither rank may hang."""
    results = {}
    for part in (DDP(backend="nccl"), FSDP(backend="nccl")):
        data = [torch.full((2, 4), value) for value in (0.1, 0.2, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0)]
        try:
            Failing(nn.Linear(4, 1), data, plugins=[part], watch=(), device="cuda").fit()
        except Exception as error:
            results[part.name] = f"{type(error).__name__}: {error}"
    return results


def wait_for(tensor: Tensor) -> None:
    """Wait for the other rank on the host."""
    work = dist.all_reduce(tensor, async_op=True)
    assert work is not None
    work.wait()


def case_a_rank_that_does_not_come(folder: Path) -> str:
    """torch's own watch over its collectives ends the wait. The last of the cases: its group stays."""
    return failure_of("late", lambda rank: rank or wait_for(ones(4)), seconds=2)
