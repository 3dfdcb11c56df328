"""Channels that fill no registers and no Tensor Cores: not in eights, or in sixteens for int8.

Sources: NVIDIA, Deep Learning Performance documentation, "Matrix Multiplication Background User's Guide", Tensor Core requirements:
16 bytes in each dimension, that is 8 elements of 16 bits, 4 of TF32, 16 of int8. On a CPU a register of AVX2 or of oneDNN's blocked
layout holds 8 or 16 channels.
"""

from __future__ import annotations

from collections.abc import Iterator

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layer_trials.product import product_of, product_seconds
from accel.diagnose.layer_trials.product_trial import ProductTrial
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Operation

__all__ = ["channel_multiples", "multiple_of", "padded"]

MULTIPLES = {"int8": 16, "uint8": 16, "qint8": 16, "quint8": 16}
EIGHT = 8
FEWEST_TAKEN, FEWEST_MADE = 5, 17
"""Channels below which an input is taken for colours, and a result for classes: these are given by the data."""


def multiple_of(dtype: str) -> int:
    """Return the number that channels of a dtype should be a multiple of."""
    return MULTIPLES.get(dtype, EIGHT)


def padded(count: int, multiple: int) -> int:
    """Return the next multiple.

    >>> padded(50257, 8), padded(64, 8)
    (50264, 64)
    """
    return -(-count // multiple) * multiple


def channel_multiples(table: LayerTable) -> Iterator[Finding]:
    """Find layers whose channels are no multiple of 8, or of 16 for int8; on a GPU, that misses the Tensor Cores.

    What the data gives (colours in, classes out) is left alone.
    """
    worst: dict[tuple[str, int], list[Operation]] = {}
    for one in table.forward:
        if one.channels is not None and not one.is_depthwise and _odd_channels(one):
            worst.setdefault((one.layer or "", multiple_of(one.dtype)), []).append(one)
    for multiple in sorted({multiple for _, multiple in worst}):
        layers = sorted({path for path, each in worst if each == multiple}, key=lambda path: -table.layer_seconds.get(path, 0.0))
        examples = [_example(worst[path, multiple][0]) for path in layers]
        trials = [_rounded_up(one, table, multiple) for path in layers for one in worst[path, multiple]]
        share = table.share(table.seconds_of(layers))
        on_gpu = table.device == "cuda"
        where = "they miss the Tensor Cores, or are padded there" if on_gpu else "they leave lanes of the CPU's registers empty"
        yield Finding(
            "channel_multiples",
            f"channels that are no multiple of {multiple}: {where}",
            f"{listed(examples)}; {share:.1%} of the time",
            tuple(layers),
            change=f"round them up: {_line(worst[layers[0], multiple][0], multiple)}",
            gain_note="in these layers; what lies between them gets wider too",
            trials=tuple(trial for trial in trials if trial is not None),
        )


def _odd_channels(one: Operation) -> tuple[int, ...]:
    """Return the channels of a product, in and out, that are no multiple, without those which the data gives."""
    assert one.channels is not None
    multiple, (taken, made) = multiple_of(one.dtype), one.channels
    first = any(tensor.given and not tensor.parameter for tensor in one.inputs[:2])
    counts = (*((taken,) if not first and taken >= FEWEST_TAKEN else ()), *((made,) if made >= FEWEST_MADE else ()))
    return tuple(count for count in counts if count % multiple)


def _example(one: Operation) -> str:
    assert one.channels is not None
    return f"{one.layer or '(model)'} {one.channels[0]} to {one.channels[1]}"


def _line(one: Operation, multiple: int) -> str:
    odd = _odd_channels(one)
    return f"{', '.join(f'{count} to {padded(count, multiple)}' for count in odd)} in {one.layer or 'the model'}"


def _rounded_up(one: Operation, table: LayerTable, multiple: int) -> ProductTrial | None:
    """Return the trial of a product with its channels rounded up; None if it cannot be computed by itself."""
    product, channels = product_of(one, table), one.channels
    if product is None or channels is None:
        return None
    odd = _odd_channels(one)
    taken, made = (padded(count, multiple) if count in odd else count for count in channels)
    fits = taken % one.groups == made % one.groups == 0
    after = product.with_channels(taken, made)
    return ProductTrial((product,), (after,), product_seconds(one, table)) if fits else None
