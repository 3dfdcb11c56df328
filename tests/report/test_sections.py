"""Plan, summary and comparison as they come out, at 80 columns, without colour and in ASCII."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from torch import nn

from accel.engine.make_plan import Plan, PlanRow
from accel.report import plan, summary
from accel.report.comparison import JobResult, comparison
from accel.report.pace import Pace
from accel.report.result import Result, Section


def drawn(what: RenderableType, width: int = 80, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, highlight=False, markup=False).print(what)
    stream.seek(0)
    return [line.rstrip() for line in stream.read().splitlines()]


PLAN = Plan(
    [
        PlanRow(
            "adamw", "Optim", {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "fused": True}, "on"
        ),
        PlanRow("amp", "", {}, "skipped: dtype=float16 needs CUDA, and this run is on the CPU"),
        PlanRow("mine", "Watch", {"path": "/" + "x" * 300, "names": ["[red]a", "b"]}, "on"),
    ],
    {"device": "cpu", "learning rate": "0.001 = 0.0001 x 10, " + "because it was computed for the user " * 3},
    ["clip.max_value has no effect"],
)
RESULT = Result(
    nn.Linear(1, 1), {"loss": 0.0512, "accuracy": 0.98611}, "test", epochs=20, updates=900, skipped=3, samples=28740, seconds=4.2,
    shares={"data": 100 / 3, "transfer": 0.0, "forward": 100 / 3, "other": 100 / 3}, out=Path("runs/one"),
    files=["checkpoints/a.json", "checkpoints/a.pt", "curves.svg", "summary.json"],
)  # fmt: skip
JOBS = [
    JobResult("plugins=[]", {"test accuracy": 0.9861, "test loss": 0.05}, 12.5, pace=Pace(100, 98, 102)),
    JobResult("plugins=[amp] " + "plugins.amp.init_scale=1024 " * 4, {"test accuracy": 0.9833}, 6.25, pace=Pace(200, 190, 210)),
    JobResult("plugins=[lamb]", error="no plugin is called 'lamb'; did you mean 'amp'?"),
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("what", [plan.draw(PLAN), summary.draw(RESULT), comparison(JOBS)], ids=["plan", "summary", "comparison"])
def test_it_fits(what: RenderableType, width: int, encoding: str) -> None:
    lines = drawn(what, width, encoding)
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)


def test_the_plan() -> None:
    lines = drawn(plan.draw(PLAN))
    assert lines[0].split() == ["plugin", "part", "settings", "status"]
    assert any("weight_decay=0.01" in line for line in lines), "settings break between, not within"
    text = " ".join(" ".join(lines).split())
    assert "names=[[red]a,b]" in text, "a setting is not markup"
    assert "x" * 50 not in text, "a long value is cut"
    assert any(line.startswith("device         cpu") for line in lines)
    assert "has no effect" not in text, "warnings have been shown by then"


def test_a_plan_without_plugins() -> None:
    assert drawn(plan.draw(Plan([], {"device": "cpu"})))[0] == "no plugins: the plain loop"


def test_the_summary() -> None:
    lines = drawn(summary.draw(RESULT))
    assert lines[1] == "test accuracy 0.9861  test loss 0.0512"
    assert lines[2] == "20 epochs, 900 updates (3 skipped), 28,740 samples; this run took 4.2 s"
    shares = [line.split()[:2] for line in lines if "%" in line]
    assert shares == [["data", "33.4"], ["transfer", "0.0"], ["forward", "33.3"], ["other", "33.3"]]
    assert lines[-2:] == ["written to runs/one", "  checkpoints/ (2 files), curves.svg, summary.json"]


def test_what_watches_add() -> None:
    rows: list[dict[str, str | int | float]] = [
        {"operator": "aten::[red]mm", "calls": 1200, "self ms": 12.345, "peak bytes": 1_234_567, "share percent": 61.55},
        {"operator": "aten::add", "calls": 2.5, "self ms": 0.5, "peak bytes": 999, "share percent": 3.0},
    ]
    sizes: list[dict[str, str | int | float]] = [{"what": "weights", "bytes": 100_000_000_000}, {"what": "gradients", "bytes": 0}]
    sections = {"profiler": Section("operators", rows), "memory": Section("memory", sizes), "nothing": Section("none", [])}
    result = Result(nn.Linear(1, 1), loss=0.5, sections=sections)
    lines = drawn(summary.draw(result))
    actual = [line.split() for line in lines]
    assert ["operator", "calls", "self", "ms", "peak", "share"] in actual
    assert ["aten::[red]mm", "1,200", "12.3", "1.2", "MB", "61.5", "%"] in actual
    assert ["aten::add", "2.500", "0.500", "999", "B", "3.0", "%"] in actual
    assert ["weights", "100", "GB"] in actual
    assert max(map(len, lines)) <= 80
    assert json.loads(json.dumps(result.summary()))["sections"]["memory"] == {"title": "memory", "rows": sizes}


def test_a_run_that_was_not_evaluated_and_wrote_nothing() -> None:
    lines = drawn(summary.draw(Result(nn.Linear(1, 1), loss=0.5, epochs=1, updates=1)))
    assert lines == ["", "training loss 0.5000", "1 epoch, 1 update, 0 samples; this run took 0.0 s"]


def test_the_comparison() -> None:
    lines = drawn(comparison(JOBS), 160)
    assert lines[0].split() == ["job", "overrides", "test", "accuracy", "test", "loss", "training", "samples/s", "speed"]
    assert lines[2].split() == ["0", "plugins=[]", "0.9861", "0.0500", "12.5", "s", "100", "1.00x"]
    assert lines[4].split()[-5:] == ["-", "6.2", "s", "200", "2.00x"]
    assert any("failed" in line and "plugins=[lamb]" in line for line in lines)
    assert any("did you mean 'amp'?" in line for line in lines)
