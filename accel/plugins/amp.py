"""AMP: 16-bit arithmetic over 32-bit weights.

Matrix products and convolutions run in bfloat16 or float16; weights, gradients,
sums and the optimiser stay in float32. float16 has 5 bits of exponent, so small
gradients vanish: the loss is scaled up before the backward pass, and the
optimiser divides by the scale. An update whose gradients overflow is skipped
and the scale backs off; after `growth_interval` good updates in a row it grows.

Helps   models made of matrix products, on hardware that multiplies 16-bit
        numbers faster: tensor cores, AVX512-BF16, AMX.
Hurts   small models (each cast costs time), and bfloat16 on a CPU without
        instructions for it.
Costs   casts of the weights once per forward pass; with float16 one read of the
        gradients, to see an overflow.
Source  Micikevicius et al., Mixed Precision Training, arXiv 1710.03740; the
        scale follows `torch.amp.GradScaler`.
Exact   Nothing is read on the host: whether an update was skipped is a number
        on the device, which a fused optimiser and the average heed there. A
        gradient whose norm overflows float32 counts as overflowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from accel.machine import Need, lacks_bf16
from accel.parts import Grads, Precision
from accel.values import Count, Fraction, Positive

if TYPE_CHECKING:
    from accel.parts import Run


@dataclass(eq=False)
class AMP(Precision):
    """Automatic mixed precision.

    Args:
        dtype: the 16-bit format; bfloat16 has the range of float32 and needs no loss scale.
        init_scale: the first loss scale (float16 only, as all that follow).
        growth_factor: what a good stretch multiplies the scale by.
        backoff_factor: what an overflow multiplies it by.
        growth_interval: how many good updates in a row make a good stretch.
        force: run float16 on a CPU all the same, for tests; it is 20 to 30 times slower than float32 there.
    """

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
        self.device = run.device
        self.autocast = torch.autocast(run.device.type, dtype=getattr(torch, self.dtype))
        self.scale: Tensor | None = None
        if self.dtype == "float16":
            self.scale = torch.tensor(self.init_scale, dtype=torch.float32, device=run.device)
            self.good = torch.zeros((), dtype=torch.int32, device=run.device)
            self.skipped = torch.zeros((), dtype=torch.float32, device=run.device)

    def cast(self) -> AbstractContextManager[None]:
        return self.autocast

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        super().backward(loss, weight if self.scale is None else weight * self.scale)

    def gradients(self) -> Grads:
        grads = super().gradients()
        if self.scale is not None:
            grads.scale = self.scale
            grads.check()
        return grads

    def adapt(self, grads: Grads) -> None:
        if self.scale is not None:
            assert grads.found_inf is not None
            assert self.skipped is not None
            self.skipped.add_(grads.found_inf)
            torch._amp_update_scale_(
                self.scale, self.good, grads.found_inf, self.growth_factor, self.backoff_factor, self.growth_interval
            )

    def notes(self) -> Mapping[str, str]:
        scaled = "" if self.scale is None else f", loss scale from {self.init_scale:g}"
        return {"arithmetic": f"{self.dtype} products, float32 weights and sums{scaled}"}

    def idle(self, run: Run) -> list[str]:
        if self.dtype == "float16":
            return []
        dead = self.changed("init_scale", "growth_factor", "backoff_factor", "growth_interval")
        found = [f"amp.{name} has no effect with amp.dtype=bfloat16" for name in dead]
        if run.device.type == "cpu" and lacks_bf16():
            found.append("amp: this CPU has no bfloat16 instructions (avx512_bf16, amx_bf16); bfloat16 is slower than float32 here")
        return found

    def state_dict(self) -> dict[str, Any]:
        return {} if self.scale is None else {"scale": self.scale, "good": self.good, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, number in state.items():
            getattr(self, name).copy_(number)
