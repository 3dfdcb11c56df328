"""DDP: distributed data parallel training, one model in several processes.

torchrun starts the processes. Each works on a batch of batch_size samples of
its own, and their gradients are averaged while the backward pass still runs.
The mean is over all items of all ranks, so N ranks train as one process does on
batches N times as large. That holds for the last, short batch too. Only the
first rank prints and writes.

Helps   machines with several GPUs, or several machines.
Hurts   small models: an update takes as long as its gradients travel.
Costs   a copy of the model, its gradients and its optimiser in each process.
        The gradients travel once per update (accumulate: less often).
Source  Li et al., PyTorch Distributed, arXiv 2006.15704;
        torch.nn.parallel.DistributedDataParallel.
Exact   Each sample comes once per epoch, in the order of one process. Every
        rank is given all of the data, and takes its part. A DataLoader with a
        DistributedSampler has given it its part already. Each rank
        draws random numbers of its own (dropout). BatchNorm has the statistics
        of its own rank's batch, and its running ones are the first rank's.
        sync_batchnorm takes those of all ranks. compress rounds the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from accel.errors import ConfigError, listed
from accel.parts.parallel import NOTHING, Outcome
from accel.parts.shared.entry_module import EntryModule, compute_inside
from accel.parts.shared.process_group import ProcessGroup
from accel.system.machine import Need
from accel.values import Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["DDP", "UnusedParameterCheck", "release_process_group"]


@dataclass(eq=False)
class DDP(ProcessGroup):
    """Group of processes that each hold the whole model, and average gradients in buckets during the backward pass.

    Args:
        backend: library that carries the gradients: nccl on GPUs, gloo on CPUs; auto takes the one for the run's device.
        timeout: seconds to wait for the other ranks before one of them counts as lost.
        bucket_mb: megabytes of gradients that travel at a time; with 25, as by torch's default, the first bucket is one of 1 MB.
        compress: number format in which gradients travel: none for their own, bf16 (CUDA) or fp16.
        static_graph: declare that the model's graph is the same in each update of one micro-batch, so that torch traces it once.
        find_unused: look in each update for parameters that the loss does not use.
        sync_batchnorm: take BatchNorm's statistics over the batches of all ranks.
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
        self.ddp_model: DistributedDataParallel | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        if self.is_distributed and self.static_graph and run.parts.group.size > 1:
            raise ConfigError(  # an internal assertion of its reducer fails, torch 2.13
                f"ddp.static_graph=true: torch cannot leave out the other ranks in {run.parts.group.size} micro-batches of one "
                "update then; set plugins.ddp.static_graph=false"
            )
        self.expect_gradients(run.unwrapped_model)

    def follow_parameters(self, run: Run) -> None:
        if self.ddp_model is None:
            return
        inside = self.ddp_model.module
        release_process_group(self.ddp_model)  # it waits for the gradients of the parameters that it was made with
        run.model = self.wrap(inside)
        self.expect_gradients(run.unwrapped_model)

    def expect_gradients(self, model: nn.Module) -> None:
        """Keep the parameters that every loss has to use."""
        self.params = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
        self.all_params_used = self.find_unused or self.static_graph
        """Whether one update has shown that the loss uses every parameter, or none has to."""

    def model(self, model: nn.Module) -> nn.Module:
        if not self.is_distributed:
            return model
        if self.sync_batchnorm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return self.wrap(EntryModule(model))

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a module in torch's DistributedDataParallel. All ranks must call it."""
        # torch begins with a bucket of 1 MB, which travels when the backward pass has hardly begun, only if no size is given
        size = self.bucket_mb if self.changed("bucket_mb") else None
        self.ddp_model = DistributedDataParallel(
            model, bucket_cap_mb=size, gradient_as_bucket_view=True, static_graph=self.static_graph,
            find_unused_parameters=self.find_unused,
        )  # fmt: skip
        if self.compress != "none":
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            hook = default_hooks.bf16_compress_hook if self.compress == "bf16" else default_hooks.fp16_compress_hook
            self.ddp_model.register_comm_hook(None, hook)
        return self.ddp_model

    def call(self, function: Callable[[nn.Module, Any], Outcome], model: nn.Module, batch: Any) -> Outcome:
        if model is not self.ddp_model:
            return function(model, batch)
        self.confirm(place=1)  # buffers travel as the forward pass begins
        return compute_inside(model, function, batch)

    def sync(self, last: bool) -> AbstractContextManager[None]:
        if self.ddp_model is None:
            return NOTHING
        # the first rank's buffers reach the others before each window, also after an evaluation
        self.ddp_model.require_forward_param_sync = True
        return UnusedParameterCheck(self) if last else self.ddp_model.no_sync()

    def close(self) -> None:
        if self.ddp_model is not None:
            release_process_group(self.ddp_model)
        super().close()

    def plan_notes(self) -> Mapping[str, str]:
        if self.ddp_model is None:
            return {}
        bits = "" if self.compress == "none" else f", as {self.compress}"
        return {"ranks": f"{self.world_size}; gradients travel in buckets of {self.bucket_mb:g} MB{bits}"}

    def capture_blocker(self) -> str:
        return f"{self.name} sums gradients over {self.world_size} ranks from Python hooks" if self.is_distributed else ""


def release_process_group(ddp_model: DistributedDataParallel) -> None:
    """Drop the model's references to the process group, while others hold the group too.

    The last reference to go waits, with Python's lock, for the threads of gloo. One of them may be waiting for that lock (torch
    2.13), so that the process would never end.
    """
    for name in ("logger", "reducer", "process_group"):
        vars(ddp_model).pop(name, None)


class UnusedParameterCheck:
    """Context of the backward pass that sends the gradients, which refuses parameters that the loss leaves out.

    Args:
        ddp: plugin whose parameters are checked.
    """

    def __init__(self, ddp: DDP) -> None:
        self.ddp = ddp

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ddp = self.ddp
        if error is None and ddp.all_params_used:
            return
        if error is not None and "finished reduction in the prior iteration" not in str(error):
            return
        unused = [name for name, param in ddp.params if param.grad is None]
        ddp.all_params_used = not unused
        if error is not None or unused:
            names = listed(unused) or "some parameters"
            raise ConfigError(
                f"ddp: the loss does not use {names}, for which the other ranks would wait; set plugins.ddp.find_unused=true, "
                "or freeze what is not trained"
            ) from error
