"""Muon: momentum made orthogonal for hidden matrices, AdamW for the rest.

The update of a matrix is its momentum with all singular values brought near to
1 by a few matrix products (Newton-Schulz, in bfloat16), so that rare directions
learn as fast as frequent ones. Kernels of convolutions count as matrices
(out, in * height * width). Embeddings, the output layer, biases, norms and
whatever else is no hidden matrix go to AdamW with a rate of its own; the plan
says how much goes where, and `matrices` chooses otherwise.

Helps   transformers and convnets trained from scratch: fewer updates to the
        same loss than with AdamW.
Hurts   models without large matrices, and fine-tuning of what AdamW trained.
        A wide model on few samples per update pays more for the products than
        the updates that it saves.
Costs   one number of memory per hidden weight, where AdamW has two; and 15
        matrix products per update: for a matrix of r x c (r <= c) there are
        5 r^2 (2 c + r) multiplications, however large the batch.
Source  Jordan et al., kellerjordan.github.io/posts/muon; equal to
        `torch.optim.Muon` to rounding. adjust_lr=match_rms_adamw: Liu et al.,
        Muon is Scalable for LLM Training, arXiv 2502.16982.
        `accel.optim.Muon` is the same for a loop of your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from accel.device.dtensor import is_dtensor
from accel.errors import ConfigError, nearest
from accel.optim.hidden_matrices import hidden_matrices
from accel.optim.muon import Muon as FusedMuon
from accel.parts import Optim
from accel.parts.optim import decayed, has_fused
from accel.system.machine import lacks_bf16
from accel.values import Count, Decay, NonNegative, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Muon", "size"]


@dataclass(eq=False)
class Muon(Optim):
    """Muon, with AdamW for what is no hidden matrix.

    Args:
        lr: the learning rate of the matrices.
        momentum: how slowly the mean of their gradients forgets.
        nesterov: look ahead along the momentum.
        weight_decay: the share of each weight taken off per update, times its learning rate; of AdamW's too.
        adjust_lr: original multiplies lr by sqrt(max(1, rows / columns)); match_rms_adamw makes updates as long as AdamW's.
        ns_steps: Newton-Schulz steps per update.
        ns_dtype: their arithmetic; float32 is for CPUs without instructions for bfloat16.
        adamw_lr: the learning rate of the rest; schedules keep its ratio to lr.
        beta1: how slowly AdamW's first moment forgets.
        beta2: how slowly AdamW's second moment forgets.
        eps: added to the root of AdamW's second moment.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay.
        matrices: names of the parameters that Muon moves, or patterns (blocks.*.weight); null finds the hidden matrices.
    """

    lr: Positive = 0.02
    momentum: Decay = 0.95
    nesterov: bool = True
    weight_decay: NonNegative = 0.01
    adjust_lr: Literal["original", "match_rms_adamw"] = "original"
    ns_steps: Count = 5
    ns_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    adamw_lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    exclude: Literal["none", "norm_and_bias"] = "norm_and_bias"
    matrices: list[str] | None = None

    def setup(self, run: Run) -> None:
        self.chosen = frozenset(
            hidden_matrices(run.unwrapped_model) if self.matrices is None else self.named(run.unwrapped_model, self.matrices)
        )
        super().setup(run)

    def named(self, model: nn.Module, patterns: list[str]) -> list[str]:
        """The names of the matrices that the patterns mean. Raises ConfigError for a pattern that means none."""
        names = [name for name, param in model.named_parameters() if param.dim() > 1]
        for pattern in patterns:
            if not any(fnmatchcase(name, str(pattern)) for name in names):
                raise ConfigError(f"muon.matrices: the model has no matrix called {pattern!r}{nearest(str(pattern), names)}")
        return [name for name in names if any(fnmatchcase(name, str(pattern)) for pattern in patterns)]

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        self.ours = [param for name, param in params if name in self.chosen]
        self.rest = [(name, param) for name, param in params if name not in self.chosen]
        if any(map(is_dtensor, self.ours)):
            raise ConfigError("muon needs each matrix whole, and fsdp spreads them over the ranks; use ddp, or adamw or lamb")
        for name, param in self.rest:
            if not has_fused([(name, param)], device):
                why = "complex, or lies in memory with gaps, or on another kind of device"
                raise ConfigError(f"muon: AdamW's fused kernel cannot move {name}, which is {why}; take adamw with fused=false")
        groups: list[dict[str, Any]] = [{"params": self.ours}] if self.ours else []
        if self.rest:
            groups += [{**group, "adamw": True} for group in decayed(self.rest, self.exclude)]
        return FusedMuon(
            groups, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum, nesterov=self.nesterov,
            ns_steps=self.ns_steps, adjust_lr_fn=self.adjust_lr, adamw_lr=self.adamw_lr, betas=(self.beta1, self.beta2),
            adamw_eps=self.eps, ns_dtype=self.ns_dtype,
        )  # fmt: skip

    def plan_notes(self) -> Mapping[str, str]:
        ours, rest = self.ours, [param for _, param in self.rest]
        return {
            "optimizer": f"Muon for {size(ours)}; AdamW for {size(rest)}",
            "of which AdamW": f"at {self.adamw_lr * self.scale:g}, {self.adamw_lr / self.lr:g} times the learning rate",
        }

    def ineffective_settings(self, run: Run) -> list[str]:
        found = []
        if not self.ours:
            found.append("muon: the model has no hidden matrices, so AdamW moves all of it; add adamw instead")
        elif self.ns_dtype == "bfloat16" and run.device.type == "cpu" and lacks_bf16():
            found.append("muon: this CPU has no bfloat16 instructions (avx512_bf16, amx_bf16); muon.ns_dtype=float32 is faster")
        if not self.rest:
            dead = self.changed("adamw_lr", "beta1", "beta2", "eps", "exclude")
            found += [f"muon.{name} has no effect: Muon moves every parameter" for name in dead]
        return found


def size(tensors: list[Tensor]) -> str:
    """How much that is, in words."""
    return f"{len(tensors)} tensor{'s' * (len(tensors) != 1)} of {sum(tensor.numel() for tensor in tensors):,} numbers"
