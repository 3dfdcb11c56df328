"""Times of an export beside torch: eager, compiled, and the reason where nothing is compiled."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accel.export.call.structured_values import split_tensors
from accel.export.card import Card, file_facts
from accel.export.example import GIVEN, RETURNED
from accel.export.proof.latency import measure_latency
from accel.export.proof.timed_torch import TimedTorch
from accel.export.runtime.exported_model import ExportedModel
from accel.export.runtime.runtime_process import RuntimeProcess
from accel.export.tensor_info import TensorInfo

pytestmark = pytest.mark.slow
INPUTS = [torch.ones(3, 2)]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def exported(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportedModel]:
    """Its export, in a process."""
    folder: Path = tmp_path_factory.mktemp("timed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        torch.jit.save(torch.jit.freeze(torch.jit.trace(model, INPUTS)), str(folder / "model.ts"))  # type: ignore[no-untyped-call]
    infos = [TensorInfo("x", ("batch", 2), "float32")], [TensorInfo("output", ("batch", 4), "float32")]
    arguments, structure = split_tensors(((INPUTS[0],), {}), GIVEN)[1], split_tensors(INPUTS[0], RETURNED)[1]
    card = Card("torchscript", "model.ts", file_facts(folder), *infos, arguments, structure, None, None, "caller", [], "last")
    with RuntimeProcess("torchscript", folder) as process:
        yield ExportedModel(card, process, None)


def test_an_export_is_timed_beside_torch_eager_and_compiled(model: nn.Module, exported: ExportedModel) -> None:
    timed = TimedTorch(model, backend="eager")
    latency = measure_latency(timed, exported, INPUTS, 1, seconds=0.0, compiled=True)
    assert timed.failure == ""
    assert (latency.batch, latency.threads) == (3, 1)
    assert latency.rate == pytest.approx(3000 / latency.export.ms)
    assert latency.compiled is not None
    for times in (latency.eager, latency.compiled):
        assert 0 < times.ms_low <= times.ms <= times.ms_high
        assert 0 < times.low <= times.ratio <= times.high
    alone = measure_latency(timed, exported, INPUTS, 1, seconds=0.0, compiled=False)
    assert alone.compiled is None


def doubled(graph: Any, inputs: Any) -> Any:
    return lambda *args: [2 * one for one in graph(*args)]


def test_what_is_not_compiled_has_a_reason(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = TimedTorch(model, backend=doubled)
    assert wrong.compiled(INPUTS) is None
    assert wrong.failure == "torch.compile makes something else of the model (off by 1 of the largest output)"
    unknown = TimedTorch(model, backend="nothing")
    assert unknown.compiled(INPUTS) is None
    assert unknown.failure.startswith("torch.compile failed (InvalidBackend: ")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert TimedTorch(model).failure.startswith("torch.compile: backend=inductor needs a C++ compiler, and none is installed")
