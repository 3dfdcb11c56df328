"""torch's fused optimisers without the Python around their kernels.

torch gathers weights, gradients and state anew in every step, groups them by device and format, and asks whether someone profiles:
for a small model 20 to 40 microseconds around a kernel of 5. Here the lists are made once, and a step is little more than a call
of the kernel. The kernel is torch's, so are the state and its format, and a parameter without a gradient stays where it is, as
with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.device.dtensor import Placement, local_shard, placement
from accel.errors import ConfigError, describe
from accel.optim.aliased_grads import copy_aliased
from accel.optim.cycled_betas import WEIGHT, correction, update_weights
from accel.optim.kernel_row import KernelRow
from accel.optim.page_offsets import offset_in_page

Memory = dict[tuple[str, torch.device, torch.dtype], Tensor]
"""Scratch that is written anew before every use, by what it is for."""


class Fused(Optimizer):
    """What the fused optimisers have in common. Whoever scales gradients sets `grad_scale` and `found_inf`, as with torch's:
    0-dim float32 on the device, or None."""

    per_parameter = False
    """Whether parameters may step one by one (`step_alone`) with the same bits: nothing is shared by several of them."""
    reads_on_host = False
    """Whether, where the memory is the host's, a step reads numbers there: then a replay of its kernels would not be a step."""
    unsupported: tuple[str, ...] = ()
    """Settings of torch's that the kernel is not called with."""
    grad_scale: Tensor | None  # without a default: torch.amp.GradScaler multiplies what it finds, and deletes its own
    found_inf: Tensor | None = None
    frees_grads = False
    """Whether a step may change `p.grad`: for one who frees the gradients after it, and spares LAMB a copy of them."""
    _step_supports_amp_scaling = True
    """For `torch.amp.GradScaler`: it hands over `grad_scale` and `found_inf`, and reads nothing."""
    rows: list[KernelRow] | None = None
    partial_rows: dict[int, tuple[list[int], KernelRow]]
    """By the row's number: which of its parameters had a gradient when last some had none, and the row of these."""
    single_rows: dict[Tensor, KernelRow]
    """A row for each parameter alone; empty until `step_alone` is called."""

    @property
    def scale(self) -> Tensor | None:
        """What the gradients are to be divided by; None stands for 1."""
        return getattr(self, "grad_scale", None)

    @property
    def divides(self) -> bool:
        """Whether gradients are divided in place: with `grad_scale`, torch's kernels write the quotient back."""
        return self.scale is not None

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the state of a group, in the order in which the kernel takes it."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self.rows = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, and what is loaded has the shape and the order in memory of its parameter: the kernels look at neither.

        Raises:
            ValueError: for a state of another shape.
        """
        super().load_state_dict(state_dict)
        self.rows = None
        for place, param in enumerate(param for group in self.param_groups for param in group["params"]):
            weight = state_dict["state"].get(place, {}).get(WEIGHT)
            if weight is not None:  # torch gives it the format of its parameter, which may be a short one
                self.state[param][WEIGHT] = weight.to(param.device, torch.float32)
        for group in self.param_groups:
            for param in group["params"]:
                if param in self.state:
                    kept = self.state[param]
                    kept |= {name: self.match_layout(name, kept[name], param) for name in self.state_names(group) if name in kept}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, or none at all where `found_inf` says so; returns what the `closure`, called before it, did."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        rows = self.current_rows()
        if any(row.stale for row in rows):
            self.rows = None
            rows = self.current_rows()
        present = self.rows_with_grads(rows)
        try:
            self.update_rows(self.unaliased(present))
        except NotImplementedError as error:
            if any(grad.is_sparse for _, grads in present for grad in grads):
                raise ConfigError("some gradients are sparse, which no fused optimiser takes; add SGD(fused=False)") from error
            raise
        return value

    @torch.no_grad()
    def step_one(self, param: Tensor) -> None:
        """One step of one parameter, which has a gradient, with all others left as they are: their turn comes, or is over."""
        row = self.current_rows() and self.single_rows.get(param)
        if not row or row.stale:
            self.rows, memory = None, dict[Any, Tensor]()
            for each in (row.subset([place]) for row in self.current_rows() for place in range(len(row.params))):
                begins = (each.tensors[0].data_ptr(),)
                self.single_rows[each.params[0]] = each._replace(plan=self.plan(each, memory), addresses=begins)
            row = self.single_rows[param]
        assert param.grad is not None
        self.update_rows([(row, [local_shard(param.grad, param)])])

    def current_rows(self) -> list[KernelRow]:
        """The rows, made where there are none."""
        if self.rows is None:
            self.rows, self.partial_rows, self.single_rows = self.build_rows(), {}, {}
        return self.rows

    def rows_with_grads(self, rows: list[KernelRow]) -> list[tuple[KernelRow, list[Tensor]]]:
        """The rows with their gradients, without the parameters that have none."""
        found = []
        for number, row in enumerate(rows):
            grads = [param.grad for param in row.params]
            if any(grad is None for grad in grads):
                there = [i for i, grad in enumerate(grads) if grad is not None]
                if not there:
                    continue
                last, rest = self.partial_rows.get(number, ([], row))
                if last != there:
                    rest = row.subset(there)
                    self.partial_rows[number] = there, rest._replace(plan=self.plan(rest, {}))
                if row.group.get("cycled"):
                    row.group["uneven"] = True  # from here on they have made different steps
                row = self.partial_rows[number][1]
            pieces = [grad for grad in grads if grad is not None]
            if row.placement.mesh is not None:
                pieces = [local_shard(grad, param) for grad, param in zip(pieces, row.params, strict=True)]
            found.append((row, pieces))
        return found

    def unaliased(self, rows: list[tuple[KernelRow, list[Tensor]]]) -> list[tuple[KernelRow, list[Tensor]]]:
        """The rows with gradients that share no memory, where a step divides them in place."""
        if not self.divides:
            return rows
        grads = iter(copy_aliased([grad for _, grads in rows for grad in grads]))
        return [(row, list(islice(grads, len(row.params)))) for row, _ in rows]

    def update_rows(self, rows: list[tuple[KernelRow, list[Tensor]]]) -> None:
        """Moves the parameters of all rows."""
        for row, grads in rows:
            self.kernel(row, grads)

    def build_rows(self) -> list[KernelRow]:
        """The rows, with their state made where there is none yet."""
        rows: dict[tuple[int, torch.device, torch.dtype, bool, Placement], KernelRow] = {}
        for number, group in enumerate(self.param_groups):
            for lacking in self.unsupported:
                if group.get(lacking):
                    raise ValueError(f"{type(self).__name__} has no {lacking}; take torch.optim's own optimiser")
            names = self.state_names(group)
            for param in group["params"]:
                excluded = group.get("exclude") == "norm_and_bias" and param.dim() <= 1
                kind = placement(param)
                fresh = KernelRow(group, [], [], [[] for _ in names], excluded=excluded, placement=kind)
                row = rows.setdefault((number, param.device, param.dtype, excluded, kind), fresh)
                row.params.append(param)
                row.tensors.append(local_shard(param))
                for place, (name, values) in enumerate(zip(names, row.state, strict=True), start=1):
                    value = self.state[param].get(name)
                    value = self.initial_state(name, param) if value is None else value
                    self.state[param][name] = value = (
                        value if row.placement.mesh else offset_in_page(value, param, place, len(names))
                    )
                    values.append(local_shard(value))
        counted = [self.stack_counters(row) for row in rows.values()]
        memory: Memory = {}
        return [
            row._replace(plan=self.plan(row, memory), addresses=tuple([tensor.data_ptr() for tensor in row.tensors]))
            for row in counted
        ]

    def stack_counters(self, row: KernelRow) -> KernelRow:
        """The row with its step counters as views of one tensor, so that they count up in one operation; its weights likewise."""
        return row._replace(counter=self.stack_state(row, "step"), weights=self.stack_state(row, WEIGHT))

    def stack_state(self, row: KernelRow, name: str) -> Tensor | None:
        """The state `name`, a number for each parameter, in one tensor, of which it is made views; None where there is none."""
        if name not in self.state_names(row.group):
            return None
        numbers = row.state[self.state_names(row.group).index(name)]
        whole = torch.stack(numbers)
        numbers[:] = whole.unbind()
        for param, view in zip(row.params, numbers, strict=True):
            self.state[param][name] = view
        return whole

    def step_counters(self, row: KernelRow) -> list[Tensor]:
        """The step counters of a row."""
        return row.state[self.state_names(row.group).index("step")]

    def count(self, row: KernelRow) -> None:
        """Counts a step, before it is made: the kernels want it so."""
        torch._foreach_add_(self.step_counters(row) if row.counter is None else [row.counter], 1)

    def uncount(self, row: KernelRow) -> None:
        """Takes the step back where `found_inf` says that it was skipped."""
        if self.found_inf is not None:
            counts = self.step_counters(row) if row.counter is None else [row.counter]
            torch._foreach_sub_(counts, [self.found_inf] * len(counts))

    def corrections(self, row: KernelRow) -> Tensor:
        """Where beta1 is cycled, and the step counted: what to multiply the update of each parameter by, (n,) float32."""
        beta1 = row.group["betas"][0]
        if row.counter is not None and row.weights is not None:
            update_weights(row.weights, beta1, self.found_inf)
            return correction(row.counter, row.weights, beta1)
        views = row.state[self.state_names(row.group).index(WEIGHT)]
        weights = torch.stack(views)
        update_weights(weights, beta1, self.found_inf)
        torch._foreach_copy_(views, list(weights.unbind()))
        return correction(torch.stack(self.step_counters(row)), weights, beta1)

    def plan(self, row: KernelRow, memory: Memory) -> Any:
        """What the kernel needs of a row beyond it: made once, and kept in `Row.plan`. Rows that move in turn share `memory`."""

    def match_layout(self, name: str, value: Any, param: Tensor) -> Tensor:
        """A loaded state, in memory where the kernels may walk from its first number to its last."""
        made = self.initial_state(name, torch.empty_like(local_shard(param), device="meta"))
        piece = local_shard(value)
        if not isinstance(value, Tensor) or piece.shape != made.shape or piece.layout != made.layout:
            raise ValueError(f"{name} is {describe(value)}, of a parameter of shape {tuple(param.shape)}")
        if piece.stride() == made.stride():
            return value
        return torch.empty_like(made, dtype=value.dtype, device=value.device).copy_(value)

    def initial_state(self, name: str, param: Tensor) -> Tensor:
        """The state called `name` before the first step."""
        scalar = name in ("step", WEIGHT)
        return torch.zeros((), dtype=torch.float32, device=param.device) if scalar else torch.zeros_like(param)

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Moves the parameters of a row."""
        raise NotImplementedError
