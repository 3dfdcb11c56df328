"""Cast of what goes into a model, where its weights are used in another dtype than they are kept in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from accel.errors import ConfigError
from accel.parts.shared.batch_norms import keeps_statistics

__all__ = ["InputCast"]


class InputCast:
    """Hooks that cast the floating-point inputs of a model: of the outermost module that is called, and of none inside it.

    A loss may call parts of the model instead of the whole.

    Args:
        model: the user's model, whose modules get the hooks.
        dtype: dtype of the inputs, which is that of the weights while they are used.
        device: where the model is.

    Raises:
        ConfigError: for a norm with running statistics on a CPU.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.depth = dtype, 0
        for name, module in model.named_modules():
            if device.type == "cpu" and keeps_statistics(module) and module.affine:
                raise ConfigError(  # its weights must have the dtype of its statistics there, torch 2.13
                    f"fsdp.param_dtype: {type(module).__name__} ({name}) cannot be computed on a CPU with weights of another dtype "
                    "than its running statistics; leave it out, and use the plugin amp"
                )
            module.register_forward_pre_hook(self.enter, with_kwargs=True)
            module.register_forward_hook(self.leave, always_call=True)

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the inputs of the outermost module, cast; None for those of others, and in the backward pass, which recomputes."""
        self.depth += 1
        outermost = self.depth == 1 and torch._C._current_graph_task_id() == -1
        return tree_map(self.cast, (args, kwargs)) if outermost else None

    def leave(self, *_: Any) -> None:
        """Note that a module is done, or has failed."""
        self.depth -= 1

    def cast(self, value: Any) -> Any:
        """Return a floating-point tensor in the dtype; anything else as it is."""
        return value.to(self.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
