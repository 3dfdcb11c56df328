"""One operator of a pass through a model: the tensors that it reads and writes, its work and its time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

__all__ = ["MATRIX_PRODUCTS", "NORMALISATIONS", "PRODUCTS", "Operation", "TensorFacts", "Window"]

MATRIX_PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "_scaled_mm", "_int_mm"})
PRODUCTS = MATRIX_PRODUCTS | {"convolution", "convolution_backward"}
"""Operators that multiply matrices or convolve, without attention."""
NORMALISATIONS = frozenset(
    {
        *("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update"),
        *("native_layer_norm", "native_group_norm", "_fused_rms_norm"),
    }
)
"""Operators that normalise, in the forward pass."""


@dataclass(frozen=True)
class TensorFacts:
    """Tensor that an operator reads or writes.

    Args:
        shape: its sizes.
        dtype: such as `float32`.
        bytes: that are read or written: what is expanded counts once, and of a table only the rows that are taken.
        storage: number of its memory, the same for all views of it.
        layout: `contiguous`, `channels_last`, or `strided` for any other order in memory.
        device: such as `cpu` or `cuda:0`.
        parameter: name of the parameter that it is, or is a view of; empty for another tensor.
        given: whether it was there before the pass: a batch, a constant.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    bytes: int = 0
    storage: int = 0
    layout: str = "contiguous"
    device: str = "cpu"
    parameter: str = ""
    given: bool = False

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input, as `torch.nn.Conv2d` has it.

    Args:
        stride: of each dimension in space.
        padding: of each.
        dilation: of each.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operator, as it ran.

    Args:
        name: of ATen's operator, without its overload, such as `convolution`.
        layer: path of the module in whose `forward` it ran, or whose gradients it computes; None outside of the model.
        inputs: tensors that it takes.
        outputs: tensors that it gives.
        flops: floating-point operations, a multiplication and an addition counted as two.
        bytes: that it moves: of all inputs, parameters and outputs. A view moves none.
        seconds: that it took, the least of several passes.
        backward: whether it ran in the backward pass.
        pointwise: whether each element of the result depends on elements at the same place alone.
        groups: of a convolution.
        window: of a convolution that is not transposed; None for all else.
        line: of code that called it, `FILE:LINE CODE`; empty in the backward pass.
    """

    name: str
    layer: str | None
    inputs: tuple[TensorFacts, ...] = ()
    outputs: tuple[TensorFacts, ...] = ()
    flops: int = 0
    bytes: int = 0
    seconds: float = 0.0
    backward: bool = False
    pointwise: bool = False
    groups: int = 1
    window: Window | None = None
    line: str = ""

    @property
    def dtype(self) -> str:
        """Number format of its first input, in which a product computes; `float32` if it takes no tensor."""
        tensors = self.inputs or self.outputs
        return tensors[0].dtype if tensors else "float32"

    @property
    def base(self) -> str:
        """Name without the underscore of an operator that writes into its input."""
        return self.name if self.name.startswith("_") else self.name.removesuffix("_")

    @property
    def weight(self) -> TensorFacts | None:
        """The largest parameter that it takes; None if it takes none."""
        return max((one for one in self.inputs if one.parameter), key=lambda one: one.numel, default=None)

    @property
    def is_normalisation(self) -> bool:
        """Whether it normalises its input."""
        return self.name in NORMALISATIONS

    @property
    def channels(self) -> tuple[int, int] | None:
        """Channels or features in and out of a layer's own product: a convolution, or a matrix times a weight; else None."""
        weight = self.weight
        if weight is None or self.name not in PRODUCTS or self.backward or len(weight.shape) < 2:
            return None
        if self.name == "convolution":
            given, made = self.inputs[0].shape, self.outputs[0].shape
            return (given[1], made[1]) if len(given) == len(weight.shape) else (given[0], made[0])
        return self.inputs[-2].shape[-1], self.outputs[0].shape[-1]

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a convolution of each channel by itself."""
        channels = self.channels
        return channels is not None and self.groups > 1 and self.groups == channels[0]

    @property
    def is_one_by_one(self) -> bool:
        """Whether it is a convolution of single places: a kernel of 1."""
        weight = self.weight
        return self.name == "convolution" and weight is not None and all(size == 1 for size in weight.shape[2:])
