"""The benchmark of plugins that change the modules of a model times runs that have them, and its table has their figures."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from accel.parts import Objective, Shape
from tests.support.drill_length import LONG

HEAD = {"versions": {}, "load": None, "threads": 1, "date": "", "cpu": "", "cores": 2, "os": "", "python": "", "command": ""}
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return runpy.run_path(str(BENCHMARKS / "shapes.py"))


def test_the_run_that_is_timed_has_the_plugin(benchmark: dict[str, Any]) -> None:
    case = benchmark["Case"]("tiny", "", lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 4, 4))
    for row, plugins in benchmark["SETS"].items():
        names = [plugin.name for plugin in benchmark["request"](case, plugins).plugins]
        assert names == [name for name in row.split(", ") if name in ("distill", "reparam", "prune", "lowbit", "qat")] + ["sgd"]
        assert all(isinstance(plugin, Shape | Objective) for plugin in plugins())


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="runs of four models: make drill")
@pytest.mark.parametrize("row", ["prune, end=0", "distill, hints", "prune, mode=weights, end=0", "lowbit, kind=twn"])
def test_a_row_is_measured(row: str, benchmark: dict[str, Any]) -> None:
    case = benchmark["Case"]("stack", "", benchmark["stack"], (2, 3, 16, 16))
    actual = benchmark["row"](row, case, benchmark["Limits"](min_rounds=2, seconds=0.1))
    before, after = actual["peak bytes"]
    assert (after < before) == (row == "prune, end=0")
    assert actual["distance"] <= 1e-5
    assert row in benchmark["table"](HEAD | {"about": "", "others percent": 0.0, "rows": [actual]})


def test_the_table_has_a_row_for_each_set(benchmark: dict[str, Any]) -> None:
    ratio = {"ratio": 1.5, "low": 1.25, "high": 2.0, "rounds": 12}
    row = {"plugins": "reparam", "update": ratio, "use": ratio, "distance": 2e-7, "peak bytes": (2**20, 3 * 2**19)}
    table = benchmark["table"](HEAD | {"about": "a stack", "others percent": 3.0, "rows": [row]})
    words = "1.50 (1.25 .. 2.00), n=12"
    assert table.splitlines()[-1] == f"| reparam | {words} | 1.0 to 1.5 MiB, 1.50 times | {words} | 2.0e-07 |"
