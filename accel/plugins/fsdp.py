"""FSDP: several processes train one model, each keeping a share of it.

Weights, gradients, the optimiser's state and the average are spread over the
processes that torchrun starts; each block's weights are gathered when it is its
turn, and freed again. With `torchrun --nproc-per-node=8 -m accel.train
+plugins=[fsdp]` each device keeps an eighth.

Helps   models that do not fit beside their optimiser's state on one device.
Hurts   models that fit: `ddp` sends a third less, and waits for less.
Costs   two gathers of all weights and one reduction of all gradients per
        window, and one gather more for each further micro-batch.
Source  `torch.distributed.fsdp.fully_shard` (FSDP2); Rajbhandari et al., ZeRO,
        arXiv 1910.02054; Zhao et al., PyTorch FSDP, arXiv 2304.11277.
Exact   N processes are one process on the big batch, to rounding, as with ddp:
        the gradient is weighted by samples over all of them, norms are those of
        the whole gradient, and a skipped update is skipped by all. BatchNorm
        sees the samples of its own process. A checkpoint is read by any number
        of processes; the whole weights are in model.safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from accel.device.dtensor import is_dtensor, local_shard
from accel.device.repeated_blocks import repeated_blocks
from accel.errors import ConfigError
from accel.parts.parallel import NOTHING
from accel.parts.shared.process_group import ProcessGroup

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FORMATS", "FSDP", "fill", "gathered", "named", "twin"]

FORMATS = ("param_dtype", "reduce_dtype")


@dataclass(eq=False)
class FSDP(ProcessGroup):
    """Each rank keeps a share of the model, cut along the first dimension of each weight.

    Args:
        backend: who carries weights and gradients: nccl on GPUs, gloo on CPUs; auto takes the one for the run's device.
        timeout: seconds to wait for the other ranks before one of them counts as lost.
        param_dtype: in what weights are gathered and computed with; null as they are. What the optimiser moves stays float32.
        reduce_dtype: in what gradients are summed over the ranks; null as they are computed.
        reshard: whether a block's gathered weights are freed after its forward pass and gathered again for its backward pass.
    """

    param_dtype: Literal["bfloat16"] | None = None
    reduce_dtype: Literal["bfloat16", "float32"] | None = None
    reshard: bool = True

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.bare, self.device = run.unwrapped_model, run.device
        self.blocks: list[Any] = []
        self.root: Any = None
        self.over: Any = None
        self.threads: Any = None
        if self.is_distributed:
            activations = run.parts.activations
            activations.close()  # the copy is of the model as the user made it
            self.copy = twin(run.unwrapped_model)
            run.model = activations.model(run.model)

    def model(self, model: nn.Module) -> nn.Module:
        if not self.is_distributed:
            return model
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        kinds = {param.dtype for param in self.bare.parameters()}
        if len(kinds) > 1:
            found = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
            raise ConfigError(f"fsdp needs weights of one dtype, and the model's are {found}; convert the model, or use ddp")
        # over the group that there is: a mesh that makes its own would take nccl where backend=gloo is asked for
        world: Any = dist.group.WORLD
        mesh = self.over = DeviceMesh.from_group(world, self.device.type)
        # saving goes on beside the updates, in an order of its own
        self.threads = dist.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout))
        policy = MixedPrecisionPolicy(param_dtype=named(self.param_dtype), reduce_dtype=named(self.reduce_dtype))
        self.blocks = repeated_blocks(self.bare)
        for block in self.blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=self.reshard)
        # the rest is needed from the first block's forward pass until the last one's backward pass: it stays
        self.root = fully_shard(self.bare, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
        if any(True for _ in self.bare.buffers()):
            self.bare.register_forward_pre_hook(self.follow)
        self.bare.register_forward_hook(self.part)
        return model

    def follow(self, *_: Any) -> None:
        """Before a forward pass: every rank has the first one's buffers, as with ddp."""
        for buffer in self.bare.buffers():
            dist.broadcast(buffer, 0)

    def part(self, *_: Any) -> None:
        """After a forward pass that no backward pass follows: what was gathered is freed, for the weights may be others next time
        (an average, which is evaluated)."""
        if not torch.is_grad_enabled():
            for unit in (*self.blocks, self.root):
                unit.reshard()

    @property
    def mesh(self) -> Any:
        return self.over

    @property
    def saving(self) -> Any:
        return self.threads

    def sync(self, last: bool) -> AbstractContextManager[None]:
        if self.root is not None:
            self.root.set_requires_gradient_sync(last)
            self.root.set_is_last_backward(last)
        return NOTHING

    def whole(self, model: nn.Module) -> nn.Module:
        """On the first rank the user's model again, with all weights, on the CPU; on the others what it was."""
        if self.root is None:
            return model
        found: dict[str, Any] = {}
        for name, value in model.state_dict().items():
            value = gathered(value) if is_dtensor(value) else value  # every rank takes part, one weight after the other
            if self.rank == 0:
                found[name] = value.cpu() if isinstance(value, Tensor) else value
        return fill(self.copy, found) if self.rank == 0 else model

    def identity(self) -> dict[str, Any] | None:  # type: ignore[override]
        """In what it computes; how many ranks there are may change from one start to the next."""
        return {name: self.settings[name] for name in FORMATS} if self.changed(*FORMATS) else None

    def capture_blocker(self) -> str:
        return f"{self.name} gathers weights and sums gradients from Python hooks" if self.is_distributed else ""

    def plan_notes(self) -> Mapping[str, str]:
        if self.root is None:
            return {}
        here = sum(local_shard(param).numel() for param in self.bare.parameters())
        everywhere = sum(param.numel() for param in self.bare.parameters())
        by = f"in {len(self.blocks)} blocks and a rest" if self.blocks else "at once: the model repeats no block"
        return {"ranks": f"{self.world_size}; {here:,} of {everywhere:,} weights are kept here, and gathered {by}"}


def gathered(value: Any) -> Tensor:
    """A tensor that is spread, whole. By gloo in the host's memory: its gathering of DTensors takes no other (torch 2.13)."""
    if dist.get_backend() == "gloo":
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.tensor import DTensor

        world: Any = dist.group.WORLD
        host, layout = DeviceMesh.from_group(world, "cpu"), {"shape": value.shape, "stride": value.stride()}
        value = DTensor.from_local(local_shard(value).cpu(), host, value.placements, run_check=False, **layout)
    whole: Tensor = value.full_tensor()
    return whole


def named(name: str | None) -> torch.dtype | None:
    """The dtype of that name."""
    dtype: torch.dtype | None = None if name is None else getattr(torch, name)
    return dtype


def twin(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters take no memory yet; tied ones are tied in the copy."""
    memo: dict[int, Any] = {}
    for param in model.parameters():
        empty = torch.empty_like(param, device="cpu")
        empty.untyped_storage().resize_(0)
        memo[id(param)] = nn.Parameter(empty, param.requires_grad)
    return deepcopy(model, memo).cpu()


def fill(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A twin with memory for its parameters, and the values of `state` in it."""
    for param in model.parameters():
        param.untyped_storage().resize_(param.numel() * param.element_size())
    model.load_state_dict(state)
    return model
