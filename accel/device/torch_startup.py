"""Work of torch that a run need not wait for when it starts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import _profiler_enabled
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

__all__ = ["MARK", "avoid_dynamo_import", "unwrapped_step"]

MARK = "__dynamo_disable"
"""The attribute in which `torch._compile._disable_dynamo` keeps the marked function."""


def avoid_dynamo_import() -> None:
    """Let torch's optimisers work without importing torch's compiler, which takes more than a second.

    `_disable_dynamo` wraps several of their methods: the first call imports `torch._dynamo`, only to mark the function as not to
    be compiled. While nothing has imported `torch._dynamo`, nothing can be compiled and the mark has no meaning: the function
    is then called as it is. After the import, the mark is made as torch makes it. If torch is built differently, nothing
    is changed, and a run starts a second later.
    """
    for method in vars(Optimizer).values():
        wrapper = method.__func__ if isinstance(method, staticmethod) else method
        function = getattr(wrapper, "__wrapped__", None)
        code = getattr(wrapper, "__code__", None)
        if function is not None and code is not None and MARK in code.co_consts and not hasattr(function, MARK):
            setattr(function, MARK, _marked_when_needed(function))


def _marked_when_needed(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        import torch._dynamo

        delattr(function, MARK)
        marked: Callable[..., Any] = torch._dynamo.disable(function, True, wrapping=False)  # type: ignore[no-untyped-call]
        setattr(function, MARK, marked)
        return marked(*args, **kwargs)

    return call


def unwrapped_step(optimizer: Optimizer) -> Callable[[], Any]:
    """Return `optimizer.step` without torch's wrappers, which have nothing to do in most updates.

    torch's wrappers call hooks, name the step in a profile and switch gradients off. They also break the graph that
    `torch._dynamo` might be tracing, for which they import it. The bare step is called, without gradients, while there are no
    hooks and no profile. For torch's own optimisers, `torch._dynamo` must not have been imported either. Otherwise
    `optimizer.step` is called.

    Args:
        optimizer: any optimiser; for one of a third party its own `step` is returned.
    """
    inner = inspect.unwrap(type(optimizer).step)
    is_accels = inner.__module__.startswith("accel.")
    is_torchs = inner.__module__.startswith("torch.optim.") and not optimizer.defaults.get("differentiable")
    hooks = (
        optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks,
        torch_optimizer._global_optimizer_pre_hooks, torch_optimizer._global_optimizer_post_hooks,
    )  # fmt: skip

    def step() -> None:
        if any(hooks) or _profiler_enabled() or (is_torchs and "torch._dynamo" in sys.modules):
            optimizer.step()
        else:
            with torch.no_grad():
                inner(optimizer)

    return step if is_accels or is_torchs else optimizer.step
