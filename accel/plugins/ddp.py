"""DDP: several processes train one model, each on its part of every batch.

Start them with torchrun; each works on a batch of batch_size samples, and their
gradients are averaged while the backward pass still runs. The mean is over all
items of all ranks, so N ranks train as one process does on batches N times as
large, the last and short one too. The first rank alone prints and writes.

Helps   where there are several GPUs, or several machines.
Hurts   small models: an update takes as long as its gradients travel.
Costs   a copy of the model, its gradients and its optimiser in each process;
        the gradients over the wire, once per update (accumulate: less often).
Source  Li et al., PyTorch Distributed, arXiv 2006.15704;
        torch.nn.parallel.DistributedDataParallel.
Exact   Each sample once per epoch, in the order of one process. Each rank draws
        random numbers of its own (dropout). BatchNorm has the statistics of its
        own rank's batch, and its running ones are the first rank's;
        sync_batchnorm takes those of all. compress rounds the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from accel.errors import ConfigError
from accel.parts.parallel import NOTHING
from accel.parts.shared.process_group import ProcessGroup
from accel.system.machine import Need
from accel.values import Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["DDP", "Used", "let_go"]


@dataclass(eq=False)
class DDP(ProcessGroup):
    """A whole model in each of torchrun's processes; gradients are averaged in buckets, during the backward pass.

    Args:
        backend: who carries the gradients: nccl on GPUs, gloo on CPUs; auto takes the one for the run's device.
        timeout: seconds to wait for the other ranks before one of them counts as lost.
        bucket_mb: gradients travel so many megabytes at a time; with 25, as with torch's default, the first bucket is one of 1 MB.
        compress: gradients travel in 16 bits, as bf16 (CUDA) or fp16.
        static_graph: the model's graph is the same in each update, which is one micro-batch; torch then looks at it once.
        find_unused: look in each update for parameters that the loss does not use.
        sync_batchnorm: BatchNorm over the batches of all ranks.
    """

    needs: ClassVar[tuple[Need, ...]] = (
        Need("cuda", when={"sync_batchnorm": True}, why="torch has its SyncBatchNorm there alone", instead="sync_batchnorm=false"),
        Need("cuda", when={"compress": "bf16"}, why="torch sums bfloat16 by NCCL alone", instead="compress=fp16"),
    )

    bucket_mb: Positive = 25.0
    compress: Literal["none", "bf16", "fp16"] = "none"
    static_graph: bool = False
    find_unused: bool = False
    sync_batchnorm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.wrapped: DistributedDataParallel | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        if self.is_distributed and self.static_graph and run.parts.group.size > 1:
            raise ConfigError(  # an internal assertion of its reducer fails, torch 2.13
                f"ddp.static_graph=true: torch cannot leave out the other ranks in {run.parts.group.size} micro-batches of one "
                "update then; set plugins.ddp.static_graph=false"
            )
        self.params = [(name, param) for name, param in run.unwrapped_model.named_parameters() if param.requires_grad]
        self.proven = self.find_unused or self.static_graph
        """Whether the loss has been seen to use every parameter, or need not."""

    def model(self, model: nn.Module) -> nn.Module:
        if not self.is_distributed:
            return model
        if self.sync_batchnorm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        # torch begins with a bucket of 1 MB, which travels while the backward pass has hardly begun, only where none is asked for
        size = self.bucket_mb if self.changed("bucket_mb") else None
        self.wrapped = DistributedDataParallel(
            model, bucket_cap_mb=size, gradient_as_bucket_view=True, static_graph=self.static_graph,
            find_unused_parameters=self.find_unused,
        )  # fmt: skip
        if self.compress != "none":
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            hook = default_hooks.bf16_compress_hook if self.compress == "bf16" else default_hooks.fp16_compress_hook
            self.wrapped.register_comm_hook(None, hook)
        return self.wrapped

    def sync(self, last: bool) -> AbstractContextManager[None]:
        if self.wrapped is None:
            return NOTHING
        # the first rank's buffers reach the others before each window, also after an evaluation
        self.wrapped.require_forward_param_sync = True
        return Used(self) if last else self.wrapped.no_sync()

    def close(self) -> None:
        if self.wrapped is not None:
            let_go(self.wrapped)
        super().close()

    def plan_notes(self) -> Mapping[str, str]:
        if self.wrapped is None:
            return {}
        bits = "" if self.compress == "none" else f", as {self.compress}"
        return {"ranks": f"{self.world_size}; gradients travel in buckets of {self.bucket_mb:g} MB{bits}"}

    def capture_blocker(self) -> str:
        return f"{self.name} sums gradients over {self.world_size} ranks from Python hooks" if self.is_distributed else ""


def let_go(wrapped: DistributedDataParallel) -> None:
    """Takes apart what holds the group, while others hold it too.

    Were it the last to do so, its end would wait, with Python's lock, for the threads of gloo, of which one may be waiting for that
    lock (torch 2.13): the process would never end.
    """
    for name in ("logger", "reducer"):
        vars(wrapped).pop(name, None)


class Used:
    """Around the micro-batch whose backward pass sends the gradients: a parameter that it leaves out is an error that says so."""

    def __init__(self, ddp: DDP) -> None:
        self.ddp = ddp

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ddp = self.ddp
        if error is None and ddp.proven:
            return
        if error is not None and "finished reduction in the prior iteration" not in str(error):
            return
        unused = [name for name, param in ddp.params if param.grad is None]
        ddp.proven = not unused
        if error is not None or unused:
            which = unused[0] if len(unused) == 1 else f"{unused[0]} and {len(unused) - 1} more" if unused else "some parameters"
            raise ConfigError(
                f"ddp: the loss does not use {which}, for which the other ranks would wait; set plugins.ddp.find_unused=true, "
                "or freeze what is not trained"
            ) from error
