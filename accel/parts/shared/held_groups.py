"""References to a process group that torch's sharded modules and meshes hold. While one is left, connections and threads stay."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["release_mesh", "release_sharded"]


def release_mesh(mesh: Any) -> None:
    """Drop a mesh's references to its process groups. They are found by their names while they exist, unless torch compiles.

    torch keeps meshes for good, with the layouts of tensors that it has redistributed (torch 2.13).
    """
    getattr(mesh, "_pg_registry", {}).clear()


def release_sharded(root: nn.Module) -> None:
    """Drop the references of all modules that `fully_shard` was called on. The model cannot be called on several ranks after it.

    A rank that has failed lets the others wait in a collective for as long as its own connections stay.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in root.modules():
        state: Any = module._get_fsdp_state() if isinstance(module, FSDPModule) else None
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]  # torch before 2.13
        infos = [getattr(group, name, None) for group in groups for name in ("mesh_info", "post_forward_mesh_info")]
        for info in filter(None, infos):
            vars(info).pop("shard_process_group", None)
            release_mesh(info.mesh)
