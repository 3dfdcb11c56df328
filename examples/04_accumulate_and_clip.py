"""Add gradient accumulation and gradient clipping.

Four micro-batches of 16 samples make one update, and the gradient of the four together is limited. The order of the plugins in the
list does not matter.

python -m accel.train epochs=5 batch_size=16 +plugins=[clip,amp,accumulate,adamw,onecycle] plugins.clip.max_norm=0.5
"""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AMP, Accumulate, AdamW, Clip, OneCycle

torch.manual_seed(0)
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu", batch_size=16,
    plugins=[Clip(max_norm=0.5), AMP(), Accumulate(steps=4), AdamW(), OneCycle(max_lr=0.005)],
).fit()  # fmt: skip

print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
