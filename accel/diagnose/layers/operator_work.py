"""Work of an operator: floating-point operations by `torch.utils.flop_counter`, and bytes of memory moved.

A multiplication and an addition are two operations, and only products count (matrices, convolutions, attention): that is the
convention of `torch.utils.flop_counter`, whose formulas these are, but for two. It has none for attention on a CPU, which gets
the one for CUDA. And (in torch 2.13) it counts the gradient of the weights of a convolution in groups as if there were none, so
many times too much; here each gradient of such a convolution is as much work as its forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import conv_flop_count, flop_registry, sdpa_backward_flop_count, sdpa_flop_count

__all__ = ["COPIES_ONLY", "LOOKUPS", "UNCOUNTED", "WRITES_ONLY", "flops_of", "memory_of", "moved_bytes", "tensors_in"]

CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
LOOKUPS = frozenset({"embedding", "index_select", "gather", "index"})
"""Operators that take rows of their first input, as many as they give."""
WRITES_ONLY = frozenset({"fill_", "zero_", "bernoulli_", "uniform_", "normal_"})
"""Operators that write into their first input, and do not read it."""
COPIES_ONLY = frozenset({"copy_", "_foreach_copy_"})
UNCOUNTED = frozenset(
    {
        *("mkldnn_rnn_layer", "mkldnn_rnn_layer_backward", "_cudnn_rnn", "_cudnn_rnn_backward", "_thnn_fused_lstm_cell"),
        *("_cdist_forward", "_trilinear", "linalg_lu_factor_ex", "linalg_cholesky_ex", "_linalg_svd", "_linalg_eigh", "_fft_r2c"),
    }
)
"""Operators that compute much, and for which there is no formula: their work counts as none, which is to be said."""


def flops_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """Return the floating-point operations of a call of an operator of ATen.

    Args:
        func: the overload.
        args: of the call.
        kwargs: of the call.
        result: that it gave.
    """
    packet = func.overloadpacket
    if packet.__name__ == "convolution_backward" and args[9] > 1:
        made, given, weight, *_ = args
        forward = int(conv_flop_count(given.shape, weight.shape, made.shape, args[7]))
        return forward * (bool(args[10][0]) + bool(args[10][1]))
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    name = packet.__name__
    if name == CPU_ATTENTION:
        return int(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))  # type: ignore[no-untyped-call]
    if name == f"{CPU_ATTENTION}_backward":
        return int(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))  # type: ignore[no-untyped-call]
    return 0


def tensors_in(value: Any) -> Iterable[Tensor]:
    """Yield the tensors in arguments or results of an operator, which may be in lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_in(inner)


def memory_of(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in memory; what is expanded counts once."""
    if tensor.layout is not torch.strided:
        return sum(memory_of(part) for part in _parts(tensor))
    count = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride or not length else 1
    return count * tensor.element_size()


def _parts(tensor: Tensor) -> list[Tensor]:
    """Return the dense tensors that make a sparse one; none for a layout that does not tell."""
    return [tensor._indices(), tensor._values()] if tensor.layout is torch.sparse_coo else []


def moved_bytes(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], is_view: bool) -> tuple[list[int], list[int]]:
    """Return the bytes that an operator reads of each input, and writes of each output.

    Args:
        name: of the operator, without its overload.
        inputs: tensors that it takes.
        outputs: tensors that it gives.
        is_view: whether the outputs are the memory of an input, which it does not write.
    """
    if is_view or name.startswith(("empty", "new_empty")):
        return [0] * len(inputs), [0] * len(outputs)
    written = [memory_of(tensor) for tensor in outputs]
    read = [memory_of(tensor) for tensor in inputs]
    if name.endswith("_like") or name in WRITES_ONLY or name in COPIES_ONLY:
        read[:1] = [0] * len(read[:1])
    elif name in LOOKUPS and read and written:
        read[0] = min(read[0], written[0])
    return read, written
