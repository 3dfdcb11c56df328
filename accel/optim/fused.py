"""torch's fused optimisers without the Python around their kernels.

torch gathers weights, gradients and state anew in every step, groups them by device and format, and asks whether someone profiles:
for a small model 20 to 40 microseconds around a kernel of 5. Here the lists are made once, and a step is little more than a call
of the kernel. The kernel is torch's, so are the state and its format, and a parameter without a gradient stays where it is, as
with torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer


class Row(NamedTuple):
    """What one call of the kernel moves: the parameters of one group on one device in one format."""

    group: dict[str, Any]
    params: list[Tensor]
    state: list[list[Tensor]]
    """One list for each name in `Fused.keeps`, as long as `params`."""
    counter: Tensor | None = None
    """The step counters in one tensor, of which those in `state` are views."""

    def having(self, grads: list[Tensor | None]) -> Row:
        """The row without the parameters that have no gradient."""
        there = [i for i, grad in enumerate(grads) if grad is not None]
        return Row(self.group, [self.params[i] for i in there], [[values[i] for i in there] for values in self.state])


class Fused(Optimizer):
    """What the fused optimisers have in common. `grad_scale` and `found_inf` are 0-dim float32 on the device, as torch has them."""

    keeps: tuple[str, ...] = ()
    """The names of the state, in the order in which the kernel takes it."""
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None
    rows: list[Row] | None = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self.rows = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.rows = None

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step, or none at all where `found_inf` says so."""
        if self.rows is None:
            self.rows = self.gather()
        for row in self.rows:
            grads = [param.grad for param in row.params]
            if any(grad is None for grad in grads):
                row = row.having(grads)
                grads = [grad for grad in grads if grad is not None]
            if grads:
                self.kernel(row, grads)

    def gather(self) -> list[Row]:
        """The rows, with their state made where there is none yet."""
        rows: dict[tuple[int, torch.device, torch.dtype], Row] = {}
        for number, group in enumerate(self.param_groups):
            for param in group["params"]:
                row = rows.setdefault((number, param.device, param.dtype), Row(group, [], [[] for _ in self.keeps]))
                row.params.append(param)
                for name, values in zip(self.keeps, row.state, strict=True):
                    values.append(self.state[param].setdefault(name, self.fresh(name, param)))
        return list(rows.values())

    def fresh(self, name: str, param: Tensor) -> Tensor:
        """The state called `name` before the first step."""
        return torch.zeros_like(param)

    def kernel(self, row: Row, grads: list[Any]) -> None:
        """Moves the parameters of a row."""
        raise NotImplementedError


class FusedSGD(Fused, SGD):  # type: ignore[misc]  # no closures
    """`torch.optim.SGD(fused=True)`, with its momentum buffers made at once, as zeros.

    torch makes them, uninitialised, in the first step; a fused first step that is skipped leaves them as garbage
    (torch 2.13), and the second step adds it to the weights. Starting from zero is the same arithmetic: 0 * momentum + g.
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        self.keeps = ("momentum_buffer",) if settings.get("momentum") else ()
        super().__init__(params, fused=True, **settings)

    def kernel(self, row: Row, grads: list[Any]) -> None:
        group = row.group
        torch._fused_sgd_(
            row.params, grads, row.state[0] if row.state else [], lr=group["lr"], momentum=group["momentum"],
            weight_decay=group["weight_decay"], dampening=group["dampening"], nesterov=group["nesterov"],
            maximize=group["maximize"], is_first_step=False, grad_scale=self.grad_scale, found_inf=self.found_inf,
        )  # fmt: skip


class FusedAdamW(Fused, AdamW):  # type: ignore[misc]
    """`torch.optim.AdamW(fused=True)`; the step counters of a row are views of one tensor, counted up in one operation."""

    keeps = ("exp_avg", "exp_avg_sq", "step")

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def fresh(self, name: str, param: Tensor) -> Tensor:
        return torch.zeros((), device=param.device) if name == "step" else super().fresh(name, param)

    def gather(self) -> list[Row]:
        rows = []
        for row in super().gather():
            counter = torch.stack(row.state[2])
            row.state[2][:] = counter.unbind()
            for param, step in zip(row.params, row.state[2], strict=True):
                self.state[param]["step"] = step
            rows.append(row._replace(counter=counter))
        return rows

    def kernel(self, row: Row, grads: list[Any]) -> None:
        group, (averages, squares, steps) = row.group, row.state
        counts = steps if row.counter is None else [row.counter]
        torch._foreach_add_(counts, 1)
        torch._fused_adamw_(
            row.params, grads, averages, squares, [], steps, lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1],
            weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=group["maximize"],
            grad_scale=self.grad_scale, found_inf=self.found_inf,
        )  # fmt: skip
        if self.found_inf is not None:
            torch._foreach_sub_(counts, [self.found_inf] * len(counts))
