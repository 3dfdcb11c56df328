"""Base of the precisions with 16-bit products, with the loss scale that float16 needs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from accel.device.cuda.bf16_support import describe_bf16_lack
from accel.parts.grads import Grads
from accel.parts.precision import Precision
from accel.parts.run import Run
from accel.system.deprecation.old_attributes import MovedAttribute
from accel.system.machine import Need
from accel.values import Count, Fraction, Positive

__all__ = ["ROUNDING", "Autocast"]

ROUNDING = {"bfloat16": 0.1, "float16": 0.02}
"""Distance of a layer's gradient from float32 that products in the format explain: some tens of its roundings, 2^-8 and 2^-11."""


@dataclass(eq=False)
class Autocast(Precision):
    """Precision with 16-bit products: torch.autocast, and a loss scale if the format needs one.

    The scale follows `torch.amp.GradScaler`, but nothing of it is read on the host: whether an update was skipped is a number on
    the device (`Grads.found_inf`).

    Args:
        dtype: the 16-bit format; bfloat16 has the range of float32 and needs no loss scale.
        init_scale: first loss scale (float16 only, like all that follow).
        growth_factor: factor on the scale after `growth_interval` good updates in a row.
        backoff_factor: factor on the scale after an overflow.
        growth_interval: good updates in a row before the scale grows.
        force: run float16 on a CPU, for tests; it is 20 to 30 times slower than float32 there.
    """

    kept_in_float32: ClassVar[str] = "weights"
    """Name of the tensors that stay in float32, for the plan."""
    keeps = MovedAttribute("kept_in_float32")
    needs: ClassVar[tuple[Need, ...]] = (
        Need("cuda", {"dtype": "float16", "force": False}, "float16 is 20 to 30 times slower than float32 there", "dtype=bfloat16"),
    )
    wants: ClassVar[tuple[Need, ...]] = (Need("bfloat16", {"dtype": "bfloat16"}, "without them it is slower than float32"),)

    dtype: Literal["bfloat16", "float16"] = "bfloat16"
    init_scale: Positive = 65536.0
    growth_factor: Positive = 2.0
    backoff_factor: Fraction = 0.5
    growth_interval: Count = 2000
    force: bool = False

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.autocast = torch.autocast(run.device.type, dtype=getattr(torch, self.dtype))
        self.scale: Tensor | None = None
        if self.dtype == "float16":
            self.scale = torch.tensor(self.init_scale, dtype=torch.float32, device=run.device)
            self.good = torch.zeros((), dtype=torch.int32, device=run.device)
            self.skipped = torch.zeros((), dtype=torch.float32, device=run.device)

    @property
    def is_narrow(self) -> bool:
        """Whether gradients pass through float16, which overflows above 65,504."""
        return self.dtype == "float16" or super().is_narrow

    def cast(self) -> AbstractContextManager[None]:
        return self.autocast

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        super().backward(loss, weight if self.scale is None else weight * self.scale)

    def gradients(self) -> Grads:
        grads = super().gradients()
        if self.scale is not None:
            grads.scale = self.scale
            grads.need_found_inf()
        return grads

    def adapt(self, grads: Grads) -> None:
        if self.scale is not None:
            assert grads.found_inf is not None
            assert self.skipped is not None
            self.skipped.add_(grads.found_inf)
            before = None if grads.empty is None else (self.scale.clone(), self.good.clone())
            torch._amp_update_scale_(
                self.scale, self.good, grads.found_inf, self.growth_factor, self.backoff_factor, self.growth_interval
            )
            if before is not None:  # a window without items tells nothing about the scale
                assert grads.empty is not None
                torch.where(grads.empty != 0, before[0], self.scale, out=self.scale)
                torch.where(grads.empty != 0, before[1], self.good, out=self.good)
        self.publish()

    def rounding(self) -> float:
        return ROUNDING[self.dtype]

    def capture_blocker(self) -> str:
        return ""

    def plan_notes(self) -> Mapping[str, str]:
        scaled = "" if self.scale is None else f", loss scale from {self.init_scale:g}"
        return {"arithmetic": f"{self.dtype} products, float32 {self.kept_in_float32} and sums{scaled}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.dtype == "float16":
            return []
        unused = self.changed("init_scale", "growth_factor", "backoff_factor", "growth_interval")
        sentences = [f"{self.name}.{name} has no effect with {self.name}.dtype=bfloat16" for name in unused]
        if lack := describe_bf16_lack(run.device):
            fix = "bfloat16 is slower than float32 here" if run.device.type == "cpu" else f"set {self.name}.dtype=float16"
            sentences.append(f"{self.name}: {lack}; {fix}")
        return sentences

    def state_dict(self) -> dict[str, Any]:
        return {} if self.scale is None else {"scale": self.scale, "good": self.good, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, number in state.items():
            getattr(self, name).copy_(number)
