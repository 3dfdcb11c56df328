"""Stochastic weight averaging: the mean of the weights at the ends of the last epochs, with BatchNorm estimated anew."""

from digits import accuracy, loss, test_set, train_set
from torch import nn

from accel import Trainer
from accel.plugins import AdamW, Average

net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 10))
plugins = [AdamW(), Average(last=None, start=0.5)]
result = Trainer(net, train_set, test_set, loss, accuracy, batch_size=60, epochs=4, device="cpu", plugins=plugins).fit()
print(f"accuracy {result.metrics['accuracy']:.3f}")
