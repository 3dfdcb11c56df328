"""What 8 bits lose by each way of choosing their range, on numbers with outliers and without: ONNX Runtime's calibrators."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCHES, SIZE = 8, 32768
SEEDS = 3
SHARE, SCALE = 1e-4, 20.0
"""How many of the numbers are outliers, and how many times as far from 0 as the others."""
WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "ends of the data": ("MinMax", {}),
    "entropy, 128 bins (as it comes)": ("Entropy", {}),
    "entropy, 1024 bins": ("Entropy", {"num_bins": 1024, "num_quantized_bins": 128}),
    "percentile, 99.99 %": ("Percentile", {"percentile": 99.99}),
}
"""Calibrators of ONNX Runtime. By itself the one of entropy makes as many bins as there are levels: one range is left to choose."""


def calibration_errors() -> dict[str, Any]:
    """Return end of the range and errors of each way, on each kind of numbers, as rows of text; or why it was not run."""
    try:
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        return {"not run": f"{error}: pip install 'accel-train[export-onnx]'"}
    rows, raw = [], []
    for about, share in (("normal", 0.0), (f"normal, {SHARE:g} of them {SCALE:g} times as far", SHARE)):
        for way, (method, options) in WAYS.items():
            each = [error_of(drawn(seed, share), method, options) for seed in range(SEEDS)]
            raw.append({"numbers": about, "range by": way, "runs": each})
            rows.append([about, way, *(shown([run[name] for run in each], digits) for name, digits in FIGURES.items())])
    return {"rows": rows, "runs": raw}


FIGURES = {"end": 1, "all": 2, "inliers": 2}


def shown(numbers: list[float], digits: int) -> str:
    """Median, least and most."""
    return f"{median(numbers):.{digits}f} ({min(numbers):.{digits}f} .. {max(numbers):.{digits}f})"


def drawn(seed: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return numbers, (batches, size), and which of them are outliers."""
    rng = np.random.default_rng(seed)
    numbers = rng.standard_normal((BATCHES, SIZE)).astype(np.float32)
    outliers = rng.random(numbers.shape) < share
    return np.where(outliers, SCALE * numbers, numbers), outliers


def error_of(sample: tuple[NDArray[np.float32], NDArray[np.bool_]], method: str, options: dict[str, float]) -> dict[str, float]:
    """Return the end of the range that a calibrator chooses, and the root of the mean squared error of 8 bits, in percent."""
    numbers, outliers = sample
    low, high = range_of(numbers, method, options)
    end = max(abs(low), abs(high))
    step = end / 127
    squared = (np.clip(np.round(numbers / step), -127, 127) * step - numbers) ** 2
    return {"end": end, "all": 100 * float(np.sqrt(squared.mean())), "inliers": 100 * float(np.sqrt(squared[~outliers].mean()))}


def range_of(numbers: NDArray[np.float32], method: str, options: dict[str, float]) -> tuple[float, float]:
    """Return the range that ONNX Runtime chooses for the input of a model that is given some batches."""
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(numbers)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.left, None)
            return None if batch is None else {"x": batch[None]}

    float32 = onnx.TensorProto.FLOAT
    x, y = (onnx.helper.make_tensor_value_info(name, float32, [1, SIZE]) for name in "xy")
    half = onnx.helper.make_tensor("half", float32, [1], [0.5])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "half"], ["y"])], "half", [x], [y], [half])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    with TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        onnx.save(model, file)
        calibrator = create_calibrator(
            file, ["Mul"], augmented_model_path=str(Path(folder, "augmented.onnx")),
            calibrate_method=getattr(CalibrationMethod, method), extra_options={"symmetric": True} | options,
        )  # fmt: skip
        with redirect_stdout(StringIO()):  # it prints its settings
            calibrator.collect_data(Reader())
            low, high = calibrator.compute_data()["x"].range_value[:2]
    return float(np.ravel(low)[0]), float(np.ravel(high)[0])
