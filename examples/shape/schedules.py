"""Train with each of the schedules: all are functions of the update's index, and end where the run ends."""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import WSD, AdamW, Constant, Linear, Polynomial, Step

for schedule in (Linear(), WSD(decay=0.3), Step(milestones=[0.5, 0.8]), Polynomial(power=0.9), Constant(warmup=10)):
    torch.manual_seed(0)
    result = Trainer(
        model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, device="cpu", plugins=[AdamW(), schedule], watch=()
    ).fit()
    print(f"{schedule.name}: accuracy {result.metrics['accuracy']:.3f}")
