"""Recompute: activation checkpointing, block by block, to save memory.

The blocks that the model repeats keep their inputs and none of the tensors that
they compute. The backward pass computes them again, one block at a time.

Helps   models too large for the memory of the device, and larger batches. With
        n blocks the activations of one are alive at a time, not those of n.
Hurts   runs that have enough memory: a third more arithmetic, for nothing.
Costs   a second forward pass through the blocks. torch's implementation imports
        its compiler, about a second at the start.
Source  Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv
        1604.06174; `torch.utils.checkpoint` in its non-reentrant form.
Exact   The same bits as without: random numbers are drawn again as they were,
        under the same autocast, and BatchNorm counts a batch once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from accel.device.repeated_blocks import repeated_blocks
from accel.errors import ConfigError
from accel.parts import Activations
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Recompute", "forbid_buffer_changes", "keep_norm_statistics"]


@dataclass(eq=False)
class Recompute(Activations):
    """Activation checkpointing of the model's repeated blocks.

    Args:
        every: distance between recomputed blocks, from the first on: 1 for all, 2 for every second; others keep their activations.
        early_stop: end a block's second pass with the last tensor that the backward pass asks for.
    """

    every: Count = 1
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patched: list[tuple[nn.Module, Any]] = []
        self.caching: list[Any] = []
        """Configurations by which a model of transformers keeps keys and values, which training has no use for."""

    def model(self, model: nn.Module) -> nn.Module:
        blocks = repeated_blocks(model)
        configs = [getattr(module, "config", None) for module in model.modules()] if blocks else []
        self.caching = list({id(config): config for config in configs if getattr(config, "use_cache", None) is True}.values())
        for config in self.caching:
            config.use_cache = False  # a second pass would add its own to those of the first
        self.block_count = len(blocks)
        for block in blocks[:: self.every]:
            self.patched.append((block, vars(block).get("forward")))
            # an attribute of the instance: its class, the names of its weights and its hooks stay the user's own
            block.forward = self.wrap_forward(block)
        return model

    def wrap_forward(self, block: nn.Module) -> Callable[..., Any]:
        """Return a forward method for the block that the backward pass, in training, runs again."""
        from torch.utils.checkpoint import checkpoint

        forward = block.forward
        norms = [module for module in block.modules() if isinstance(module, _NormBase)]
        norm_buffers = {id(buffer) for norm in norms for buffer in norm.buffers()}
        other_buffers = {name: buffer for name, buffer in block.named_buffers() if id(buffer) not in norm_buffers}

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            first_pass = forbid_buffer_changes(type(block).__name__, other_buffers) if other_buffers else nullcontext()
            return first_pass, keep_norm_statistics(norms)

        settings: dict[str, Any] = {"use_reentrant": False, "early_stop": self.early_stop, "context_fn": contexts}

        def call(*args: Any, **kwargs: Any) -> Any:
            if block.training and torch.is_grad_enabled():
                if any(hasattr(value, "get_seq_length") for value in (*args, *kwargs.values())):
                    raise ConfigError(
                        f"recompute: {type(block).__name__} is given a cache of keys, to which a second pass adds its own; "
                        "call the model with use_cache=False, or leave it out with '~plugins.recompute'"
                    )
                return checkpoint(forward, *args, **settings, **kwargs)
            return forward(*args, **kwargs)

        # a compiler that traces through the checkpoint draws other random numbers in the second pass (backend=eager, torch 2.13);
        # it may compile the functions called inside
        opaque: Callable[..., Any] = torch.compiler.disable(call, recursive=False)  # type: ignore[no-untyped-call]
        return opaque

    def close(self) -> None:
        for block, forward in self.patched:
            vars(block).pop("forward", None)
            if forward is not None:
                block.forward = forward
        for config in self.caching:
            config.use_cache = True
        self.patched, self.caching = [], []

    def capture_blocker(self) -> str:
        if not self.patched:
            return ""
        return "recompute puts the random generator back on the host for its second pass; leave one out: '~plugins.recompute'"

    def plan_notes(self) -> Mapping[str, str]:
        kinds = sorted({type(block).__name__ for block, _ in self.patched})
        return {"recomputed": f"{len(self.patched)} of {self.block_count} blocks ({', '.join(kinds)})"} if self.patched else {}

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if self.patched else ["recompute has no effect: no kind of block comes twice in the model"]


@contextmanager
def keep_norm_statistics(norms: list[_NormBase]) -> Iterator[None]:
    """Let BatchNorm count in copies of its buffers inside: its running statistics have seen this batch in the first pass."""
    saved = [(norm, dict(norm._buffers)) for norm in norms]
    for norm, buffers in saved:
        norm._buffers.update((name, value.clone()) for name, value in buffers.items() if value is not None)
    try:
        yield
    finally:
        for norm, buffers in saved:
            norm._buffers.update(buffers)


@contextmanager
def forbid_buffer_changes(block: str, buffers: dict[str, Tensor]) -> Iterator[None]:
    """Refuse a first pass that changes one of `buffers`: the second pass would begin from another state.

    Raises:
        ConfigError: if a buffer was written.
    """
    before = [buffer._version for buffer in buffers.values()]
    yield
    for (name, buffer), version in zip(buffers.items(), before, strict=True):
        if buffer._version != version:
            raise ConfigError(
                f"recompute: {block} changes its {name} as it computes, so that a second pass would not be the first again; "
                "leave it out with '~plugins.recompute'"
            )
