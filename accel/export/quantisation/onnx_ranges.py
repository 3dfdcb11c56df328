"""Ranges of the tensors of an ONNX file, by onnxruntime's calibrators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accel.export.quantisation.quantisation import Calibrate

__all__ = ["BINS", "LEVELS", "PERCENTILE", "calibrated_ranges"]

BINS, LEVELS = 1024, 256
"""Bins of a histogram from -m to m, where m is the largest |x|, and levels that the entropy is computed with. `quantize_static` has
128 of both and no way to change them. Then no range but the whole one has as many bins as levels, and it returns the minmax."""
PERCENTILE = 99.99
"""Share of the numbers that lie within the range, in percent."""


class Reader:
    """Reader of one batch, as onnxruntime's calibrators take it.

    Args:
        batch: the inputs of a call, by name.
    """

    def __init__(self, batch: dict[str, NDArray[Any]]) -> None:
        self.left = [batch]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the batch, and None after it."""
        return self.left.pop() if self.left else None


def calibrated_ranges(
    file: Path, batches: Sequence[dict[str, NDArray[Any]]], calibrate: Calibrate, operators: Sequence[str]
) -> Any:
    """Return the range of each tensor that operators take or give, as onnxruntime's quantiser is given them (`TensorsData`).

    Batches are looked at one after the other: what they make is not kept.

    Args:
        file: the ONNX file.
        batches: inputs by name, at least one.
        calibrate: the method. Source of entropy: Migacz, "8-bit inference with TensorRT", GTC 2017, by `EntropyCalibrater`.
        operators: types of nodes.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    augmented = str(file.with_suffix(".augmented.onnx"))
    ends = create_calibrator(file, list(operators), augmented, CalibrationMethod.MinMax)
    for batch in batches:
        ends.collect_data(Reader(batch))
    known = ends.compute_data()
    if calibrate == "minmax":
        return known
    method, options = {
        "entropy": (CalibrationMethod.Entropy, {"num_bins": BINS, "num_quantized_bins": LEVELS}),
        "percentile": (CalibrationMethod.Percentile, {"num_bins": BINS, "percentile": PERCENTILE}),
    }[calibrate]
    calibrator = create_calibrator(file, list(operators), augmented, method, extra_options=options)
    calibrator.collector = collector_over(known, calibrator)
    for batch in batches:
        calibrator.collect_data(Reader(batch))
    return calibrator.compute_data()


def collector_over(ends: Any, calibrator: Any) -> Any:
    """Return a collector whose histograms have their bins over the whole range of each tensor from the first batch on.

    Left to itself it takes the range of the first batch, and each wider one adds bins of that size: then the outcome depends on the
    order, and the time for the entropy grows with the square of the bins.

    Args:
        ends: the ranges by minmax.
        calibrator: that of histograms.
    """
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        calibrator.method, calibrator.symmetric, calibrator.num_bins, calibrator.num_quantized_bins, calibrator.percentile, "same"
    )
    for name in ends:
        low, high = (np.float32(np.ravel(end)[0]) for end in ends[name].range_value)
        largest = max(abs(low), abs(high))
        edges = np.linspace(-largest, largest, calibrator.num_bins + 1, dtype=np.float32)
        collector.histogram_dict[name] = (np.zeros(calibrator.num_bins, np.int64), edges, low, high, largest)
    return collector
