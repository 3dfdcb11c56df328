"""Every plugin that comes with accel passes the common suite."""

from collections.abc import Callable

import pytest

from accel.parts import Part
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.distill import Distill
from accel.plugins.lowbit import LowBit
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.onecycle import OneCycle
from accel.plugins.qat import QAT
from accel.schema import plugin_registry
from accel.testing import cheap, check_plugin
from accel.testing.toy_run import toy_teacher
from tests.support.companions import COMPANIONS
from tests.support.drill_length import LONG

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", plugin_registry.names())
def test_common_suite(name: str) -> None:
    # bfloat16 keeps 8 bits: two ways to sum a gradient differ in the last of them
    tolerance = 2e-3 if name in ("amp", "master_weights") else 1e-5
    # every pair of default settings, in both orders, is tried by tests/invariants/test_plugin_order.py
    reason = check_plugin(cheap(name), tolerance=tolerance, beside=[])
    if reason:
        pytest.skip(f"refused as it should be: {reason}")


OTHER_SETTINGS: dict[str, Callable[[], Part]] = {
    "amp in float16": lambda: AMP(dtype="float16", force=True, init_scale=1024.0),
    "master_weights in float16": lambda: MasterWeights(dtype="float16", force=True, init_scale=1024.0),
    "clip by value": lambda: Clip(mode="value", max_value=0.01),
    "clip by a small norm": lambda: Clip(max_norm=0.1),
    "adaptive clip": lambda: Clip(mode="adaptive"),
    "onecycle of the momentum": lambda: OneCycle(max_lr=0.1, cycle_momentum=True, anneal="linear"),
    "a teacher that is let go of, and hints": lambda: Distill(toy_teacher(), anneal=True, hints=["1"], cache_mb=0),
    "binary inputs and weights": lambda: LowBit(kind="bnn", layers=["0"], keep=[]),
    "four bits": lambda: LowBit(kind="dorefa", keep=[], weight_bits=4, input_bits=4),
    "eight bits with a sign, from an update on": lambda: QAT(begin=2, freeze=5, inputs="int8"),
    "a wide lr_range": lambda: LRRange(end=1e6, updates=15),
}


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_common_suite_with_other_settings(name: str) -> None:
    check_plugin(OTHER_SETTINGS[name], tolerance=2e-3 if "float16" in name else 1e-5, beside=COMPANIONS if LONG else [])
