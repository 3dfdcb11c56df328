"""The step counters of a fused optimiser, which count only steps that are not skipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.optim.cycled_betas import WEIGHT, correction, update_weights
from accel.optim.kernel_row import KernelRow
from accel.optim.kernels.kernel_check import select_kernel
from accel.optim.kernels.multi_tensor import subtract

__all__ = ["StepCounters"]


class StepCounters(Optimizer):
    """Base of the fused optimisers that counts the steps of a row, and corrects for a beta1 that moves."""

    found_inf: Tensor | None = None
    """0-dim float32 on the device: the step is skipped if it is not 0. None stands for 0."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Raises:
            ValueError: for a learning rate or a weight decay below 0, or NaN.
        """
        for name in ("lr", "weight_decay"):
            value = param_group.get(name, self.defaults.get(name, 0.0))
            if not isinstance(value, Tensor) and not value >= 0:
                raise ValueError(f"{type(self).__name__}'s {name} must be a number from 0 on, not {value}")
        super().add_param_group(param_group)

    def kernel_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of the numbers that the kernel moves for parameters of a dtype."""
        return dtype.to_real()

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the state of a group, in the order in which the kernel takes it."""
        raise NotImplementedError

    def stack_counters(self, row: KernelRow) -> KernelRow:
        """Return the row with its step counters as views of one tensor, so that one operation counts them; its weights likewise."""
        counter = self.stack_state(row, "step")
        ones = None if counter is None or not row.on_device else torch.ones_like(counter)
        return row._replace(counter=counter, weights=self.stack_state(row, WEIGHT), ones=ones)

    def stack_state(self, row: KernelRow, name: str) -> Tensor | None:
        """Stack the state `name`, a number for each parameter, in one tensor, and make the state views of it.

        Returns:
            The tensor, (n,) float32, or None if the row has no such state.
        """
        if name not in self.state_names(row.group):
            return None
        numbers = row.state[self.state_names(row.group).index(name)]
        stack = torch.stack(numbers)
        numbers[:] = stack.unbind()
        for param, view in zip(row.params, numbers, strict=True):
            self.state[param][name] = view
        return stack

    def step_counters(self, row: KernelRow) -> list[Tensor]:
        """Return the step counters of a row, each 0-dim float32."""
        return row.state[self.state_names(row.group).index("step")]

    def count(self, row: KernelRow, beside: list[tuple[Tensor, Tensor]] | None = None) -> None:
        """Count a step before it is made, as the kernels expect; on a device at once only if it is not skipped.

        Args:
            row: the row.
            beside: pairs of tensors on a device: to the first of each its second is added, if the step is not skipped.
        """
        skip, pairs = self.found_inf, beside or []
        if row.counter is None or row.ones is None or skip is None:
            torch._foreach_add_(self.step_counters(row) if row.counter is None else [row.counter], 1)
        else:
            pairs = [(row.counter, row.ones), *pairs]
        for dtype in dict.fromkeys(tensor.dtype for tensor, _ in pairs):
            tensors, others = zip(*(pair for pair in pairs if pair[0].dtype == dtype), strict=True)
            subtract(select_kernel("sgd", dtype, tensors[0].device), list(tensors), list(others), -1.0, skip)

    def uncount(self, row: KernelRow) -> None:
        """Take the step back if `found_inf` says that it was skipped."""
        if self.found_inf is not None and row.ones is None:
            counts = self.step_counters(row) if row.counter is None else [row.counter]
            torch._foreach_sub_(counts, [self.found_inf] * len(counts))

    def corrections(self, row: KernelRow) -> Tensor:
        """Return the factor of the update of each parameter, (n,) float32, for a cycled beta1; the step must be counted."""
        beta1 = row.group["betas"][0]
        if row.counter is not None and row.weights is not None:
            update_weights(row.weights, beta1, self.found_inf)
            return correction(row.counter, row.weights, beta1)
        views = row.state[self.state_names(row.group).index(WEIGHT)]
        weights = torch.stack(views)
        update_weights(weights, beta1, self.found_inf)
        torch._foreach_copy_(views, list(weights.unbind()))
        return correction(torch.stack(self.step_counters(row)), weights, beta1)
