"""Calibration: on numbers with outliers the three methods take three ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from accel.export.quantisation import onnx_ranges
from accel.export.quantisation.onnx_ranges import calibrated_ranges
from accel.export.quantisation.quantisation import Calibrate

onnx = pytest.importorskip("onnx", reason="needs the extra export-onnx")
pytest.importorskip("onnxruntime", reason="needs the extra export-onnx")
METHODS: tuple[Calibrate, ...] = ("minmax", "entropy", "percentile")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of one ReLU."""
    path = tmp_path_factory.mktemp("relu") / "relu.onnx"
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", infos[:1], infos[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def batches(outliers: float) -> list[dict[str, NDArray[Any]]]:
    """Return four batches of normally distributed numbers, and three far away in the last."""
    rng = np.random.default_rng(0)
    numbers = [rng.standard_normal(10_000).astype(np.float32) for _ in range(4)]
    numbers[-1][:3] = outliers
    return [{"x": each} for each in numbers]


def upper_end(file: Path, outliers: float, method: Calibrate) -> float:
    ranges = calibrated_ranges(file, batches(outliers), method, ["Relu"])
    return float(np.ravel(ranges["x"].range_value[1])[0])


def test_on_numbers_with_outliers_the_methods_differ(file: Path) -> None:
    ends = {method: upper_end(file, 40.0, method) for method in METHODS}
    assert ends["minmax"] == 40.0
    assert 3 < ends["percentile"] < 6, "all but one in ten thousand"
    assert 3 < ends["entropy"] < 20
    assert len({round(end, 2) for end in ends.values()}) == 3


def test_the_error_of_8_bits_is_least_where_the_outliers_are_left_out(file: Path) -> None:
    numbers = np.concatenate([each["x"] for each in batches(40.0)])
    usual = numbers[np.abs(numbers) < 6]

    def error(method: Calibrate) -> float:
        low, high = (float(np.ravel(end)[0]) for end in calibrated_ranges(file, batches(40.0), method, ["Relu"])["x"].range_value)
        scale = (high - low) / 255
        return float(((np.clip(np.round(usual / scale) * scale, low, high) - usual) ** 2).mean())

    errors = {method: error(method) for method in METHODS}
    assert errors["percentile"] < errors["minmax"] / 10
    assert errors["entropy"] < errors["minmax"]


def test_with_as_many_bins_as_levels_entropy_is_minmax(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_ranges, "BINS", 128)
    monkeypatch.setattr(onnx_ranges, "LEVELS", 128)  # what quantize_static has
    assert upper_end(file, 40.0, "entropy") == upper_end(file, 40.0, "minmax") == 40.0


def test_the_order_of_the_batches_does_not_count(file: Path) -> None:
    for method in METHODS:
        ranges = [calibrated_ranges(file, order, method, ["Relu"])["y"] for order in (batches(40.0), batches(40.0)[::-1])]
        assert ranges[0].range_value == ranges[1].range_value
