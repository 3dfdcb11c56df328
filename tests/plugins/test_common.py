"""Every plugin that comes with accel passes the common suite."""

import pytest

from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.onecycle import OneCycle
from accel.schema import plugin_registry
from accel.testing import cheap, check_plugin


@pytest.mark.parametrize("name", plugin_registry.names())
def test_common_suite(name: str) -> None:
    # bfloat16 keeps 8 bits: two ways to sum a gradient differ in the last of them
    reason = check_plugin(cheap(name), tolerance=2e-3 if name in ("amp", "master_weights") else 1e-5)
    if reason:
        pytest.skip(f"refused as it should be: {reason}")


def test_common_suite_with_other_settings() -> None:
    check_plugin(lambda: AMP(dtype="float16", force=True, init_scale=1024.0), tolerance=2e-3)
    check_plugin(lambda: MasterWeights(dtype="float16", force=True, init_scale=1024.0), tolerance=2e-3)
    check_plugin(lambda: Clip(mode="value", max_value=0.01))
    check_plugin(lambda: Clip(max_norm=0.1))
    check_plugin(lambda: Clip(mode="adaptive"))
    check_plugin(lambda: OneCycle(max_lr=0.1, cycle_momentum=True, anneal="linear"))
    check_plugin(lambda: LRRange(end=1e6, updates=15))
