"""Train a convnet with ternary weights, and ship two bits for each of them.

The first and the last layer stay in floats. `shipped.safetensors` has packed bits, a scale for each filter, and no BatchNorm after
a layer of few bits.

Where your task has a hidden layer: '+plugins=[lowbit,adamw,onecycle]' and out=DIR
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from digits import accuracy, loss, test_set, train_set
from torch import nn

import accel
from accel.plugins import AdamW, LowBit, OneCycle


def net() -> nn.Module:
    """Two convolutions and two Linear, a BatchNorm after all but the last."""
    first = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(512, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


torch.manual_seed(0)
with TemporaryDirectory() as run:
    result = accel.Trainer(
        model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=6, device="cpu", out=run, watch=(),
        plugins=[LowBit(kind="twn"), AdamW(), OneCycle(max_lr=0.01)],
    ).fit()  # fmt: skip
    shipped = accel.load(f"{run}/shipped.safetensors", model=net())
    trained, few = ((Path(run) / f"{name}.safetensors").stat().st_size for name in ("model", "shipped"))

pictures, kinds = test_set.tensors
with torch.inference_mode():
    right = float((shipped(pictures).argmax(1) == kinds).double().mean())
print(f"{trained:,} bytes trained, {few:,} shipped: {shipped[3].packed.numel():,} for the {32 * 16 * 9:,} weights of a layer")
print(f"accuracy {right:.3f} after {result.updates} updates")
