"""Recompute: activation checkpointing, block by block.

The blocks that the model repeats keep what went into them and nothing of what
they computed; the backward pass computes it again, one block at a time.

Helps   models too large for the memory of the device, and larger batches: with
        n blocks the activations of one are alive at a time, not those of n.
Hurts   where memory is not short: a third more arithmetic, for nothing.
Costs   a second forward pass through the blocks. torch's implementation
        imports its compiler, about a second at the start.
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

__all__ = ["Recompute", "unchanged", "uncounted"]


@dataclass(eq=False)
class Recompute(Activations):
    """Activation checkpointing of the model's repeated blocks.

    Args:
        every: each so many-th block is recomputed, from the first on; the others keep what they computed.
        early_stop: a block's second pass ends with the last tensor that the backward pass asks for.
    """

    every: Count = 1
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own: list[tuple[nn.Module, Any]] = []

    def model(self, model: nn.Module) -> nn.Module:
        blocks = repeated_blocks(model)
        self.count = len(blocks)
        for block in blocks[:: self.every]:
            self.own.append((block, vars(block).get("forward")))
            # an attribute of the instance: its class, the names of its weights and its hooks stay the user's own
            block.forward = self.recomputed(block)
        return model

    def recomputed(self, block: nn.Module) -> Callable[..., Any]:
        """The block's forward method, which in training is run again by the backward pass."""
        from torch.utils.checkpoint import checkpoint

        forward = block.forward
        norms = [module for module in block.modules() if isinstance(module, _NormBase)]
        counted = {id(buffer) for norm in norms for buffer in norm.buffers()}
        others = {name: buffer for name, buffer in block.named_buffers() if id(buffer) not in counted}

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return unchanged(type(block).__name__, others) if others else nullcontext(), uncounted(norms)

        settings: dict[str, Any] = {"use_reentrant": False, "early_stop": self.early_stop, "context_fn": contexts}

        def call(*args: Any, **kwargs: Any) -> Any:
            if block.training and torch.is_grad_enabled():
                return checkpoint(forward, *args, **settings, **kwargs)
            return forward(*args, **kwargs)

        # torch's compiler, tracing through, draws other random numbers in the second pass (backend=eager, torch 2.13): it may
        # compile what is inside
        opaque: Callable[..., Any] = torch.compiler.disable(call, recursive=False)  # type: ignore[no-untyped-call]
        return opaque

    def close(self) -> None:
        for block, own in self.own:
            vars(block).pop("forward", None)
            if own is not None:
                block.forward = own
        self.own = []

    def capture_blocker(self) -> str:
        if not self.own:
            return ""
        return "recompute puts the random generator back on the host for its second pass; leave one out: '~plugins.recompute'"

    def plan_notes(self) -> Mapping[str, str]:
        kinds = sorted({type(block).__name__ for block, _ in self.own})
        return {"recomputed": f"{len(self.own)} of {self.count} blocks ({', '.join(kinds)})"} if self.own else {}

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if self.own else ["recompute has no effect: no kind of block comes twice in the model"]


@contextmanager
def uncounted(norms: list[_NormBase]) -> Iterator[None]:
    """Inside, BatchNorm counts in memory of its own: its running statistics have seen this batch in the first pass."""
    own = [(norm, dict(norm._buffers)) for norm in norms]
    for norm, buffers in own:
        norm._buffers.update((name, value.clone()) for name, value in buffers.items() if value is not None)
    try:
        yield
    finally:
        for norm, buffers in own:
            norm._buffers.update(buffers)


@contextmanager
def unchanged(block: str, buffers: dict[str, Tensor]) -> Iterator[None]:
    """Raises ConfigError where a first pass changes one of `buffers`: the second would begin from another state."""
    before = [buffer._version for buffer in buffers.values()]
    yield
    for (name, buffer), version in zip(buffers.items(), before, strict=True):
        if buffer._version != version:
            raise ConfigError(
                f"recompute: {block} changes its {name} as it computes, so that a second pass would not be the first again; "
                "leave it out with '~plugins.recompute'"
            )
