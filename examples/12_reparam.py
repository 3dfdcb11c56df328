"""Train with branches beside the convolutions, and ship one convolution for each, with its norm folded in.

`shipped.safetensors` is loaded into the model of your code, which is given the modules that are left.

Where your task has convolutions and BatchNorm: '+plugins=[reparam,fold_bn,adamw,onecycle]' and out=DIR
"""

from tempfile import TemporaryDirectory

import torch
from digits import accuracy, loss, test_set, train_set
from torch import nn

import accel
from accel.plugins import AdamW, FoldBN, OneCycle, Reparam


def net() -> nn.Module:
    """Two convolutions with BatchNorm, of which the second takes single points, and a head."""
    first = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * 16, 10))


torch.manual_seed(0)
with TemporaryDirectory() as run:
    result = accel.Trainer(
        model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=4, device="cpu", out=run,
        plugins=[Reparam(), FoldBN(), AdamW(), OneCycle(max_lr=0.005)],
    ).fit()  # fmt: skip
    trained = accel.load(run, model=net())
    shipped = accel.load(f"{run}/shipped.safetensors", model=net())

pictures, kinds = test_set.tensors
with torch.inference_mode():
    right = float((shipped(pictures).argmax(1) == kinds).double().mean())
    distance = float((shipped(pictures) - trained(pictures)).abs().max())
print(f"{sum(param.numel() for param in trained.parameters()):,} weights trained, and an output of the shipped model, with "
      f"{sum(param.numel() for param in shipped.parameters()):,}, is at most {distance:.0e} away")  # fmt: skip
print(f"accuracy {right:.3f} after {result.updates} updates")
