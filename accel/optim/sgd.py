"""SGD in torch's fused kernel."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD

from accel.optim.fused import Fused
from accel.optim.kernel_row import KernelRow

__all__ = ["FusedSGD"]


class FusedSGD(Fused, SGD):
    """`torch.optim.SGD(fused=True)`, with its momentum buffers created at once, as zeros.

    torch creates them, uninitialised, in the first step. A fused first step that is skipped leaves them as garbage
    (torch 2.13), and the second step adds it to the weights. Starting from zero gives equal numbers: 0 * momentum + g.
    Dampening would not, and is refused.

    Args:
        params: tensors, or groups of them.
        **settings: of `torch.optim.SGD`; `dampening` is refused at the first step.

    Source: `torch.optim.SGD` (torch 2.13).
    """

    per_parameter = True
    takes_bare_grads = True
    algorithms = ("sgd",)
    unsupported = ("dampening",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the name of the momentum, if there is any."""
        return ("momentum_buffer",) if group["momentum"] else ()

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row by torch's fused SGD kernel, where it is right."""
        group = row.group
        row.kernel("sgd")(
            row.tensors, grads, row.state[0] if row.state else [], lr=group["lr"], momentum=group["momentum"],
            weight_decay=group["weight_decay"], dampening=0.0, nesterov=group["nesterov"], maximize=group["maximize"],
            is_first_step=False, grad_scale=self.scale, found_inf=self.found_inf,
        )  # fmt: skip
