"""Muon: momentum whose matrices are made orthogonal, all of one shape at once; and AdamW for all other parameters.

torch's own (`torch.optim.Muon`) orthogonalises one matrix after another: for small matrices a row of small products that keeps
no device busy. Here the matrices of one shape are one batch. Their momentum lies in one tensor, of which each parameter's
`momentum_buffer` is a slice: one operation before and after the products serves all of them.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from accel.optim.adamw import adamw
from accel.optim.cycled_betas import adam_state_names
from accel.optim.fused import Fused, Memory
from accel.optim.hidden_matrices import hidden_matrices
from accel.optim.kernel_row import KernelRow
from accel.optim.kernels.multi_tensor import interpolate
from accel.optim.matrix_batch import (
    MatrixBatch,
    apply_updates,
    batch_positions,
    common_base,
    lr_ratio,
    orthogonalise,
    subtract_updates,
)

__all__ = ["DEFAULTS", "ONLY_ADAMW", "ONLY_MUON", "Muon", "split_by_shape", "split_model"]

ONLY_MUON = ("momentum", "nesterov", "ns_coefficients", "ns_steps", "ns_dtype", "adjust_lr_fn")
ONLY_ADAMW = ("betas",)
DEFAULTS = {"adamw_lr": "lr", "adamw_eps": "eps"}
"""The names in the defaults of the `lr` and `eps` of groups with `adamw`."""


class Muon(Fused):
    """Muon for matrices, and AdamW for the groups that say `adamw=True`.

    For each matrix p with gradient g; a kernel of more dimensions counts as the matrix `(out, in * height * width)`

        m = momentum m + (1 - momentum) g
        u = orthogonal((1 - momentum) g + momentum m), or orthogonal(m) without nesterov
        p = p - lr weight_decay p - lr r u

    where orthogonal(m) brings all singular values of m near to 1 by `ns_steps` of a Newton-Schulz iteration. The factor r is
    sqrt(max(1, rows / columns)) (`original`) or 0.2 sqrt(max(rows, columns)) (`match_rms_adamw`: updates as long as AdamW's).
    Results equal, to rounding, those of `torch.optim.Muon`, which takes two dimensions alone. `p.grad`, `grad_scale`, `found_inf`
    and host reads are as with `LAMB`.

        Muon(model, adamw_lr=1e-3)                          # split as `accel.optim.hidden_matrices` does, by the kind of module
        Muon(model.parameters(), rest="adamw")              # split by shape
        Muon([{"params": matrices}, {"params": others, "adamw": True, "lr": 1e-3}])

    Args:
        params: tensors, or groups of them, or a model; the state has the dtype of its parameter. Of a model the hidden matrices are
            Muon's, and all else that is trained is AdamW's, without weight decay where it has at most one dimension.
        lr: the learning rate of the matrices.
        weight_decay: the share of each weight taken off per update, times lr.
        momentum: the decay of the mean of the gradients.
        nesterov: look ahead along the momentum.
        ns_coefficients: of the iteration: x = a x + (b A + c A A) x with A = x x^T.
        eps: the least norm that a matrix is divided by before the iteration.
        ns_steps: the number of iterations.
        adjust_lr_fn: how the learning rate follows the shape; None is original.
        adamw_lr: the learning rate of groups with `adamw`, if they have none of their own.
        betas: of AdamW.
        adamw_eps: of AdamW, if a group has no eps of its own.
        ns_dtype: of the iteration. float32 is for CPUs without instructions for bfloat16.
        rest: `adamw` moves those tensors of a group to AdamW that are no real matrix of two rows and two columns at least; those
            of at most one dimension have no weight decay there. None refuses tensors that are no matrix.

    Raises:
        ValueError: for a tensor that is no real matrix in a group without `adamw`, unless `rest` moves it; or for another
            `adjust_lr_fn` or `rest`.

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, kellerjordan.github.io/posts/muon; the ratio
    match_rms_adamw: Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982.
    """

    takes_bare_grads = True
    algorithms = ("adamw",)

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        *,
        adamw_lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        ns_dtype: Literal["bfloat16", "float32"] = "bfloat16",
        rest: Literal["adamw"] | None = None,
    ) -> None:
        if rest not in (None, "adamw"):
            raise ValueError(f"rest must be adamw or None, not {rest!r}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"adjust_lr_fn must be original or match_rms_adamw, not {adjust_lr_fn!r}")
        settings = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "ns_coefficients": ns_coefficients,
            "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn, "betas": betas, "ns_dtype": ns_dtype,
            "adamw_lr": adamw_lr, "adamw_eps": adamw_eps, "fused": True, "rest": rest,
        }  # fmt: skip
        super().__init__(split_model(params) if isinstance(params, nn.Module) else params, settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with the settings of its own algorithm alone, so that nobody changes one that has no effect.

        With `rest`, a group of matrices and others becomes several.

        Raises:
            ValueError: for a tensor that is no real matrix, unless the group has `adamw`.
        """
        param_group.setdefault("adamw", False)
        if self.defaults["rest"] == "adamw" and not param_group["adamw"]:
            for part in split_by_shape(param_group):
                self._add_group(part)
        else:
            self._add_group(param_group)

    def _add_group(self, param_group: dict[str, Any]) -> None:
        """Add a group whose parameters are all for one algorithm."""
        if param_group["adamw"]:
            for name, group_name in DEFAULTS.items():
                param_group.setdefault(group_name, self.defaults[name])
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("rest", *DEFAULTS, *(ONLY_MUON if group["adamw"] else ONLY_ADAMW)):
            group.pop(name, None)
        for param in () if group["adamw"] else group["params"]:
            if param.dim() < 2 or param.is_complex():
                kind = f"has the shape {tuple(param.shape)}" if param.dim() < 2 else "is complex"
                fix = 'its group needs adamw=True, or set rest="adamw"'
                raise ValueError(f"Muon moves real matrices, and a parameter {kind}: {fix}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("adamw", False)
            if not group["adamw"]:  # torch.optim.Muon's has none
                group.setdefault("ns_dtype", "bfloat16")

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of Adam's state for groups with `adamw`, else of the momentum."""
        return adam_state_names(group) if group["adamw"] else ("momentum_buffer",)

    def stack_counters(self, row: KernelRow) -> KernelRow:
        """Return the row with its momentum in one tensor for each batch, of which the state has the slices."""
        if row.group["adamw"]:
            return super().stack_counters(row)
        [buffers] = row.state
        for places in batch_positions(row.params):
            for index, momentum in zip(places, torch.stack([buffers[i] for i in places]).unbind(), strict=True):
                buffers[index] = self.state[row.params[index]]["momentum_buffer"] = momentum
        return row

    def plan(self, row: KernelRow, memory: Memory) -> list[MatrixBatch]:
        """Return the batches of a row; none for AdamW."""
        if row.group["adamw"]:
            return []
        batches = []
        for places in batch_positions(row.params):
            params, buffers = ([tensors[i] for i in places] for tensors in (row.params, row.state[0]))
            batches.append(
                MatrixBatch(places, params, buffers, common_base(buffers), lr_ratio(params[0], row.group["adjust_lr_fn"]))
            )
        return batches

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row, batch by batch."""
        if row.group["adamw"]:
            adamw(self, row, grads)
            return
        skip = None if self.found_inf is None or row.on_device else self.found_inf.bool()
        for batch in row.plan:
            update = self.direction(batch, row, torch.stack([grads[i] for i in batch.places]), skip)
            if row.on_device:
                subtract_updates(row.kernel("sgd"), batch, row.group, update, self.found_inf)
            else:
                apply_updates(batch, row.group, update, skip)

    def direction(self, batch: MatrixBatch, row: KernelRow, grads: Tensor, skip: Tensor | None) -> Tensor:
        """Return the orthogonal updates of a batch, (n, *shape) in the dtype of the iteration; on a device not if it is skipped.

        Args:
            batch: the matrices.
            row: their row.
            grads: (n, *shape); it is written over.
            skip: 0-dim bool: the momentum stays as it is if it is true; None stands for false. On a device `found_inf` says so.
        """
        group = row.group
        momentum = torch.stack(batch.buffers) if batch.momentum is None else batch.momentum
        if self.scale is not None:
            grads.div_(self.scale)
        if row.on_device:
            interpolate(row.kernel("sgd", scratch=True), [momentum], [grads], 1 - group["momentum"], self.found_inf)
        else:
            if skip is not None:  # the mean of the momentum with itself is what it was, to the bit
                grads = torch.where(skip, momentum, grads)
            momentum.lerp_(grads, 1 - group["momentum"])
        if batch.momentum is None:
            torch._foreach_copy_(batch.buffers, list(momentum.unbind()))
        ahead = grads.lerp_(momentum, group["momentum"]) if group["nesterov"] else momentum
        dtype: torch.dtype = getattr(torch, group["ns_dtype"])
        return orthogonalise(ahead.flatten(2), group["ns_coefficients"], group["ns_steps"], group["eps"], dtype).reshape(
            ahead.shape
        )


def split_by_shape(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a group in three: its matrices, which may be none; all else, for AdamW; and of that what has no weight decay."""
    params = group["params"]
    entries = [params] if isinstance(params, Tensor) else list(params)  # tensors, or pairs of a name and a tensor
    parts: dict[str, list[Any]] = {"matrices": [], "others": [], "vectors": []}
    for entry in entries:
        param = entry[1] if isinstance(entry, tuple) else entry
        is_matrix = param.dim() > 1 and min(param.shape[0], param.shape[1:].numel()) > 1 and not param.is_complex()
        parts["matrices" if is_matrix else "others" if param.dim() > 1 else "vectors"].append(entry)
    shared = {name: value for name, value in group.items() if name not in (*ONLY_MUON, "lr", "eps")}
    adamw = [{**shared, "params": parts["others"], "adamw": True}]
    adamw.append({**shared, "params": parts["vectors"], "adamw": True, "weight_decay": 0.0})
    return [part for part in ({**group, "params": parts["matrices"]}, *adamw) if part["params"]]


def split_model(model: nn.Module) -> list[dict[str, Any]]:
    """Return the parameters of a model that are trained in groups, as the plugin `muon` splits them."""
    names = hidden_matrices(model)
    trained = {name: param for name, param in model.named_parameters() if param.requires_grad}
    matrices = [param for name, param in trained.items() if name in names and not param.is_complex()]
    others = [param for name, param in trained.items() if name not in names or param.is_complex()]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": [param for param in others if param.dim() > 1], "adamw": True}]
    groups.append({"params": [param for param in others if param.dim() <= 1], "adamw": True, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
