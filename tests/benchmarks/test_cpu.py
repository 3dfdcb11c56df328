"""The benchmark on a CPU: what is compared, and the table."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_ratios_are_taken_round_by_round_and_shown_beside_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
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
    summary = cpu.summed("resnet18_96", arms, runs)
    assert summary["accel, float32"]["times"]["median"] == 2.0
    assert summary["accel, float32"]["target"] == 1.3
    assert cpu.ARMS["accel, bfloat16"].target == (1.1, 1.25)
    head = {**cpu.machine.facts(None, []), "peer": {"lightning": "2.6.6"}}
    text = cpu.table({**head, "cases": [{"about": "ResNet-18", "arms": summary}]})
    assert "2.00 (2.00 .. 2.00) [Lightning, float32], target 1.3" in text
    assert {arm.against for arm in {**cpu.ARMS, **cpu.ALLOCATORS}.values()} - {""} <= cpu.ARMS.keys()
