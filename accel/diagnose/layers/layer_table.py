"""Table of the layers of a model: what the rules look at, and the report draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.ceilings.roof import BOUNDS, limits, roof_seconds
from accel.diagnose.layers.array_copies import ArrayCopy
from accel.diagnose.layers.operation import Operation

__all__ = ["Layer", "LayerTable", "ParameterFacts", "make_layers"]


@dataclass(frozen=True)
class ParameterFacts:
    """Parameter of the model.

    Args:
        name: its name.
        numel: number of elements.
        bytes: of memory.
        trained: whether it is to get gradients.
        has_gradient: whether it got one; None without a backward pass.
    """

    name: str
    numel: int
    bytes: int
    trained: bool = True
    has_gradient: bool | None = True


@dataclass(frozen=True)
class Layer:
    """Module of a model with the operators that run in its own `forward`, those of modules within it left out.

    Args:
        path: of the module; empty for the model itself.
        kind: name of its class.
        operations: forward and backward, in order.
        parameters: number of elements of its own parameters.
    """

    path: str
    kind: str
    operations: tuple[Operation, ...]
    parameters: int = 0

    @property
    def name(self) -> str:
        """Path for people: the model itself is called `(model)`."""
        return self.path or "(model)"

    @cached_property
    def flops(self) -> int:
        """Floating-point operations, forward and backward."""
        return sum(one.flops for one in self.operations)

    @cached_property
    def bytes(self) -> int:
        """Bytes moved, forward and backward."""
        return sum(one.bytes for one in self.operations)

    @cached_property
    def forward_seconds(self) -> float:
        """Seconds of the forward pass."""
        return sum(one.seconds for one in self.operations if not one.backward)

    @cached_property
    def backward_seconds(self) -> float:
        """Seconds of the backward pass."""
        return sum(one.seconds for one in self.operations if one.backward)

    @property
    def seconds(self) -> float:
        """Seconds of both."""
        return self.forward_seconds + self.backward_seconds

    @property
    def intensity(self) -> float:
        """Floating-point operations for each byte that is moved."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def dtype(self) -> str:
        """Number format in which most of its work is done."""
        return max(self.operations, key=lambda one: (one.flops, one.bytes)).dtype if self.operations else "float32"

    def roof_seconds(self, ceilings: MachineCeilings) -> float:
        """Return the least seconds that its operators can take on this machine, one after the other."""
        return sum(roof_seconds(one, ceilings) for one in self.operations)

    def bound(self, ceilings: MachineCeilings) -> str:
        """Return which of `BOUNDS` takes most of that time."""
        spent = dict.fromkeys(BOUNDS, 0.0)
        for one in self.operations:
            each = limits(one, ceilings)
            name = max(each, key=each.__getitem__)
            spent[name] += each[name]
        return max(spent, key=spent.__getitem__)


@dataclass(frozen=True)
class LayerTable:
    """Layers of a model, and what else the rules need to know.

    Args:
        operations: all of one pass, in order.
        kinds: name of the class of each module, by path, in the order of the model.
        parameters: of the model.
        ceilings: of this machine.
        seconds: of a whole pass, the least of several whose operators were not looked at.
        trains: whether the pass goes backward too.
        device: kind of device, `cpu` or `cuda`.
        plugins: names of the plugins that are on.
        array_copies: what `torch.tensor` copies of arrays, by line of code.
        disturbed: whether other processes took cores while threads waited for each other: whole passes tell nothing then.
        command: whether remedies are typed, as overrides; else they are written in Python.
        order_saving: share of a pass that weights in channels_last save, tried out; None where there is nothing to try.
    """

    operations: tuple[Operation, ...]
    kinds: Mapping[str, str]
    parameters: tuple[ParameterFacts, ...]
    ceilings: MachineCeilings
    seconds: float
    trains: bool = True
    device: str = "cpu"
    plugins: frozenset[str] = frozenset()
    array_copies: Mapping[str, ArrayCopy] = field(default_factory=dict)
    command: bool = False
    disturbed: bool = False
    order_saving: float | None = None

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers that have operators, in the order of the model."""
        return make_layers(self.operations, self.kinds, self.parameters)

    @cached_property
    def forward(self) -> tuple[Operation, ...]:
        """Operators of the forward pass inside of the model."""
        return tuple(one for one in self.operations if not one.backward and one.layer is not None)

    @cached_property
    def operator_seconds(self) -> float:
        """Seconds of all operators together."""
        return sum(one.seconds for one in self.operations)

    @property
    def whole_seconds(self) -> float:
        """Seconds that shares are of: the whole pass, or all operators where their sum is more, or the pass was disturbed."""
        return self.operator_seconds if self.disturbed else max(self.seconds, self.operator_seconds)

    def share(self, seconds: float) -> float:
        """Return which part of a whole pass some seconds are, from 0 to 1."""
        return seconds / self.whole_seconds if self.whole_seconds else 0.0

    def seconds_of(self, layers: Iterable[str]) -> float:
        """Return the seconds of some layers, by path, forward and backward."""
        return sum(self.layer_seconds.get(path, 0.0) for path in set(layers))

    @cached_property
    def layer_seconds(self) -> dict[str, float]:
        """Seconds of each layer, by path."""
        return {layer.path: layer.seconds for layer in self.layers}

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """Places of the operators of the forward pass that read each memory, by its number."""
        places: dict[int, list[int]] = defaultdict(list)
        for place, one in enumerate(self.forward):
            for number in {tensor.storage for tensor in one.inputs if tensor.bytes}:
                places[number].append(place)
        return dict(places)

    def results(self, operations: Sequence[Operation]) -> Iterator[tuple[Operation, list[Operation]]]:
        """Yield each of some operators of the forward pass with those that read its first result."""
        places = {id(one): place for place, one in enumerate(self.forward)}
        for one in operations:
            if one.outputs:
                readers = self.readers.get(one.outputs[0].storage, [])
                yield one, [self.forward[place] for place in readers if place > places[id(one)]]

    def measure(self, plugin: str) -> str:
        """Return what measures a plugin, on the command line or in Python."""
        return f"python -m accel ablate '+plugins=[{plugin}]'" if self.command else "accel.ablate(trainer)"

    def setting(self, plugin: str) -> str:
        """Return how a plugin is turned on, on the command line or in Python."""
        return f"'+plugins=[{plugin}]'" if self.command else f"plugins=[{plugin!r}]"


def make_layers(
    operations: Iterable[Operation], kinds: Mapping[str, str], parameters: Iterable[ParameterFacts]
) -> tuple[Layer, ...]:  # fmt: skip
    """Return the layers that have operators.

    Args:
        operations: of a pass; those outside of the model are left out.
        kinds: name of the class of each module, by path.
        parameters: of the model.
    """
    own: dict[str, list[Operation]] = defaultdict(list)
    for one in operations:
        if one.layer is not None and (one.bytes or one.flops or one.seconds):
            own[one.layer].append(one)
    counts: dict[str, int] = defaultdict(int)
    for param in parameters:
        counts[param.name.rpartition(".")[0]] += param.numel
    return tuple(Layer(path, kind, tuple(own[path]), counts[path]) for path, kind in kinds.items() if path in own)
