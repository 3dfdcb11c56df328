"""The rules as what they are, pure functions of a table: each finds its own, in tables made by hand, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.findings.all_rules import RULES, all_findings
from accel.diagnose.findings.element_wise import chains
from accel.diagnose.findings.memory_access_cost import access_ratio, group_ratio
from accel.diagnose.layers.array_copies import ArrayCopy
from accel.diagnose.layers.layer_table import LayerTable, ParameterFacts
from accel.diagnose.layers.operation import Operation, TensorFacts

CEILINGS = MachineCeilings("a machine", 1, {"float32": 1e11}, {1 << 27: 2e10}, 1e-6)
MS = 1e-3


def tensor(*shape: int, storage: int, **facts: Any) -> TensorFacts:
    size = 1
    for length in shape:
        size *= length
    return TensorFacts(shape, bytes=4 * size, storage=storage, **facts)


def conv(
    layer: str,
    taken: int,
    made: int,
    given: int,
    result: int,
    side: int = 28,
    kernel: int = 3,
    groups: int = 1,
    bias: bool = False,
    seconds: float = MS,
    **facts: Any,
) -> Operation:
    inputs = [
        tensor(8, taken, side, side, storage=given),
        tensor(made, taken // groups, kernel, kernel, storage=1000 + result, parameter=f"{layer}.weight", given=True),
    ]
    if bias:
        inputs.append(tensor(made, storage=2000 + result, parameter=f"{layer}.bias", given=True))
    outputs = (tensor(8, made, side, side, storage=result),)
    flops, moved = 2 * 8 * side**2 * made * taken * kernel**2 // groups, sum(one.bytes for one in (*inputs, *outputs))
    return Operation("convolution", layer, tuple(inputs), outputs, flops, moved, seconds, groups=groups, **facts)


def simple(name: str, layer: str | None, given: int, result: int, seconds: float = 0.1 * MS, **facts: Any) -> Operation:
    shape = (8, 64, 28, 28)
    inputs, outputs = (tensor(*shape, storage=given),), (tensor(*shape, storage=result),)
    return Operation(name, layer, inputs, outputs, 0, inputs[0].bytes + outputs[0].bytes, seconds, **facts)


def product(layer: str, taken: int, made: int, given: int, result: int, **facts: Any) -> Operation:
    inputs = (
        tensor(64, taken, storage=given), tensor(taken, made, storage=1000 + result, parameter=f"{layer}.weight", given=True)
    )  # fmt: skip
    outputs = (tensor(64, made, storage=result),)
    return Operation(
        "mm", layer, inputs, outputs, 2 * 64 * taken * made, sum(one.bytes for one in (*inputs, *outputs)), MS, **facts
    )


def table(operations: Sequence[Operation], idle: Sequence[ParameterFacts] = (), **facts: Any) -> LayerTable:
    names = {one.parameter for op in operations for one in op.inputs if one.parameter}
    parameters = (*(ParameterFacts(name, 64, 256) for name in sorted(names)), *idle)
    kinds = {op.layer: "Layer" for op in operations if op.layer is not None}
    seconds = facts.pop("seconds", sum(op.seconds for op in operations))
    return LayerTable(tuple(operations), kinds, parameters, CEILINGS, seconds, **facts)


SOUND = [
    conv("a", 64, 64, 0, 1, seconds=9 * MS),
    simple("relu", "b", 1, 2, pointwise=True),
    conv("c", 64, 64, 2, 3, seconds=9 * MS),
]
SMALL = [simple("relu", "b", 1, 2, 4e-6)] * 1000
"""Many small operators: 4 ms in all."""


def copies(*layouts: str) -> list[Operation]:
    copied = []
    for number, (source, target) in enumerate(pairwise(layouts)):
        one = simple("clone", "perm", 10 + number, 11 + number, MS, line=f"net.py:{number + 7} x.permute(0, 2, 3, 1)")
        inputs, outputs = replace(one.inputs[0], layout=source), replace(one.outputs[0], layout=target)
        copied.append(replace(one, inputs=(inputs,), outputs=(outputs,)))
    return copied


def crossing(source: str, target: str, line: str) -> Operation:
    one = simple("_to_copy", "a", 20, 21, line=line)
    return replace(one, inputs=(replace(one.inputs[0], device=source),), outputs=(replace(one.outputs[0], device=target),))


CASES: dict[str, tuple[Callable[[], LayerTable], str]] = {
    "memory_order": (
        lambda: table(SOUND, order_saving=0.2),
        "2 layers, 99.4% of the time; a pass with their weights in channels_last is 1.25",
    ),
    "time_between": (lambda: table(SMALL, seconds=9 * MS), "55.6% of the time between them and 11.1% in calls"),
    "far_from_roof": (
        lambda: table([*SOUND, simple("max_pool2d_with_indices", "pool", 3, 4, 9 * MS)]),
        "pool (max_pool2d_with_indices) 56 x, 33.2% of the time",
    ),
    "fusible_layers": (
        lambda: table([*SOUND, simple("mul", "d", 3, 4, 4 * MS, pointwise=True), simple("add", "d", 4, 5, 4 * MS, pointwise=True)]),
        "mul, add in d",
    ),
    "element_wise": (lambda: table([*SOUND, simple("gelu", "d", 9, 4, 20 * MS, pointwise=True)]), "gelu"),
    "depthwise": (lambda: table([*SOUND, conv("dw", 64, 64, 3, 4, groups=64, seconds=9 * MS)]), "1 layers"),
    "channel_multiples": (lambda: table([*SOUND, conv("odd", 64, 100, 3, 4)]), "odd 64 to 100"),
    "channel_multiples of int8": (
        lambda: table(
            [*SOUND, replace(one := conv("odd", 64, 72, 3, 4), inputs=tuple(replace(each, dtype="int8") for each in one.inputs))]
        ),
        "odd 64 to 72",
    ),
    "channel_multiples on a GPU": (lambda: table([*SOUND, product("head", 64, 50257, 3, 4)], device="cuda"), "head 64 to 50257"),
    "unequal_channels": (lambda: table([*SOUND, conv("pw", 16, 256, 3, 4, kernel=1, seconds=9 * MS)]), "pw 16 to 256 (2.08)"),
    "group_convolutions": (lambda: table([*SOUND, conv("gc", 64, 64, 3, 4, groups=8, seconds=9 * MS)]), "gc in 8 groups"),
    "branches": (lambda: table([*SOUND, conv("b1", 64, 64, 3, 4), conv("b2", 64, 64, 3, 5, kernel=1)]), "such as b1, b2"),
    "joinable_layers": (
        lambda: table([*SOUND, *(product(name, 64, 64, 3, 4 + place) for place, name in enumerate("qkv"))]),
        "q, k, v",
    ),
    "layout_changes": (lambda: table([*SOUND, *copies("contiguous", "channels_last", "contiguous")]), "net.py:7 x.permute"),
    "bias_before_norm": (
        lambda: table([*SOUND, conv("cb", 64, 64, 3, 4, bias=True), simple("native_batch_norm", "bn", 4, 5)]),
        "cb.bias",
    ),
    "foldable_norms": (
        lambda: table([*SOUND, conv("cb", 64, 64, 3, 4), simple("native_batch_norm", "bn", 4, 5)], trains=False),
        "cb and bn",
    ),
    "unused_parameters": (
        lambda: table(SOUND, [ParameterFacts("old.weight", 4096, 16384, has_gradient=False)]),
        "4,096 elements: old.weight",
    ),
    "without_gradient": (
        lambda: replace(made := table(SOUND), parameters=(*made.parameters[1:], replace(made.parameters[0], has_gradient=False))),
        "a.weight",
    ),
    "host_reads": (
        lambda: table([*SOUND, simple("_local_scalar_dense", "b", 2, 3, 1e-6, line="net.py:12 if x.max() > 1:")]),
        "1 x net.py:12 if",
    ),
    "device_copies": (
        lambda: table([*SOUND, crossing("cuda:0", "cpu", "net.py:3 x.cpu()"), crossing("cpu", "cuda:0", "net.py:5 y.cuda()")]),
        "net.py:3 x.cpu(), net.py:5",
    ),
    "array_copies": (
        lambda: table(SOUND, array_copies={"data.py:4 torch.tensor(picture)": ArrayCopy(3_000_000, 1e-3)}),
        "3.00 MB: data.py:4",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule_finds_its_own(case: str) -> None:
    make, evidence = CASES[case]
    findings = {one.name: one for one in all_findings(make())}
    finding = findings[case.partition(" ")[0]]
    assert evidence in finding.evidence
    assert finding.change
    assert finding.gain is None or 0 <= finding.gain <= 1
    assert finding.gain is not None or finding.ceiling is not None or finding.trials or finding.gain_note, "what is to be gained"
    assert set(finding.layers) <= {*make().kinds, *(param.name.rpartition(".")[0] for param in make().parameters)}


def test_nothing_is_found_in_a_sound_model() -> None:
    assert all_findings(table(SOUND)) == []


def test_a_disturbed_pass_tells_nothing_of_the_time_between() -> None:
    quiet = table(SMALL, seconds=9 * MS)
    assert quiet.share(quiet.operator_seconds) == pytest.approx(4 / 9)
    disturbed = replace(quiet, disturbed=True)
    assert disturbed.share(disturbed.operator_seconds) == 1
    assert "time_between" not in {one.name for one in all_findings(disturbed)}
    given_back = table(SOUND, seconds=40 * MS)  # 7 ms between two operators are not Python's
    assert all_findings(given_back) == []


def test_every_rule_has_a_case() -> None:
    named = {one.name for make, _ in CASES.values() for one in all_findings(make())}
    silent = [rule.__name__ for rule in RULES if not any(list(rule(make())) for make, _ in CASES.values())]
    assert silent == []
    assert named == {case.partition(" ")[0] for case in CASES}


@pytest.mark.parametrize(
    ("operations", "unwanted"),
    [
        ([conv("stem", 3, 64, 0, 1), conv("head", 64, 10, 1, 2)], "channel_multiples"),  # colours and classes are the data's
        ([conv("a", 64, 64, 0, 1, bias=True), simple("native_layer_norm", "ln", 1, 2)], "bias_before_norm"),  # not by channel
        ([conv("a", 64, 64, 0, 1, bias=True), simple("native_batch_norm", "bn", 1, 2), simple("add", "d", 1, 3)], "foldable_norms"),
        (copies("contiguous", "channels_last"), "layout_changes"),  # once, at the entrance
        ([*copies("contiguous", "channels_last", "contiguous"), simple("bmm", "perm", 30, 31, MS)], "layout_changes"),  # heads
        ([*SOUND, conv("x", 64, 64, 3, 4), conv("y", 64, 64, 4, 5), conv("cut", 64, 64, 3, 6, kernel=1)], "branches"),  # a shortcut
        ([conv("a", 64, 64, 0, 1), simple("native_batch_norm", "bn", 1, 2)], "foldable_norms"),  # it trains
        (  # the tensor that the second reads is another by then
            [conv("a", 64, 64, 1, 2), simple("relu_", "b", 1, 1, pointwise=True), conv("c", 64, 64, 1, 3, kernel=1)],
            "branches",
        ),
    ],
)
def test_what_is_no_fault_is_not_found(operations: list[Operation], unwanted: str) -> None:
    assert unwanted not in {one.name for one in all_findings(table(operations))}


def test_remedies_that_are_on_are_not_named() -> None:
    make, _ = CASES["fusible_layers"]
    assert "fusible_layers" not in {one.name for one in all_findings(replace(make(), plugins=frozenset({"compile"})))}
    assert "time_between" not in {one.name for one in all_findings(table(SMALL, seconds=9 * MS, plugins=frozenset({"compile"})))}
    pool, _ = CASES["far_from_roof"]
    changes = [one.change for one in all_findings(pool()) if one.name == "far_from_roof"]
    assert changes == ["another operator in pool, or fewer of them"]
    for saving in (None, -0.2, 0.01):
        assert "memory_order" not in {one.name for one in all_findings(table(SOUND, order_saving=saving))}
    typed = {one.name: one.change for one in all_findings(replace(make(), command=True))}
    assert typed["fusible_layers"] == "'+plugins=[compile]'"
    assert {one.name: one.change for one in all_findings(make())}["fusible_layers"] == "plugins=['compile']"


@pytest.mark.parametrize(("places", "taken", "made", "ratio"), [(3136, 128, 128, 1.0), (3136, 64, 128, 1.06), (784, 1, 12, 1.87)])
def test_the_cost_of_unequal_channels(places: int, taken: int, made: int, ratio: float) -> None:
    """Where weights are few, 1:2 costs 3 / (2 sqrt 2) = 1.06, and 1:12 costs 13 / (2 sqrt 12) = 1.88."""
    assert access_ratio(places, taken, made) == pytest.approx(ratio, abs=0.01)


def test_the_cost_of_groups_grows_with_them() -> None:
    ratios = [group_ratio(784, 240, 240, groups) for groups in (1, 2, 4, 8)]
    assert ratios == sorted(ratios)
    assert ratios[0] == 1


def test_runs_of_operators_end_where_others_read() -> None:
    add, mul = simple("add", "a", 1, 2, pointwise=True), simple("mul", "a", 2, 3, pointwise=True)
    view, other = replace(add, name="view", bytes=0), simple("exp", "a", 7, 8, pointwise=True)
    assert chains([add, view, mul]) == [[add, mul]]
    assert chains([add, other]) == []
    assert chains([add, conv("c", 64, 64, 2, 3), mul]) == []
