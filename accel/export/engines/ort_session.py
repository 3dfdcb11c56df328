"""Runner of a file that ONNX Runtime reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from accel.export.target import Arrays, Runner

__all__ = ["as_onnx", "optimise", "ort_layers", "ort_runner"]


def ort_runner(file: Path, threads: int) -> Runner:
    """Return a runner of a file, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
        outputs: Arrays = session.run(None, dict(zip(names, inputs, strict=True)))
        return outputs

    return run


def optimise(source: Path, file: Path) -> None:
    """Write an ONNX file in ONNX Runtime's own format, its graph optimised as far as that suits every processor."""
    _write(source, file, "ORT", "ORT_ENABLE_EXTENDED")


def as_onnx(source: Path, file: Path) -> None:
    """Write a file in ONNX Runtime's own format as ONNX, with the operators that it has."""
    _write(source, file, "ONNX", "ORT_DISABLE_ALL")


def _write(source: Path, file: Path, form: str, level: str) -> None:
    """Let ONNX Runtime read a file and write it in a format, after the optimisations of a level."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.save_model_format", form)
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def ort_layers(file: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the outputs of those operators of an ONNX file in one call that are among the names, by name."""
    import onnxruntime

    from accel.export.targets.onnx import with_outputs

    session = onnxruntime.InferenceSession(with_outputs(file, names), providers=["CPUExecutionProvider"])
    fed = dict(zip([one.name for one in session.get_inputs()], inputs, strict=True))
    outputs = [one.name for one in session.get_outputs() if one.name in names]
    return dict(zip(outputs, session.run(outputs, fed), strict=True))
