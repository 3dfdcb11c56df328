"""Compile: the model compiled by torch.compile, with kernels written for it.

The model's forward and backward passes are compiled when they are first needed.
This happens once for every shape of batch (a short last one is a second shape),
and again for evaluation. The time of compiling has a row of its own, `compile`,
and no part in samples per second and the time left.

Helps   long runs on CUDA: small operations are fused into one pass over memory.
Hurts   short runs, since compiling takes seconds to minutes. Models with many
        shapes, or with code that cannot be traced and then runs eagerly in
        between. On a CPU there is little to gain.
Costs   the compilation, anew in every process (torch caches kernels on disk).
Source  https://docs.pytorch.org/docs/stable/generated/torch.compile.html and,
        for regional, pytorch.org/tutorials/recipes/regional_compilation.html
Exact   inductor adds in another order, and draws dropout from random numbers of
        its own. The backends eager and aot_eager give the same numbers as an
        eager model. With dynamic=null the shapes seen before decide which graph
        serves a shape, so that a resumed run may differ in rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from accel.device.repeated_blocks import repeated_blocks
from accel.errors import ConfigError
from accel.parts import Compile as CompilePart
from accel.system.machine import Need

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MIN_RECOMPILE_LIMIT", "Compile"]

MIN_RECOMPILE_LIMIT = 64
"""Graphs that torch may keep of one forward method, at least. Beyond its own limit of 8, torch would run new shapes eagerly."""


@dataclass(eq=False)
class Compile(CompilePart):
    """Model compiled by `torch.compile`.

    Args:
        mode: mode of inductor: reduce-overhead uses CUDA graphs; max-autotune times several kernels for each product.
        backend: compiler: inductor writes kernels; aot_eager and eager only trace, for finding faults; or any that torch knows.
        dynamic: false compiles each shape for itself; true one graph for all; null is torch's choice, from the second shape on.
        regional: compile only the blocks of which the model has several, each kind once: faster to compile, for deep models.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("compiler", {"backend": "inductor"}, instead="backend=aot_eager"),)
    wants: ClassVar[tuple[Need, ...]] = (Need("cuda", why="on a CPU it gains a few percent after a minute of compiling"),)

    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default"
    backend: str = "inductor"
    dynamic: bool | None = False
    regional: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.regions: list[nn.Module] = []

    def model(self, model: nn.Module) -> nn.Module:
        # imported here: torch's compiler takes seconds to import
        import torch._dynamo
        from torch._dynamo.exc import InvalidBackend

        self.regions = repeated_blocks(model) if self.regional else [model]
        self.saved_recompile_limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(MIN_RECOMPILE_LIMIT, self.saved_recompile_limit)
        try:
            for region in self.regions:
                # an attribute of the instance: its class, the names of its weights and its hooks stay the user's own
                region.forward = self.compile_forward(region.forward)
        except InvalidBackend:
            known = ", ".join(torch._dynamo.list_backends())
            raise ConfigError(f"compile.backend={self.backend}: torch knows {known}") from None
        return model

    def compile_forward(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return `forward` compiled at its first call, with errors of the backend that name this plugin."""
        from torch._dynamo.exc import BackendCompilerFailed

        with warnings.catch_warnings():  # inductor imports modules that torch has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            compiled = torch.compile(forward, mode=self.mode, backend=self.backend, dynamic=self.dynamic)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return compiled(*args, **kwargs)
            except BackendCompilerFailed as error:
                why = " ".join(str(error).split())[:200]
                raise ConfigError(
                    f"compile: {self.backend} cannot compile the model ({why}); leave it out with '~plugins.compile'"
                ) from error

        return call

    def close(self) -> None:
        if not hasattr(self, "saved_recompile_limit"):
            return
        for region in self.regions:
            vars(region).pop("forward", None)
        self.regions = []
        torch._dynamo.config.recompile_limit = self.saved_recompile_limit

    def capture_blocker(self) -> str:
        if self.backend != "inductor" or self.mode in ("default", "max-autotune-no-cudagraphs"):
            return ""
        return f"compile.mode={self.mode} uses CUDA graphs itself; set plugins.compile.mode=max-autotune-no-cudagraphs"

    def plan_notes(self) -> Mapping[str, str]:
        kinds = sorted({type(region).__name__ for region in self.regions})
        scope = f"{len(self.regions)} blocks ({', '.join(kinds)})" if self.regional else "the whole model"
        return {"compiled": f"{scope}, by {self.backend}, in the first updates"}

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = []
        if self.backend != "inductor" and self.mode != "default":
            messages.append(f"compile.mode has no effect with compile.backend={self.backend}")
        if not self.regions:
            messages.append("compile has no effect: compile.regional=true, and no kind of block comes twice in the model")
        return messages
