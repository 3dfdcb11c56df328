"""The benchmark of number formats runs, with every arm beside float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.forked_process import run_script

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "amp.py"


def test_results(tmp_path: Path) -> None:
    out = tmp_path / "amp.json"
    ended = run_script(SCRIPT, "--quick", "--cases", "convnet", "windows", "--out", out, cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    convnet, windows = json.loads(out.read_text())["cases"]
    assert set(windows["arms"]) == {"float32", "bfloat16", "master_weights"}
    assert set(convnet["arms"]) == {*windows["arms"], *(f"{name}, channels_last" for name in windows["arms"])}
    for case in (convnet, windows):
        arms = case["arms"]
        assert all(arm["n"] == len(arm["times"]) == 2 and arm["time"]["median"] > 0 for arm in arms.values())
        assert arms["float32"]["speedup"]["median"] == 1
        assert arms["bfloat16"]["loss"] == arms["master_weights"]["loss"] != arms["float32"]["loss"]
    assert convnet["gflop"] > 0
    assert "| bfloat16, channels_last |" in out.with_suffix(".md").read_text()
