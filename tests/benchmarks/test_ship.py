"""The benchmark of compressed models trains its arms and measures what they ship; what was not run is never said to hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import accel
from tests.support.drill_length import LONG
from tests.support.forked_process import run_script

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("ship", "integer_cost", "ship_arms", "ship_table", "shipped_cost", "strided_convnets")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    drawn = pytest.importorskip("tests.support.drawn_images", reason="the pictures need the extra images", exc_type=ImportError)
    folders: Path = drawn.write_class_folders(tmp_path / "pictures")
    return folders


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ship  # type: ignore[import-not-found]

    yield ship
    for name in MODULES:
        sys.modules.pop(name, None)


def runs(*accuracies: float) -> dict[str, Any]:
    return {"runs": [{"accuracy": accuracy} for accuracy in accuracies]}


def test_what_was_not_run_is_not_shown(ship: ModuleType) -> None:
    arms = {
        "plain": runs(0.60, 0.62), "distilled": runs(0.63, 0.64), "trained_on": runs(0.65, 0.66), "pruned": runs(0.59, 0.61),
        "qat": {"not run": "accel has no plugin qat"},
    }  # fmt: skip
    distilled, pruned, integers = ship.verdicts(arms).values()
    assert distilled == "holds: +2.50 points (+2.00 .. +3.00, n=2)"
    assert pruned.startswith("holds: -1.00 points")
    assert integers == "not shown: qat was not run"
    arms |= {"distilled": runs(0.61, 0.64), "pruned": runs(0.585, 0.605), "qat": {"failed": "seed 1: killed"}}
    distilled, pruned, integers = ship.verdicts(arms).values()
    assert distilled.startswith("does not hold: +1.50"), "the worst is below the best plain one"
    assert pruned.startswith("does not hold: -1.50")
    assert integers.startswith("not shown")
    arms["distilled"] = runs(0.9)
    assert next(iter(ship.verdicts(arms).values())) == "not shown: it needs two seeds at least"


@pytest.mark.slow
def test_every_arm_is_a_run_or_says_why_not(ship: ModuleType, root: Path) -> None:
    from ship_arms import ARMS, Arm, with_needs  # type: ignore[import-not-found]

    assert Arm("", [], 1, ("distil",)).missing() == "accel has no plugin distil"
    assert with_needs(["pruned_distilled"]) == ["teacher", "plain", "pruned_distilled"]
    there = [name for name, arm in ARMS.items() if not arm.missing()]
    assert {"teacher", "plain", "distilled", "reparam", "trained_on"} <= set(there)
    for name in there:
        words = ship.filled(ARMS[name].overrides(), dict.fromkeys(("teacher", "plain"), root))
        config = accel.compose([*words, f"task.root={root}"])
        assert set(ARMS[name].plugins) <= set(config.plugins)


def test_packed_weights_count_as_parameters(ship: ModuleType) -> None:
    from shipped_cost import parameters  # type: ignore[import-not-found]
    from torch import nn

    class Packed(nn.Module):
        """A layer that makes its weights of bits."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("packed", torch.zeros(2, dtype=torch.uint8))
            self.bias = nn.Parameter(torch.zeros(4))

        @property
        def weight(self) -> torch.Tensor:
            return torch.zeros(4, 4)

    assert parameters(nn.Sequential(Packed(), nn.Linear(4, 2), nn.BatchNorm1d(2), nn.ReLU())) == 4 + 16 + 10 + 4


@pytest.mark.slow
def test_arms_train_and_what_they_ship_is_measured(ship: ModuleType, root: Path, tmp_path: Path) -> None:
    from shipped_cost import cost, latencies

    names = ["teacher", "plain", "distilled", "reparam", "trained_on"]
    arms = {}
    for name in names:
        run = ship.trained(name, root, tmp_path, seed=1, epochs=1)
        assert run["updates"] == 1
        assert run["training"] > 0
        arms[name] = ship.summed(name, 1, [run]) | cost(ship.run_directory(tmp_path, name, 1), 32)
    assert arms["reparam"]["file"] == "shipped.safetensors"
    assert arms["plain"]["file"] == arms["distilled"]["file"] == "model.safetensors"
    convolutions = [(3, 32, 16), (32, 32, 16), (32, 64, 8), (64, 64, 8), (64, 128, 4)]
    flops = sum(2 * 9 * inputs * outputs * side**2 for inputs, outputs, side in convolutions) + 2 * 128 * 2
    assert arms["plain"]["flops"] == arms["distilled"]["flops"] == arms["reparam"]["flops"] == flops
    norms = sum(outputs for _, outputs, _ in convolutions)
    assert arms["plain"]["parameters"] - arms["reparam"]["parameters"] == norms, "a scale and a shift became a bias"
    assert arms["teacher"]["parameters"] > 3 * arms["plain"]["parameters"]
    assert arms["distilled"]["overrides"][-1] == "evaluate.epochs=1"
    times = latencies({name: ship.run_directory(tmp_path, name, 1) for name in ("plain", "reparam")}, 32, 1, rounds=2)
    assert list(times["plain"]) == ["batch 1, 1 thread", "batch 64, 1 thread"]
    assert all(0 < each["p10"] <= each["median"] <= each["p90"] for time in times.values() for each in time.values())


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="minutes: make drill")  # inductor compiles the graph of qat for one of them
@pytest.mark.parametrize("other", ["binary", "qat"])
def test_the_table_has_every_arm(other: str, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "ship.json"
    words = [root, "--seeds", "1", "--epochs", "1", "--rounds", "1", "--arms", "plain", other, "--out", out]
    ended = run_script(BENCHMARKS / "ship.py", *words, cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    result = json.loads(out.read_text())
    assert list(result["arms"]) == ["plain", other]
    assert result["arms"]["plain"]["n"] == 1
    assert set(result["verdicts"].values()) <= {"not shown: distilled was not run", "not shown: pruned was not run"} | {
        "not shown: qat was not run", "not shown: trained_on was not run",
    }  # fmt: skip
    lines = out.with_suffix(".md").read_text().splitlines()
    header, plain, row = (next(line for line in lines if line.startswith(f"| {name} |")) for name in ("arm", "plain", other))
    assert "not run" not in row
    assert "failed" not in row
    assert header.count("|") == plain.count("|") == row.count("|")
