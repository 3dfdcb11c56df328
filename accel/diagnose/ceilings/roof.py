"""Roof over an operator: the least time that it can take on this machine, and by which ceiling.

Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model, Communications of the ACM 52 (2009).
"""

from __future__ import annotations

from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.layers.operation import Operation

__all__ = ["BOUNDS", "limits", "roof_seconds"]

BOUNDS = ("compute", "memory", "calls")
"""What may bound an operator: its products, the bytes that it moves, or that it is called at all."""


def limits(operation: Operation, ceilings: MachineCeilings) -> dict[str, float]:
    """Return the least seconds of an operator by each of `BOUNDS`. What moves and computes nothing, such as a view, takes none."""
    if not operation.flops and not operation.bytes:
        return dict.fromkeys(BOUNDS, 0.0)
    compute = operation.flops / ceilings.product(operation.dtype) if operation.flops else 0.0
    memory = operation.bytes / ceilings.bandwidth(operation.bytes) if operation.bytes else 0.0
    return {"compute": compute, "memory": memory, "calls": ceilings.call}


def roof_seconds(operation: Operation, ceilings: MachineCeilings) -> float:
    """Return the least seconds that an operator can take here."""
    return max(limits(operation, ceilings).values())
