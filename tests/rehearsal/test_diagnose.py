"""Doctor, ablate and advise go their way for CUDA on null devices. What they print there is no measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nullcuda import devices
from torch import Tensor, nn
from torch.nn import functional as F

import accel
from accel.diagnose.ceilings import measure_ceilings
from accel.diagnose.machine.graphics_cards import read_cards

pytestmark = pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")


class Net(nn.Module):
    """A bias before a normalisation, odd channels, a number read on the host, and a tensor that goes to the host and back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(4, 20, 3), nn.BatchNorm2d(20), nn.Linear(20, 20)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x))).mean((2, 3))
        if x.sum() > 1e9:
            x = x / 2
        return self.head(x.cpu().to(x.device))


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def trainer(**settings: Any) -> accel.Trainer:
    data = [(torch.randn(4, 8, 8), 3) for _ in range(64)]
    return accel.Trainer(Net(), data, loss=loss, device="cuda", batch_size=8, epochs=2, seed=1, watch=(), **settings)


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measure ceilings by small products and copies, which a CPU computes here, and keep them where nobody looks for them."""
    monkeypatch.setitem(measure_ceilings.SIDES, "cuda", (64,))
    monkeypatch.setitem(measure_ceilings.COPIES, "cuda", (1 << 12, 1 << 16))
    monkeypatch.setattr(measure_ceilings, "SECONDS", 0.02)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the device was at work when its cards were read."""
    busy: list[bool] = []

    def read() -> Any:
        busy.append(not torch.cuda.current_stream().query())
        return read_cards()

    monkeypatch.setattr("accel.diagnose.probes.cards_at_work.read_cards", read)
    return busy


def test_doctor(queued: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NULLCUDA_SLOWED", "4")
    monkeypatch.setenv("NULLCUDA_LANES", "8")
    with devices.configured(lazy=1):
        diagnosis = accel.doctor(trainer(plugins=["stream", "adamw"]), seconds=2)
    assert diagnosis.figures.device == "cuda"
    assert diagnosis.figures.host is not None, "how long the host takes to queue an update"
    assert set(diagnosis.figures.phases) >= {"forward", "backward", "update"}
    assert diagnosis.machine.cards[0].clock == (1980, 1980)
    assert {"throttled_gpu", "narrow_link"} <= {state.name for state in diagnosis.states}
    assert queued == [True], "the cards are read once, while the device has work"
    assert json.loads(json.dumps(diagnosis.as_dict(), allow_nan=False))["figures"]["device"] == "cuda"
    assert "GPU 0" in str(diagnosis)


@pytest.mark.parametrize("inference", [False, True])
def test_advise(inference: bool) -> None:
    model = Net().cuda()
    model.train(not inference)
    batch = torch.randn(8, 4, 8, 8, device="cuda")
    advice = accel.advise(model, batch, seconds=0.2)
    findings = {one.name: one for one in advice.findings}
    assert advice.table.device == "cuda"
    assert {"host_reads", "device_copies"} <= findings.keys()
    assert "test_diagnose.py" in findings["host_reads"].evidence
    assert "data goes to another device and comes back" in findings["device_copies"].problem
    assert ("foldable_norms" if inference else "bias_before_norm") in findings
    assert json.loads(json.dumps(advice.to_dict(), allow_nan=False))["device"] == "cuda"
    assert "a call" in str(advice)


def test_ablate() -> None:
    ablation = accel.ablate(trainer(plugins=["clip"]), seconds=1, updates=2)
    assert [one.name for one in ablation.contributions] == ["clip"]
    assert json.loads(json.dumps(ablation.to_dict(), allow_nan=False))
