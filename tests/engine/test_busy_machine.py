from types import SimpleNamespace
from typing import Any

import pytest
import torch

from accel.engine.advice.busy_machine import LONG_RUN, remark_on_other_load
from accel.parts import Backend
from accel.plugins.backend import Backend as BackendPlugin


def run_beside(percent: float | None, command: str = "", device: str = "cpu", plain: bool = True) -> Any:
    """What the remark reads of a run beside others that took so many percent."""
    return SimpleNamespace(
        device=torch.device(device), command=command, pace_meter=SimpleNamespace(load=SimpleNamespace(percent=lambda: percent)),
        parts=SimpleNamespace(backend=Backend() if plain else BackendPlugin()),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "device", "seconds"),
    [(None, "cpu", LONG_RUN), (5.0, "cpu", LONG_RUN), (50.0, "cuda", LONG_RUN), (50.0, "cpu", 1.0)],
)
def test_quiet_machines_gpus_and_short_runs_have_no_remark(percent: float | None, device: str, seconds: float) -> None:
    assert remark_on_other_load(run_beside(percent, device=device), seconds) == []


def test_what_to_type_fits_how_the_run_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert "'+plugins=[backend]' plugins.backend.threads=" in remark_on_other_load(run_beside(50.0, "accel-train"), LONG_RUN)[0]
    assert "try plugins.backend" in remark_on_other_load(run_beside(50.0, "accel-train", plain=False), LONG_RUN)[0]
    assert "Backend(threads=" in remark_on_other_load(run_beside(50.0), LONG_RUN)[0]
