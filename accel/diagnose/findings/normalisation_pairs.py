"""Layers in front of a batch normalisation: biases that it takes away again, and pairs that fold into one for inference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layer_trials.product import product_of, product_seconds
from accel.diagnose.layer_trials.product_trial import ProductTrial
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import NORMALISATIONS, Operation

__all__ = ["BATCH_NORMS", "bias_before_norm", "foldable_norms", "pairs"]

BATCH_NORMS = NORMALISATIONS - {"native_layer_norm", "native_group_norm", "_fused_rms_norm"}
"""Normalisations that subtract the mean of each channel: whatever bias was added to it is gone."""


def pairs(table: LayerTable) -> list[tuple[Operation, Operation]]:
    """Return each convolution or product with weights whose result only a normalisation of its channels reads, and that one."""
    products = [one for one in table.forward if one.channels is not None]
    paired = []
    for one, readers in table.results(products):
        normed = [reader for reader in readers if reader.name in BATCH_NORMS]
        others = [reader for reader in readers if reader.name not in BATCH_NORMS and not _adds_bias(reader)]
        if len(normed) == 1 and not others:
            paired.append((one, normed[0]))
    return paired


def _adds_bias(one: Operation) -> bool:
    """Return whether an operator adds a vector of parameters to a result, as some layers do for their bias."""
    return one.base == "add" and any(tensor.parameter and len(tensor.shape) == 1 for tensor in one.inputs)


def _bias(one: Operation) -> str:
    """Return the name of the bias that a product adds; empty if it adds none."""
    return next((tensor.parameter for tensor in one.inputs if tensor.parameter and len(tensor.shape) == 1), "")


def bias_before_norm(table: LayerTable) -> Iterator[Finding]:
    """Find biases in front of a normalisation of the same channels, which subtracts the mean and with it the bias."""
    biased = [(one, _bias(one)) for one, _ in pairs(table) if _bias(one)]
    if not biased:
        return
    names = [bias for _, bias in biased]
    sizes = {param.name: param.numel for param in table.parameters}
    yield Finding(
        "bias_before_norm",
        "a bias in front of a batch normalisation, which subtracts the mean and the bias with it",
        f"{len(names)} biases of {sum(sizes.get(name, 0) for name in names):,} elements: {listed(names)}",
        tuple(dict.fromkeys(one.layer or "" for one, _ in biased)),
        change=f"bias=False in {listed([one.layer or '' for one, _ in biased])}",
        gain_note="and their places in the optimiser" if table.trains else "",
        trials=tuple(trial for one, _ in biased if (trial := _without_bias(one, table)) is not None),
    )


def _without_bias(one: Operation, table: LayerTable) -> ProductTrial | None:
    """Return the trial of a product without its bias; None if it cannot be computed by itself."""
    product = product_of(one, table)
    if product is None or not product.bias:
        return None
    return ProductTrial((product,), (replace(product, bias=False),), product_seconds(one, table))


def foldable_norms(table: LayerTable) -> Iterator[Finding]:
    """Find normalisations that fold into the convolution before them, in a pass of inference: their numbers are constant."""
    folded = pairs(table)
    if not folded or table.trains:
        return
    seconds = sum(norm.seconds for _, norm in folded)
    fuse = "fuse_conv_bn_eval" if folded[0][0].name == "convolution" else "fuse_linear_bn_eval"
    yield Finding(
        "foldable_norms",
        "batch normalisations that fold into the layer before them, for inference",
        f"{len(folded)} pairs, such as {folded[0][0].layer or '(model)'} and {folded[0][1].layer or '(model)'}",
        tuple(dict.fromkeys(norm.layer or "" for _, norm in folded)),
        table.share(seconds),
        change=f"torch.nn.utils.{fuse}(layer.eval(), norm.eval()), once the model is trained",
    )
