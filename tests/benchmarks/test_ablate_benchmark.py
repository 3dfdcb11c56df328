"""The slower run of benchmarks/ablate.py is slower by 5 %, and its table counts verdicts."""

from __future__ import annotations

import runpy
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from accel.diagnose.ablation.trial_request import trial_request
from accel.system.stop_signals import StopSignals
from tests.support.worked_time import Timed, time_by_work

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return runpy.run_path(str(BENCHMARKS / "ablate.py"))


def test_more_work_is_five_percent_more(benchmark: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    time_by_work(monkeypatch)
    trainer = Timed(watch=(), batch_size=11, seed=3, device="cpu", epochs=40)
    request, seconds = trial_request(trainer._request(), ()), []
    for kind in ("EqualWork", "MoreWork"):
        with StopSignals() as signals, closing(benchmark[kind](request, signals)) as arm:
            arm.calibrate()
            seconds.append([arm.window() for _ in range(3)])
    assert seconds[0] == pytest.approx([1 / 11] * 3)
    assert seconds[1] == pytest.approx([1.05 / 11] * 3)


def test_the_table_counts_verdicts(benchmark: dict[str, Any]) -> None:
    def row(kind: str, verdict: str) -> dict[str, Any]:
        return {"kind": kind, "verdict": verdict, "ratio": 1.0, "low": 0.9, "high": 1.1, "rounds": 12}

    comparisons = [row("equal", "neutral"), row("equal", "keep"), row("5 % more work", "harmful")]
    head = {"versions": {}, "load": None, "threads": 1, "date": "", "cpu": "", "cores": 2, "os": "", "python": "", "command": ""}
    lines = benchmark["table"](head | {"seconds": 10.0, "others percent": 3.0, "comparisons": comparisons}).splitlines()
    assert lines[-2].startswith("| equal | 2 | 1 | 0 | 1 | 1.000")
    assert lines[-1].startswith("| 5 % more work | 1 | 0 | 1 | 0 |")
