"""Train the head alone for the first half of the run, and then everything."""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer

torch.manual_seed(0)
body = {"match": ["0.*", "2.*"], "until": 0.5}
result = Trainer(
    net(), train_set, test_set, loss=loss, metrics=accuracy, plugins=["adamw"], freeze=[body], epochs=2, device="cpu"
).fit()  # fmt: skip
print(f"accuracy {result.history[0]['accuracy']:.3f} by the head alone, {result.metrics['accuracy']:.3f} by all")
