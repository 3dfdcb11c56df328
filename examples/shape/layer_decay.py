"""Let lower layers learn more slowly: 0.75 times the rate, for each layer further down."""

import torch
from digits import accuracy, loss, test_set, train_set
from torch import nn

from accel import Trainer
from accel.plugins import AdamW

torch.manual_seed(0)
blocks = [nn.TransformerEncoderLayer(32, 2, 64, batch_first=True) for _ in range(2)]
net = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 32), *blocks, nn.Flatten(), nn.Linear(256, 10))
result = Trainer(
    model=net, data=train_set, val=test_set, loss=loss, metrics=accuracy, device="cpu", plugins=[AdamW(layer_decay=0.75)]
).fit()
print(f"accuracy {result.metrics['accuracy']:.3f}")
