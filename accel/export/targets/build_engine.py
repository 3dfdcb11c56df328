"""Build a TensorRT engine of the ONNX file beside this program, on the GPU that will run it.

python build_engine.py [LARGEST_BATCH]

It needs the package tensorrt, of version 10 or newer, and nothing of accel. The numbers of the engine are those of the file:
float32, or float16 and 8 bits where the export was asked for them.
It does what trtexec --onnx=model.onnx --stronglyTyped --noTF32 does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["build_engine", "main"]


def build_engine(file: Path, largest: int = 64) -> bytes:
    """Return the engine of an ONNX file, for batches of 1 to `largest` samples. Raise ValueError if TensorRT cannot make it."""
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    typed: Any = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # 11 knows no other, and no flag
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(file)):
        raise ValueError("; ".join(parser.get_error(place).desc() for place in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # ten bits of a float32 are not what was trained
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        one = network.get_input(place)
        least, most = ([size if size >= 0 else batch for size in one.shape] for batch in (1, largest))
        profile.set_shape(one.name, least, most, most)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError("TensorRT makes no engine of it")
    return bytes(engine)


def main() -> None:
    """Write `model.engine` beside this program."""
    here = Path(__file__).parent
    (here / "model.engine").write_bytes(build_engine(here / "model.onnx", int(sys.argv[1]) if len(sys.argv) > 1 else 64))


if __name__ == "__main__":
    main()
