"""Operators of forward and backward pass: how many there are, and what share of their time products take."""

from __future__ import annotations

from collections.abc import Iterable

from accel.diagnose.decision.figures import OperatorMix
from accel.diagnose.layers.module_path import ModulePath
from accel.diagnose.layers.operation import PRODUCTS
from accel.diagnose.layers.operation_recorder import OperationTimes
from accel.diagnose.layers.operator_timer import make_timer
from accel.diagnose.probes.kernel_times import kernel_seconds
from accel.diagnose.probes.probed_run import ProbedRun
from accel.engine.objectives.composite_update import CompositeUpdate
from accel.parts import Compile

__all__ = ["PASSES", "is_product", "operator_mix"]

PASSES = 3
"""Passes that are timed; the first of them is to warm up."""
FUSED_PRODUCTS = (
    "scaled_dot_product", "attention_forward", "attention_backward", "rnn_layer", "_cudnn_rnn", "convolution", "conv_depthwise",
)  # fmt: skip
"""What the names of operators have that multiply matrices among other things."""


def operator_mix(probed: ProbedRun) -> OperatorMix | None:
    """Return the operators of a micro-batch's passes, each with the least of its times; None where they cannot be seen.

    On CUDA times are those of kernels, where torch's profiler sees them, and else by events.
    Those of a compiled or captured model are not called one by one, and an update with objectives of its own has no one pass.
    """
    run, parts = probed.run, probed.run.parts
    if type(parts.compile) is not Compile or parts.update.name == "cuda_graph" or isinstance(parts.update, CompositeUpdate):
        return None
    rows: list[tuple[float, float]] = []
    count = 0
    for _ in range(PASSES):
        timer = make_timer(run.device)
        with ModulePath(run.unwrapped_model) as path:
            times = OperationTimes(path, timer)
            with times:
                probed.passes()
        run.unwrapped_model.zero_grad()
        names = [name for name, *_ in times.signatures]
        rows.append(products_and_rest(zip(names, timer.seconds(), strict=True)))
        count = len(names)
    kernels = kernel_seconds(probed.passes, run.device)
    run.unwrapped_model.zero_grad()
    products, rest = products_and_rest(kernels.items()) if kernels else map(min, *rows[1:])
    return OperatorMix(count, products / (products + rest)) if products + rest > 0 else None


def products_and_rest(times: Iterable[tuple[str, float]]) -> tuple[float, float]:
    """Return the seconds of operators that multiply matrices or convolve, and of all others, given names and seconds.

    >>> products_and_rest([("addmm", 2.0), ("cudnn_convolution", 1.0), ("add_", 0.5)])
    (3.0, 0.5)
    """
    products = rest = 0.0
    for name, seconds in times:
        if is_product(name):
            products += seconds
        else:
            rest += seconds
    return products, rest


def is_product(name: str) -> bool:
    """Return whether an operator of ATen multiplies matrices or convolves.

    >>> [is_product(name) for name in ("addmm", "convolution_backward", "_scaled_dot_product_flash_attention_for_cpu", "add_")]
    [True, True, True, False]
    """
    return name in PRODUCTS or any(word in name for word in FUSED_PRODUCTS)
