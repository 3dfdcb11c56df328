"""The layers of an ONNX file: which nodes compute them, by the names of their modules, and the floats that some of them keep."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Collection
from typing import Any

__all__ = ["PRODUCTS", "fold_transposes", "forget_sources", "give_floats", "layer_nodes", "output_channel_axis", "remove_unused"]

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators with weights that become integers."""
SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter writes the names of the modules that a node lies in."""


def layer_nodes(model: Any) -> dict[str, list[Any]]:
    """Return the nodes with constant weights of each layer, by the layer's name, in order.

    Args:
        model: of onnx, as torch's exporter has written it of a `GraphModule`.
    """
    constants = {one.name for one in model.graph.initializer}
    layers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        scopes: list[str] = next((literal_eval(one.value) for one in node.metadata_props if one.key == SCOPES), [])
        if node.op_type in PRODUCTS and node.input[1] in constants and len(scopes) > 1:
            layers.setdefault(scopes[-2].removeprefix("model").removeprefix("."), []).append(node)
    return layers


def output_channel_axis(node: Any) -> int:
    """Return the dimension of the filters in the weights of a node."""
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def fold_transposes(model: Any) -> None:
    """Let weights that are transposed as they are used be constants that are so already. torch's exporter leaves large ones."""
    import onnx

    constants = {one.name: one for one in model.graph.initializer}
    used = [name for node in model.graph.node for name in node.input]
    for node in [one for one in model.graph.node if one.op_type == "Transpose" and one.input[0] in constants]:
        order = next((list(one.ints) for one in node.attribute if one.name == "perm"), None)
        weight = constants[node.input[0]]
        turned = onnx.numpy_helper.to_array(weight).transpose(order)
        model.graph.initializer.append(onnx.numpy_helper.from_array(turned.copy(), node.output[0]))
        model.graph.node.remove(node)
        if used.count(weight.name) == 1:
            model.graph.initializer.remove(weight)


def give_floats(model: Any, layers: Collection[str]) -> None:
    """Let the outputs of a quantised graph be floats that were never integers, and the inputs of layers that stay in floats.

    Args:
        model: with QuantizeLinear and DequantizeLinear, as onnxruntime.quantization writes them.
        layers: those that stay in floats.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}

    def before(name: str) -> str:
        """Return the tensor that a dequantised one was made of; the tensor itself if it is none."""
        for kind in ("DequantizeLinear", "QuantizeLinear"):
            node = made_by.get(name)
            if node is None or node.op_type != kind:
                return ""
            name = node.input[0]
        return name

    known = layer_nodes(model)
    for node in [node for name in layers for node in known.get(name, ())]:
        node.input[0] = before(node.input[0]) or node.input[0]
    for output in model.graph.output:
        if source := before(output.name):
            for node in (made_by[made_by[output.name].input[0]], made_by[output.name]):
                model.graph.node.remove(node)
            for node in model.graph.node:
                for names in (node.input, node.output):
                    for place, name in enumerate(names):
                        if name == source:
                            names[place] = output.name
    remove_unused(model)


def forget_sources(model: Any) -> None:
    """Take away what torch's exporter writes down of each node, such as its lines of code, but the names of its modules.

    Of a small model in 8 bits that is a quarter of the file.
    """
    for node in model.graph.node:
        kept = [one for one in node.metadata_props if one.key == SCOPES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    del model.graph.value_info[:]


def remove_unused(model: Any) -> None:
    """Take away constants that no node takes."""
    used = {name for node in model.graph.node for name in node.input}
    for one in [one for one in model.graph.initializer if one.name not in used]:
        model.graph.initializer.remove(one)
