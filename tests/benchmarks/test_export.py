"""The benchmark of exports runs the command on each model, and what was not run is never said to hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.exported_runs import train_pictures
from tests.support.forked_process import run_script

pytest.importorskip("PIL", reason="the pictures need the extra images")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("export_arms", "export_table", "ship_arms", "ship_table", "timm_vit", "feeds", "feeds.shim")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import export_table  # type: ignore[import-not-found]

    yield export_table
    for name in MODULES:
        sys.modules.pop(name, None)


def outcome(target: str, share: float, agreement: float = 1.0, exported: float = 0.6, size: int = 1000) -> dict[str, Any]:
    times = {"ms": 0.5, "ms_low": 0.4, "ms_high": 0.6}
    ratio = {"ratio": 2.0, "low": 1.5, "high": 2.5}
    latency = {"batch": 1, "threads": 1, "rate": 2000.0, "export": times, "eager": times | ratio, "compiled": None}
    proof = {
        "share": share, "agreement": agreement, "metrics": {"accuracy": 0.6}, "export_metrics": {"accuracy": exported},
        "bytes": size,
        "latency": [latency],
    }  # fmt: skip
    return {"target": target, "status": "holds", "reason": "", "proof": proof}


def test_verdicts_have_the_worst_row_and_name_those_that_miss(table: ModuleType) -> None:
    models = {"plain": {"outcomes": [outcome("pt2", 1e-6), outcome("onnx", 2e-6)]}, "vit": {"not run": "no timm"}}
    answers = list(table.verdicts(models).values())
    assert answers[0] == "holds: at most 2e-06 (plain onnx), n=2"
    assert answers[1] == "holds: at most 0 (plain pt2), n=2"
    assert answers[2] == "holds: at most 1e-06 (plain pt2), n=1"
    assert answers[3] == answers[4] == "not shown: none was run"
    models["plain, 8 bits"] = {"outcomes": [outcome("onnx", 0.05, 0.99, 0.596, 310), outcome("ort", 0.05, 0.99, 0.596, 280)]}
    answers = list(table.verdicts(models).values())
    assert answers[0] == "holds: at most 2e-06 (plain onnx), n=2", "those of 8 bits are none of float32"
    assert answers[3] == "holds: at most 0.4 (plain, 8 bits onnx), n=2"
    assert answers[4] == "does not hold: plain, 8 bits onnx 0.31"
    models["reparam"] = {"outcomes": [outcome("pt2", 2e-5, 0.999), outcome("mnn", 2e-4), {"target": "ncnn", "status": "failed",
                                      "reason": "no", "proof": None}]}  # fmt: skip
    answers = list(table.verdicts(models).values())
    assert answers[0] == "does not hold: reparam ncnn failed, reparam mnn 0.0002"
    assert answers[1] == "does not hold: reparam ncnn failed, reparam pt2 0.001"
    assert answers[2] == "does not hold: reparam pt2 2e-05"


def test_every_model_is_a_run_or_says_why_not(table: ModuleType) -> None:
    from export_arms import MODELS, base_of, ship_words  # type: ignore[import-not-found]

    import accel

    assert {"plain", "distilled", "pruned", "reparam", "qat", "gpt", "vit"} <= set(MODELS)
    assert {base_of(name) for name in MODELS} <= set(MODELS)
    for model in MODELS.values():
        if model.train:
            assert accel.compose([*model.train, f"{model.data}={BENCHMARKS}"])
    words = ship_words(Path("ROOT"), Path("work"), ["plain, 8 bits", "reparam", "gpt"], 1)
    assert words[-5:] == ["--epochs", "1", "--arms", "plain", "reparam"]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_export(tmp_path: Path) -> None:
    train_pictures(tmp_path, "+plugins=[adamw]")
    (tmp_path / "run").rename(tmp_path / "plain-0")
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "results/export.json"
    words = [tmp_path / "data", "--runs", tmp_path, "--models", "plain", "gpt", "reparam", "--targets", "[torchscript]"]
    ended = run_script(
        BENCHMARKS / "export.py", *words, "--threads", "1", "--seconds", "0.01", "--eager-only", "--out", out, cwd=tmp_path
    )
    assert ended.code == 0, ended.stderr
    result = json.loads(out.read_text())
    assert result["models"]["gpt"]["not run"] == "no text was named (--text FILE)"
    assert result["models"]["reparam"]["not run"] == "there is no run reparam-0 in --runs"
    (row,) = result["models"]["plain"]["outcomes"]
    assert row["status"] == "holds"
    assert next(iter(result["verdicts"].values())).startswith("holds: at most ")
    lines = out.with_suffix(".md").read_text().splitlines()
    header, row = (
        next(line for line in lines if line.startswith("| model |")),
        next(line for line in lines if line.startswith("| plain | torchscript | holds |")),
    )
    assert header.count("|") == row.count("|")
    assert "one sample, 1 thread" in header
    assert set(before) < set(tmp_path.rglob("*"))
    assert not (tmp_path / "plain-0/export").exists(), "the runs stay as they are"
