"""FSDP: fully sharded data parallel training, a share of the model per process.

Weights, gradients, the optimiser's state and the average are spread over the
processes that torchrun starts. Each block's weights are gathered when it is the
block's turn, and freed again. With `torchrun --nproc-per-node=8 -m accel.train
+plugins=[fsdp]` each device keeps an eighth.

Helps   models that do not fit on one device together with their optimiser's
        state.
Hurts   models that fit: `ddp` sends a third less, and waits for less.
Costs   two gathers of all weights and one reduction of all gradients per
        window, and one more gather for each further micro-batch.
Source  `torch.distributed.fsdp.fully_shard` (FSDP2); Rajbhandari et al., ZeRO,
        arXiv 1910.02054; Zhao et al., PyTorch FSDP, arXiv 2304.11277.
Exact   N processes equal one process on the big batch, to rounding, as with
        ddp. The gradient is weighted by samples over all of them, norms are
        those of the whole gradient, and a skipped update is skipped by all.
        BatchNorm sees the samples of its own process. A checkpoint is read by
        any number of processes; the whole weights are in model.safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from accel.device.dtensor import is_dtensor, local_shard
from accel.device.repeated_blocks import repeated_blocks
from accel.errors import ConfigError
from accel.parts.model_shape.model_structure import rebuilt_as
from accel.parts.parallel import NOTHING, Outcome
from accel.parts.shared.entry_module import EntryModule, compute_inside
from accel.parts.shared.input_cast import InputCast
from accel.parts.shared.process_group import ProcessGroup
from accel.parts.shared.ranks.held_groups import forget_forward, gathered_parameters, release_mesh, release_sharded, renew_dtypes

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["DTYPE_SETTINGS", "FSDP", "copy_without_memory", "dtype_of", "fill_copy", "gather_tensor"]

DTYPE_SETTINGS = ("param_dtype", "reduce_dtype")


@dataclass(eq=False)
class FSDP(ProcessGroup):
    """Group of processes that each keep a share of the model, cut along the first dimension of each weight.

    Args:
        backend: library that carries weights and gradients: nccl on GPUs, gloo on CPUs; auto takes the one for the run's device.
        timeout: seconds to wait for the other ranks before one of them counts as lost.
        param_dtype: dtype in which weights are gathered and used; null for their own. The optimiser's weights stay float32.
        reduce_dtype: dtype in which gradients are summed over the ranks; null for their own.
        reshard: free a block's gathered weights after its forward pass, and gather them again for its backward pass.
    """

    shards = True
    param_dtype: Literal["bfloat16"] | None = None
    reduce_dtype: Literal["bfloat16", "float32"] | None = None
    reshard: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks: list[Any] = []
        self.root = self.empty_copy = cast(Any, None)

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.user_model, self.device, self.blocks, self.root = run.unwrapped_model, run.device, [], None
        self.device_mesh = self.saving_group = cast(Any, None)
        if self.is_distributed:
            activations = run.parts.activations
            activations.close()  # the model is copied as the user made it
            self.empty_copy = copy_without_memory(run.unwrapped_model)
            run.model = activations.model(run.model)

    def model(self, model: nn.Module) -> nn.Module:
        if not self.is_distributed:
            return model
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        self.broadcast_weights()
        dtypes = {param.dtype for param in self.user_model.parameters()}
        if len(dtypes) > 1:
            names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
            raise ConfigError(f"fsdp needs weights of one dtype, and the model's are {names}; convert the model, or use ddp")
        sparse = [name for name, module in self.user_model.named_modules() if getattr(module, "sparse", False) is True]
        if sparse:  # torch's own reduction has no kernel for them
            raise ConfigError(f"fsdp cannot sum sparse gradients over ranks, and {sparse[0]} gives them; set sparse=False there")
        # over the existing group: a mesh that makes its own would take nccl even with backend=gloo
        world: Any = dist.group.WORLD
        mesh = self.device_mesh = DeviceMesh.from_group(world, self.device.type)
        # saving goes on beside the updates, in an order of its own
        self.saving_group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout))
        policy = MixedPrecisionPolicy(param_dtype=dtype_of(self.param_dtype), reduce_dtype=dtype_of(self.reduce_dtype))
        self.blocks = repeated_blocks(self.user_model)
        for block in self.blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=self.reshard)
        # weights outside the blocks are needed from the first forward pass to the last backward pass: they stay
        self.root = fully_shard(EntryModule(model), mesh=mesh, mp_policy=policy, reshard_after_forward=False)
        if any(True for _ in self.user_model.buffers()):
            self.root.register_forward_pre_hook(self.broadcast_buffers)
        if policy.param_dtype is not None:  # as torch casts what goes into its own modules
            InputCast(self.user_model, policy.param_dtype, self.device)
        self.root.register_forward_hook(self.reshard_after_evaluation)
        for place, unit in enumerate((self.root, *self.blocks), 1):  # before its weights are gathered
            unit.register_forward_pre_hook(lambda *_, place=place: self.confirm(place=place), prepend=True)
        return cast(nn.Module, self.root)

    def follow_parameters(self, run: Run) -> None:
        renew_dtypes(self.root)
        self.empty_copy = rebuilt_as(run, self.empty_copy)

    def call(self, function: Callable[[nn.Module, Any], Outcome], model: nn.Module, batch: Any) -> Outcome:
        if model is not self.root:
            return function(model, batch)
        try:
            return compute_inside(model, function, batch)
        except Exception:
            forget_forward(self.root)
            raise

    def gradient_leaves(self, params: Iterable[Tensor]) -> list[Tensor]:
        return gathered_parameters(self.root, params)

    def broadcast_weights(self) -> None:
        """Send the first rank's weights and buffers to all ranks, before they are sharded, as ddp does."""
        with torch.no_grad():
            for tensor in (*self.user_model.parameters(), *self.user_model.buffers()):
                dense = tensor.detach().contiguous()
                dist.broadcast(dense, 0)
                if dense.data_ptr() != tensor.data_ptr():
                    tensor.copy_(dense)

    def broadcast_buffers(self, *_: Any) -> None:
        """Send the first rank's buffers to all ranks, before a forward pass, as ddp does."""
        for buffer in self.user_model.buffers():
            dist.broadcast(buffer, 0)

    def reshard_after_evaluation(self, *_: Any) -> None:
        """Free the gathered weights after a forward pass that no backward pass follows.

        The next pass may use other weights, such as the average.
        """
        for unit in () if torch.is_grad_enabled() else (*self.blocks, self.root):
            unit.reshard()

    @property
    def mesh(self) -> Any:
        return self.device_mesh

    @property
    def saving(self) -> Any:
        return self.saving_group

    def close(self) -> None:
        if self.is_distributed:
            self.device_mesh = self.saving_group = None
            if self.root is not None:
                release_sharded(self.root)
        super().close()

    def sync(self, last: bool) -> AbstractContextManager[None]:
        if self.root is not None:
            self.root.set_requires_gradient_sync(last)
            self.root.set_is_last_backward(last)
        return NOTHING

    def whole(self, model: nn.Module) -> nn.Module:
        """Return the user's model with all weights, on the CPU, on the first rank; on the others `model` itself."""
        if self.root is None:
            return model
        state = self.whole_state(model.state_dict())
        return fill_copy(self.empty_copy, state) if self.rank == 0 else model

    def whole_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state with whole tensors, on the CPU, on the first rank; an empty one on the others."""
        if self.root is None:
            return state
        whole: dict[str, Any] = {}
        for name, value in state.items():
            value = gather_tensor(value) if is_dtensor(value) else value  # every rank takes part, one weight after the other
            if self.rank == 0:
                whole[name] = value.cpu() if isinstance(value, Tensor) else value
        return whole

    def identity(self) -> dict[str, Any] | None:  # type: ignore[override]
        """Return the dtypes, if one is set. The number of ranks may change from one start to the next."""
        return {name: self.settings[name] for name in DTYPE_SETTINGS} if self.changed(*DTYPE_SETTINGS) else None

    def capture_blocker(self) -> str:
        return f"{self.name} gathers weights and sums gradients from Python hooks" if self.is_distributed else ""

    def plan_notes(self) -> Mapping[str, str]:
        if self.root is None:
            return {}
        local = sum(local_shard(param).numel() for param in self.user_model.parameters())
        total = sum(param.numel() for param in self.user_model.parameters())
        units = f"in {len(self.blocks)} blocks and a rest" if self.blocks else "at once: the model repeats no block"
        return {"ranks": f"{self.world_size}; {local:,} of {total:,} weights are kept here, and gathered {units}"}


def gather_tensor(value: Any) -> Tensor:
    """Return a sharded tensor as a whole one; with gloo in the host's memory, the only kind from which it gathers (torch 2.13)."""
    if dist.get_backend() == "gloo":
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.tensor import DTensor

        world: Any = dist.group.WORLD
        host, layout = DeviceMesh.from_group(world, "cpu"), {"shape": value.shape, "stride": value.stride()}
        value = DTensor.from_local(local_shard(value).cpu(), host, value.placements, run_check=False, **layout)
        whole: Tensor = value.full_tensor()
        release_mesh(host)
        return whole
    return cast(Tensor, value.full_tensor())


def dtype_of(name: str | None) -> torch.dtype | None:
    """Return torch's dtype of a name; None for None."""
    return None if name is None else cast(torch.dtype, getattr(torch, name))


def copy_without_memory(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose parameters take no memory yet; tied parameters are tied in the copy."""
    memo: dict[int, Any] = {}
    for param in model.parameters():
        empty = torch.empty_like(param, device="cpu")
        empty.untyped_storage().resize_(0)
        memo[id(param)] = nn.Parameter(empty, param.requires_grad)
    for value in (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)):
        if value.layout != torch.strided:
            memo[id(value)] = value.clone()  # torch copies no sparse tensor of rows or columns (torch 2.13)
    return deepcopy(model, memo).cpu()


def fill_copy(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Allocate the parameters of a copy without memory, load `state` into it, and return it."""
    for param in model.parameters():
        param.untyped_storage().resize_(param.numel() * param.element_size())
    model.load_state_dict(state)
    return model
