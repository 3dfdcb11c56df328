"""Add augmentation to example 03: smoothed labels, and pictures that are mixed with one another.

Batches are changed on the device. The loss is given probabilities instead of class numbers, which cross_entropy takes.

python -m accel.train epochs=5 +plugins=[amp,adamw,onecycle,augment] plugins.augment.mixup=0.2
"""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AMP, AdamW, Augment, OneCycle

torch.manual_seed(0)
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu",
    plugins=[AMP(), AdamW(), OneCycle(max_lr=0.005), Augment(mixup=0.2, num_classes=10)],
).fit()  # fmt: skip

print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
