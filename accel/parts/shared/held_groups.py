"""What torch's sharded modules and meshes hold of a process group, and of a forward pass that an error has ended."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["forget_forward", "release_mesh", "release_sharded"]


def release_mesh(mesh: Any) -> None:
    """Drop a mesh's references to its process groups. They are found by their names while they exist, unless torch compiles.

    While one is left, connections and threads stay. torch keeps meshes for good, with the layouts of tensors that it has
    redistributed (torch 2.13).
    """
    getattr(mesh, "_pg_registry", {}).clear()


def release_sharded(root: nn.Module) -> None:
    """Drop the references of all modules that `fully_shard` was called on. The model cannot be called on several ranks after it.

    A rank that has failed lets the others wait in a collective for as long as its own connections stay.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in root.modules():
        state: Any = module._get_fsdp_state() if isinstance(module, FSDPModule) else None
        infos = [getattr(group, name, None) for group in _param_groups(state) for name in ("mesh_info", "post_forward_mesh_info")]
        for info in filter(None, infos):
            vars(info).pop("shard_process_group", None)
            release_mesh(info.mesh)


def forget_forward(root: nn.Module) -> None:
    """Free the weights that a forward pass has gathered which an error ended, so that the next one prepares anew."""
    from torch.distributed.fsdp import FSDPModule

    for module in root.modules():
        if isinstance(module, FSDPModule):
            state: Any = module._get_fsdp_state()
            state._state_ctx.iter_forward_root = None
            state._comm_ctx.post_forward_order.clear()  # by which weights are gathered ahead in the backward pass
            for group in _param_groups(state):
                group._post_forward_indices.clear()
            for holder in (state, *_param_groups(state)):
                holder._training_state = type(holder._training_state).IDLE  # in a forward pass the root's would be kept
            module.reshard()


def _param_groups(state: Any) -> list[Any]:
    groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]  # torch before 2.13
    return [group for group in groups if group is not None]
