"""Give the head a rate of its own, and the biases no weight decay."""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AdamW

torch.manual_seed(0)
groups = [{"match": "6.*", "lr": 0.01}, {"match": "*.bias", "weight_decay": 0, "lr_scale": 2}]
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, device="cpu", plugins=[AdamW(groups=groups)]
).fit()
print(f"accuracy {result.metrics['accuracy']:.3f}")
