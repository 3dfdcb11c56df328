"""Compile: torch.compile traces the model and writes kernels for it.

The model's forward and backward passes are compiled when they are first needed,
once for every shape of batch (a short last one is a second shape) and again for
evaluation. That time is booked under `other`, not as a forward pass.

Helps   long runs on CUDA: small operations are fused into one pass over memory.
Hurts   short runs: compiling takes seconds to minutes; models with many shapes
        or with code that cannot be traced (it then runs eagerly in between).
        On a CPU there is little to gain.
Costs   the compilation, anew in every process (torch caches kernels on disk).
Source  https://docs.pytorch.org/docs/stable/generated/torch.compile.html and, for
        regional, pytorch.org/tutorials/recipes/regional_compilation.html
Exact   inductor adds in another order and draws dropout from numbers of its
        own; the backends eager and aot_eager give the same numbers as without.
        With dynamic=null which graph serves a shape depends on the shapes seen
        before, so that a resumed run may differ in rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from accel.device.repeated_blocks import repeated_blocks
from accel.errors import ConfigError
from accel.parts import Compile as CompilePart
from accel.system.clock import OTHER
from accel.system.machine import Need

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["GRAPHS", "Compile"]

GRAPHS = 64
"""How many graphs torch may keep of one forward method; from there on (8, left to itself) it would run new ones eagerly."""


@dataclass(eq=False)
class Compile(CompilePart):
    """The model compiled by torch.compile.

    Args:
        mode: of inductor. reduce-overhead uses CUDA graphs; max-autotune times several kernels for each product.
        backend: inductor writes kernels; aot_eager and eager only trace, for finding faults; or any that torch knows.
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

    def setup(self, run: Run) -> None:
        self.clock = run.clock

    def model(self, model: nn.Module) -> nn.Module:
        # not imported before: torch's compiler takes seconds
        import torch._dynamo
        from torch._dynamo.callback import on_compile_end, on_compile_start
        from torch._dynamo.exc import InvalidBackend

        self.regions = repeated_blocks(model) if self.regional else [model]
        self.limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(GRAPHS, self.limit)
        on_compile_start(self.starts)
        on_compile_end(self.ends)
        try:
            for region in self.regions:
                # an attribute of the instance: its class, the names of its weights and its hooks stay the user's own
                region.forward = self.compiled(region.forward)
        except InvalidBackend:
            known = ", ".join(torch._dynamo.list_backends())
            raise ConfigError(f"compile.backend={self.backend}: torch knows {known}") from None
        return model

    def compiled(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """`forward`, compiled when it is first called; where the backend fails, the error names the plugin."""
        from torch._dynamo.exc import BackendCompilerFailed

        with warnings.catch_warnings():  # inductor's own imports meet what torch has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            fast = torch.compile(forward, mode=self.mode, backend=self.backend, dynamic=self.dynamic)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return fast(*args, **kwargs)
            except BackendCompilerFailed as error:
                why = " ".join(str(error).split())[:200]
                raise ConfigError(
                    f"compile: {self.backend} cannot compile the model ({why}); leave it out with '~plugins.compile'"
                ) from error

        return call

    def starts(self, _: Any) -> None:
        """torch begins to compile."""
        self.since = perf_counter()

    def ends(self, _: Any) -> None:
        """torch has compiled, in the midst of some phase of the run."""
        self.clock.book_within_lap(perf_counter() - self.since, OTHER)

    def close(self) -> None:
        if not hasattr(self, "limit"):
            return
        from torch._dynamo.callback import callback_handler

        for region in self.regions:
            vars(region).pop("forward", None)
        self.regions = []
        torch._dynamo.config.recompile_limit = self.limit
        with suppress(ValueError):  # torch._dynamo.reset() forgets them
            callback_handler.remove_start_callback(self.starts)
            callback_handler.remove_end_callback(self.ends)

    def capture_blocker(self) -> str:
        if self.backend != "inductor" or self.mode in ("default", "max-autotune-no-cudagraphs"):
            return ""
        return f"compile.mode={self.mode} uses CUDA graphs itself; set plugins.compile.mode=max-autotune-no-cudagraphs"

    def plan_notes(self) -> Mapping[str, str]:
        kinds = sorted({type(region).__name__ for region in self.regions})
        what = f"{len(self.regions)} blocks ({', '.join(kinds)})" if self.regional else "the whole model"
        return {"compiled": f"{what}, by {self.backend}, in the first updates"}

    def ineffective_settings(self, run: Run) -> list[str]:
        found = []
        if self.backend != "inductor" and self.mode != "default":
            found.append(f"compile.mode has no effect with compile.backend={self.backend}")
        if not self.regions:
            found.append("compile has no effect: compile.regional=true, and no kind of block comes twice in the model")
        return found
