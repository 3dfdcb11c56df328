"""Checks before anything is made: what cannot work is refused in a sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from accel.checkpoints.weights.weight_names import unwrap, wrapped_attribute
from accel.device.buffers import writable
from accel.device.dtensor import is_dtensor
from accel.engine.task import Task
from accel.errors import ConfigError, describe
from accel.parts import Parallel, Part
from accel.system.call_stack import warn_user
from accel.system.machine import OTHER_ACCELERATORS
from accel.system.stop_signals import TORCHRUN_VARIABLE

__all__ = [
    "check_model",
    "check_needs",
    "check_torch_mode",
    "check_trainer",
    "require_one_process",
    "require_timed_device",
    "warn_of_lonely_ranks",
    "without_ranks",
]


def check_torch_mode(device: str) -> None:
    """Raise ConfigError if torch is in a mode in which no training can be right."""
    if not torch.is_grad_enabled():
        raise ConfigError(
            "fit() is called inside torch.no_grad() or inference_mode(), where nothing can be trained; call it outside"
        )
    if torch.is_autocast_enabled(device):
        raise ConfigError(
            "fit() is called inside torch.autocast, which keeps the first update's 16-bit weights for all others; "
            "call it outside, with the plugin amp"
        )


def warn_of_lonely_ranks(parallel: Parallel) -> None:
    """Warn, on the first rank, that each of several processes trains the whole run by itself, because no plugin joins them."""
    started = int(os.environ.get("WORLD_SIZE", "1")) if TORCHRUN_VARIABLE in os.environ else 1
    rank = int(os.environ.get("RANK", "0"))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        started, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    if type(parallel) is Parallel and started > 1 and rank == 0:
        warn_user(
            f"{started} processes were started, and no plugin makes them train together: each trains the whole run by itself; add "
            "DDP() to plugins, or start one process"
        )


def check_trainer(trainer: object, command: str) -> None:
    """Raise ConfigError for what is no trainer, or none that can be asked.

    Args:
        trainer: what was given.
        command: what it was given to, such as `doctor`.
    """
    if not isinstance(trainer, Task):
        made = f"; make one: {trainer.__name__}(...)" if isinstance(trainer, type) and issubclass(trainer, Task) else ""
        raise ConfigError(f"{command} takes an accel.Trainer, not {describe(trainer)}{made}")
    if not hasattr(trainer, "settings"):
        raise ConfigError(f"{type(trainer).__name__}.__init__ must call super().__init__(**run)")


def require_one_process(command: str) -> None:
    """Raise ConfigError if this process is one of several that were started together.

    Args:
        command: what measures one, such as `ablate`.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        started = torch.distributed.get_world_size()
    if started > 1:
        raise ConfigError(f"{command} measures one process, and {started} were started; start it without torchrun")


def require_timed_device(command: str, device: str) -> None:
    """Raise ConfigError for a device whose work nobody here times.

    Args:
        command: what measures, such as `ablate`.
        device: kind of the device, or `auto`.
    """
    if device in OTHER_ACCELERATORS:
        raise ConfigError(f"{command} measures runs on CUDA and on the CPU, and this one is on {device}; set device=cpu")


def check_needs(plugins: Sequence[Part], device: str) -> None:
    """Raise ConfigError for the first plugin that cannot work here, with what to do about it."""
    for plugin in plugins:
        for need in plugin.needs:
            reason = need.unmet_reason(plugin.settings, device)
            if reason is not None:
                raise ConfigError(need.sentence(plugin.name, reason))
        if isinstance(plugin, Parallel) and plugin.world_size > 1 and device in OTHER_ACCELERATORS:
            raise ConfigError(f"{plugin.name}: several processes train on CUDA or on the CPU, and this run is on {device}")


def check_model(model: object, trains: bool = True) -> nn.Module:
    """Return the model. Raise ConfigError if it is no module, has nothing to train and is to, or has weights without numbers."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model() returned {describe(model)}; return an instance of a torch.nn.Module")
    if trains and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"the model, a {type(model).__name__}, has no parameter to train: all are frozen, or there are none")
    for name, param in model.named_parameters():
        if param.requires_grad and not is_lazy(param) and not writable(param):
            raise ConfigError(f"the model's {name} has several numbers in one place of memory (expand); make it of a clone()")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ConfigError(f"the model's {name} has no shape yet; call the model once on a batch, as lazy modules need it")
        if tensor.is_meta:
            raise ConfigError(
                f"the model's {name} is on the meta device, without numbers; make it with to_empty() and initialise it"
            )
    return model


def without_ranks(model: nn.Module, world_size: int) -> nn.Module:
    """Return the model without DataParallel and DistributedDataParallel around it, if a plugin has several ranks of its own.

    Args:
        model: the model, as the user made it.
        world_size: number of ranks that a plugin makes train together.

    Raises:
        ConfigError: for a part of the model that communicates by itself, or a model that does so without a plugin.
    """
    kinds, inside = (DataParallel, DistributedDataParallel), set(unwrap(model).modules())
    while world_size > 1 and any(isinstance(module, kinds) for module in model.modules() if module not in inside):
        model = getattr(model, wrapped_attribute(model))  # what is compiled inside stays so
    for name, module in model.named_modules():
        ranks, kind, where = _own_ranks(module), type(module).__name__, f"the model's {name}" if name else "the model"
        if (ranks > 1 or isinstance(module, kinds)) and world_size > 1:
            raise ConfigError(f"{where} is wrapped in {kind}, and the ranks share the whole; pass it bare")
        if ranks > world_size:
            raise ConfigError(
                f"{where} is wrapped in {kind} of {ranks} ranks, and each of them would read all of the data; "
                f"pass the bare model, and the plugin {'ddp' if isinstance(module, kinds) else 'fsdp'}"
            )
    if world_size > 1:
        for name, param in model.named_parameters():
            if is_dtensor(param):
                raise ConfigError(f"the model's {name} is spread over ranks already; pass the model as it is before that")
    return model


def _own_ranks(module: nn.Module) -> int:
    """Return the number of ranks among which a module communicates by itself: by torch's DDP, FSDP, or `fully_shard`."""
    names = {kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("torch.distributed.fsdp")}
    if isinstance(module, DistributedDataParallel) or "FullyShardedDataParallel" in names:
        group: Any = module.process_group
        return int(group.size())
    params: list[Any] = [*module.parameters()] if "FSDPModule" in names else []
    return max((param.device_mesh.size() for param in params if is_dtensor(param)), default=1)
