"""Muon: orthogonalised momentum for hidden matrices, AdamW for the rest.

The update of a matrix is its momentum with all singular values brought near to
1 by a few matrix products (Newton-Schulz, in bfloat16). Rare directions then
learn as fast as frequent ones.

Kernels of convolutions count as matrices of shape (out, in * height * width).
Embeddings, the output layer, biases, norms and all else that is not a hidden
matrix go to AdamW with a rate of its own. The plan printed at the start says
how much goes where, and `matrices` chooses otherwise.

Helps   transformers and convnets trained from scratch: fewer updates to the
        same loss than with AdamW.
Hurts   models without large matrices; fine-tuning of models that AdamW trained.
        A wide model on few samples per update pays more for the products than
        the updates save.
Costs   one number of memory per hidden weight, where AdamW has two. Also 15
        matrix products per update: a matrix of r x c (r <= c) takes 5 r^2 (2 c
        + r) multiplications, however large the batch.
Source  Jordan et al., kellerjordan.github.io/posts/muon; equal to
        `torch.optim.Muon` to rounding. adjust_lr=match_rms_adamw: Liu et al.,
        Muon is Scalable for LLM Training, arXiv 2502.16982. `accel.optim.Muon`
        is the same for a loop of your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from accel.device.cuda.bf16_support import describe_bf16_lack
from accel.device.dtensor import is_dtensor
from accel.errors import ConfigError, nearest
from accel.optim.hidden_matrices import hidden_matrices
from accel.optim.muon import Muon as FusedMuon
from accel.parts import Optim
from accel.parts.shared.groups.parameter_groups import decayed
from accel.parts.shared.name_patterns import matching
from accel.values import Count, Decay, NonNegative, Positive, Share

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Muon", "describe_size"]


@dataclass(eq=False)
class Muon(Optim):
    """Muon for the hidden matrices of a model, and AdamW for its other parameters.

    Args:
        lr: learning rate of the matrices.
        momentum: decay per update of the mean of the matrices' gradients.
        nesterov: look ahead along the momentum (Nesterov's).
        weight_decay: share of each weight taken off per update, times its learning rate; for AdamW's parameters too.
        adjust_lr: original multiplies lr by sqrt(max(1, rows / columns)); match_rms_adamw makes updates as long as AdamW's.
        ns_steps: Newton-Schulz steps per update.
        ns_dtype: number format of the Newton-Schulz products; float32 is for CPUs without instructions for bfloat16.
        adamw_lr: learning rate of AdamW's parameters; schedules keep its ratio to lr.
        beta1: decay per update of AdamW's first moment, the mean of the gradients.
        beta2: decay per update of AdamW's second moment, the mean of their squares.
        eps: number added to the root of AdamW's second moment.
        exclude: parameters without weight decay: none, or norm_and_bias, those of at most one dimension.
        matrices: names of the parameters that Muon moves, or patterns (blocks.*.weight); null finds the hidden matrices.
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
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
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0

    @property
    def group_settings(self) -> list[str]:
        return [name for name in super().group_settings if name != "eps"]  # a group of matrices has another eps

    def setup(self, run: Run) -> None:
        self.find_matrices(run.unwrapped_model)
        super().setup(run)

    def follow_parameters(self, run: Run) -> None:
        self.find_matrices(run.unwrapped_model)
        super().follow_parameters(run)

    def find_matrices(self, model: nn.Module) -> None:
        """Find the names of the matrices that Muon moves."""
        self.matrix_names = frozenset(hidden_matrices(model) if self.matrices is None else self.match_names(model, self.matrices))

    def match_names(self, model: nn.Module, patterns: list[str]) -> list[str]:
        """Return the names of the matrices that the patterns match.

        Raises:
            ConfigError: for a pattern that matches none.
        """
        names = [name for name, param in model.named_parameters() if param.dim() > 1]
        for pattern in patterns:
            if not matching(str(pattern), names):
                raise ConfigError(f"muon.matrices: the model has no matrix called {pattern!r}{nearest(str(pattern), names)}")
        matches = {name for pattern in patterns for name in matching(str(pattern), names)}
        return [name for name in names if name in matches]

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        matrices = {name for name, param in params if name in self.matrix_names and not param.is_complex()}
        self.matrix_params = [param for name, param in params if name in matrices]
        self.adamw_params = [(name, param) for name, param in params if name not in matrices]
        if any(map(is_dtensor, self.matrix_params)):
            raise ConfigError("muon needs each matrix whole, and fsdp spreads them over the ranks; use ddp, or adamw or lamb")
        groups: list[dict[str, Any]] = [{"params": self.matrix_params}] if self.matrix_params else []
        if self.adamw_params:
            groups += [{**group, "adamw": True} for group in decayed(self.adamw_params, self.exclude)]
        return FusedMuon(
            groups, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum, nesterov=self.nesterov,
            ns_steps=self.ns_steps, adjust_lr_fn=self.adjust_lr, adamw_lr=self.adamw_lr, betas=(self.beta1, self.beta2),
            adamw_eps=self.eps, ns_dtype=self.ns_dtype,
        )  # fmt: skip

    def plan_notes(self) -> Mapping[str, str]:
        matrices, adamw_params = self.matrix_params, [param for _, param in self.adamw_params]
        return {
            **super().plan_notes(),
            "optimizer": f"Muon for {describe_size(matrices)}; AdamW for {describe_size(adamw_params)}{self.plain_note()}",
            "of which AdamW": f"at {self.adamw_lr * self.scale:g}, {self.adamw_lr / self.lr:g} times the learning rate",
        }

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = super().ineffective_settings(run)
        if not self.matrix_params:
            messages.append("muon: the model has no hidden matrices, so AdamW moves all of it; add adamw instead")
        elif self.ns_dtype == "bfloat16" and (lack := describe_bf16_lack(run.device)):
            messages.append(f"muon: {lack}; muon.ns_dtype=float32 is faster")
        if not self.adamw_params:
            names = self.changed("adamw_lr", "beta1", "beta2", "eps", "exclude")
            messages += [f"muon.{name} has no effect: Muon moves every parameter" for name in names]
        return messages


def describe_size(tensors: list[Tensor]) -> str:
    """Return the count and the total size of tensors, in words."""
    return f"{len(tensors)} tensor{'s' * (len(tensors) != 1)} of {sum(tensor.numel() for tensor in tensors):,} numbers"
