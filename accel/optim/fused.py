"""torch's fused optimisers without the Python around their kernels.

torch gathers weights, gradients and state anew in every step, groups them by device and format, and asks whether someone profiles:
for a small model 20 to 40 microseconds around a kernel of 5. Here the lists are made once, and a step is little more than a call
of the kernel. The kernel is torch's, so are the state and its format, and a parameter without a gradient stays where it is, as
with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from accel.errors import ConfigError


class Row(NamedTuple):
    """What one call of the kernel moves: the parameters of one group on one device in one format."""

    group: dict[str, Any]
    params: list[Tensor]
    state: list[list[Tensor]]
    """One list for each name that `Fused.keeps` gives for the group, as long as `params`."""
    counter: Tensor | None = None
    """The step counters in one tensor, of which those in `state` are views."""

    def having(self, grads: list[Tensor | None]) -> Row:
        """The row without the parameters that have no gradient."""
        there = [i for i, grad in enumerate(grads) if grad is not None]
        return Row(self.group, [self.params[i] for i in there], [[values[i] for i in there] for values in self.state])


class Fused(Optimizer):
    """What the fused optimisers have in common. Whoever scales gradients sets `grad_scale` and `found_inf`, as with torch's:
    0-dim float32 on the device, or None."""

    lacks: tuple[str, ...] = ()
    """Settings of torch's that the kernel is not called with."""
    rows: list[Row] | None = None

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the state of a group, in the order in which the kernel takes it."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self.rows = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.rows = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, or none at all where `found_inf` says so; returns what the `closure`, called before it, did."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        if self.rows is None:
            self.rows = self.gather()
        # GradScaler deletes both after the step, and takes an attribute that is there, and None, for a number
        scaling = {"grad_scale": getattr(self, "grad_scale", None), "found_inf": getattr(self, "found_inf", None)}
        for row in self.rows:
            grads = [param.grad for param in row.params]
            if any(grad is None for grad in grads):
                row = row.having(grads)
                grads = [grad for grad in grads if grad is not None]
            if grads:
                try:
                    self.kernel(row, grads, scaling)
                except NotImplementedError as error:
                    if any(grad is not None and grad.is_sparse for grad in grads):
                        raise ConfigError(
                            "some gradients are sparse, which no fused optimiser takes; add SGD(fused=False)"
                        ) from error
                    raise
        return value

    def gather(self) -> list[Row]:
        """The rows, with their state made where there is none yet."""
        rows: dict[tuple[int, torch.device, torch.dtype], Row] = {}
        for number, group in enumerate(self.param_groups):
            for lacking in self.lacks:
                if group.get(lacking):
                    raise ValueError(f"{type(self).__name__} has no {lacking}; take torch.optim's own optimiser")
            names = self.keeps(group)
            for param in group["params"]:
                row = rows.setdefault((number, param.device, param.dtype), Row(group, [], [[] for _ in names]))
                row.params.append(param)
                for name, values in zip(names, row.state, strict=True):
                    values.append(self.state[param].setdefault(name, self.fresh(name, param)))
        return list(rows.values())

    def fresh(self, name: str, param: Tensor) -> Tensor:
        """The state called `name` before the first step."""
        return torch.zeros_like(param)

    def kernel(self, row: Row, grads: list[Any], scaling: dict[str, Tensor | None]) -> None:
        """Moves the parameters of a row. `scaling` has `grad_scale` and `found_inf`."""
        raise NotImplementedError


class FusedSGD(Fused, SGD):
    """`torch.optim.SGD(fused=True)`, with its momentum buffers made at once, as zeros.

    torch makes them, uninitialised, in the first step; a fused first step that is skipped leaves them as garbage
    (torch 2.13), and the second step adds it to the weights. Starting from zero is the same arithmetic: 0 * momentum + g.
    Dampening would make it another, and is not there.
    """

    lacks = ("dampening",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def kernel(self, row: Row, grads: list[Any], scaling: dict[str, Tensor | None]) -> None:
        group = row.group
        torch._fused_sgd_(
            row.params, grads, row.state[0] if row.state else [], lr=group["lr"], momentum=group["momentum"],
            weight_decay=group["weight_decay"], dampening=0.0, nesterov=group["nesterov"], maximize=group["maximize"],
            is_first_step=False, **scaling,
        )  # fmt: skip


class FusedAdamW(Fused, AdamW):
    """`torch.optim.AdamW(fused=True)`; the step counters of a row are views of one tensor, counted up in one operation."""

    lacks = ("amsgrad",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "step")

    def fresh(self, name: str, param: Tensor) -> Tensor:
        return torch.zeros((), dtype=torch.float32, device=param.device) if name == "step" else super().fresh(name, param)

    def gather(self) -> list[Row]:
        rows = []
        for row in super().gather():
            counter = torch.stack(row.state[2])
            row.state[2][:] = counter.unbind()
            for param, step in zip(row.params, row.state[2], strict=True):
                self.state[param]["step"] = step
            rows.append(row._replace(counter=counter))
        return rows

    def kernel(self, row: Row, grads: list[Any], scaling: dict[str, Tensor | None]) -> None:
        group, (averages, squares, steps) = row.group, row.state
        counts = steps if row.counter is None else [row.counter]
        torch._foreach_add_(counts, 1)
        torch._fused_adamw_(
            row.params, grads, averages, squares, [], steps, lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1],
            weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=group["maximize"], **scaling,
        )  # fmt: skip
        found_inf = scaling["found_inf"]
        if found_inf is not None:
            torch._foreach_sub_(counts, [found_inf] * len(counts))
