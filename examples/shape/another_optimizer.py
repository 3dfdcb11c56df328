"""Train with RAdam of torch: any optimiser of any package goes by the dotted name of its class."""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import Optimizer

torch.manual_seed(0)
plugins = [Optimizer("torch.optim.RAdam", lr=2e-3, args={"weight_decay": 0.01})]
result = Trainer(
    model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, device="cpu", plugins=plugins, epochs=2
).fit()
print(f"accuracy {result.metrics['accuracy']:.3f}")
