"""Add mixed precision: products in bfloat16, weights in float32.

A plugin is an object in the list `plugins`, and a name on the command line:

python -m accel.train epochs=5 +plugins=amp
"""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AMP

torch.manual_seed(0)
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu", plugins=[AMP()]
).fit()

print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
