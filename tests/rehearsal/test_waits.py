"""No steady update waits for the device, with any plugin: the stand-ins tell of waits of which torch does not warn, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nullcuda.devices import Waits
from torch import nn

from accel import Trainer
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.stream import Stream
from accel.schema import plugin_registry
from accel.testing import cheap
from accel.testing.device_waits import WaitWatch, check_device_waits

ELSEWHERE = {"ddp": "ranks", "fsdp": "ranks", "compile": "kernels of its own compute nothing here"}
pytestmark = pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")


@pytest.mark.parametrize("name", [name for name in plugin_registry.names() if name not in ELSEWHERE])
def test_no_steady_update_waits(name: str) -> None:
    refusal = check_device_waits(cheap(name), Waits())
    assert not refusal or name in refusal, "a refusal names the plugin"
    if refusal:
        pytest.skip(refusal)


SETUPS: dict[str, Callable[[], list[Part]]] = {
    "float16": lambda: [AMP(dtype="float16"), Accumulate(steps=2), Clip(), AdamW(), OneCycle(), EMA(), FiniteGuard()],
    "graph": lambda: [AMP(dtype="float16"), Clip(), AdamW(), EMA(), CudaGraph(warmup=2)],
    "matrices": lambda: [AMP(), Muon(matrices=["*"]), EMA()],
}


@pytest.mark.parametrize("name", SETUPS)
def test_no_steady_update_of_many_plugins_waits(name: str) -> None:
    watch = WaitWatch(Waits())
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
    data = torch.utils.data.DataLoader([torch.randn(8, 4) for _ in range(48)], batch_size=None)
    plugins = [Stream(), *SETUPS[name](), watch]
    Trainer(
        net, data, loss=lambda m, x: m(x).float().square().mean(), plugins=plugins, watch=("metrics", "progress"), device="cuda"
    ).fit()
    assert watch.listened > 5
    assert not watch.listener.places


def test_the_plain_transfer_and_an_unfused_optimiser_under_float16_wait() -> None:
    for plugins in ([], [Stream(), AMP(dtype="float16"), AdamW(fused=False)]):
        watch = WaitWatch(Waits())
        data = torch.utils.data.DataLoader([torch.randn(8, 4) for _ in range(32)], batch_size=None)
        Trainer(
            nn.Linear(4, 1),
            data,
            loss=lambda model, x: model(x).float().square().mean(),
            plugins=[*plugins, watch],
            watch=(),
            device="cuda",
        ).fit()
        assert watch.listener.places
