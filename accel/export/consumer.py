"""The generated consumer: a program of some twenty lines that runs an export by onnxruntime and numpy alone."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONSUMER", "write_consumer"]

CONSUMER = "consumer.py"
PROGRAM = '''"""Run this export on samples: python consumer.py SAMPLES.npy ... It needs onnxruntime and numpy alone.

SAMPLES.npy has a batch: pictures as (n, height, width, channels) uint8 where card.json has a normalisation, else what the inputs of
the model are, a file for each. Prints the class and its probability of each sample, or the numbers that come out.
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
card = json.loads((here / "card.json").read_text(encoding="utf-8"))
if len(sys.argv) != 1 + len(card["inputs"]):
    sys.exit(f"usage: python consumer.py {' '.join(one['name'] + '.npy' for one in card['inputs'])}")
session = onnxruntime.InferenceSession(here / card["file"], providers=["CPUExecutionProvider"])
inputs = [np.load(file) for file in sys.argv[1:]]
if card["normalisation"] and card["preprocessing"] == "caller":
    mean, std = np.array(card["normalisation"]["mean"]), np.array(card["normalisation"]["std"])
    inputs[0] = ((inputs[0] / 255 - mean) / std).transpose(0, 3, 1, 2)
fed = {one["name"]: values.astype(one["type"]) for one, values in zip(card["inputs"], inputs, strict=True)}
count = len(inputs[0])
for start in range(0, count, card["batch"] or count):  # a file of dynamic=none takes one sample in a call
    part = slice(start, start + (card["batch"] or count))
    call = {name: values[part] if values.ndim and len(values) == count else values for name, values in fed.items()}
    for row in session.run(None, call)[0]:
        scores = np.exp(row - row.max()) if card["classes"] else None
        print(row.tolist() if scores is None else f"{card['classes'][scores.argmax()]} {scores.max() / scores.sum():.6f}")
'''


def write_consumer(folder: Path) -> None:
    """Write the program into the folder of an export. Raise OSError if the disk does not take it."""
    (folder / CONSUMER).write_text(PROGRAM, encoding="utf-8")
