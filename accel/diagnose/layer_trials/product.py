"""Product of a layer, convolution or matrix, as it can be computed by itself: with the layer's shapes, or with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import PRODUCTS, Operation, Window

__all__ = ["Product", "product_of", "product_seconds", "runnable"]

ORDERS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class Product:
    """Convolution, or product of a matrix and weights.

    Args:
        given: shape of its input: samples, channels and places of a convolution; rows and features of a matrix.
        weight: shape of its weights: channels out, channels in of a group, kernel; or features out and in.
        bias: whether it adds one.
        window: of a convolution; None for a matrix.
        groups: of channels.
        dtype: in which it computes.
        layout: order in memory of input and weights, as `TensorFacts` has it.
        device: such as `cpu` or `cuda:0`.
        input_gradient: whether the backward pass computes the gradient of its input.
        weight_gradient: whether it computes that of the weights, and of the bias.
    """

    given: tuple[int, ...]
    weight: tuple[int, ...]
    bias: bool = False
    window: Window | None = None
    groups: int = 1
    dtype: str = "float32"
    layout: str = "contiguous"
    device: str = "cpu"
    input_gradient: bool = False
    weight_gradient: bool = False

    @property
    def made(self) -> int:
        """Channels out."""
        return self.weight[0]

    def with_channels(self, taken: int, made: int, groups: int | None = None) -> Product:
        """Return the same with other channels in and out, and in other groups."""
        groups = groups or self.groups
        given = (self.given[0], taken, *self.given[2:])
        return replace(self, given=given, weight=(made, taken // groups, *self.weight[2:]), groups=groups)


def product_of(one: Operation, table: LayerTable) -> Product | None:
    """Return the product that an operator of the forward pass computes; None for one that cannot be computed by itself.

    Args:
        one: a convolution, or the product of a matrix and the weights of a layer.
        table: what it stands in: whether it trains, and which parameters are trained.
    """
    weight, channels = one.weight, one.channels
    if weight is None or channels is None or one.name not in ("convolution", "mm", "addmm") or _is_unbatched(one):
        return None
    trained = {param.name for param in table.parameters if param.trained} if table.trains else set()
    given = one.inputs[0] if one.name == "convolution" else one.inputs[-2]
    shape = weight.shape if one.name == "convolution" else (channels[1], channels[0])
    bias = any(tensor.parameter and tensor is not weight and len(tensor.shape) == 1 for tensor in one.inputs)
    layout = "channels_last" if "channels_last" in (given.layout, weight.layout) else "contiguous"
    return Product(
        given.shape, shape, bias, one.window, one.groups, one.dtype, layout if one.window else "contiguous", given.device,
        input_gradient=table.trains and not given.given, weight_gradient=weight.parameter in trained,
    )  # fmt: skip


def product_seconds(one: Operation, table: LayerTable) -> float:
    """Return the seconds of a product of the forward pass and of its gradients: its part of what the layer's products take."""
    products = [each for each in table.operations if each.layer == one.layer and each.name in PRODUCTS]
    forward = sum(each.seconds for each in products if not each.backward)
    return sum(each.seconds for each in products) * one.seconds / forward if forward else 0.0


def _is_unbatched(one: Operation) -> bool:
    """Return whether a convolution is transposed, or of a single sample without its dimension."""
    return one.name == "convolution" and (one.window is None or len(one.inputs[0].shape) != len(one.inputs[1].shape))


def runnable(product: Product) -> Callable[[], object]:
    """Return a function that computes a product once: forward, and backward as far as gradients are wanted.

    Its tensors are made now, without random numbers.
    """
    given, weight = _tensor(product, product.given), _tensor(product, product.weight)
    bias = _tensor(product, (product.made,)) if product.bias else None
    given.requires_grad_(product.input_gradient)
    for tensor in (weight, bias):
        if tensor is not None:
            tensor.requires_grad_(product.weight_gradient)
    wanted = [tensor for tensor in (given, weight, bias) if tensor is not None and tensor.requires_grad]

    def compute() -> Tensor:
        if product.window is None:
            return F.linear(given, weight, bias)
        window = product.window
        return torch.convolution(
            given, weight, bias, window.stride, window.padding, window.dilation, False, [0] * len(window.stride), product.groups
        )

    if not wanted:
        return compute
    gradient = torch.full_like(compute().detach(), 0.5)
    return lambda: torch.autograd.grad(compute(), wanted, gradient)


def _tensor(product: Product, shape: tuple[int, ...]) -> Tensor:
    """Return a tensor of a product: of small equal numbers, none of them so small that a processor is slow with it."""
    made = torch.full(shape, 0.5, dtype=getattr(torch, product.dtype), device=product.device)
    order = ORDERS.get(len(shape)) if product.layout == "channels_last" else None
    return made if order is None else made.to(memory_format=order)
