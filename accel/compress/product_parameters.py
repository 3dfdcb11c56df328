"""Parameters that are used in products alone, which autocast computes in 16 bits."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

__all__ = ["PRODUCT_PARAMETERS", "find_product_params"]

PRODUCT_PARAMETERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("weight", "bias"),
    _ConvNd: ("weight", "bias"),
    nn.MultiheadAttention: ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
}
"""Parameters, by kind of module, that are used in products alone, which autocast computes in 16 bits."""


def find_product_params(model: nn.Module) -> set[nn.Parameter]:
    """Return the weights and biases of products that no other kind of module holds too, such as a shared embedding."""
    product_params, other_params = set[nn.Parameter](), set[nn.Parameter]()
    for module in model.modules():
        names = next((names for kind, names in PRODUCT_PARAMETERS.items() if isinstance(module, kind)), ())
        for name, param in module.named_parameters(recurse=False):
            (product_params if name in names else other_params).add(param)
    return product_params - other_params
