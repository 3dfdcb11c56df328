"""The benchmark on a CPU: what is compared, and the table."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_ratios_are_taken_round_by_round_and_shown_beside_their_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["cpu.py"])
    cpu = importlib.import_module("cpu")
    paces = {"plain, float32": (8.0, 16.0), "Lightning, float32": (8.0, 12.0), "accel, float32": (4.0, 6.0)}
    arms = {name: arm for name, arm in cpu.ARMS.items() if name in paces}
    runs = {
        ("resnet18_96", name): [
            {"ms": pace, "whole": 1.0, "peak": 500.0, "loss": 2.5, "threads": 2, "others": None} for pace in paces[name]
        ]
        for name in arms
    }  # fmt: skip
    summary = cpu.summed("resnet18_96", runs)
    assert summary["accel, float32"]["times"]["median"] == 2.0
    assert summary["accel, float32"]["target"] == 1.3
    assert cpu.ARMS["accel, bfloat16"].target == (1.1, 1.25)
    head = {**cpu.machine.facts(None, []), "peer": {"lightning": "2.6.6"}}
    text = cpu.table({**head, "cases": [{"about": "ResNet-18", "arms": summary}]})
    assert "2.00 (2.00 .. 2.00) [Lightning, float32], target 1.3" in text
    out = tmp_path / "cpu.json"
    out.write_text(json.dumps(cpu.result_of(head, runs)))
    assert cpu.earlier_runs(out, dict(head)) == runs, "a round more can be added"
    with pytest.raises(SystemExit, match="since these differ: cores"):
        cpu.earlier_runs(out, {**head, "cores": 99})
    assert {arm.against for arm in {**cpu.ARMS, **cpu.ALLOCATORS, **cpu.COMPILED}.values()} - {""} <= cpu.ARMS.keys()
