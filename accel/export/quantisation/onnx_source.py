"""The ONNX file of a model in float32, and those of other variants that are made of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from accel.export.quantisation.onnx_layers import fold_transposes, forget_sources, layer_nodes
from accel.export.quantisation.quantisation import Quantisation
from accel.export.quantisation.variant import Variant

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["OnnxSource"]


@dataclass
class OnnxSource:
    """ONNX files of one model. What they have in common is made once: the graph in float32, and the ranges of its tensors."""

    content: bytes = b""
    ranges: Any = None

    def write(
        self, model: nn.Module, example: Example, file: Path, opset: int, variant: Variant, quantisation: Quantisation | None
    ) -> None:  # fmt: skip
        """Write an ONNX file.

        Args:
            model: as `Target.build` is given it.
            example: one call of it.
            file: the file.
            opset: version of the operators.
            variant: the numbers that it is to have.
            quantisation: how layers become integers; None without.
        """
        file.write_bytes(self._bytes(model, example, opset, variant, quantisation))

    def layers(self, model: nn.Module, example: Example, opset: int) -> dict[str, list[str]]:
        """Return the operators of each layer with weights, by the layer's name, in order."""
        import onnx

        made = onnx.load_from_string(self._bytes(model, example, opset, "float32", None))
        fold_transposes(made)
        return {name: [node.op_type for node in nodes] for name, nodes in layer_nodes(made).items()}

    def run(
        self, model: nn.Module, example: Example, opset: int, variant: Variant, quantisation: Quantisation | None,
        batches: Sequence[Sequence[NDArray[Any]]],
    ) -> list[NDArray[Any]]:  # fmt: skip
        """Return the outputs of a file for some batches, one after the other, by onnxruntime. The rest is as in `write`."""
        import onnxruntime

        content = self._bytes(model, example, opset, variant, quantisation)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its warnings are of its own
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        return [output for batch in batches for output in session.run(None, dict(zip(names, batch, strict=True)))]

    def _bytes(
        self, model: nn.Module, example: Example, opset: int, variant: Variant, quantisation: Quantisation | None
    ) -> bytes:  # fmt: skip
        with TemporaryDirectory() as folder, _silence():
            source = Path(folder, "float32.onnx")
            self._write_source(model, example, source, opset)
            if variant == "float32":
                return self.content
            made = with_half_floats(source) if quantisation is None else self._quantised(source, example, variant, quantisation)
            forget_sources(made)
            content: bytes = made.SerializeToString()
            return content

    def _write_source(self, model: nn.Module, example: Example, source: Path, opset: int) -> None:
        if self.content:
            source.write_bytes(self.content)
            return
        from accel.export.targets.onnx import write_onnx

        write_onnx(model, example, source, opset)
        self.content = source.read_bytes()

    def _quantised(self, source: Path, example: Example, variant: Variant, quantisation: Quantisation) -> Any:
        from accel.export.quantisation import onnx_integers
        from accel.export.quantisation.onnx_ranges import calibrated_ranges

        if variant == "dynamic":
            return onnx_integers.with_dynamic_integers(source, quantisation.layers)
        if variant == "weights":
            return onnx_integers.with_integer_weights(source, quantisation.layers)
        if self.ranges is None and not quantisation.scales:
            names = [info.name for info in example.input_infos]
            batches = [{name: one.numpy() for name, one in zip(names, batch, strict=True)} for batch in quantisation.calibration]
            self.ranges = calibrated_ranges(source, batches, quantisation.calibrate, onnx_integers.STATIC_OPERATORS)
        return onnx_integers.with_static_integers(source, quantisation, self.ranges)


def with_half_floats(source: Path) -> Any:
    """Return a model of onnx in float16 whose inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(onnx.load(source), keep_io_types=True)


@contextmanager
def _silence() -> Iterator[None]:
    """Let onnxruntime neither print nor log what it is doing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(before)
