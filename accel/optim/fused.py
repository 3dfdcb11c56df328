"""torch's fused optimisers without the Python around their kernels.

torch gathers weights, gradients and state anew in every step, groups them by device and dtype, and asks whether a profiler
runs: for a small model 20 to 40 microseconds around a kernel of 5. Here the lists are made once, and a step is little more
than a call of the kernel. The kernel is torch's, and so are the state and its format. A parameter without a gradient keeps
its value, as with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor

from accel.device.buffers import writable
from accel.device.dtensor import local_shard, real_shard
from accel.errors import ConfigError, describe
from accel.optim.cycled_betas import WEIGHT
from accel.optim.kernel_row import KernelRow, empty_row
from accel.optim.memory_layout import copy_aliased, match_strides, offset_in_page
from accel.optim.step_counters import StepCounters

__all__ = ["Fused", "Memory"]

Memory = dict[tuple[str, torch.device, torch.dtype], Tensor]
"""Scratch tensors that are written anew before every use, by purpose, device and dtype."""


class Fused(StepCounters):
    """Base of the fused optimisers. Code that scales gradients sets `grad_scale` and `found_inf`, as with torch's own.

    Both are 0-dim float32 on the device, or None.

    Source: `torch.optim` with `fused=True` (torch 2.10 to 2.13).
    """

    per_parameter = False
    """Whether parameters may step one by one (`step_one`) with equal bits: they share no state."""
    reads_on_host = False
    """Whether a step on the CPU reads numbers: then a replay of its kernels is not a step."""
    joins_excluded = False
    """Whether parameters that a group excludes (`exclude`) are in one row with its others, on a device."""
    takes_bare_grads = False
    """Whether the kernel reads `p.grad` itself, which must lie in memory as the parameter does."""
    algorithms: tuple[str, ...] = ()
    """The kernels that it calls, by the name of their algorithm."""
    unsupported: tuple[str, ...] = ()
    """Settings of torch's optimiser that the kernel is not called with."""
    grad_scale: Tensor | None  # without a default: torch.amp.GradScaler multiplies an existing one, and deletes its own
    frees_grads = False
    """Whether a step may change `p.grad`, because the gradients are freed after it: this spares LAMB a copy of them."""
    _step_supports_amp_scaling = True
    """For `torch.amp.GradScaler`: it sets `grad_scale` and `found_inf`, and reads nothing on the host."""
    rows: list[KernelRow] | None = None
    partial_rows: dict[int, tuple[list[int], KernelRow]]
    """By index of a row: the parameters that had a gradient when some last had none, and the row of these."""
    single_rows: dict[Tensor, KernelRow]
    """A row for each parameter alone; empty until `step_one` is called."""

    @property
    def scale(self) -> Tensor | None:
        """The divisor of the gradients, 0-dim float32; None stands for 1."""
        return getattr(self, "grad_scale", None)

    @property
    def divides(self) -> bool:
        """Whether gradients are divided in place: with `grad_scale`, torch's kernels write the quotient back."""
        return self.scale is not None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; the rows are made anew at the next step."""
        super().add_param_group(param_group)
        self.rows = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state as torch does, in the shape and memory order of its parameter: the kernels check neither.

        Raises:
            ValueError: for a state of another shape.
        """
        super().load_state_dict(state_dict)
        self.rows = None
        places = count()
        for group in self.param_groups:
            for param in group["params"]:
                saved = state_dict["state"].get(next(places), {})
                for name in self.state_names(group):
                    if name in saved:
                        self.state[param][name] = self.match_layout(name, saved[name], self.state[param][name], param)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step, or none if `found_inf` says so.

        Args:
            closure: called before the step, with gradients on.

        Returns:
            The value of the closure, or None.

        Raises:
            ConfigError: for sparse gradients.
            ValueError: for a setting that the kernel does not support.
        """
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        rows = self.current_rows()
        if any(row.stale for row in rows):
            self.rows = None
            rows = self.current_rows()
        try:
            self.update_rows(self.unaliased(self.rows_with_grads(rows)))
        except (NotImplementedError, RuntimeError) as error:
            if any(param.grad is not None and param.grad.is_sparse for row in rows for param in row.params):
                fix = "make them dense (nn.Embedding(sparse=False)), or take torch.optim.SGD"
                raise ConfigError(f"some gradients are sparse, which no fused optimiser takes; {fix}") from error
            raise
        return value

    @torch.no_grad()
    def step_one(self, param: Tensor) -> None:
        """Make one step of one parameter, which has a gradient, and leave all others as they are."""
        row = self.current_rows() and self.single_rows.get(param)
        if not row or row.stale:
            self.rows, memory = None, dict[Any, Tensor]()
            for single in (row.subset([place]) for row in self.current_rows() for place in range(len(row.params))):
                begins, plan = single.present_addresses(), self.plan(single, memory)
                self.single_rows[single.params[0]] = single._replace(plan=plan, addresses=begins)
            row = self.single_rows[param]
        assert param.grad is not None
        self.update_rows([(row, [real_shard(param.grad, param)])])

    def current_rows(self) -> list[KernelRow]:
        """Return the rows, which are built if there are none."""
        if self.rows is None:
            self.rows, self.partial_rows, self.single_rows = self.build_rows(), {}, {}
        return self.rows

    def rows_with_grads(self, rows: list[KernelRow]) -> list[tuple[KernelRow, list[Tensor]]]:
        """Return the rows with their gradients, without the parameters that have none."""
        present = []
        for index, row in enumerate(rows):
            grads = [param.grad for param in row.params]
            if any(grad is None for grad in grads):
                indices = [i for i, grad in enumerate(grads) if grad is not None]
                if not indices:
                    continue
                last_indices, partial = self.partial_rows.get(index, ([], row))
                if last_indices != indices:
                    partial = row.subset(indices)
                    self.partial_rows[index] = indices, partial._replace(plan=self.plan(partial, {}))
                if row.group.get("cycled"):
                    row.group["uneven"] = True  # from here on the parameters have made different steps
                row = self.partial_rows[index][1]
            shards = [grad for grad in grads if grad is not None]
            if row.placement.mesh is not None or row.is_complex:
                shards = [real_shard(grad, param) for grad, param in zip(shards, row.params, strict=True)]
            if self.takes_bare_grads and not self.frees_grads:  # in a loop of one's own they may lie in memory in any order
                shards = [match_strides(grad, tensor) for grad, tensor in zip(shards, row.tensors, strict=True)]
            present.append((row, shards))
        return present

    def unaliased(self, rows: list[tuple[KernelRow, list[Tensor]]]) -> list[tuple[KernelRow, list[Tensor]]]:
        """Return the rows with gradients that share no memory, if a step divides them in place."""
        if not self.divides:
            return rows
        grads = iter(copy_aliased([grad for _, grads in rows for grad in grads]))
        return [(row, list(islice(grads, len(row.params)))) for row, _ in rows]

    def update_rows(self, rows: list[tuple[KernelRow, list[Tensor]]]) -> None:
        """Move the parameters of all rows."""
        for row, grads in rows:
            self.kernel(row, grads)

    def build_rows(self) -> list[KernelRow]:
        """Return the rows; state that is missing is created."""
        rows: dict[Any, KernelRow] = {}
        for group_index, group in enumerate(self.param_groups):
            for setting in self.unsupported:
                if group.get(setting):
                    raise ValueError(f"{type(self).__name__} has no {setting}; take torch.optim's own optimiser")
            names = self.state_names(group)
            for param in group["params"]:
                shard = real_shard(param)
                if not writable(shard):
                    raise ConfigError(f"numbers of a parameter of shape {tuple(param.shape)} share their memory; clone() it")
                new_row = empty_row(group, names, param, shard, joins_excluded=self.joins_excluded)
                alike = group_index, param.device, param.dtype, new_row.excluded, new_row.placement, new_row.dense
                row = rows.setdefault(alike, new_row)
                row.params.append(param)
                row.tensors.append(shard)
                for position, (name, values) in enumerate(zip(names, row.state, strict=True), start=1):
                    value = self.state[param].get(name)
                    value = self.initial_state(name, param) if value is None else value
                    self.state[param][name] = value = (
                        value if row.placement.mesh else offset_in_page(value, param, position, len(names))
                    )
                    values.append(real_shard(value))
        counted_rows = [self.stack_counters(row) for row in rows.values()]
        memory: Memory = {}
        return [row._replace(plan=self.plan(row, memory), addresses=row.present_addresses()) for row in counted_rows]

    def plan(self, row: KernelRow, memory: Memory) -> Any:
        """Return data that the kernel needs besides the row, made once and kept in `KernelRow.plan`.

        Args:
            row: the row.
            memory: scratch memory, shared by rows because they move in turn.
        """

    def match_layout(self, name: str, saved: Tensor, value: Tensor, param: Tensor) -> Tensor:
        """Return a loaded state in the memory layout of its parameter, copied if its layout differs.

        Args:
            name: its name.
            saved: the state as it was saved.
            value: the same as torch loaded it, in the dtype of its parameter, which may be a shorter one.
            param: its parameter.

        Raises:
            ValueError: for a state of another shape.
        """
        expected = self.initial_state(name, torch.empty_like(local_shard(param), device="meta"))
        shard = local_shard(value)
        if not isinstance(value, Tensor) or shard.shape != expected.shape or shard.layout != expected.layout:
            raise ValueError(f"{name} is {describe(value)}, of a parameter of shape {tuple(param.shape)}")
        if value.dtype != expected.dtype:
            value = saved.to(param.device, expected.dtype)
        if local_shard(value).stride() == expected.stride():
            return value
        return torch.empty_like(expected, dtype=value.dtype, device=value.device).copy_(value)

    def initial_state(self, name: str, param: Tensor) -> Tensor:
        """Return the state called `name` before the first step."""
        scalar = name in ("step", WEIGHT)
        return torch.zeros((), dtype=torch.float32, device=param.device) if scalar else torch.zeros_like(param)

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row.

        Args:
            row: the row.
            grads: one for each of its parameters, of their shape and dtype.
        """
        raise NotImplementedError
