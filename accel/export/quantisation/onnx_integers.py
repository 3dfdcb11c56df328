"""ONNX files whose layers are integers of 8 bits, by onnxruntime's quantisers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accel.errors import ConfigError
from accel.export.quantisation.onnx_layers import (
    PRODUCTS,
    fold_transposes,
    give_floats,
    layer_nodes,
    output_channel_axis,
    remove_unused,
)
from accel.export.quantisation.quantisation import Quantisation

__all__ = ["STATIC_OPERATORS", "with_dynamic_integers", "with_integer_weights", "with_static_integers"]

STATIC_OPERATORS = (*PRODUCTS, "Relu", "Clip")
"""Operators that are computed in integers. What follows a layer and is no more than a bound goes into it."""


def with_static_integers(source: Path, quantisation: Quantisation, ranges: Any) -> Any:
    """Return a model of onnx whose layers have QuantizeLinear and DequantizeLinear around inputs, weights, biases and outputs.

    Args:
        source: the file in float32.
        quantisation: which layers. With trained scales these are taken, and outputs stay floats, as they were in the training.
        ranges: of tensors, by `calibrated_ranges`; None with trained scales.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

    model = onnx.load(source)
    fold_transposes(model)
    layers, trained = layer_nodes(model), quantisation.scales
    chosen = [node for name in quantisation.layers for node in layers.get(name, ())]
    options: dict[str, Any] = {}
    if trained:
        separate_inputs(model, chosen)
        overrides = {
            key: value for name in quantisation.layers for node in layers[name] for key, value in given(node, trained[name])
        }
        ranges = ranges_of(overrides)
        options = {
            "TensorQuantOverrides": overrides, "OpTypesToExcludeOutputQuantization": list(STATIC_OPERATORS),
            "QDQDisableWeightAdjustForInt32Bias": True,
        }  # fmt: skip
    else:
        chosen += followers(model, chosen)
    quantizer = QDQQuantizer(
        save_and_reload_model_with_shape_infer(model), True, False, QuantType.QInt8, QuantType.QUInt8, ranges,
        [node.name for node in chosen], [], list(STATIC_OPERATORS), options,
    )  # fmt: skip
    quantizer.quantize_model()
    made = quantizer.model.model
    give_floats(made, [] if trained else [name for name in layers if name not in quantisation.layers])
    return made


def followers(model: Any, nodes: Sequence[Any]) -> list[Any]:
    """Return the bounds, ReLU and the like, that follow nodes and are all that follows them."""
    used = [name for node in model.graph.node for name in node.input]
    outputs = {node.output[0] for node in nodes if used.count(node.output[0]) == 1}
    return [node for node in model.graph.node if node.op_type not in PRODUCTS and node.input[:1] and node.input[0] in outputs]


def separate_inputs(model: Any, nodes: Sequence[Any]) -> None:
    """Give each of some nodes an input of its own, that nothing else takes: only a layer sees its inputs as integers."""
    import onnx

    places = list(model.graph.node)
    for node in nodes:
        copy = onnx.helper.make_node("Identity", [node.input[0]], [f"{node.name}_input"], f"{node.name}_identity")
        node.input[0] = copy.output[0]
        places.insert(places.index(node), copy)
    del model.graph.node[:]
    model.graph.node.extend(places)


