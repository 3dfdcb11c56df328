"""The first layer of an export that departs: its outputs beside those of torch, operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from accel.export.all_targets import make_target
from accel.export.card import Card
from accel.export.engines.torch_layers import graph_layers
from accel.export.example import Example
from accel.export.graph_module import GraphModule
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.proof.departure import INPUT, Departure
from accel.export.proof.output_differences import OutputDifferences
from accel.export.proof.torch_reference import TorchReference
from accel.export.runtime.exported_model import ExportedModel
from accel.export.shipped_model import shipped_model
from accel.export.traced import quiet_build

__all__ = ["first_departure"]

OWN = "model."
"""Begin of the path of each module of the user's in the graph of a `GraphModule`."""


def first_departure(
    reference: TorchReference, exported: ExportedModel, inputs: Sequence[Tensor], tolerance: float
) -> Departure | None:  # fmt: skip
    """Return the first layer of an export whose output departs from torch's; None if none does, or the engine tells of none.

    Args:
        reference: the torch model.
        exported: the export, in its process.
        inputs: of a call, as the model takes them; as many samples as the file takes.
        tolerance: largest difference that is right, as a share of the largest output of the layer.
    """
    card, normalisation = exported.card, exported.normalisation
    arrays = exported.feed(inputs)
    in_graph = normalisation if card.preprocessing == "graph" else None
    if in_graph is None and (share := _share(inputs, map(torch.from_numpy, arrays))) > tolerance:
        return Departure("", INPUT, share)
    target = make_target(card.target)
    given = tuple(map(torch.from_numpy, arrays))
    example = Example(given, tuple(card.inputs), tuple(card.outputs), card.arguments, card.structure)
    with quiet_build(card.target):
        program = target.graph(_true_graph(reference, example, in_graph), example)
    if program is None:
        return None
    module: Any = program.module()
    expected = graph_layers(module, given)
    outputs = _output_names(module, card)
    actual = exported.process.layers(arrays, [*expected, *outputs.values()])
    nodes = {node.name: node for node in module.graph.nodes}
    known = {name: actual.get(name, actual.get(outputs.get(name, ""))) for name in expected}
    observed = {name: torch.from_numpy(value) for name, value in known.items() if value is not None}
    for name, value in observed.items():
        if (share := _share([expected[name]], [value])) > tolerance:
            return _departure(fused_nodes(nodes[name], observed), share)
    return None


def _true_graph(reference: TorchReference, example: Example, normalisation: PixelNormalisation | None) -> nn.Module:
    """Return the module that ought to have been exported, made anew of the trained one."""
    model = shipped_model(reference.model, reference.source.structure, reference.call)
    return GraphModule(model, example, normalisation).eval()


def _output_names(module: Any, card: Card) -> dict[str, str]:
    """Return the names of the outputs of a file, by the names of the operators that they come from."""
    (results,) = module.graph.output_node().args
    outputs = results if isinstance(results, tuple | list) else (results,)
    return {node.name: info.name for node, info in zip(outputs, card.outputs, strict=True) if isinstance(node, Node)}


def _share(expected: Iterable[Tensor], actual: Iterable[Tensor]) -> float:
    differences, one, two = OutputDifferences(), list(expected), list(actual)
    differences.add(one, two, [""] * len(one))
    return differences.share


def fused_nodes(node: Node, observed: Mapping[str, Any]) -> list[Node]:
    """Return a node and those before it whose outputs cannot be seen: the engine has made one operator of them. In order."""
    chosen, pending = {node}, [node]
    while pending:
        for before in pending.pop().all_input_nodes:
            if before.op == "call_function" and before.name not in observed and before not in chosen:
                chosen.add(before)
                pending.append(before)
    return sorted(chosen)


def _departure(nodes: Sequence[Node], share: float) -> Departure:
    """Return the departure of some nodes that an engine has made one of: the layer is the first of them that has weights."""
    weighted = [node for node in nodes if any(before.op == "get_attr" for before in node.all_input_nodes)]
    operators = ", ".join(dict.fromkeys(_operator(node) for node in nodes if node in weighted or node is nodes[-1]))
    return Departure(layer_of((weighted or [nodes[-1]])[0]), operators, share)


def _operator(node: Node) -> str:
    """Return what a node computes: `conv2d`."""
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]


def layer_of(node: Node) -> str:
    """Return the path of the innermost module of the user's that a node of a graph belongs to; empty for none."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path.removeprefix(OWN) if path.startswith(OWN) else ""
