"""The benchmark of what the notes claim measures each pair, and says of an engine that is not installed that it was not run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.forked_process import run_script

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("deploy_claims", "deploy_pairs", "deploy_models", "calibration_error", "strided_convnets")


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import deploy_claims  # type: ignore[import-not-found]

    yield deploy_claims
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_results(tmp_path: Path) -> None:
    out = tmp_path / "claims.json"
    words = ["--claims", "folding", "merging", "--seconds", "0.05", "--out", out]
    ended = run_script(BENCHMARKS / "deploy_claims.py", *words, cwd=tmp_path, path=[BENCHMARKS])
    assert ended.code == 0, ended.stderr
    result = json.loads(out.read_text())
    assert set(result["claims"]) == {"folding", "merging"}
    for claim in ("folding", "merging"):
        pairs = result["claims"][claim]["pairs"]
        assert len(pairs) == 2
        assert all(pair["n"] >= 16 and pair["low"] <= pair["ratio"] <= pair["high"] and pair["base ms"] > 0 for pair in pairs)
    assert result["calibration"] == {}
    text = out.with_suffix(".md").read_text()
    assert "| torch, batch of 8 | branches | merged |" in text


def test_what_is_not_installed_is_not_run(claims: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.export.target.importable", lambda package: False)
    monkeypatch.setattr(claims.deploy_pairs, "THREADED", ("onnx", "tvm"))
    onnx, tvm = claims.measured("threads", {}, 0.0)["pairs"]
    for row in (onnx, tvm):
        assert "pip install 'accel-train[" in row["not run"]
        assert "ratio" not in row
        assert "not run: " in claims.line(row)


def test_sides_that_compute_something_else_are_not_compared(claims: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from deploy_pairs import Pair, torches  # type: ignore[import-not-found]

    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    pair = Pair("case", "one", "two", lambda: torches(one, two, (torch.ones(1, 2),)))
    monkeypatch.setitem(claims.CLAIMS, "folding", ("", lambda pythons: iter([pair])))
    (row,) = claims.measured("folding", {}, 0.0)["pairs"]
    assert row["not run"].startswith("the two sides compute something else")


def test_entropy_needs_more_bins_than_levels(claims: ModuleType) -> None:
    pytest.importorskip("onnxruntime.quantization", reason="the calibrators need the extra export-onnx")
    from calibration_error import drawn, error_of  # type: ignore[import-not-found]

    sample = drawn(0, 1e-4)
    ends, as_it_comes, entropy = (
        error_of(sample, method, options)
        for method, options in (("MinMax", {}), ("Entropy", {}), ("Entropy", {"num_bins": 512, "num_quantized_bins": 128}))
    )
    assert as_it_comes == pytest.approx(ends, rel=1e-3), "one range is left to choose"
    assert entropy["inliers"] < ends["inliers"] / 2
    assert entropy["all"] > ends["all"], "outliers are cut off"
