"""Cut half of the channels out of a convnet while it trains, and train on with what is left.

Channels are followed through all layers; the model is smaller from the cut on, and so are its checkpoints. Needs torch-pruning:
pip install 'accel-train[prune]'

python -m accel.train epochs=5 +plugins=[adamw,prune] plugins.prune.end=0.5
"""

import torch
from digits import accuracy, loss, test_set, train_set
from torch import nn

from accel import Trainer
from accel.plugins import AdamW, Prune

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10),
)  # fmt: skip
result = Trainer(
    model=net, data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu", plugins=[AdamW(), Prune(end=0.5)]
).fit()

print(result.model[0], result.model[3])
print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
