"""The verdict at the end of a run, by the times of its own clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from accel.engine.advice.closing_verdict import closing_verdict
from accel.report.result import DataFlow, Result
from accel.system.clock import PHASES


def verdict(device: str = "cpu", seconds: float = 60.0, **shares: float) -> str:
    result = Result(nn.Linear(1, 1), seconds=seconds, shares={**dict.fromkeys(PHASES, 0.0), **shares})
    result.flow = DataFlow(shares.get("data", 0.0), 10.0, 100.0)
    run: Any = SimpleNamespace(device=torch.device(device))
    return closing_verdict(run, result)


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"data": 61.0, "forward": 10.0, "backward": 20.0}, "data-bound: the model waits 61 % of the time for its data"),
        ({"evaluation": 50.0, "forward": 15.0, "backward": 20.0}, "evaluation-bound: evaluations take 50 % of the time"),
        ({"checkpoint": 45.0, "forward": 15.0, "backward": 25.0}, "checkpoint-bound: checkpoints take 45 % of the time"),
        ({"update": 55.0, "forward": 15.0, "backward": 25.0}, "optimiser-bound: moving the weights takes 55 % of the time"),
        ({"forward": 30.0, "backward": 55.0, "update": 10.0}, "computing: forward and backward pass take 85 % of the time"),
        ({"other": 60.0, "forward": 15.0, "backward": 20.0}, ""),
        ({"compile": 80.0, "forward": 5.0, "backward": 10.0}, ""),
    ],
)
def test_the_largest_part_is_named_where_the_clock_suffices(shares: dict[str, float], sentence: str) -> None:
    assert verdict(**shares) == sentence
    assert verdict(seconds=0.5, **shares) == "", "too short to tell"


def test_on_cuda_the_hosts_clock_tells_of_no_computing() -> None:
    assert verdict("cuda", forward=30.0, backward=55.0) == verdict("cuda", update=90.0) == ""
    assert verdict("cuda", data=80.0, forward=10.0).startswith("data-bound: ")