def given(node: Any, scales: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the overrides by which inputs and weights of a node have trained scales."""
    from onnxruntime.quantization import QuantType

    kind = QuantType.QInt8 if scales.kind == "int8" else QuantType.QUInt8
    zero = np.array(scales.zero_point, scales.kind)
    x = {"quant_type": kind, "scale": np.array(scales.scale, np.float32), "zero_point": zero}
    axis = output_channel_axis(node)
    filters = [
        {"quant_type": QuantType.QInt8, "axis": axis, "scale": np.array(one, np.float32), "zero_point": np.array(0, np.int8)}
        for one in scales.weight_scale.tolist()
    ]
    return [(node.input[0], [x]), (node.input[1], filters)]


def ranges_of(overrides: Mapping[str, Any]) -> Any:
    """Return ranges of the tensors that have one scale. The quantiser looks for no other tensors; it takes the scale."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    return TensorsData(CalibrationMethod.MinMax, {name: (zero, one) for name, known in overrides.items() if "axis" not in known[0]})


def with_dynamic_integers(source: Path, layers: Collection[str]) -> Any:
    """Return a model of onnx whose matrix products are of integers, inputs by their range in each call. Convolutions stay floats.

    Raises:
        ConfigError: if none of the layers is a matrix product.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    fold_transposes(model)
    products_of_gemm(model)
    known = layer_nodes(model)
    names = [node.name for name in layers for node in known.get(name, ()) if node.op_type == "MatMul"]
    if not names:
        raise ConfigError(
            "quantize=dynamic: onnxruntime has it for matrix products alone, and none of these layers is one; take quantize=static"
        )
    aside, written = source.with_suffix(".products.onnx"), source.with_suffix(".dynamic.onnx")
    onnx.save(model, aside)
    quantize_dynamic(aside, written, ["MatMul"], True, weight_type=QuantType.QInt8, nodes_to_quantize=names)
    return onnx.load(written)


def products_of_gemm(model: Any) -> None:
    """Write Gemm as MatMul and Add: onnxruntime's dynamic quantiser knows no Gemm."""
    import onnx

    constants = {one.name: one for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Gemm" or node.input[1] not in constants or not is_plain(node):
            nodes.append(node)
            continue
        weight = constants[node.input[1]]
        if output_channel_axis(node) == 0:
            turned = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight).T.copy(), f"{weight.name}.T")
            model.graph.initializer.append(turned)
            weight = turned
        has_bias = len(node.input) > 2
        result = f"{node.output[0]}_product" if has_bias else node.output[0]
        product = onnx.helper.make_node("MatMul", [node.input[0], weight.name], [result], node.name)
        product.metadata_props.extend(node.metadata_props)
        nodes.append(product)
        if has_bias:
            nodes.append(onnx.helper.make_node("Add", [result, node.input[2]], [node.output[0]], f"{node.name}_bias"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    remove_unused(model)


def is_plain(node: Any) -> bool:
    """Return whether a Gemm is a product and a sum: no factor, no transposed input."""
    values: Mapping[str, Any] = {one.name: one.f if one.name in ("alpha", "beta") else one.i for one in node.attribute}
    return values.get("alpha", 1.0) == 1.0 and values.get("beta", 1.0) == 1.0 and not values.get("transA", 0)


def with_integer_weights(source: Path, layers: Collection[str]) -> Any:
    """Return a model of onnx whose layers have weights of integers, which are made floats as they are used."""
    import onnx

    model = onnx.load(source)
    fold_transposes(model)
    constants = {one.name: one for one in model.graph.initializer}
    known, done = layer_nodes(model), set[str]()
    for node in [node for name in layers for node in known.get(name, ())]:
        name = node.input[1]
        if name not in done:
            axis = output_channel_axis(node)
            codes, scale = filter_codes(onnx.numpy_helper.to_array(constants[name]), axis)
            numbers = (codes, scale, np.zeros(len(scale), np.int8))
            names = [f"{name}_{word}" for word in ("integers", "scale", "zero_point")]
            model.graph.initializer.remove(constants[name])
            model.graph.initializer.extend(map(onnx.numpy_helper.from_array, numbers, names))
            made = onnx.helper.make_node("DequantizeLinear", names, [f"{name}_floats"], f"{name}_dequantize", axis=axis)
            model.graph.node.insert(0, made)
            done.add(name)
        node.input[1] = f"{name}_floats"
    return model


def filter_codes(weight: Any, axis: int) -> tuple[Any, Any]:
    """Return the integers of weights, int8, and the scale of each filter along an axis: its largest |w| is 127."""
    others = tuple(place for place in range(weight.ndim) if place != axis)
    scale = np.maximum(np.abs(weight).max(others) / np.float32(127), np.finfo(np.float32).tiny).astype(np.float32)
    shape = [len(scale) if place == axis else 1 for place in range(weight.ndim)]
    return np.clip(np.round(weight / scale.reshape(shape)), -127, 127).astype(np.int8), scale
