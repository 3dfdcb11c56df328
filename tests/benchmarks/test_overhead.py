"""The overhead benchmark runs, finds that all arms do the same work, and notices one that does not."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import accel.plugins
from accel.parts import Layout
from tests.support.forked_process import Ended, run_forked

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(*arguments: str, before: Callable[[], None] = lambda: None) -> Ended:
    """Runs the benchmark in a process of its own, after `before`: it sets torch's threads for all."""

    def script() -> None:
        sys.argv[:] = ["overhead.py", *arguments]
        sys.path.insert(0, str(BENCHMARKS))
        before()
        runpy.run_path(str(BENCHMARKS / "overhead.py"), run_name="__main__")

    return run_forked(script)


def test_results_and_table(tmp_path: Path) -> None:
    out = tmp_path / "overhead.json"
    done = run("--reps", "2", "--micro-batches", "8", "--optim", "sgd", "--out", str(out))
    assert done.code == 0, done.stderr
    result = json.loads(out.read_text())
    assert (result["benchmark"], result["schema"], result["threads"]) == ("overhead", 1, 1)
    assert result["versions"]["torch"]
    assert [(case["optim"], case["case"]) for case in result["cases"]] == [("sgd", "nothing on"), ("sgd", "everything on")]
    for case in result["cases"]:
        assert list(case["arms"]) == ["hand", "hand again", "accel", "accel, watched"]
        for arm in case["arms"].values():
            assert arm["n"] == len(arm["wall_times"]) == len(arm["cpu_times"]) == 2
            assert 0 < arm["wall"]["p10"] <= arm["wall"]["median"] <= arm["wall"]["p90"]
            assert arm["apart"] < 1e-4
        assert case["arms"]["hand"]["wall_over"] == {"median": 0, "p10": 0, "p90": 0}
    nothing = result["cases"][0]["arms"]
    assert nothing["accel"]["apart"] == nothing["accel, watched"]["apart"] == 0
    table = out.with_suffix(".md").read_text()
    assert table == done.stdout[: len(table)]
    assert len([line for line in table.splitlines() if line.startswith("| accel |")]) == 2


def test_an_arm_that_does_less_ends_it() -> None:
    # without bfloat16 an arm is closest to one that has it
    def less() -> None:
        accel.plugins.AMP = type("Less", (Layout,), {})  # type: ignore[misc]

    done = run("--reps", "1", "--micro-batches", "4", "--optim", "sgd", before=less)
    assert done.code == 1
    assert "accel does not do the work of the hand-written loop (sgd, on=True)" in done.stderr


def test_half_a_window_is_refused() -> None:
    done = run("--micro-batches", "6")
    assert done.code == 2
    assert "multiple of 4" in done.stderr
