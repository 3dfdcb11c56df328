"""Norms: a watch that logs the norms of gradients and weights, and how far an update moves the weights.

Every `every`-th update, from the first on, logs `grad_norm`, `weight_norm` and
`update_ratio`, the norm of the step over that of the weights. They stand beside
the loss in metrics.jsonl, on the line of progress and in TensorBoard. `depth`
and `match` give the same of parts of the model: `grad_norm/blocks.0`.

Helps   finding layers that do not learn (a ratio far below 1e-3) or that learn
        too fast (far above), and a limit for the plugin clip.
Hurts   memory: a second copy of the weights.
Costs   on the updates that it looks at, one read of the gradients and three of
        the weights, in a dozen kernels; it never waits for the device. With
        cuda_graph it looks at every update, whatever `every` is.
Source  https://karpathy.github.io/2019/04/25/recipe; `torch._foreach_norm`.
Exact   The gradient is the true one: the mean over the whole window and all
        ranks, without a loss scale, before the clip. A norm is the 2-norm over
        all parameters of its part, in float32 at least, with fsdp over all
        shards. The weight norm is that after the step. Of an update that is
        skipped, the ratio is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accel.device.accelerators.float64 import wide_dtype
from accel.device.accelerators.runtime import sent
from accel.device.dtensor import local_shard, norms, placement, real_shard
from accel.errors import ConfigError
from accel.parts import Grads, Watch
from accel.parts.shared.name_patterns import matching, matching_some
from accel.values import Count, Whole

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Norms", "squared_norms"]


@dataclass(eq=False)
class Norms(Watch):
    """Watch that logs the norms of gradients, weights and steps.

    Args:
        every: updates between two that are looked at.
        depth: names of modules by which the model is divided: 1 for its children, 2 for theirs; 0 for the whole alone.
        match: patterns of parameter names, each a part of its own, such as `['embed.*']`; null for none.
    """

    every: Count = 10
    depth: Whole = 0
    match: list[str] | None = None

    def setup(self, run: Run) -> None:
        if run.parts.update.name == "step_in_backward":
            raise ConfigError("norms looks at all gradients together, and step_in_backward has each for itself; leave one out")
        self.progress, self.always = run.progress, run.parts.update.name == "cuda_graph"
        self.is_due = False
        self.follow_parameters(run)

    def follow_parameters(self, run: Run) -> None:
        self.is_partial = run.parts.precision.only is not None
        self.params = [param for _, param in run.parts.precision.params]
        self.columns = {id(param): column for column, param in enumerate(self.params)}
        self.sent_columns: dict[tuple[int, ...], Tensor] = {}
        self.shards = [real_shard(param.detach()) for param in self.params]
        self.copies: list[Tensor] = []
        """Weights before the step; memory that is used again."""
        self.members = self.find_members([name for name, _ in run.parts.precision.params])
        rows = torch.zeros(1 + len(self.members), len(self.params), dtype=torch.bool)
        rows[0] = True
        for row, columns in enumerate(self.members.values(), 1):
            rows[row, columns] = True
        self.rows = rows.to(run.device)
        """Whether a parameter belongs to the whole model, and to each of its parts, (1 + parts, parameters)."""

    def find_members(self, names: list[str]) -> dict[str, list[int]]:
        """Return the parameters of each part of the model, as places in `names`.

        Raises:
            ConfigError: for a pattern that matches nothing.
        """
        members: dict[str, list[int]] = {}
        for column, name in enumerate(names if self.depth else []):
            modules = name.split(".")[:-1][: self.depth]
            members.setdefault(".".join(modules) or name, []).append(column)
        for number, pattern in enumerate(self.match or []):
            matched = set(matching(pattern, names) if self.is_partial else matching_some(pattern, names, f"norms.match[{number}]"))
            if self.is_partial and not matched:  # the parameters of another objective
                continue
            members[pattern] = [column for column, name in enumerate(names) if name in matched]
        return members

    def before_step(self, grads: Grads) -> None:
        """Keep the norms of the gradients, and a copy of the weights, if this update is looked at."""
        self.is_due = self.always or self.progress.step % self.every == 0
        if not self.is_due:
            return
        if not self.copies:
            self.copies = [torch.empty_like(shard) for shard in self.shards]
        torch._foreach_copy_(self.copies, self.shards)
        with_gradient = [param for param in grads.params if param.grad is not None]
        gradients = [local_shard(param.grad, param) for param in with_gradient if param.grad is not None]
        squares = squared_norms(gradients, with_gradient)
        if len(with_gradient) < len(self.params):
            zeros = torch.zeros(len(self.params), dtype=squares.dtype, device=self.rows.device)
            squares = zeros.index_copy_(0, self.columns_of(with_gradient), squares)
        self.grad_norms = self.norms_of_parts(squares)
        if grads.scale is not None:
            self.grad_norms = self.grad_norms / grads.scale

    def columns_of(self, params: list[Tensor]) -> Tensor:
        """Return the columns of parameters, (n,) on the device. They are sent there once, and not in a captured update."""
        key = tuple(self.columns[id(param)] for param in params)
        if key not in self.sent_columns:
            self.sent_columns = {key: torch.tensor(key, dtype=torch.long).to(self.rows.device)}
        return self.sent_columns[key]

    def after_step(self) -> dict[str, Any]:
        """Return the numbers of the update, 0-dim on the device, by name; none if it was not looked at."""
        if not self.is_due:
            return {}
        weights = self.norms_of_parts(squared_norms(self.shards, self.params))
        torch._foreach_sub_(self.copies, self.shards)
        ratios = self.norms_of_parts(squared_norms(self.copies, self.params)) / weights
        numbers: dict[str, Any] = {}
        for part, row in {"": 0, **{f"/{name}": row for row, name in enumerate(self.members, 1)}}.items():
            for kind, values in (("grad_norm", self.grad_norms), ("weight_norm", weights), ("update_ratio", ratios)):
                numbers[kind + part] = values[row]
        return numbers

    def norms_of_parts(self, squares: Tensor) -> Tensor:
        """Return the norms of the whole and of each part, (1 + parts,), from the squares of those of the parameters."""
        return torch.where(self.rows, squares, 0.0).sum(1).sqrt()


def squared_norms(shards: list[Tensor], params: list[Tensor]) -> Tensor:
    """Return the squared 2-norms of tensors, (n,), over all shards: float64, or float32 on a device without it.

    Args:
        shards: what this process has of them.
        params: the parameters that they belong to, which say how they are sharded.
    """
    if not shards:
        return torch.zeros(0, dtype=torch.float64)
    each = torch.stack(norms(shards))
    squares = each.to(wide_dtype(each.device)).square()
    groups: dict[Any, list[int]] = {}
    for index, param in enumerate(params):
        groups.setdefault(placement(param), []).append(index)
    for sharding, indices in groups.items():
        if sharding.mesh is not None:
            chosen = sent(torch.tensor(indices), squares.device)
            squares[chosen] = sharding.all_reduce(squares[chosen])
    return squares
