"""The optimiser benchmark runs, with every arm beside the floor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.forked_process import run_script

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "optimizers.py"


def test_results(tmp_path: Path) -> None:
    out = tmp_path / "optimizers.json"
    ended = run_script(SCRIPT, "--reps", "2", "--models", "tiny", "--devices", "cpu", "--out", out, cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    result = json.loads(out.read_text())
    [case] = result["cases"]
    assert (case["model"], case["parameters"], case["tensors"]) == ("tiny", 72, 2)
    assert {"accel AdamW", "accel LAMB", "accel LAMB, p.grad kept", "accel LARS", "torch AdamW, fused"} < set(case["arms"])
    for peer in ("timm LAMB", "timm LARS"):  # measured, or left out with a reason
        assert (peer in case["arms"]) != (peer in result["left_out"])
    assert ("timm LAMB" in case["arms"]) == ("accel LAMB" in case["faster"])
    for name, arm in case["arms"].items():
        assert arm["n"] == len(arm["times"]) == 2
        assert name == "in-place add" or arm["over_floor"]["median"] > 0
    assert case["arms"]["accel AdamW"]["over_bare"]["median"] == 1
    assert "| accel LAMB | 48 |" in out.with_suffix(".md").read_text()
