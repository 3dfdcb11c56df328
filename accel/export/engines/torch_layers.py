"""Outputs of the layers of a graph of torch, by the names that torch.export gives them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

__all__ = ["arrays_of", "graph_layers", "script_layers"]

RANKED = re.compile(r"(.*?)(?:_\d+)?")
"""The name of a node: that of its operator, and a number behind all but the first of that operator."""
CONVOLUTIONS = re.compile(r"_?conv(?:olution|\d?d|_transpose\d?d)")


class Recorder(Interpreter):
    """Interpreter of a graph that keeps what each of its operators gives. What an operator changes in place is kept as it ends."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """Return the output of a node."""
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, Tensor):
            self.values[n.name] = value
        return value


def graph_layers(module: GraphModule, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the outputs of the operators of a graph in one call, by name, in order."""
    recorder = Recorder(module)
    with torch.inference_mode():
        recorder.run(*inputs)
    return recorder.values


def script_layers(script: Any, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the outputs of the operators of a frozen module of TorchScript in one call, by those names of torch.export that fit.

    Its graph has no names, but operators in the same order: the third of a kind is the third, where both have as many of it.

    Args:
        script: the module.
        names: of operators in a graph of torch.export, in order.
        inputs: of the call.
    """
    graph, known = script.graph.copy(), defaultdict(list)
    for name in names:
        matched = RANKED.fullmatch(name)
        known[_kind(matched[1] if matched else name)].append(name)
    ranks: dict[str, list[int]] = defaultdict(list)
    outputs = len(list(graph.outputs()))
    count = outputs
    for node in graph.nodes():
        if node.kind().startswith("aten::") and node.outputsSize() == 1 and str(node.output().type()) == "Tensor":
            graph.registerOutput(node.output())
            ranks[_kind(node.kind().removeprefix("aten::"))].append(count)
            count += 1
    graph.eraseInput(0)  # the module itself, of which a frozen graph uses nothing
    graph.makeMultiOutputIntoTuple()
    make: Any = torch._C._create_function_from_graph
    with torch.inference_mode():
        values = make("layers", graph)(*inputs)
    alike = [kind for kind in known if len(known[kind]) == len(ranks.get(kind, []))]
    return {name: values[place] for kind in alike for name, place in zip(known[kind], ranks[kind], strict=True)}


def _kind(operator: str) -> str:
    """Return the operator, with one word for all convolutions, which TorchScript does not tell apart."""
    return "convolution" if CONVOLUTIONS.fullmatch(operator) else operator


def arrays_of(values: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those values that are named."""
    return {name: values[name].numpy() for name in names if name in values}
