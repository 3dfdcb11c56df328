"""Insides of torch's sharded modules and meshes: gathered weights, a forward pass, references to a process group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["forget_forward", "gathered_parameters", "parameter_groups", "release_mesh", "release_sharded", "renew_dtypes"]


def release_mesh(mesh: Any) -> None:
    """Drop a mesh's references to its process groups. They are found by their names while they exist, unless torch compiles.

    While one is left, connections and threads stay. torch keeps meshes for good, with the layouts of tensors that it has
    redistributed (torch 2.13).
    """
    getattr(mesh, "_pg_registry", {}).clear()


def parameter_groups(root: nn.Module) -> Iterator[Any]:
    """Yield torch's groups of parameters of all modules that `fully_shard` was called on."""
    for _, state in _sharded(root):
        yield from _groups_of(state)


def gathered_parameters(root: nn.Module | None, params: Iterable[Tensor]) -> list[Tensor]:
    """Return the whole parameters for sharded ones: in them a backward pass leaves its gradients. A forward pass makes them."""
    groups = () if root is None else parameter_groups(root)
    sharded = [each for group in groups for each in getattr(group, "fsdp_params", ()) if hasattr(each, "_unsharded_param")]
    whole = {id(each.sharded_param): each._unsharded_param for each in sharded}
    return [whole.get(id(param), param) for param in params]


def release_sharded(root: nn.Module) -> None:
    """Drop the references of all modules that `fully_shard` was called on. The model cannot be called on several ranks after it.

    A rank that has failed lets the others wait in a collective for as long as its own connections stay.
    """
    for group in parameter_groups(root):
        for info in filter(None, (getattr(group, name, None) for name in ("mesh_info", "post_forward_mesh_info"))):
            vars(info).pop("shard_process_group", None)
            release_mesh(info.mesh)


def renew_dtypes(root: nn.Module | None) -> None:
    """Let torch's groups look again in which dtypes gradients are: of one that was all frozen it knows none (torch 2.13)."""
    for group in () if root is None else parameter_groups(root):
        group._init_mp_dtypes()


def forget_forward(root: nn.Module) -> None:
    """Free the weights that a forward pass has gathered which an error ended, so that the next one prepares anew."""
    for module, state in _sharded(root):
        state._state_ctx.iter_forward_root = None
        state._comm_ctx.post_forward_order.clear()  # by which weights are gathered ahead in the backward pass
        for group in _groups_of(state):
            group._post_forward_indices.clear()
        for holder in (state, *_groups_of(state)):
            holder._training_state = type(holder._training_state).IDLE  # in a forward pass the root's would be kept
        module.reshard()


def _sharded(root: nn.Module) -> Iterator[tuple[Any, Any]]:
    from torch.distributed.fsdp import FSDPModule

    for module in root.modules():
        if isinstance(module, FSDPModule):
            yield module, module._get_fsdp_state()


def _groups_of(state: Any) -> list[Any]:
    groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]  # torch before 2.13
    return [group for group in groups if group is not None]
