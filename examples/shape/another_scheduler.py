"""Warm up and anneal by schedulers of torch, one after the other, stepped once per update."""

import torch
from digits import accuracy, loss, net, test_set, train_set
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from accel import Trainer
from accel.plugins import AdamW, Scheduler


def schedule(optimizer, updates):
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=10), CosineAnnealingLR(optimizer, updates - 10)], [10])


torch.manual_seed(0)
plugins = [AdamW(lr=2e-3), Scheduler(schedule, {"updates": "updates"})]
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, device="cpu", plugins=plugins, epochs=2
).fit()
print(f"accuracy {result.metrics['accuracy']:.3f}")
