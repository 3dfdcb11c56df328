"""Train a convnet so that it can be shipped in integers of 8 bits.

Half of the run is plain; then layers compute on the levels of 8 bits, and what is shipped are the integers: a quarter of the bytes.
Needs torchao: pip install 'accel-train[qat]'

python -m accel.train epochs=6 +plugins=[adamw,qat] plugins.qat.begin=0.5
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from digits import accuracy, loss, test_set, train_set
from torch import nn

from accel import Trainer, load
from accel.compress import pt2e_model
from accel.plugins import QAT, AdamW


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip


torch.manual_seed(0)
with TemporaryDirectory() as folder:
    run = Trainer(
        model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=6, device="cpu", out=folder,
        plugins=[AdamW(), QAT(begin=0.5)],
    )  # fmt: skip
    result = run.fit()
    integers = load(Path(folder, "shipped.safetensors"), model=net())
    sizes = [Path(folder, name).stat().st_size for name in ("model.safetensors", "shipped.safetensors")]

graph = pt2e_model(integers, (torch.zeros(2, 1, 8, 8),))
pictures, classes = test_set.tensors
right = (graph(pictures).argmax(1) == classes).float().mean()
print(integers[3])
print(f"accuracy {right:.3f} after {result.updates} updates, in integers; {result.metrics['accuracy']:.3f} with fake quantisation")
print(f"{sizes[0]:,} bytes as trained, {sizes[1]:,} as shipped")
