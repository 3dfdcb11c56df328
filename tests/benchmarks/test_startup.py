"""The start-up benchmark runs, and ends where a command does not answer as it must."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "startup.py"


def test_results(tmp_path: Path) -> None:
    out = tmp_path / "startup.json"
    command = [sys.executable, str(SCRIPT), "--reps", "2", "--only", "list of plugins", "misspelt plugin", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    actual = json.loads(out.read_text())["commands"]
    assert list(actual) == ["list of plugins", "misspelt plugin"]
    assert all(len(command["times"]) == command["n"] == 2 for command in actual.values())
    assert "| misspelt plugin | `python -m accel.train +plugins=[amq]` |" in out.with_suffix(".md").read_text()
