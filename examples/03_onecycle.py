"""Add an optimiser, and a schedule for its learning rate.

The settings of a plugin are arguments of its class. The learning rate climbs to max_lr, and then falls until the end of the run.

python -m accel.train epochs=5 +plugins=[amp,adamw,onecycle] plugins.onecycle.max_lr=0.005
"""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AMP, AdamW, OneCycle

torch.manual_seed(0)
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu",
    plugins=[AMP(), AdamW(), OneCycle(max_lr=0.005)],
).fit()  # fmt: skip

print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
